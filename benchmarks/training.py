"""Training VGG-16 at 224: vgglass's step beside the plain torchvision loop, in turns, each in a process of its own.

The plain loop is what tutorials show: float32, contiguous, SGD with momentum. Images and weights are random.
"""

import argparse
import statistics
import subprocess
import sys
import time

import torch
from torch.nn import functional as F
from torchvision.models import vgg16

BATCH, SIDE, CLASSES = 16, 224, 1000


def plain(steps: int) -> list[float]:
    """Seconds of each step."""
    network = vgg16(weights=None).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    images, labels = torch.randn(BATCH, 3, SIDE, SIDE), torch.randint(0, CLASSES, (BATCH,))
    found = []
    for _ in range(steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
        found.append(time.perf_counter() - began)
    return found


def ours(steps: int, precision: str) -> list[float]:
    from contextlib import nullcontext
    from pathlib import Path
    from typing import Any, cast

    from rich.console import Console

    from vgglass.model import VGG
    from vgglass.signals import Interruption
    from vgglass.training import process
    from vgglass.training import run as runs
    from vgglass.training.batches import IMAGE
    from vgglass.training.checkpoint import Cadence, Checkpointer, Progress, TrainState
    from vgglass.training.loop import Trainer
    from vgglass.training.metrics_log import Display
    from vgglass.training.precision import Weights, choose, device
    from vgglass.training.recipe import Recipe

    process.prepare()
    plan = Recipe(
        architecture="vgg16", hidden=(4096, 4096), image_size=SIDE, batch_size=BATCH, label_smoothing=0,
        precision=precision,
    )  # fmt: skip
    chosen, line = choose(precision, device())
    sys.stderr.write(f"vgglass: {line}\n")
    network = VGG(plan.network(CLASSES)).to(device()).to(memory_format=torch.channels_last)
    weights = Weights(network.train(), chosen, decay=0)
    feed = cast(Any, nullcontext())
    feed.layer = IMAGE
    state = TrainState(weights, runs.make_optimizer(weights, plan), Progress())
    checkpointer = Checkpointer(Path("nowhere"), state, Cadence("1h"), 1, Interruption())
    trainer = Trainer(plan, state, feed, [BATCH] * steps, None, Display(Console()), checkpointer)
    images, labels = torch.randn(BATCH, 3, SIDE, SIDE, device=device()), torch.randint(0, CLASSES, (BATCH,))
    images = images.to(weights.dtype, memory_format=torch.channels_last)
    found = []
    for _ in range(steps):
        began = time.perf_counter()
        trainer.step(images, labels.to(device()))
        found.append(time.perf_counter() - began)
    return found


def measured(*arguments: str) -> float:
    """Median seconds of a step in a process of its own; the first step, which sets things up, is left out."""
    command = [sys.executable, __file__, "--only", *arguments]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return statistics.median(float(word) for word in printed.split()[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--only", choices=("plain", "vgglass"), help="used by this script itself")
    options = parser.parse_args()
    if options.only:
        print(*(plain(options.steps) if options.only == "plain" else ours(options.steps, options.precision)))
        return
    more = ("--steps", str(options.steps), "--precision", options.precision)
    pairs = [(measured("plain", *more), measured("vgglass", *more)) for _ in range(options.turns)]
    slow, fast = (BATCH / statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / two for one, two in pairs)
    print(f"VGG-16 at {SIDE}, training, batch {BATCH}, images/s, medians of {options.turns} turns in one run:")
    print(f"torchvision {slow:.2f}   vgglass {fast:.2f}   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
