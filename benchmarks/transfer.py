"""Transfer from ImageNet's convolutions to one's own few photographs: accuracy, time, memory, and what never diverges.

    python benchmarks/transfer.py [defaults] [reference] [tutorial] [finetune] [stability]

Every row of the parts named (all without any) in one run, on the photographs and weights beside the project; the
tutorial's way takes about half an hour a data set on two cores. Nothing is chosen by the validation images but the
epoch of `finetune`, which says so.
"""

import argparse
import gc
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import vgglass
from vgglass import modelfile, workflows
from vgglass.data.dataset import Dataset
from vgglass.data.folder import open_data
from vgglass.data.loader import evaluation_batches
from vgglass.modelfile import ModelFile

DATA = Path(__file__).parents[2] / "shared" / "data"
WEIGHTS = DATA / "vgg16-imagenet-conv" / "vgg16_notop.weights.h5"
NAMES = ("hymenoptera", "imagenette-small")
SEEDS = (0, 1, 2)
SMALLER = 20.0
STEPS, BATCH, HELD_OUT = 40, 4, 10  # of a run that may diverge
TUTORIAL_EPOCHS = 25

console = Console(width=140, highlight=False)


def defaults(folder: Path) -> None:
    """`vgglass train DATA --from WEIGHTS --out R`, nothing else said, in a process of its own; then again."""
    table = Table("data", "seed", "validation", "95 %", "seconds", "again", "peak MiB", "file MB", title="defaults")
    for name in NAMES:
        for seed in SEEDS:
            out, cache = folder / f"{name}-{seed}", folder / f"cache-{name}-{seed}"
            first, peak = run_train(name, out, cache, "--seed", str(seed))
            again, _ = run_train(name, folder / f"{name}-{seed}-again", cache, "--seed", str(seed))
            figures = modelfile.load_record(out / "best.safetensors").metrics["validation"]
            low, high = figures["interval"]
            size = (out / "best.safetensors").stat().st_size / 1e6
            table.add_row(
                name, str(seed), f"{figures['top1']:.4f}", f"{low:.4f} to {high:.4f}", f"{first:.1f}", f"{again:.1f}",
                f"{peak:,.0f}", f"{size:.1f}",
            )  # fmt: skip
    console.print(table)


