"""A run from its data to its model files: what is put together once, and the order of its epochs."""

import json
import platform
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from vgglass.data.training_loader import TrainingLoader, batch_sizes
from vgglass.errors import InterruptedRunError, TrainingError, UsageError
from vgglass.files import replacing
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import Preprocessing
from vgglass.signals import Interruption, at_once
from vgglass.training import checkpoint, diagnostics, feature_cache, fitted, memory, metrics_log, transfer
from vgglass.training.batches import BatchSource, FeatureBatches, ImageBatches
from vgglass.training.checkpoint import Cadence, Checkpointer, Progress, Run
from vgglass.training.distributed import ALONE, Ranks
from vgglass.training.feature_cache import Extractors, colours
from vgglass.training.loop import Trainer
from vgglass.training.metrics_log import Display, MetricsLog
from vgglass.training.precision import Weights, device
from vgglass.training.recipe import Recipe
from vgglass.training.transfer import Scale

BEST, LAST, MANIFEST = "best.safetensors", "last.safetensors", "manifest.parquet"
# The record is removed first and written last: what is resumed is whole.
FILES = (
    checkpoint.RUN, BEST, LAST, MANIFEST, checkpoint.FOLDER, metrics_log.METRICS, metrics_log.CURVES,
    metrics_log.TENSORBOARD,
)  # fmt: skip
FIRST_LOGIT_IMAGES = 32  # images whose first logits are looked at


@dataclass(frozen=True)
class RunOptions:
    """How a run goes about it, without a say in what comes out.

    workers  processes that decode; None for what suits the data
    cadence  when a checkpoint is due, and keep, how many stay
    """

    cadence: Cadence
    keep: int = 2
    workers: int | None = None


def require_divisible(run: Run, images: int, ranks: Ranks) -> None:
    """Raises TrainingError where a rank would get no image of a step, UsageError for what these ranks can't do.

    images  for training
    """
    if images < ranks.count:
        raise TrainingError(f"{images:,} training images", f"nothing to share among {ranks.count} ranks", "start fewer")
    if (least := batch_sizes(images, run.batch_size)[-1]) < ranks.count:
        remedy = f"start at most {least} ranks, or choose a larger --batch-size"
        raise TrainingError(f"batches of {least} images", f"are smaller than the {ranks.count} ranks", remedy)
    if run.recipe.get("sync_batch_norm") and ranks.count > 1 and device().type == "cpu":
        raise UsageError("sync_batch_norm", "torch has it for GPUs alone", "leave it out, or train on GPUs")


def require_memory(run: Run, display: Display, ranks: Ranks = ALONE) -> None:
    """Say what memory the run will take. Raises TrainingError where there is too little."""
    recipe = Recipe(**run.recipe)
    architecture = recipe.network(len(run.classes))
    need = memory.forecast(recipe, architecture, run.batch_size, run.precision, device(), ranks.share)
    display.print(str(need))
    need.require()


def require_fresh(out: Path) -> None:
    """Raises TrainingError where there are files of an earlier run."""
    if any((out / name).exists() for name in FILES):
        raise TrainingError(out, "holds a run already", "use --resume, --overwrite or another --out")


def finished(out: Path, epochs: int | None = None) -> bool:
    """Whether nothing is left to do for the run there, which is to have so many epochs in place of its recipe's."""
    run = checkpoint.read_run(out)
    recipe = Recipe(**run.recipe)
    over = checkpoint.read_progress(out).is_finished(epochs or recipe.epochs, recipe.patience)
    return over or (run.fits_head and (out / BEST).exists())


def require_recipe(out: Path, recipe: Recipe) -> None:
    """Raises TrainingError, naming the field, where the run there has another recipe."""
    found = checkpoint.read_run(out).recipe
    for name, value in recipe.as_json().items():
        if found.get(name) != value:
            rule = f"holds a run with {name} {found.get(name)}, not {value}"
            raise TrainingError(out, rule, "choose another --out, or remove that folder")


