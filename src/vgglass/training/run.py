"""A run from its data to its model files: what is set up once, then its epochs."""

import json
import platform
import shutil
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import SGD

from vgglass import __version__, modelfile
from vgglass.data import manifest
from vgglass.data.dataset import Dataset, Sample, balance_line, class_counts, class_weights, sample_weights
from vgglass.data.split import BETWEEN
from vgglass.data.training_loader import TrainingLoader, batch_sizes
from vgglass.errors import InterruptedRunError, TrainingError, UsageError
from vgglass.files import replacing
from vgglass.learning import FOLDER as LEARNING
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import Preprocessing
from vgglass.signals import Interruption, at_once
from vgglass.statistics import wilson
from vgglass.training import checkpoint, diagnostics, feature_cache, fitted, fold_answers, memory, metrics_log, transfer
from vgglass.training.batches import BatchSource, FeatureBatches, Features, ImageBatches
from vgglass.training.checkpoint import Cadence, Checkpoint, Checkpointer, Progress, Run, TrainState
from vgglass.training.distributed import ALONE, Ranks
from vgglass.training.feature_cache import Extractors, colours
from vgglass.training.folds import FoldFigures
from vgglass.training.loop import Trainer
from vgglass.training.metrics_log import Display, MetricsLog
from vgglass.training.precision import Weights, device, isolated_torch
from vgglass.training.recipe import Recipe
from vgglass.training.recording import Watching, recorded, replace_activations
from vgglass.training.transfer import Scale

BEST, LAST, MANIFEST = "best.safetensors", "last.safetensors", manifest.OF_A_RUN
# run.json is removed first and written last: a run that has one is whole.
FILES = (
    checkpoint.RUN, BEST, LAST, MANIFEST, checkpoint.FOLDER, metrics_log.METRICS, metrics_log.CURVES,
    metrics_log.TENSORBOARD, LEARNING, fold_answers.FOLDER,
)  # fmt: skip
FIRST_LOGIT_IMAGES = 32


@dataclass(frozen=True)
class RunOptions:
    """What a run's outcome does not depend on.

    cadence  when a checkpoint is due, and keep, how many stay
    workers  processes that decode; None for what suits the data
    watching what to record of its learning; a resumed run goes on with the record that it has
    """

    cadence: Cadence
    keep: int = 2
    workers: int | None = None
    watching: Watching | None = None


@dataclass(frozen=True)
class RunContext:
    """What is the same for a whole run: what it is of, and where it runs.

    out         folder that rank 0 writes to
    extractors  of a model file and an engine's name, what computes the features of frozen convolutions
    ranks       processes that train together
    go_on       the command that goes on after an interruption, where it is not that of `out`
    folds       what folds said of such a training
    """

    dataset: Dataset
    run: Run
    out: Path
    options: RunOptions
    display: Display
    extractors: Extractors
    ranks: Ranks = ALONE
    go_on: str = ""
    folds: FoldFigures | None = None

    @property
    def held_out(self) -> tuple[Sample, ...]:
        """The validation images, if there are any."""
        return self.dataset.splits.get("validation", ())

    @property
    def chooses(self) -> bool:
        """Whether the best epoch on the validation images is kept; without them, and with folds, the last one is."""
        return bool(self.held_out) and not self.run.recipe.folds


def require_divisible(run: Run, images: int, ranks: Ranks) -> None:
    """Raises TrainingError where a rank would get no image of a step, UsageError for what these ranks can't do.

    images  for training
    """
    if images < ranks.count:
        raise TrainingError(f"{images:,} training images", f"nothing to share among {ranks.count} ranks", "start fewer")
    if (least := batch_sizes(images, run.batch_size)[-1]) < ranks.count:
        remedy = f"start at most {least} ranks, or choose a larger --batch-size"
        raise TrainingError(f"batches of {least} images", f"are smaller than the {ranks.count} ranks", remedy)
    if run.recipe.sync_batch_norm and ranks.count > 1 and device().type == "cpu":
        raise UsageError("sync_batch_norm", "torch has it for GPUs alone", "leave it out, or train on GPUs")


def require_memory(run: Run, display: Display, ranks: Ranks = ALONE) -> None:
    """Print what memory the run will take. Raises TrainingError where there is too little."""
    architecture = run.recipe.network(len(run.classes))
    need = memory.forecast(run.recipe, architecture, run.batch_size, run.precision, device(), ranks.share)
    display.print(str(need))
    need.require()


