"""Runs of the digits for tests: quick ones, and trainers before their first step."""

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from vgglass import workflows
from vgglass.data import sources
from vgglass.signals import Interruption
from vgglass.training import checkpoint, recipe
from vgglass.training import run as runs
from vgglass.training.checkpoint import Checkpointer, Progress
from vgglass.training.loop import Trainer
from vgglass.training.metrics_log import Display
from vgglass.training.plan import plan_run

QUICK: dict[str, Any] = {
    "width": 0.0625, "hidden": 16, "epochs": 2, "batch_size": 64, "precision": "float32",
}  # fmt: skip


def quiet() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=400), text


def trainer(**overrides: Any) -> tuple[Trainer, io.StringIO]:
    """A run of the digits before its first step."""
    console, text = quiet()
    display, data = Display(console), sources.digits()
    plan = recipe.read("digits").override(**QUICK | overrides)
    run, _ = plan_run(plan, data, None, None)
    options = runs.RunOptions(checkpoint.Cadence("1h"))
    network, weights = runs.build(run, None, display)
    feed = runs.make_feed(data, run, weights, options, workflows.features, display)
    checkpointer = Checkpointer(Path("nowhere"), options.cadence, 2, Interruption())
    optimizer = runs.make_optimizer(weights, plan)
    return runs.make_trainer(run, network, weights, optimizer, feed, data, display, checkpointer, Progress()), text


def one_epoch(trainer: Trainer) -> dict[str, Any]:
    with trainer.display.run(trainer.steps, 0):
        return trainer.epoch()


WHOLE = {
    "epochs": 1,
    "augmentation": "none",
    "batch_size": 1257,
    "dropout": 0,
    "warmup_epochs": 0,
    "label_smoothing": 0,
}