def clear(out: Path) -> None:
    """Remove an earlier run."""
    for name in FILES:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
        else:
            (out / name).unlink(missing_ok=True)


def train(
    dataset: Dataset, run: Run, out: Path, display: Display, options: RunOptions, source: ModelFile | None,
    extractors: Extractors, ranks: Ranks = ALONE,
) -> Path:  # fmt: skip
    """Train on 'train', choose the best epoch on 'validation', write everything under `out`; the best model's path.

    extractors  of a model file and an engine's name, what computes pool5: for a head that is trained alone
    ranks       that train together: only the first looks at `source` and `out`, and only it writes
    Goes on from the newest checkpoint under `out` where there is one. Raises TrainingError, and InterruptedRunError on
    SIGINT, SIGTERM and SIGHUP. The caller's random state and thread count come back as they were.
    """
    if run.fits_head:
        return ranks.broadcast_object(lambda: _fit_head(dataset, run, out, display, options, source, extractors))
    with _isolated_torch(run):
        if source and run.recipe.get("head") == "pooled":
            source = _with_fitted_head(dataset, run, source, extractors, options, display)
        network, weights = build(run, source, display, ranks)
        optimizer = make_optimizer(weights, Recipe(**run.recipe), transfer.from_json(run.scales))
        progress = ranks.broadcast_object(lambda: _restored(out, run, weights, optimizer, display, options))
        share_state(weights, optimizer, ranks)
        # Until the feed is there a signal ends the run at once: nothing has been learned that could be lost.
        feed = make_feed(dataset, run, weights, options, extractors, display, ranks)
        with feed, Interruption() as interruption:
            checkpointer = Checkpointer(out, options.cadence, options.keep, interruption, ranks)
            trainer = make_trainer(
                run, network, weights, optimizer, feed, dataset, display, checkpointer, progress, ranks
            )
            log = MetricsLog(out, progress.metrics_bytes) if ranks.first else None
            about = describe(dataset) if ranks.first else {}
            done = progress.epoch * trainer.steps + progress.step
            if ranks.first and not done and not source:
                display.warn(_initialisation_warning(trainer))
            if not done and ranks.broadcast_object(lambda: source is not None and _has_whole_head(run, source)):
                _evaluate_start(trainer, run, about, out)
            with display.run(trainer.steps * trainer.recipe.epochs, done):
                while not progress.finished:
                    _one_epoch(trainer, run, about, log, out)
        checkpointer.save(trainer, keep=1)
    return out / BEST


def _fit_head(
    dataset: Dataset, run: Run, out: Path, display: Display, options: RunOptions, source: ModelFile | None,
    extractors: Extractors,
) -> Path:  # fmt: skip
    assert source, "a head is fitted to the convolutions of a model"

    def interrupted(number: signal.Signals) -> InterruptedRunError:
        done = "the features computed so far are kept"
        return InterruptedRunError(number.name, number, done, f"go on with: vgglass train --out {out} --resume")

    with _isolated_torch(run), at_once(interrupted):
        found = fitted.fit(dataset, run, source, extractors, options.workers, display)
        rows = "".join(json.dumps(asdict(trial)) + "\n" for trial in found.probe.trials)
        with replacing(out / metrics_log.METRICS) as temporary:
            temporary.write_text(rows, encoding="utf-8")
        modelfile.save(fitted.as_model_file(found, run, describe(dataset, selected_on="train")), out / BEST)
    return out / BEST


def _with_fitted_head(
    dataset: Dataset, run: Run, source: ModelFile, extractors: Extractors, options: RunOptions, display: Display
) -> ModelFile:
    """The model to fine-tune: with its own head where that is for these classes, else with one fitted."""
    if _has_whole_head(run, source):
        return source
    found = fitted.fit(dataset, run, source, extractors, options.workers, display)
    return fitted.as_model_file(found, run, {})


