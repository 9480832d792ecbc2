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
from vgglass.training.checkpoint import Checkpointer, Progress, TrainState
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
    context = runs.RunContext(data, run, Path("nowhere"), options, display, workflows.features)
    weights = runs.build(run, None, display)
    state = TrainState(weights, runs.make_optimizer(weights, plan), Progress())
    checkpointer = Checkpointer(context.out, state, options.cadence, 2, Interruption())
    return runs.make_trainer(context, state, runs.make_feed(context, weights), checkpointer), text


def one_epoch(trainer: Trainer) -> dict[str, Any]:
    with trainer.display.run(trainer.steps, 0):
        return trainer.train_epoch()


WHOLE = {
    "epochs": 1,
    "augmentation": "none",
    "batch_size": 1257,
    "dropout": 0,
    "warmup_epochs": 0,
    "label_smoothing": 0,
}
