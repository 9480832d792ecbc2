"""What a new run is, fixed before its first step: its record, from the recipe, the data, the model and the machine."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from vgglass.data.augment import colour_components
from vgglass.data.dataset import Dataset, Sample
from vgglass.data.loader import square
from vgglass.engines import selection as engines
from vgglass.engines.selection import Choice
from vgglass.images import Pixels
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import Preprocessing, normalise
from vgglass.training import arithmetic, scaling, transfer
from vgglass.training.checkpoint import Run
from vgglass.training.recipe import Recipe
from vgglass.training.weights import device

STATISTICS_IMAGES = 1000  # of the training split, for the mean and deviation of the input


def settle(
    recipe: Recipe, dataset: Dataset, folder: str | None, source: tuple[str, ModelFile] | None
) -> tuple[Run, str]:
    """Fix what a new run is: its record, and lines on the arithmetic that was chosen. Raises UsageError."""
    architecture, samples = recipe.network(len(dataset.classes)), dataset.split("train")
    start = source[1] if source else None
    transfer.require_learned(recipe, architecture, start)
    if start:
        transfer.require_finite(start)
    batch_size = min(recipe.batch_size, len(samples))
    precision, lines = "float32", []
    if not recipe.fits_head:
        precision, line = arithmetic.choose(recipe.precision, device())
        lines.append(line)
    preprocessing, pixels = measure(samples, recipe, start)
    engine, feature_precision = recipe.feature_engine, "float32"
    if start and (recipe.train == "head" or recipe.head == "pooled"):
        choice = feature_choice(recipe, start)
        engine, feature_precision = choice.engine, choice.precision
        engines.module(engine)  # what is missing is said before anything is written
        lines.append(f"features by {choice}")
        if recipe.precision == "auto":
            lines.append(f"the same features anywhere: --set precision=float32 --set feature_engine={engine}")
    scales: dict[str, list[float]] = {}
    factors: dict[str, float] = {}
    if start and recipe.rates == "layer" and not recipe.fits_head:
        scales, factors = _scaled(recipe, dataset.classes, start, preprocessing, pixels)
    run = Run(
        recipe=recipe.as_json(),
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
    """What computes the features of frozen convolutions. Raises UsageError for a precision it does not have here."""
    precision = "float32" if recipe.precision == "float64" else recipe.precision
    return engines.choose(source, recipe.feature_engine, precision)


def _scaled(
    recipe: Recipe, classes: tuple[str, ...], source: ModelFile, preprocessing: Preprocessing, pixels: Pixels
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The scales of the network that the run begins with, and the factors of its fresh layers."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = VGG(recipe.network(len(classes)), recipe.initialisation).eval()
    transfer.start(network, source, classes)
    images = torch.from_numpy(normalise(pixels[: scaling.LOOKED_AT], preprocessing))
    factors: dict[str, float] = {}
    if recipe.head == "vgg":  # a pooled head is fitted
        with torch.no_grad():
            pool5 = next(step.output for step in network.walk(images) if step.name == "pool5")
        factors = scaling.unit_variance(network, transfer.fresh(network.architecture, source, classes), pool5)
    return scaling.as_json(scaling.scales(network, images)), factors


def identity(dataset: Dataset) -> str:
    """SHA-256 over what a run's outcome hangs on: every training and validation image's id, content and class."""
    lines = [
        [part, sample.id, sample.digest.hex(), dataset.classes[sample.label]]
        for part in ("train", "validation")
        for sample in dataset.split(part)
    ]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def measure(samples: Sequence[Sample], recipe: Recipe, source: ModelFile | None) -> tuple[Preprocessing, Pixels]:
    """The preprocessing record and the pixels (n, S, S, C) that it was measured on.

    The recipe's geometry; mean and deviation of the training images, or of the model that the run starts from.
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
    """Whether most images are no larger than the network's input: to enlarge and crop them would only lose a border."""
    sides = [min(facts.height, facts.width) for facts in (sample.described() for sample in samples)]
    return bool(np.median(sides) <= size)