def _has_whole_head(run: Run, source: ModelFile) -> bool:
    return not transfer.fresh_layers(Recipe(**run.recipe).network(len(run.classes)), source, tuple(run.classes))


def _evaluate_start(trainer: Trainer, run: Run, about: dict[str, Any], out: Path) -> None:
    """The network as it begins is the first to be beaten: what fine-tuning does not improve is kept."""
    row = {"epoch": 0, **trainer.validate()}
    trainer.progress.best_accuracy = row["validation_accuracy"]
    if trainer.ranks.first:
        trainer.display.print(f"before the first epoch: validation accuracy {row['validation_accuracy']:.4f}")
        modelfile.save(as_model_file(trainer, run, about, row), out / BEST)


def _restored(out: Path, run: Run, weights: Weights, optimizer: SGD, display: Display, options: RunOptions) -> Progress:
    progress = checkpoint.restore(out, weights, optimizer, display.warn)
    recipe = Recipe(**run.recipe)
    progress.finished = progress.is_finished(recipe.epochs, recipe.patience)  # epochs may have been added
    display.print(f"{checkpoint.require_space(out, weights, options.keep)}; one every {options.cadence}")
    return progress


def share_state(weights: Weights, optimizer: SGD, ranks: Ranks) -> None:
    """Let every rank begin with the weights, averages and momenta of the first."""
    moving = ranks.broadcast_object(
        lambda: [name for name, master in weights.masters.items() if optimizer.state.get(master)]
    )
    momenta = [optimizer.state[weights.masters[name]] for name in moving]
    for name, momentum in zip(moving, momenta, strict=True):
        momentum.setdefault("momentum_buffer", torch.empty_like(weights.masters[name]))
    ranks.broadcast(
        [*weights.state().values(), *weights.average.values(), *(kept["momentum_buffer"] for kept in momenta)]
    )
    weights.sync_model()


def build(run: Run, source: ModelFile | None, display: Display, ranks: Ranks = ALONE) -> tuple[VGG, Weights]:
    """The network as it is before the first step, and its weights."""
    recipe = Recipe(**run.recipe)
    torch.manual_seed(recipe.seed)
    network = VGG(recipe.network(len(run.classes)), recipe.initialisation)
    if source:
        display.print(transfer.load_matching(network, source, tuple(run.classes)))
        for name, factor in run.factors.items():
            transfer.scale_weights(network, name, factor)
    network = network.to(device()).to(memory_format=torch.channels_last)
    if recipe.sync_batch_norm and ranks.count > 1:
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    transfer.freeze(network, recipe)
    return network, Weights(network, run.precision, recipe.ema)


def make_trainer(
    run: Run, network: VGG, weights: Weights, optimizer: SGD, feed: BatchSource, dataset: Dataset, display: Display,
    checkpointer: Checkpointer, progress: Progress, ranks: Ranks = ALONE,
) -> Trainer:  # fmt: skip
    recipe, samples = Recipe(**run.recipe), dataset.split("train")
    images = class_counts(samples, len(run.classes))
    display.print(balance_line(images, run.classes, recipe.balance))
    loss_weights = None
    if recipe.balance == "weights":
        loss_weights = torch.tensor(class_weights(images), dtype=weights.master_dtype, device=device())
    return Trainer(
        recipe, network, weights, optimizer, feed, Preprocessing.from_json(run.preprocessing),
        batch_sizes(len(samples), run.batch_size), loss_weights, display, checkpointer, progress, ranks,
    )  # fmt: skip