def require_fresh(out: Path) -> None:
    """Raises TrainingError where there are files of an earlier run."""
    if any((out / name).exists() for name in FILES):
        raise TrainingError(out, "holds a run already", "use --resume, --overwrite or another --out")


def finished(out: Path, run: Run, progress: Progress, epochs: int | None = None) -> bool:
    """Whether nothing is left to do for the run there, with `epochs` in place of its recipe's."""
    over = progress.is_finished(epochs or run.recipe.epochs, run.recipe.patience)
    return over or (run.recipe.fits_head and (out / BEST).exists())


def require_recipe(out: Path, recipe: Recipe) -> None:
    """Raises TrainingError, naming the field, where the run there has another recipe."""
    found = checkpoint.read_run(out).recipe.as_json()
    for name, value in recipe.as_json().items():
        if found[name] != value:
            rule = f"holds a run with {name} {found[name]}, not {value}"
            raise TrainingError(out, rule, "choose another --out, or remove that folder")


def clear(out: Path) -> None:
    """Remove an earlier run."""
    for name in FILES:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
        else:
            (out / name).unlink(missing_ok=True)


def train(context: RunContext, source: ModelFile | None, newest: Checkpoint | None) -> Path:
    """Train on 'train', choose the best epoch on 'validation' or keep the last, write everything to the run's folder.

    source  the model that a new run starts from, where there is one
    newest  the checkpoint that a resumed run goes on from; both are rank 0's alone
    Returns the best model's path. Raises TrainingError, and InterruptedRunError on SIGINT, SIGTERM and SIGHUP. The
    caller's random state and thread count are restored.
    """
    run, out, options, display, ranks = context.run, context.out, context.options, context.display, context.ranks
    if run.recipe.fits_head:
        return ranks.broadcast_object(lambda: _fit_head(context, source))
    with isolated_torch(run.threads):
        if source and run.recipe.head == "pooled":
            source = _with_fitted_head(context, source)
        weights = build(run, source, display, ranks)
        optimizer = make_optimizer(weights, run.recipe, transfer.from_json(run.scales))
        progress = ranks.broadcast_object(lambda: _restored(context, weights, optimizer, newest))
        state = TrainState(weights, optimizer, progress)
        broadcast_state(state, ranks)
        # Until the feed is ready a signal ends the process at once: nothing has been trained that could be lost.
        with make_feed(context, weights) as feed, Interruption() as interruption:
            checkpointer = Checkpointer(out, state, options.cadence, options.keep, interruption, ranks, context.go_on)
            trainer = make_trainer(context, state, feed, checkpointer)
            log = MetricsLog(out, progress.metrics_bytes) if ranks.first else None
            data = describe(context.dataset, "validation" if context.chooses else "train") if ranks.first else {}
            done = progress.epoch * trainer.steps + progress.step
            if ranks.first and not done and not source:
                display.warn(_initialisation_warning(trainer))
            whole = ranks.broadcast_object(lambda: source is not None and _has_whole_head(run, source))
            if whole and not done and context.chooses:
                _evaluate_start(context, trainer, data)
            watching = recorded(out, trainer, run, context.held_out, options.watching)
            with display.run(trainer.steps * run.recipe.epochs, done), watching:
                while not progress.finished:
                    _one_epoch(context, trainer, data, log)
        checkpointer.save(keep=1)
    return out / BEST


def _fit_head(context: RunContext, source: ModelFile | None) -> Path:
    assert source, "a head is fitted to the convolutions of a model"
    run, out = context.run, context.out

    def interrupted(number: signal.Signals) -> InterruptedRunError:
        done = "the features computed so far are kept"
        return InterruptedRunError(number.name, number, done, f"go on with: vgglass train --out {out} --resume")

    with isolated_torch(run.threads), at_once(interrupted):
        found = _fitted(context, source)
        rows = "".join(json.dumps(asdict(trial)) + "\n" for trial in found.probe.trials)
        with replacing(out / metrics_log.METRICS) as temporary:
            temporary.write_text(rows, encoding="utf-8")
        modelfile.save(fitted.as_model_file(found, run, describe(context.dataset, selected_on="train")), out / BEST)
    return out / BEST


def _with_fitted_head(context: RunContext, source: ModelFile) -> ModelFile:
    """The model to fine-tune: with its own head where that is for these classes, else with one fitted."""
    if _has_whole_head(context.run, source):
        return source
    return fitted.as_model_file(_fitted(context, source), context.run, {})


def _fitted(context: RunContext, source: ModelFile) -> fitted.FittedHead:
    workers = context.options.workers
    return fitted.fit(context.dataset, context.run, source, context.extractors, workers, context.display)


