"""The report of an evaluation: one HTML file that opens from disk, its pictures and its script inside it.

N images, K classes.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgglass import locale, web
from vgglass.data.dataset import Sample
from vgglass.data.loader import evaluation_batches
from vgglass.evaluation.metrics import Evaluation
from vgglass.evaluation.predictions import Predictions
from vgglass.evaluation.robustness import Robustness
from vgglass.files import replacing
from vgglass.images import Pixels
from vgglass.inference.predictor import BATCH_PIXELS, LARGEST_BATCH
from vgglass.isolation import DECODERS
from vgglass.preprocess import fit, read

# Which training images a network takes an image for: the nearest by its features. M images, N training images.

Features = NDArray[np.floating[Any]]  # (images, D)


def nearest(
    images: Features, training: Iterable[Features], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The places of the `count` training images nearest to each image, and their cosines, both (M, count).

    training  the features of the training images, batch by batch; of equal cosines the earlier image comes first
    """
    wanted = _unit(images)
    cosines = np.concatenate([wanted @ _unit(batch).T for batch in training], axis=1)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosines, order, axis=1)


def _unit(features: Features) -> NDArray[np.float64]:
    """Each of length 1; one without a direction stays 0, and its cosines are 0."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return features / np.where(lengths == 0, 1, lengths)


Source = Path | Pixels

HEADLINE = ("top1", "top5", "balanced_accuracy", "macro_f1", "auc")
LARGEST_TABLE = 30  # classes of a confusion matrix with a number in each cell
PAIRS = 60  # of a larger one, the most confused
CELL_IMAGES, ALL_IMAGES = 12, 1200  # shown of a cell, and of all cells together
MISTAKES, NEIGHBOURS = 24, 5
SMALL, LARGE, COARSE = 96, 224, 64  # sides of pictures; smaller ones are shown pixel by pixel
FEW = 10  # images of a bin of the reliability diagram that say little


@dataclass(frozen=True)
class Explainer:
    """What explains a mistake.

    attribute  an image and a class, to the network's square with what speaks for that class laid over it
    method     its name, a key of the page's words: gradcam or class-map
    features   squares (n, S, S, C) to their `Architecture.embedding` (n, D)
    training   the images that the nearest are looked for among, labelled by the model's classes
    """

    attribute: Callable[[Source, int], Image.Image]
    method: str
    features: Callable[[Pixels], Features]
    training: Sequence[Sample]


def write(facts: Mapping[str, Any], path: Path) -> None:
    """Fill the template with a report's facts and the words of both languages. Raises OSError.

    No script runs in the page but its own, whose hash it names, and nothing is asked of any server.
    """
    room = files("vgglass.evaluation")
    names = ("report.html", "report_charts.js", "report.js")
    template, *scripts = (room.joinpath(name).read_text(encoding="utf-8") for name in names)
    inside = web.inlined(template.replace("/*SCRIPT*/", "\n".join(scripts)))
    body = inside.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    page = web.filled(inside.replace("/*HASH*/", f"sha256-{digest}"), locale.of_page("report"), facts)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def facts(
    judged: Predictions,
    evaluation: Evaluation,
    about: Mapping[str, Any],
    training: Sequence[Mapping[str, Any]] | None = None,
    explainer: Explainer | None = None,
    robustness: Robustness | None = None,
) -> dict[str, Any]:
    """What the page draws.

    about     the model's and the data's names and digests, and how the answers were computed
    training  the rows of the run's metrics.jsonl; None where there are none
    """
    record = judged.record
    wrong = np.flatnonzero(~judged.right)
    order = wrong[np.argsort(-judged.log_probabilities[wrong].max(axis=1), kind="stable")]
    cells, pairs, galleries = confusion(judged, evaluation.confusion)
    return {
        "about": _about(record) | {"split": judged.split, **about},
        "images": evaluation.images,
        "used_for": evaluation.used_for,
        "missing": evaluation.missing,
        "unknown": evaluation.unknown,
        "classes": record.classes,
        "headline": _headline(evaluation),
        "training": training and [{name: row[name] for name in ROW} for row in training],
        "cells": cells,
        "pairs": pairs,
        "galleries": galleries,
        "wrong": len(wrong),
        "mistakes": _mistakes(judged, order[:MISTAKES], explainer),
        "explained": explainer.method if explainer else None,
        "embedding": record.architecture.embedding,
        "neighbours": len(explainer.training) if explainer else 0,
        "per_class": [asdict(row) for row in evaluation.per_class],
        "calibration": asdict(evaluation.calibration)
        | {
            "temperature": record.temperature,
            "threshold": evaluation.selective and asdict(evaluation.selective),
            "fitted": record.data.get("calibration"),
        },
        "few": FEW,
        "robustness": robustness and asdict(robustness),
        "coarse": max(_pixels(judged.sources[0], 0).shape[:2]) < COARSE,
    }


ROW = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def _about(record: Any) -> dict[str, Any]:
    return {
        "architecture": record.architecture.name,
        "size": record.preprocessing.size,
        "classes": len(record.classes),
        "digest": record.digest,
        "epoch": record.metrics.get("epoch"),
    }


def _headline(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Each figure with its interval; null where undefined. Five classes or fewer have no top-5 to speak of."""
    found = []
    for name in HEADLINE:
        value = getattr(evaluation, name)
        low, high = evaluation.intervals.get(name, (None, None))
        if value is not None or name != "top5":
            found.append({"key": name, "value": value, "low": low, "high": high})
    return found