def make_feed(
    dataset: Dataset, run: Run, weights: Weights, options: RunOptions, extractors: Extractors, display: Display,
    ranks: Ranks = ALONE,
) -> BatchSource:  # fmt: skip
    """Images, or for a head that is trained alone, features."""
    recipe, samples, held_out = Recipe(**run.recipe), dataset.split("train"), dataset.split("validation")
    preprocessing = Preprocessing.from_json(run.preprocessing)
    draws = None
    if recipe.balance == "sampler":
        draws = sample_weights(samples, class_counts(samples, len(run.classes)))
    if recipe.train == "head":
        model = weights.as_network().to_file(dataset.classes, preprocessing)
        cache = feature_cache.Cache(model, run, extractors, options.workers, display)
        learned, judged = ranks.local_rank_zero_first(lambda: (cache.views(samples, recipe), cache.plain(held_out)))
        return FeatureBatches(
            learned, labels_of(samples), judged, labels_of(held_out), run.batch_size, recipe.seed, draws,
            device(), weights.dtype, ranks.share,
        )  # fmt: skip
    loader = TrainingLoader(
        samples, preprocessing, run.batch_size, recipe.augmentation, recipe.seed, colours=colours(run),
        weights=draws, workers=options.workers, share=ranks.share,
    )  # fmt: skip
    return ImageBatches(loader, held_out, preprocessing, device(), weights.dtype, ranks.share)


def labels_of(samples: Sequence[Sample]) -> NDArray[np.int64]:
    return np.array([sample.label for sample in samples], np.int64)


def make_optimizer(weights: Weights, recipe: Recipe, scales: dict[str, Scale] | None = None) -> SGD:
    """SGD with momentum; weight decay on convolution and fully connected weights alone, a block's share of the rate.

    scales  of the layers of a network that began with another's weights
    A group's `unit` is the square of the unit of its weights: see `transfer`. Weight decay is relative to the weights
    as it is, so that the unit is taken out of it.
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


def _one_epoch(trainer: Trainer, run: Run, about: dict[str, Any], log: MetricsLog | None, out: Path) -> None:
    """What comes of it is written where there is a log."""
    progress, display = trainer.progress, trainer.display
    row = {"epoch": progress.epoch + 1, **trainer.epoch(), **trainer.validate()}
    best = trainer.finish_epoch(row["validation_accuracy"])
    if log is None:
        return
    display.epoch(row, trainer.recipe.epochs, best)
    display.warn(diagnostics.dead_relu_warning(row["dead_channels"]))
    display.warn(diagnostics.data_wait_warning(row["waited"]))
    names = [name for name, wanted in ((BEST, best), (LAST, progress.finished)) if wanted]
    if names:
        file = as_model_file(trainer, run, about, row)
        for name in names:
            modelfile.save(file, out / name)
    progress.metrics_bytes = log.write(row, progress.finished)


def describe(dataset: Dataset, selected_on: str = "validation") -> dict[str, Any]:
    """What a model file says of the data that it learned from, and by which split its weights were chosen."""
    return {
        "name": dataset.name,
        "manifest": manifest.digest(dataset),
        "digests": {split: dataset.digest(split) for split in dataset.splits},
        "images": {split: len(samples) for split, samples in dataset.splits.items()},
        "selected_on": selected_on,
    }


def as_model_file(trainer: Trainer, run: Run, about: dict[str, Any], row: dict[str, Any]) -> ModelFile:
    return trainer.weights.as_network().to_file(
        tuple(run.classes),
        trainer.preprocessing,
        metrics={"validation": {"top1": row["validation_accuracy"]}, "epoch": row["epoch"]},
        data=about,
        recipe=run.recipe
        | ({"from": run.source} if run.source else {})
        | ({"extended": run.extended} if run.extended else {}),
        versions={"vgglass": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )  # fmt: skip


def _initialisation_warning(trainer: Trainer) -> str:
    images, _ = next(iter(trainer.feed.training(0, 0)))
    return diagnostics.initialisation_warning(
        trainer.network, images[:FIRST_LOGIT_IMAGES], trainer.recipe.initialisation
    )


@contextmanager
def _isolated_torch(run: Run) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(run.threads)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)