def _has_whole_head(run: Run, source: ModelFile) -> bool:
    return not transfer.fresh_layers(run.recipe.network(len(run.classes)), source, tuple(run.classes))


def _evaluate_start(context: RunContext, trainer: Trainer, data: dict[str, Any]) -> None:
    """Validate and save the initial network, so that fine-tuning replaces it only by a better one."""
    row = {"epoch": 0, **trainer.validate()}
    trainer.progress.best_accuracy = row["validation_accuracy"]
    if context.ranks.first:
        context.display.print(f"before the first epoch: validation accuracy {row['validation_accuracy']:.4f}")
        modelfile.save(as_model_file(context, trainer.weights, data, row), context.out / BEST)


def _restored(context: RunContext, weights: Weights, optimizer: SGD, newest: Checkpoint | None) -> Progress:
    out, recipe, options, display = context.out, context.run.recipe, context.options, context.display
    progress = newest.restore(weights, optimizer, display.warn) if newest else Progress()
    progress.finished = progress.is_finished(recipe.epochs, recipe.patience)  # epochs may have been added
    display.print("; ".join((checkpoint.require_space(out, weights, options.keep), f"one every {options.cadence}")))
    return progress


def broadcast_state(state: TrainState, ranks: Ranks) -> None:
    """Copy the weights, averages and momenta of rank 0 to every rank."""
    weights, optimizer = state.weights, state.optimizer
    names = ranks.broadcast_object(
        lambda: [name for name, master in weights.masters.items() if optimizer.state.get(master)]
    )
    momenta = []
    for name in names:
        master = weights.masters[name]
        momenta.append(optimizer.state[master].setdefault("momentum_buffer", torch.empty_like(master)))
    ranks.broadcast([*weights.state().values(), *weights.average.values(), *momenta])
    weights.sync_model()


def build(run: Run, source: ModelFile | None, display: Display, ranks: Ranks = ALONE) -> Weights:
    """The network as it is before the first step."""
    recipe = run.recipe
    torch.manual_seed(recipe.seed)
    network = VGG(recipe.network(len(run.classes)), recipe.initialisation)
    if source:
        display.print(transfer.load_matching(network, source, tuple(run.classes)))
        for name, factor in run.factors.items():
            transfer.scale_weights(network, name, factor)
    replace_activations(network, run.activation)
    network = network.to(device()).to(memory_format=torch.channels_last)
    if recipe.sync_batch_norm and ranks.count > 1:
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    transfer.freeze(network, recipe)
    return Weights(network, run.precision, recipe.ema)


def make_trainer(context: RunContext, state: TrainState, feed: BatchSource, checkpointer: Checkpointer) -> Trainer:
    run, display, samples = context.run, context.display, context.dataset.split("train")
    images = class_counts(samples, len(run.classes))
    display.print(balance_line(images, run.classes, run.recipe.balance))
    loss_weights = None
    if run.recipe.balance == "weights":
        loss_weights = torch.tensor(class_weights(images), dtype=state.weights.master_dtype, device=device())
    sizes = batch_sizes(len(samples), run.batch_size)
    return Trainer(run.recipe, state, feed, sizes, loss_weights, display, checkpointer, context.ranks)


def make_feed(context: RunContext, weights: Weights) -> BatchSource:
    """Images, or for a head that is trained alone, features."""
    run, ranks, workers = context.run, context.ranks, context.options.workers
    recipe, preprocessing = run.recipe, Preprocessing.from_json(run.preprocessing)
    samples, held_out = context.dataset.split("train"), context.held_out
    draws = None
    if recipe.balance == "sampler":
        draws = sample_weights(samples, class_counts(samples, len(run.classes)))
    if recipe.train == "head":
        model = weights.as_network().to_file(context.dataset.classes, preprocessing)
        cache = feature_cache.Cache(model, run, context.extractors, workers, context.display)
        features = ranks.local_rank_zero_first(
            lambda: (
                Features(cache.views(samples, recipe), labels_of(samples)),
                Features([cache.plain(held_out)] if held_out else [], labels_of(held_out)),
            )
        )
        return FeatureBatches(*features, run.batch_size, recipe.seed, draws, device(), weights.dtype, ranks.share)
    loader = TrainingLoader(
        samples, preprocessing, run.batch_size, recipe.augmentation, recipe.seed, colours=colours(run),
        weights=draws, workers=workers, share=ranks.share,
    )  # fmt: skip
    return ImageBatches(loader, held_out, preprocessing, device(), weights.dtype, ranks.share)


