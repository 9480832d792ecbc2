"""Removing channels from a trained network, in rounds that are kept beside the file that comes out."""

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vgglass.architecture import Architecture
from vgglass.engines import selection
from vgglass.errors import InterruptedRunError, TrainingError, UsageError
from vgglass.files import replacing
from vgglass.modelfile import ModelFile
from vgglass.signals import at_once
from vgglass.workflows.models import features, recipe_of

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset
    from vgglass.shrinking.costs import Milliseconds
    from vgglass.shrinking.rounds import Goal, Round, Shrinking
    from vgglass.shrinking.selection import Cost
    from vgglass.training.checkpoint import Run
    from vgglass.training.metrics_log import Display
    from vgglass.training.run import RunOptions

WORK, GOAL, COSTS, LOCK = ".shrink", "goal.json", "costs.json", "run.lock"
STATISTICS = 1000  # images that the components of colours are measured on
GROUP = 16  # channels that the engine computes at once: 8, 16 and 32 are measured in benchmarks/shrink.py
CHOOSING = 5  # of the training images every fifth chooses, where an allowed loss is sought and nothing else is there
REPEATS, ROUNDS = 3, 40  # of a layer's time, and of a whole network's beside its parent


def shrink_channels(
    parent: ModelFile, name: str, dataset: "Dataset", out: Path, goal: "Goal", *, overwrite: bool, workers: int | None,
    checkpoint_every: str, display: "Display", **overrides: Any,
) -> "list[Round]":  # fmt: skip
    """Every network on the way, the last of which is the one asked for; their files are in a folder beside `out`.

    name       of the parent, for the record
    overrides  fields of the recipe 'shrink'
    Interrupted or killed, the same call goes on. Raises UsageError, TrainingError, InterruptedRunError.
    """
    from vgglass.training import checkpoint
    from vgglass.training.precision import isolated_torch
    from vgglass.training.run import RunOptions

    work = out.with_suffix(WORK)
    with checkpoint.exclusive(work):
        if overwrite:
            _clear(work)
        run = _begun(work, _planned(parent, name, dataset, overrides, display), goal)
        options = RunOptions(checkpoint.Cadence(checkpoint_every), 1, workers)
        with isolated_torch(run.threads), at_once(_interrupted):
            rounds = _shrinking(work, run, parent, dataset, goal, options, display).run()
    if not rounds:
        rule = "is exceeded by the first network that is narrower"
        raise TrainingError(str(goal), rule, "allow more")
    return rounds