def confusion(
    judged: Predictions, matrix: NDArray[np.int64]
) -> tuple[list[list[int]], list[list[int]] | None, dict[str, list[dict[str, Any]]]]:
    """What the page shows of a confusion matrix (K, K): cells, pairs, galleries.

    cells      row, column and images of each that is not empty
    pairs      where the classes are too many for a table, the cells off the diagonal with most images; else None
    galleries  by 'row,column', pictures of each cell, or of each of the pairs, the most confident first
    """
    cells = [[int(row), int(column), int(matrix[row, column])] for row, column in np.argwhere(matrix)]
    pairs = None
    if len(matrix) > LARGEST_TABLE:
        mistaken = [cell for cell in cells if cell[0] != cell[1]]
        pairs = sorted(mistaken, key=lambda cell: -cell[2])[:PAIRS]
    shown = cells if pairs is None else pairs
    each = fair_share([images for _, _, images in shown], CELL_IMAGES, ALL_IMAGES)
    confident = np.argsort(-judged.log_probabilities.max(axis=1), kind="stable")
    galleries = {}
    for row, column, _ in shown:
        inside = (judged.labels[confident] == row) & (judged.predicted[confident] == column)
        galleries[f"{row},{column}"] = [_shown(judged, index, SMALL) for index in confident[inside][:each]]
    return cells, pairs, galleries


def fair_share(counts: Sequence[int], most: int, total: int) -> int:
    """The largest number up to `most` of which so many from each of the counts are no more than `total`; at least 1."""
    return next((each for each in range(most, 1, -1) if sum(min(count, each) for count in counts) <= total), 1)


def _mistakes(judged: Predictions, chosen: NDArray[np.int64], explainer: Explainer | None) -> list[dict[str, Any]]:
    """Wrong answers, each with its picture and, where there is an explainer, what it says of it."""
    rows = []
    for index in chosen:
        label = int(judged.labels[index])
        true = float(np.exp(judged.log_probabilities[index, label]))
        rows.append(_shown(judged, index, LARGE) | {"label": label, "true_probability": true})
    if explainer and len(chosen):
        near = _neighbours(judged, chosen, explainer) if explainer.training else None
        for place, (index, row) in enumerate(zip(chosen, rows, strict=True)):
            overlay = explainer.attribute(judged.sources[index], row["predicted"])
            row["overlay"] = web.thumbnail(np.asarray(overlay), LARGE)
            if near:
                row["neighbours"] = near[place]
    return rows


def _neighbours(judged: Predictions, chosen: NDArray[np.int64], explainer: Explainer) -> list[list[dict[str, Any]]]:
    """For each image chosen, the training images that the network takes it for."""
    record = judged.record.preprocessing
    squares = np.stack([fit(read(judged.sources[index], record), record) for index in chosen])
    size = min(LARGEST_BATCH, max(1, BATCH_PIXELS // record.size**2))
    batches = (explainer.features(batch.images) for batch in evaluation_batches(explainer.training, record, size))
    places, cosines = nearest(explainer.features(squares), batches, NEIGHBOURS)

    def neighbour(place: int, cosine: float) -> dict[str, Any]:
        sample = explainer.training[place]
        return {
            "picture": web.thumbnail(_pixels(sample.source, SMALL), SMALL), "label": sample.label, "cosine": cosine
        }  # fmt: skip

    return [
        [neighbour(int(place), float(cosine)) for place, cosine in zip(*pair, strict=True)]
        for pair in zip(places, cosines, strict=True)
    ]


def _shown(judged: Predictions, index: int, side: int) -> dict[str, Any]:
    source, predicted = judged.sources[index], int(judged.predicted[index])
    return {
        "picture": web.thumbnail(_pixels(source, side), side),
        "name": judged.names[index],
        "predicted": predicted,
        "probability": float(np.exp(judged.log_probabilities[index, predicted])),
    }


def _pixels(source: Source, side: int) -> Pixels:
    return DECODERS.decode(source, least=side) if isinstance(source, Path) else source
