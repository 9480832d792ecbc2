"""Shrinking VGG-16 with real ImageNet convolutions: accuracy lost, time gained, and what a group of channels should be.

    python benchmarks/shrink.py [groups] [speeds] [folder] [--parts …]

`speeds`: the fitted heads of imagenette-small (speeds 4 and 8, seeds 0 and 1) and hymenoptera (speed 4), shrunk by
`vgglass shrink`, with peak memory. `folder`: photographs to a CSV, whole processes, child beside parent and the usual
torchvision script. `groups`: how a convolution's time goes with the number of its channels.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from prediction import SCRIPT, gather
from timing import in_turns
from vgglass import modelfile, workflows
from vgglass.architecture import Architecture
from vgglass.engines import selection
from vgglass.modelfile import ModelFile
from vgglass.preprocess import Preprocessing
from vgglass.weights import to_foreign

DATA = Path(__file__).parents[2] / "shared" / "data"
WEIGHTS = DATA / "vgg16-imagenet-conv" / "vgg16_notop.weights.h5"
CASES = (("imagenette-small", 4, 0), ("imagenette-small", 4, 1), ("hymenoptera", 4, 0), ("imagenette-small", 8, 0))
VGGLASS = [sys.executable, "-m", "vgglass"]
PHOTOGRAPHS, TURNS = 192, 3

console = Console(width=150, highlight=False)


def groups(folder: Path) -> None:
    """Milliseconds of convolutions of so many channels: where the line is straight, no size of group is better."""
    table = Table("channels", *(f"side {side}" for side in (112, 56, 28, 14)), title="ms of a square 3x3 convolution")
    for channels in (32, 40, 48, 56, 64, 72, 80, 88, 96, 112, 128):
        table.add_row(str(channels), *(f"{_convolution(channels, side):.3f}" for side in (112, 56, 28, 14)))
    console.print(table)


def _convolution(channels: int, side: int) -> float:
    """The second convolution of a block at this side, by the engine's own clock."""
    block = {112: 2, 56: 3, 28: 4, 14: 5}[side]
    counts = tuple(channels for _ in range(13))
    architecture = Architecture.named("vgg16", classes=2, head="pooled", widths=counts)
    model = _zeros(architecture)
    choice = selection.choose(model)
    layers = selection.module(choice.engine).layer_milliseconds(model, choice.precision, 5)
    return float(layers[f"conv{block}_2"])


def _zeros(architecture: Architecture) -> ModelFile:
    size = architecture.image_size
    record = modelfile.Record(
        architecture, ("a", "b"), Preprocessing(size, size, (0.0,) * 3, (1.0,) * 3, "RGB", "crop")
    )
    weights = {name: np.zeros(shape, np.float32) for name, shape in architecture.tensors().items()}
    return ModelFile(record, weights, np.zeros((1, size, size, 3), np.uint8), np.zeros((1, 2), np.float32))


def speeds(folder: Path) -> None:
    """`vgglass shrink` in a process of its own, for every case."""
    table = Table(
        "data", "speed", "seed", "parent", "child", "difference (95 %)", "× as fast", "multiply-adds", "minutes", "MiB",
        title="vgglass shrink",
    )  # fmt: skip
    for name, speed, seed in CASES:
        out = folder / f"{name}-{speed}-{seed}.safetensors"
        found, taken, peak = _shrink(parent(name, folder), DATA / name, out, speed, seed)
        low, high = found["comparison"]["difference"][1:]
        table.add_row(
            name, str(speed), str(seed), f"{found['parent']['top1']:.4f}", f"{found['child']['top1']:.4f}",
            f"{100 * found['comparison']['difference'][0]:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})",
            ", ".join(f"{name} {times:.1f}" for name, times in found["speedup"].items()),
            f"{found['child']['multiply_adds'] / found['parent']['multiply_adds']:.3f}", f"{taken / 60:.1f}",
            f"{peak:,.0f}",
        )  # fmt: skip
        console.print(table)


def parent(name: str, folder: Path) -> Path:
    out = folder / f"{name}-parent"
    if not out.exists():
        command = list(map(str, [*VGGLASS, "train", DATA / name, "--from", WEIGHTS, "--out", out]))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return out / "best.safetensors"


def _shrink(model: Path, data: Path, out: Path, speed: float, seed: int) -> tuple[dict[str, Any], float, float]:
    """The command's JSON, seconds and peak memory in MiB of the whole process."""
    command = [*VGGLASS, "shrink", model, data, "--out", out, "--speed", speed, "--set", f"seed={seed}", "--json"]
    began = time.perf_counter()
    with (out.with_suffix(".json")).open("w") as said:
        process = subprocess.Popen(list(map(str, command)), stdout=said, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return json.loads(out.with_suffix(".json").read_text()), time.perf_counter() - began, usage.ru_maxrss / 1024


def folder_of_photographs(folder: Path) -> None:
    """Parent, child and torchvision's script on the same photographs, in turns."""
    name = CASES[0][0]
    child = folder / f"{name}-{CASES[0][1]}-{CASES[0][2]}.safetensors"
    if not child.exists():
        _shrink(parent(name, folder), DATA / name, child, CASES[0][1], CASES[0][2])
    weights = folder / "vgg16.pth"
    to_foreign(_with_paper_head(), weights, "torchvision")
    predict = [*VGGLASS, "predict", "--out", folder / "rows.csv", "--model"]
    ways = {"parent": [*predict, parent(name, folder)], "child": [*predict, child]}
    ways |= {"child int8": [*predict, _int8(child, DATA / name, folder)]}
    for count, turns in ((PHOTOGRAPHS, TURNS), (1, 2 * TURNS)):
        photographs = gather(folder / f"photographs-{count}", count)
        commands = {"torchvision": [sys.executable, SCRIPT, weights, photographs, folder / "rows.csv"]}
        commands |= {way: [*command, photographs] for way, command in ways.items()}
        figures = in_turns(commands, turns)
        table = Table("way", "seconds", "× as fast", title=f"{count} photograph(s) to a CSV, medians of {turns} turns")
        for way, own in figures.items():
            ratio = statistics.median(a / b for a, b in zip(figures["torchvision"], own, strict=True))
            table.add_row(way, f"{statistics.median(own):.2f}", f"{ratio:.2f}")
        console.print(table)
    console.print(f"child's int8 file: {(folder / 'int8.bin').stat().st_size / 1e6:.1f} MB")


def _with_paper_head() -> ModelFile:
    """torchvision's VGG-16 with random weights: what the usual script runs."""
    from vgglass.model import VGG

    record = Preprocessing(224, 256, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), jpeg_scaled=True)
    return VGG(Architecture.named("vgg16")).to_file(tuple(map(str, range(1000))), record)


def _int8(child: Path, data: Path, folder: Path) -> Path:
    graph = folder / "int8.xml"
    if not graph.exists():
        workflows.export(child, graph, int8_images=data, force=True, console=console)
    return graph


PARTS = {"groups": groups, "speeds": speeds, "folder": folder_of_photographs}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="without: all")
    parser.add_argument("--place", type=Path, help="a folder that stays, with what earlier calls made")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = chosen.place or Path(name)
        place.mkdir(exist_ok=True)
        for part in chosen.parts or list(PARTS):
            PARTS[part](place)