def run_train(name: str, out: Path, cache: Path, *options: str) -> tuple[float, float]:
    """Seconds and peak memory in MiB of one whole process."""
    command = [sys.executable, "-m", "vgglass", "train", str(DATA / name), "--from", str(WEIGHTS), "--out", str(out)]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, *options], env=os.environ | {"VGGLASS_CACHE": str(cache)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def reference(folder: Path) -> None:
    """scikit-learn's LogisticRegressionCV on the features that vgglass fits to."""
    from sklearn.linear_model import LogisticRegressionCV

    table = Table("data", "vgglass", "LogisticRegressionCV", "seconds of its fit", title="the same features")
    for name in NAMES:
        model, data = fitted(name, folder), open_data(DATA / name)
        (x, y), (held, labels) = (features(model, data, part) for part in ("train", "validation"))
        mean, deviation = x.mean(0), (x - x.mean(0)).std()
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of defaults that later releases change
            found = LogisticRegressionCV(Cs=10, cv=5, max_iter=1000).fit((x - mean) / deviation, y)
        seconds = time.perf_counter() - began
        theirs = float((found.predict((held - mean) / deviation) == labels).mean())
        ours = model.record.metrics["validation"]["top1"]
        table.add_row(name, f"{ours:.4f}", f"{theirs:.4f}", f"{seconds:.1f}")
    console.print(table)


def fitted(name: str, folder: Path) -> ModelFile:
    """The model of a default run on this data; it is made where it is not there yet."""
    path = folder / f"{name}-0" / "best.safetensors"
    if not path.exists():
        run_train(name, path.parent, folder / f"cache-{name}-0")
    return modelfile.load(path)


def features(model: ModelFile, data: Dataset, split: str) -> tuple[Any, Any]:
    engine = workflows.engine(model, "openvino", "auto", output="avgpool")
    batches = list(evaluation_batches(data.split(split), model.record.preprocessing, 16))
    labels = np.concatenate([batch.labels for batch in batches])
    return np.concatenate([engine(batch.images) for batch in batches]), labels


def tutorial(folder: Path) -> None:
    """The usual tutorial's way with the same convolutions: torchvision's VGG-16, features frozen, a new head by SGD."""
    table = Table(
        "data", "tutorial", "vgglass", "difference (95 %)", "seconds", "vgglass seconds", "times as quick",
        title=f"torchvision's head, {TUTORIAL_EPOCHS} epochs of SGD 0.001",
    )  # fmt: skip
    for name in NAMES:
        model, data = fitted(name, folder), open_data(DATA / name)
        began = time.perf_counter()
        theirs = tutorial_answers(model, data)
        seconds = time.perf_counter() - began
        ours_seconds, _ = run_train(name, folder / f"{name}-timed", folder / f"cache-{name}-timed")
        x, labels = features(model, data, "validation")
        ours = (x @ model.weights["fc8.weight"].T + model.weights["fc8.bias"]).argmax(1) == labels
        moved = ours.astype(float) - (theirs == labels)
        half = 1.96 * moved.std() / math.sqrt(len(moved))
        table.add_row(
            name, f"{(theirs == labels).mean():.4f}", f"{ours.mean():.4f}",
            f"{moved.mean():+.4f} ({moved.mean() - half:+.4f} to {moved.mean() + half:+.4f})",
            f"{seconds:.0f}", f"{ours_seconds:.1f}", f"{seconds / ours_seconds:.0f}",
        )  # fmt: skip
        console.print(table)


def tutorial_answers(model: ModelFile, data: Dataset) -> Any:
    """Predicted classes of the validation images after the tutorial's training, in float32."""
    import torch
    from torch import nn
    from torchvision.models import vgg16
    from torchvision.transforms import v2

    from vgglass.images import decode

    torch.manual_seed(0)
    network = vgg16(num_classes=len(data.classes))
    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    names = [layer.name for layer in model.record.architecture.layers() if layer.kind == "conv"]
    for layer, ours in zip(convolutions, names, strict=True):
        layer.weight.data = torch.tensor(model.weights[f"{ours}.weight"])
        layer.bias.data = torch.tensor(model.weights[f"{ours}.bias"])  # type: ignore[union-attr]
    network.features.requires_grad_(False)
    record = model.record.preprocessing
    mean = torch.tensor(record.mean)[:, None, None]

    def tensor(path: Any) -> torch.Tensor:
        return torch.from_numpy(decode(path)).permute(2, 0, 1)

    def normal(images: torch.Tensor) -> torch.Tensor:
        return (images.flip(1) if record.channel_order == "BGR" else images) - mean

    learned = v2.Compose([v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()])
    judged = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224)])
    optimizer = torch.optim.SGD(network.classifier.parameters(), 0.001, momentum=0.9)
    samples, held = data.split("train"), data.split("validation")
    pixels = [tensor(sample.source) for sample in samples]
    labels = torch.tensor([sample.label for sample in samples])
    for epoch in range(TUTORIAL_EPOCHS):
        print(f"epoch {epoch + 1} of {TUTORIAL_EPOCHS}", end="\r", flush=True)
        network.train()
        for chosen in torch.randperm(len(samples)).split(32):  # type: ignore[no-untyped-call]
            images = normal(torch.stack([learned(pixels[index]) for index in chosen]).float())
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    network.eval()
    with torch.inference_mode():
        parts = [
            network(normal(torch.stack([judged(tensor(s.source)) for s in held[start : start + 32]]).float())).argmax(1)
            for start in range(0, len(held), 32)
        ]
    return torch.cat(parts).numpy()


def finetune(folder: Path) -> None:
    """`--train last-block` from the fitted head; the epoch is chosen on the validation images."""
    table = Table("data", "fitted head", "last block", "epoch kept", "seconds", title="--train last-block (selection)")
    for name in NAMES:
        before = fitted(name, folder).record.metrics["validation"]["top1"]
        out = folder / f"{name}-last-block"
        seconds, _ = run_train(name, out, folder / f"cache-{name}-0", "--train", "last-block")
        metrics = modelfile.load_record(out / "best.safetensors").metrics
        table.add_row(
            name, f"{before:.4f}", f"{metrics['validation']['top1']:.4f}", str(metrics["epoch"]), f"{seconds:.0f}"
        )
    console.print(table)