def _planned(parent: ModelFile, name: str, dataset: "Dataset", overrides: dict[str, Any], display: "Display") -> "Run":
    """What is fixed for the whole of a new shrinking."""
    import torch

    from vgglass.data.augment import colour_components
    from vgglass.data.loader import square
    from vgglass.training import plan, precision
    from vgglass.training.checkpoint import Run

    record, samples = parent.record, dataset.split("train")
    own = record.recipe.get("augmentation", "none")
    recipe = recipe_of("shrink", ({} if own == "none" else {"augmentation": own}) | overrides, parent)
    arithmetic, line = precision.choose(recipe.precision, precision.device())
    choice = plan.feature_choice(recipe, parent)
    display.print(f"{line}\nfeatures of the parent, and times, by {choice}")
    pixels = np.stack([square(sample, record.preprocessing) for sample in samples[:: -(-len(samples) // STATISTICS)]])
    return Run(
        recipe=recipe,
        folder=dataset.name,
        digest=plan.identity(dataset),
        classes=list(dataset.classes),
        source={"model": name, "digest": record.digest},
        preprocessing=record.preprocessing.as_json(),
        colours=None if (found := colour_components(pixels)) is None else found.tolist(),
        batch_size=min(recipe.batch_size, len(samples)),
        precision=arithmetic,
        threads=torch.get_num_threads(),
        feature_engine=choice.engine,
        feature_precision=choice.precision,
    )


def _begun(work: Path, planned: "Run", goal: "Goal") -> "Run":
    """The run that is under way in `work`, or the planned one, written there. Raises TrainingError for another one."""
    from vgglass.training import checkpoint

    if not (work / checkpoint.RUN).exists():
        with replacing(work / GOAL) as temporary:
            temporary.write_text(json.dumps(asdict(goal)) + "\n", encoding="utf-8")
        checkpoint.write_run(work, planned)
    run = checkpoint.read_run(work)
    begun = json.loads((work / GOAL).read_text(encoding="utf-8"))
    for what, found, wanted in (
        ("model", run.source["digest"], planned.source["digest"]), ("images", run.digest, planned.digest),
        ("goal", begun, asdict(goal)), ("recipe", run.recipe.as_json(), planned.recipe.as_json()),
    ):  # fmt: skip
        if found != wanted:
            raise TrainingError(work, f"holds a shrinking with another {what}", "use --overwrite or another --out")
    return run


def _clear(work: Path) -> None:
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _shrinking(
    work: Path, run: "Run", parent: ModelFile, dataset: "Dataset", goal: "Goal", options: "RunOptions",
    display: "Display",
) -> "Shrinking":  # fmt: skip
    from vgglass.model import VGG
    from vgglass.shrinking import costs, distillation, heads
    from vgglass.shrinking.rounds import Shrinking
    from vgglass.training.feature_cache import Cache

    learning, choosing = list(dataset.split("train")), []
    if goal.largest_loss is not None:
        if "test" in dataset.splits:
            choosing = list(dataset.split("validation"))
        else:
            choosing = learning[::CHOOSING]
            del learning[::CHOOSING]
    cost: Cost = partial(costs.multiply_adds, parent.record.architecture)
    speedup: Callable[[Architecture], float] | None = None
    if goal.speed is not None:
        cost, speedup = _milliseconds(work, run, parent, display), partial(_speedup, run, parent)
    cache = Cache(parent, run, features, options.workers, display)
    taught = distillation.teacher(VGG.from_file(parent), learning, cache, run.recipe)
    head = None
    if parent.record.architecture.head == "pooled":
        head = partial(
            heads.fitted_anew, samples=learning, run=run, extractors=features, workers=options.workers, display=display
        )
    learn = distillation.Distillation(run, learning, taught, options, display, "the same command")
    return Shrinking(
        parent, learning, choosing, goal, cost, speedup, GROUP, run.recipe.epochs, run.recipe.seed, learn,
        lambda model: features(model, run.feature_engine, run.feature_precision, "fc8"), head, work, display,
    )  # fmt: skip


def _milliseconds(work: Path, run: "Run", parent: ModelFile, display: "Display") -> "Milliseconds":
    """The cost of every network of the family in milliseconds, measured once and kept in `work`."""
    from vgglass.shrinking import costs

    path, architecture = work / COSTS, parent.record.architecture
    if not path.exists():
        runtime = selection.module(run.feature_engine)
        if not hasattr(runtime, "layer_milliseconds"):
            rule = "does not say what each layer takes"
            raise UsageError(f"feature_engine {run.feature_engine}", rule, "take openvino or torch, or --multiply-adds")

        def times(network: Architecture) -> dict[str, float]:
            blank = _blank(parent, network)
            layers: dict[str, float] = runtime.layer_milliseconds(blank, run.feature_precision, REPEATS)
            return layers

        with display.counting("times of layers", len(costs.SHARES)) as count:
            found = costs.measured(architecture, times, GROUP, count)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(found.coefficients, indent=1) + "\n", encoding="utf-8")
    return costs.Milliseconds(architecture, json.loads(path.read_text(encoding="utf-8")))


def _speedup(run: "Run", parent: ModelFile, architecture: Architecture) -> float:
    """How many times as quick as its parent a network is here, one image at a time.

    Each at its quickest: other programs on the machine only ever slow it down.
    """
    from vgglass.benchmark.timing import rounds

    image = parent.golden_images[:1]
    engines = [
        features(model, run.feature_engine, run.feature_precision, "fc8")
        for model in (parent, _blank(parent, architecture))
    ]
    parents, childs = rounds([partial(engine, image) for engine in engines], ROUNDS).min(axis=0)
    return float(parents / childs)


def _blank(parent: ModelFile, architecture: Architecture) -> ModelFile:
    """A network of zeros, for its time."""
    weights = {name: np.zeros(shape, np.float32) for name, shape in architecture.tensors().items()}
    return replace(parent, record=replace(parent.record, architecture=architecture), weights=weights, mapped=None)


def _interrupted(number: signal.Signals) -> InterruptedRunError:
    return InterruptedRunError(number.name, number, "the rounds that are done are kept", "go on with the same command")
