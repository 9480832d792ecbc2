"""Whether there are enough photographs: heads fitted to 2, 4, 8 … images a class, and what more of them would bring."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vgglass.errors import DataError
from vgglass.files import replacing
from vgglass.workflows.data import read_training_data, reading_progress
from vgglass.workflows.features import labelled_features
from vgglass.workflows.models import Model, require_torch

if TYPE_CHECKING:
    from vgglass.evaluation.curve import Curve

CURVE, PICTURE = "curve.json", "curve.png"
SHOWN = ("points", "gain", "per_class", "most", "judged", "draws")  # in the report
DRAWS = 5
LEAST = 3  # sizes, for a law of three numbers


def curve(
    folder: str | Path | None,
    source: Model,
    *,
    preprocessing: str | None = None,
    seed: int = 0,
    workers: int | None = None,
    console: Console | None = None,
) -> "Curve":
    """Fit heads to more and more training images of a folder, and judge all by the images held out, which train none.

    source  as `labelled_features` takes it, with preprocessing and workers
    seed    of the draws
    The folder is divided as for training; validation and test images judge. Raises DataError for too few images.

    >>> found = vgglass.curve("photos", "runs/digits/best.safetensors")
    >>> [point.images for point in found.points if not point.forecast]
    [2.0, 4.0, 8.0, 16.0, 25.6]
    """
    require_torch("learning curves")
    from vgglass.evaluation.curve import learning_curve

    console = console or Console(stderr=True)
    dataset = read_training_data(folder, console)
    training = dataset.split("train")
    held_out = [sample for name in dataset.splits if name != "train" for sample in dataset.splits[name]]
    counts = np.bincount([sample.label for sample in training], minlength=len(dataset.classes))
    sizes = steps(counts, dataset.classes)
    samples = (*training, *held_out)
    found = labelled_features(
        dataset, samples, source, preprocessing=preprocessing, workers=workers, console=console
    )  # fmt: skip
    with reading_progress(console, "fitting heads") as progress:
        images, right = fitted_at(
            found.vectors, found.labels, found.groups, len(training), sizes, len(dataset.classes), seed, progress
        )
    return learning_curve(images, right, found.labels[len(training) :], dataset.classes, seed)


def steps(counts: NDArray[np.int64], classes: Sequence[str]) -> list[int]:
    """Images a class: 2, 4, 8 … and all, as many as the largest class has. Raises DataError."""
    rarest = int(counts.argmin())
    if counts[rarest] < 2:
        rule = f"has {counts[rarest]} training image, and a curve begins with two of each class"
        raise DataError(f"class {classes[rarest]!r}", rule, "add images of it")
    most = int(counts.max())
    sizes = [2**power for power in range(1, most.bit_length()) if 2**power < most] + [most]
    if len(sizes) < LEAST:
        rule = f"have {most} training images at most, too few to see a curve"
        raise DataError("the classes", rule, "add images, at least five to learn from a class")
    return sizes


def fitted_at(
    vectors: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.intp], training: int,
    sizes: Sequence[int], classes: int, seed: int, progress: Any,
) -> tuple[list[float], NDArray[np.bool_]]:  # fmt: skip
    """Mean images a class of each size (S,), and whether each judged image was answered rightly (DRAWS, S, m).

    training  the first so many images may be drawn, the rest is judged; a draw's smaller sizes are parts of its larger
    Every fit chooses its own penalty, as in training; with all images, which every draw has, there is one fit.
    """
    from vgglass.data.dataset import class_weights
    from vgglass.training.probe import fit_probe

    judged = slice(training, None)
    right = np.empty((DRAWS, len(sizes), len(labels) - training), bool)
    images, done = [], 0
    orders = [_order(labels[:training], classes, np.random.default_rng([seed, draw])) for draw in range(DRAWS)]
    for place, size in enumerate(sizes):
        for draw, order in enumerate(orders[:1] if size == sizes[-1] else orders):
            chosen = np.sort(np.concatenate([members[:size] for members in order]))
            weights = class_weights(np.bincount(labels[chosen], minlength=classes))
            found = fit_probe(vectors[None, chosen], labels[chosen], groups[chosen], weights, seed)
            right[draw:, place] = found.logits(vectors[judged]).argmax(axis=1) == labels[judged]
            progress(done := done + 1, DRAWS * (len(sizes) - 1) + 1)
        images.append(len(chosen) / classes)
    return images, right


def _order(labels: NDArray[np.int64], classes: int, generator: np.random.Generator) -> list[NDArray[np.intp]]:
    return [generator.permutation(np.flatnonzero(labels == label)) for label in range(classes)]


def write_curve(curve: "Curve", out: str | Path) -> tuple[Path, Path]:
    """Write curve.json, which the report of a model beside it shows, and curve.png to a folder."""
    from vgglass import plotting

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / CURVE) as temporary:
        temporary.write_text(json.dumps(curve.as_json(), indent=2), encoding="utf-8")
    points = [(point.images, point.top1, point.low, point.high, point.forecast) for point in curve.points]
    plotting.learning_curve(points, curve.law, folder / PICTURE)
    return folder / CURVE, folder / PICTURE