def stability(folder: Path) -> None:
    """Half of all combinations, every cell of every pair among them: the loss at the end is below that at the start."""
    axes: tuple[tuple[Any, ...], ...] = (
        ("pooled", "vgg"),
        (224, 160, 96),
        ("head", "last-block", "all"),
        NAMES,
        ("as they are", "20x smaller"),
    )
    sources = dict(zip(axes[4], origins(folder), strict=True))
    small = {name: few(name, folder) for name in NAMES}
    table = Table("head", "size", "learns", "data", "weights", "loss at first", "at last", "falls", title="stability")
    failed = 0
    for places in itertools.product(*(range(len(axis)) for axis in axes)):
        if sum(places) % 2:
            continue
        head, size, part, name, origin = (axis[place] for axis, place in zip(axes, places, strict=True))
        first, last = losses(small[name], sources[origin], head, size, part, folder)
        gc.collect()  # a trainer and what it holds are a circle, of two gigabytes where the head is the paper's
        falls = last < first and math.isfinite(last)
        failed += not falls
        row = [head, str(size), part, name, origin, f"{first:.3f}", f"{last:.3f}", "yes" if falls else "NO"]
        table.add_row(*row)
        print(*row, flush=True)
    console.print(table)
    console.print(f"{table.row_count} combinations, {failed} whose loss did not fall")


def origins(folder: Path) -> Iterator[Path]:
    """The convolutions as they are, and so scaled that every activation is SMALLER times smaller."""
    model = fitted(NAMES[0], folder)
    yield folder / f"{NAMES[0]}-0" / "best.safetensors"
    weights = {
        name: array / SMALLER
        if name == "conv1_1.weight" or (name.startswith("conv") and name.endswith("bias"))
        else array
        for name, array in model.weights.items()
    }
    weights["fc8.weight"] = weights["fc8.weight"] * SMALLER
    modelfile.save(replace(model, weights=weights, mapped=None), folder / "smaller.safetensors")
    yield folder / "smaller.safetensors"


def few(name: str, folder: Path) -> Path:
    """Links to BATCH * 10 training and HELD_OUT validation images, the classes evenly."""
    data, root = open_data(DATA / name), folder / f"few-{name}"
    for split, part, count in (("train", "train", BATCH * 10), ("validation", "val", HELD_OUT)):
        samples = data.split(split)
        for label, title in enumerate(data.classes):
            own = [sample for sample in samples if sample.label == label][: count // len(data.classes)]
            (root / part / f"own-{title}").mkdir(parents=True)  # other classes than the model's: its head is not kept
            for sample in own:
                assert isinstance(sample.source, Path)
                (root / part / f"own-{title}" / sample.source.name).symlink_to(sample.source.resolve())
    return root


def losses(data: Path, source: Path, head: str, size: int, part: str, folder: Path) -> tuple[float, float]:
    """Mean training loss of the first and the last ten of STEPS steps; of a fitted head ln K and its log loss."""
    options: dict[str, Any] = {"head": head, "image_size": size, "train": part, "batch_size": BATCH}
    options |= {
        "epochs": STEPS // 10,
        "patience": 0,
        "hidden": 4096,
        "augmentation": "none",
    }  # the same images each time
    with tempfile.TemporaryDirectory(dir=folder) as out:
        vgglass.train(data, out=Path(out) / "run", source=source, console=Console(quiet=True), **options)
        rows = [json.loads(line) for line in (Path(out) / "run" / "metrics.jsonl").read_text().splitlines()]
        classes = len(modelfile.load_record(Path(out) / "run" / "best.safetensors").classes)
    if "penalty" in rows[0]:
        return math.log(classes), min(row["log_loss"] for row in rows)
    return rows[0]["train_loss"], rows[-1]["train_loss"]


PARTS = {
    "defaults": defaults,
    "reference": reference,
    "tutorial": tutorial,
    "finetune": finetune,
    "stability": stability,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="without: all")
    chosen = parser.parse_args().parts or list(PARTS)
    console.print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, vgglass {vgglass.__version__}"
    )
    with tempfile.TemporaryDirectory() as place:
        os.environ["VGGLASS_CACHE"] = str(Path(place) / "cache")
        for part in chosen:
            PARTS[part](Path(place))
