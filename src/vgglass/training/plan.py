"""The record of a new run, from its recipe, data, model and machine; and its change to more or fewer epochs."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vgglass.data.augment import colour_components
from vgglass.data.dataset import Dataset, Sample
from vgglass.data.loader import square
from vgglass.data.training_loader import batch_sizes
from vgglass.engines import selection as engines
from vgglass.engines.selection import Choice
from vgglass.errors import TrainingError, UsageError
from vgglass.images import Pixels
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import Preprocessing, normalise
from vgglass.training import transfer
from vgglass.training.checkpoint import Progress, Run
from vgglass.training.loop import learning_rate
from vgglass.training.precision import choose, device
from vgglass.training.recipe import Recipe

STATISTICS_IMAGES = 1000  # of the training split, for the mean and deviation of the input


def plan_run(
    recipe: Recipe, dataset: Dataset, folder: str | None, source: tuple[str, ModelFile] | None
) -> tuple[Run, str]:
    """The record of a new run, and lines on the precision and engine that were chosen. Raises UsageError."""
    architecture, samples = recipe.network(len(dataset.classes)), dataset.split("train")
    start = source[1] if source else None
    transfer.require_pretrained(recipe, architecture, start)
    if start:
        transfer.require_finite(start)
    batch_size = min(recipe.batch_size, len(samples))
    precision, lines = "float32", []
    if not recipe.fits_head:
        precision, line = choose(recipe.precision, device())
        lines.append(line)
    preprocessing, pixels = measure_statistics(samples, recipe, start)
    engine, feature_precision = recipe.feature_engine, "float32"
    if start and (recipe.train == "head" or recipe.head == "pooled"):
        choice = feature_choice(recipe, start)
        engine, feature_precision = choice.engine, choice.precision
        engines.module(engine)  # a missing package is reported before anything is written
        lines.append(f"features by {choice}")
        if recipe.precision == "auto":
            lines.append(f"the same features anywhere: --set precision=float32 --set feature_engine={engine}")
    scales: dict[str, list[float]] = {}
    factors: dict[str, float] = {}
    if start and recipe.rates == "layer" and not recipe.fits_head:
        scales, factors = _scaled(recipe, dataset.classes, start, preprocessing, pixels)
    run = Run(
        recipe=recipe,
        folder=folder,
        digest=identity(dataset),
        classes=list(dataset.classes),
        source={"model": source[0], "digest": source[1].record.digest} if source else {},
        preprocessing=preprocessing.as_json(),
        colours=None if (found := colour_components(pixels)) is None else found.tolist(),
        batch_size=batch_size,
        precision=precision,
        threads=torch.get_num_threads(),
        feature_engine=engine,
        feature_precision=feature_precision,
        scales=scales,
        factors=factors,
    )
    return run, "\n".join(filter(None, lines))


def feature_choice(recipe: Recipe, source: ModelFile) -> Choice:
    """The engine for features of frozen convolutions. Raises UsageError for a precision it does not have here."""
    precision = "float32" if recipe.precision == "float64" else recipe.precision
    return engines.choose(source, recipe.feature_engine, precision)


def _scaled(
    recipe: Recipe, classes: tuple[str, ...], source: ModelFile, preprocessing: Preprocessing, pixels: Pixels
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The scales of the run's initial network, and the factors of its fresh layers."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = VGG(recipe.network(len(classes)), recipe.initialisation).eval()
    transfer.load_matching(network, source, classes)
    images = torch.from_numpy(normalise(pixels[: transfer.SCALE_IMAGES], preprocessing))
    factors: dict[str, float] = {}
    if recipe.head == "vgg":  # a pooled head is fitted instead
        with torch.no_grad():
            pool5 = next(step.output for step in network.walk(images) if step.name == "pool5")
        factors = transfer.unit_variance(network, transfer.fresh_layers(network.architecture, source, classes), pool5)
    return transfer.as_json(transfer.scales(network, images)), factors


def identity(dataset: Dataset) -> str:
    """SHA-256 over id, content and class of every training image, and of every validation image where there are any."""
    lines = [
        [part, sample.id, sample.digest.hex(), dataset.classes[sample.label]]
        for part in ("train", "validation")
        if part in dataset.splits
        for sample in dataset.split(part)
    ]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def measure_statistics(
    samples: Sequence[Sample], recipe: Recipe, source: ModelFile | None
) -> tuple[Preprocessing, Pixels]:
    """The preprocessing record and the pixels (n, S, S, C) that it was measured on.

    The recipe's geometry, with mean and deviation of the training images, or of the model that the run starts from.
    """
    order = "L" if recipe.channels == 1 else "RGB"
    unit = (1.0,) * recipe.channels
    resize = recipe.image_size if _small(samples, recipe.image_size) else recipe.resize
    plain = Preprocessing(
        recipe.image_size, resize, (0.0,) * recipe.channels, unit, order, recipe.fit, jpeg_scaled=True
    )
    chosen = samples[:: math.ceil(len(samples) / STATISTICS_IMAGES)]
    pixels = np.stack([square(sample, plain) for sample in chosen])
    if source:
        given = source.record.preprocessing
        geometry = {name: getattr(plain, name) for name in ("size", "resize", "fit", "jpeg_scaled")}
        return replace(given, **geometry), pixels
    mean, std = pixels.mean((0, 1, 2), np.float64), pixels.std((0, 1, 2), np.float64)
    if recipe.initialisation == "paper":
        std = np.array(unit)
    std = np.maximum(std, 1.0)
    return replace(plain, mean=tuple(map(float, mean.round(3))), std=tuple(map(float, std.round(3)))), pixels


def _small(samples: Sequence[Sample], size: int) -> bool:
    """Whether most images are no larger than the network's input: cropping them enlarged only loses their border."""
    sides = [min(facts.height, facts.width) for facts in (sample.described() for sample in samples)]
    return bool(np.median(sides) <= size)