def labels_of(samples: Sequence[Sample]) -> NDArray[np.int64]:
    return np.array([sample.label for sample in samples], np.int64)


def make_optimizer(weights: Weights, recipe: Recipe, scales: dict[str, Scale] | None = None) -> SGD:
    """SGD with momentum; weight decay on convolution and fully connected weights alone, a block's share of the rate.

    scales  of the layers of a network that began with another's weights
    A group's `unit` is the square of the unit of its weights: see `transfer`. Weight decay is relative to the weights,
    so the unit is divided out of it.
    """
    kinds = {layer.name: layer.kind for layer in weights.network.architecture.layers()}
    groups: dict[tuple[float, float, float], list[torch.nn.Parameter]] = {}
    for name, master in weights.masters.items():
        if master.requires_grad:
            layer, _, tensor = name.rpartition(".")
            unit = scales[layer].of(tensor, kinds[layer]) if scales else 1.0
            decay = recipe.weight_decay / unit if master.ndim > 1 else 0.0
            groups.setdefault((transfer.rate_multiplier(name, recipe), unit, decay), []).append(master)
    nesterov = recipe.nesterov and recipe.momentum > 0
    return SGD(
        [
            {"params": members, "share": share, "unit": unit, "weight_decay": decay}
            for (share, unit, decay), members in groups.items()
        ],
        recipe.learning_rate, momentum=recipe.momentum, nesterov=nesterov, fused=True,
    )  # fmt: skip


def _one_epoch(context: RunContext, trainer: Trainer, data: dict[str, Any], log: MetricsLog | None) -> None:
    """Train, validate, and write what came of it where there is a log: on rank 0."""
    progress, display, recipe = trainer.progress, context.display, context.run.recipe
    row = {"epoch": progress.epoch + 1, **trainer.train_epoch()}
    if context.held_out:
        row |= trainer.validate()
    best = trainer.finish_epoch(row["validation_accuracy"] if context.chooses else None)
    if log is None:
        return
    display.epoch(row, recipe.epochs, best and context.chooses)
    display.warn(diagnostics.dead_relu_warning(row.get("dead_channels", {})))
    display.warn(diagnostics.data_wait_warning(row["waited"]))
    names = [name for name, wanted in ((BEST, best), (LAST, progress.finished and context.chooses)) if wanted]
    if names and context.run.activation == "relu":
        file = as_model_file(context, trainer.weights, data, row)
        for name in names:
            modelfile.save(file, context.out / name)
    progress.metrics_bytes = log.write(row, progress.finished)


def describe(dataset: Dataset, selected_on: str = "validation") -> dict[str, Any]:
    """A model file's record of its training data, and of the split that its weights were selected on."""
    between = sum(reason.startswith(BETWEEN) for _, reason in dataset.left_out)
    return {
        "name": dataset.name,
        "manifest": manifest.digest(dataset),
        "digests": {split: dataset.digest(split) for split in dataset.splits},
        "images": {split: len(samples) for split, samples in dataset.splits.items()},
        "left_out": {"unreadable": len(dataset.left_out) - between, "between": between},
        "selected_on": selected_on,
    }


def as_model_file(context: RunContext, weights: Weights, data: dict[str, Any], row: dict[str, Any]) -> ModelFile:
    """The weights after an epoch.

    data  as `describe` returns it
    row   of the epoch in metrics.jsonl
    """
    run = context.run
    metrics: dict[str, Any] = {"epoch": row["epoch"]}
    if context.held_out:
        metrics["validation"] = {"top1": row["validation_accuracy"]}
        if not context.chooses:
            right = round(row["validation_accuracy"] * len(context.held_out))
            metrics["validation"]["interval"] = list(wilson(right, len(context.held_out)))
    if context.folds:
        metrics["folds"] = context.folds.as_json()
    return weights.as_network().to_file(
        tuple(run.classes),
        Preprocessing.from_json(run.preprocessing),
        metrics=metrics,
        data=data,
        recipe=run.recipe.as_json()
        | ({"from": run.source} if run.source else {})
        | ({"extended": run.extended} if run.extended else {}),
        versions={"vgglass": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )  # fmt: skip


def _initialisation_warning(trainer: Trainer) -> str:
    images, _ = next(iter(trainer.feed.training(0, 0)))
    return diagnostics.initialisation_warning(
        trainer.network, images[:FIRST_LOGIT_IMAGES], trainer.recipe.initialisation
    )
