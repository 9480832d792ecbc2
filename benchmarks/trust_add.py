"""Six of ten imagenette classes, then four more by --add, beside all ten at once."""

import time
from pathlib import Path

import numpy as np
from rich.console import Console

import vgglass
from vgglass import modelfile

SHARED = Path(__file__).parents[2] / "shared" / "data"
DATA = SHARED / "imagenette-small"
CONVOLUTIONS = SHARED / "vgg16-imagenet-conv" / "vgg16_notop.weights.h5"
FIRST = 6


def run(folder: Path) -> None:
    names = sorted(path.name for path in (DATA / "train").iterdir())
    parts = {"six": names[:FIRST], "four": names[FIRST:], "ten": names}
    for part, classes in parts.items():
        for side in ("train", "val"):
            (folder / part / side).mkdir(parents=True)
            for name in classes:
                (folder / part / side / name).symlink_to(DATA / side / name)
    quiet = Console(quiet=True)
    six = vgglass.train(folder / "six", out=folder / "run-six", source=CONVOLUTIONS, console=quiet)
    ten = vgglass.train(folder / "ten", out=folder / "run-ten", source=CONVOLUTIONS, console=quiet)
    start = time.monotonic()
    added = vgglass.train(folder / "four", out=folder / "run-added", source=six, add=True, console=quiet)
    seconds = time.monotonic() - start
    top1 = {name: accuracies(path, folder / "ten", quiet) for name, path in (("added", added), ("ten", ten))}
    before = modelfile.load_record(six).metrics["validation"]["top1"]
    old = modelfile.load_record(added).metrics["old_classes"]
    print(f"six classes, then four more in {seconds:.1f} s (their features were cached by the run of ten)")
    print(f"top-1 of 400 held-out images: {top1['added'][0]:.4f} added, {top1['ten'][0]:.4f} ten at once")
    print(f"the six old classes' 240 of them: {before:.4f} among six, {top1['added'][1]:.4f} among ten after --add")
    print(f"out of fold on {old['images']} training images: {old['before']:.4f} before, {old['after']:.4f} after")
    print(f"size: {six.stat().st_size / 1e6:.1f} MB of six, {added.stat().st_size / 1e6:.1f} MB of ten")


def accuracies(model: Path, data: Path, console: Console) -> tuple[float, float]:
    """Top-1 on the held-out images of all classes, and of the first ones alone."""
    evaluation = vgglass.evaluate(model, data, split="validation", console=console)
    matrix = np.array(evaluation.confusion)
    return float(matrix.trace() / matrix.sum()), float(np.diag(matrix)[:FIRST].sum() / matrix[:FIRST].sum())