# Another number of epochs for a run that has started.

ANOTHER = "vgglass train FOLDER --train all --out ANOTHER --from"


def extended(out: Path, run: Run, progress: Progress, epochs: int) -> Run:
    """The run with `epochs` in all. Raises TrainingError, and UsageError for fewer than it has done."""
    recipe = run.recipe
    if recipe.fits_head:
        remedy = f"train its convolutions too: {ANOTHER} {out / 'best.safetensors'}"
        raise TrainingError(out, "is a head that was fitted at once, without epochs", remedy)
    require_patience(out, progress, recipe)
    if recipe.folds and epochs != recipe.epochs:
        rule = f"was judged in folds, by networks of {recipe.epochs} epochs"
        raise TrainingError(out, rule, f"leave out --epochs, or start another run: --out ANOTHER --epochs {epochs}")
    if epochs <= progress.epoch:
        raise UsageError(f"--epochs {epochs}", f"{progress.epoch} are behind the run in {out}", "name more")
    if epochs == recipe.epochs:
        return run
    changes = [*run.extended, [progress.epoch, recipe.epochs]]
    return replace(run, recipe=recipe.override(epochs=epochs), extended=changes)


def require_patience(out: Path, progress: Progress, recipe: Recipe) -> None:
    """Raises TrainingError for a run that lack of improvement stopped: more epochs would not resume it."""
    if progress.out_of_patience(recipe.patience):
        rule = f"stopped after {progress.epoch} epochs, the last {recipe.patience} without a better one (patience)"
        raise TrainingError(out, rule, f"start another run from it: {ANOTHER} {out / 'last.safetensors'}")


def extension_line(run: Run, before: Run, progress: Progress, images: int) -> str:
    """What another number of epochs does to the learning rate; '' where it is the same number."""
    old, new = before.recipe, run.recipe
    if old == new:
        return ""
    steps = len(batch_sizes(images, run.batch_size))
    done = progress.epoch * steps + progress.step
    last, following = (learning_rate(recipe, done, steps, progress.rate_drops) for recipe in (old, new))
    start = f"epochs: {new.epochs} in place of {old.epochs}; after {done / steps:.3g} of them the learning rate"
    if last == following:
        return f"{start} stays {following:.3g}, as in a run of {new.epochs} from the start"
    return (
        f"{start} goes on at {following:.3g} in place of {last:.3g}: its {new.schedule} now ends at epoch {new.epochs}."
        f" {new.epochs} epochs from the start would have given other weights"
    )
