"""Train on a folder of class folders, and evaluate on images that were not trained on.

    python examples/train_and_evaluate.py [FOLDER [OUT]]

Without a folder: a small network on the embedded handwritten digits, in seconds, to runs/example.
"""

import sys
from pathlib import Path
from typing import Any

import vgglass

OUT = Path("runs/example")
# The digits' own recipe takes 20 epochs at twice the width; these two are enough to see that it learns.
QUICK: dict[str, Any] = {"epochs": 2, "width": 0.125, "batch_size": 64, "warmup_epochs": 0.5, "overwrite": True}


def train_and_evaluate(folder: str | None = None, out: str | Path = OUT) -> Path:
    best = vgglass.train(folder, out=out, **({} if folder else QUICK))

    found = vgglass.evaluate(best, folder)
    low, high = found.intervals["top1"]
    print(f"top-1 {found.top1:.4f} on {found.images} {found.split} images, 95 % interval {low:.3f} to {high:.3f}")
    print(f"expected calibration error {found.calibration.ece:.3f}")
    for figures in found.per_class:
        print(f"  {figures.name}: {figures.images} images, recall {figures.recall}, precision {figures.precision}")
    print(f"model: {best}")
    return best


if __name__ == "__main__":
    train_and_evaluate(*sys.argv[1:3])
