"""The evaluation report: one self-contained HTML file with pictures and script inlined.

N images, K classes.
"""

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

# Nearest neighbours in feature space among the training images. M images, N training images.

Features = NDArray[np.floating[Any]]  # (images, D)


def nearest(
    images: Features, training: Iterable[Features], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return indices and cosine similarities (M, count) of the training images nearest to each image.

    training  features of the training images, batch by batch; ties go to the earlier image
    """
    wanted = _normalise_rows(images)
    cosines = np.concatenate([wanted @ _normalise_rows(batch).T for batch in training], axis=1)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosines, order, axis=1)


def _normalise_rows(features: Features) -> NDArray[np.float64]:
    """Normalise each row to length 1; a zero row stays 0, and so do its cosines."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return features / np.where(lengths == 0, 1, lengths)


Source = Path | Pixels

HEADLINE = ("top1", "top5", "balanced_accuracy", "macro_f1", "auc")
LARGEST_TABLE = 30  # maximum classes for a confusion matrix drawn with numbers
PAIRS = 60  # most confused pairs listed for a larger one
CELL_IMAGES, ALL_IMAGES = 12, 1200  # maximum pictures per cell, and in total
MISTAKES, NEIGHBOURS = 24, 5
SMALL, LARGE, COARSE = 96, 224, 64  # sides of pictures; smaller ones are shown pixel by pixel
FEW = 10  # images below which a bin of the reliability diagram is drawn faintly


@dataclass(frozen=True)
class Explainer:
    """Functions and data that explain misclassifications.

    attribute  (image, class) -> the network's crop with the class's attribution map overlaid
    method     its name, a key of the page's texts: gradcam or class-map
    features   crops (n, S, S, C) -> `Architecture.embedding` (n, D)
    training   candidates for nearest neighbours, labelled by the model's classes
    """

    attribute: Callable[[Source, int], Image.Image]
    method: str
    features: Callable[[Pixels], Features]
    training: Sequence[Sample]


def write(facts: Mapping[str, Any], path: Path) -> None:
    """Fill the template with the report's data and the texts of both languages. Raises OSError.

    A content security policy allows only the page's own script, by hash, and no network requests.
    """
    room = files("vgglass.evaluation")
    names = ("report.html", "report_charts.js", "report_data.js", "report.js")
    template, *scripts = (room.joinpath(name).read_text(encoding="utf-8") for name in names)
    inside = web.sealed(web.inlined(template.replace("/*SCRIPT*/", "\n".join(scripts))))
    page = web.filled(inside, locale.of_page("report"), facts)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def facts(
    predictions: Predictions,
    evaluation: Evaluation,
    about: Mapping[str, Any],
    training: Sequence[Mapping[str, Any]] | None = None,
    explainer: Explainer | None = None,
    robustness: Robustness | None = None,
    curve: Mapping[str, Any] | None = None,
    cards: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the data that the page draws, as JSON types.

    about     names and digests of model and data, and how the predictions were computed
    training  the rows of the run's metrics.jsonl; None if there are none
    curve     a `Curve` as JSON
    cards     the model's card by language, as `card.as_html` makes it
    """
    record = predictions.record
    wrong = np.flatnonzero(~predictions.right)
    order = wrong[np.argsort(-predictions.log_probabilities[wrong].max(axis=1), kind="stable")]
    cells, pairs, galleries = confusion(predictions, evaluation.confusion)
    return {
        "about": _about(record) | {"split": predictions.split, **about},
        "images": evaluation.images,
        "folds": evaluation.folds and evaluation.folds.as_json(),
        "used_for": evaluation.used_for,
        "missing": evaluation.missing,
        "unknown": evaluation.unknown,
        "classes": record.classes,
        "headline": _headline(evaluation),
        "shrinking": record.metrics.get("shrinking"),
        "fitted": record.data.get("selected_on") == "train",  # at once, or by all epochs: nothing chose
        "training": training and [{name: row[name] for name in ROW} for row in training],
        "cells": cells,
        "pairs": pairs,
        "galleries": galleries,
        "wrong": len(wrong),
        "mistakes": _mistakes(predictions, order[:MISTAKES], explainer),
        "explained": explainer.method if explainer else None,
        "embedding": record.architecture.embedding,
        "neighbours": len(explainer.training) if explainer else 0,
        "per_class": [asdict(row) for row in evaluation.per_class],
        "calibration": asdict(evaluation.calibration)
        | {
            "temperature": record.temperature,
            "threshold": evaluation.selective and asdict(evaluation.selective),
            "familiar": evaluation.familiar and asdict(evaluation.familiar),
            "fitted": record.data.get("calibration"),
        },
        "few": FEW,
        "curve": curve,
        "cards": cards,
        "robustness": robustness and asdict(robustness),
        "coarse": max(_pixels(predictions.sources[0], 0).shape[:2]) < COARSE,
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
    """Return each metric with its interval; null if undefined. Top-5 is omitted with five classes or fewer."""
    found = []
    for name in HEADLINE:
        value = getattr(evaluation, name)
        low, high = evaluation.intervals.get(name, (None, None))
        if value is not None or name != "top5":
            found.append({"key": name, "value": value, "low": low, "high": high})
    return found


def confusion(
    predictions: Predictions, matrix: NDArray[np.int64]
) -> tuple[list[list[int]], list[list[int]] | None, dict[str, list[dict[str, Any]]]]:
    """Return the page's data for a confusion matrix (K, K): cells, pairs, galleries.

    cells      row, column and image count of each non-empty cell
    pairs      the largest off-diagonal cells if there are too many classes for a table; else None
    galleries  by 'row,column', pictures of each cell, or of each of the pairs, most confident first
    """
    cells = [[int(row), int(column), int(matrix[row, column])] for row, column in np.argwhere(matrix)]
    pairs = None
    if len(matrix) > LARGEST_TABLE:
        mistaken = [cell for cell in cells if cell[0] != cell[1]]
        pairs = sorted(mistaken, key=lambda cell: -cell[2])[:PAIRS]
    shown = cells if pairs is None else pairs
    each = fair_share([images for _, _, images in shown], CELL_IMAGES, ALL_IMAGES)
    confident = np.argsort(-predictions.log_probabilities.max(axis=1), kind="stable")
    galleries = {}
    for row, column, _ in shown:
        inside = (predictions.labels[confident] == row) & (predictions.predicted[confident] == column)
        galleries[f"{row},{column}"] = [
            _prediction_json(predictions, index, SMALL) for index in confident[inside][:each]
        ]
    return cells, pairs, galleries


def fair_share(counts: Sequence[int], most: int, total: int) -> int:
    """Return the largest limit per count, 1 to `most`, for which the limited counts sum to at most `total`."""
    return next((each for each in range(most, 1, -1) if sum(min(count, each) for count in counts) <= total), 1)


def _mistakes(predictions: Predictions, chosen: NDArray[np.int64], explainer: Explainer | None) -> list[dict[str, Any]]:
    """Return misclassified images with their pictures and, given an explainer, attributions and neighbours."""
    rows = []
    for index in chosen:
        label = int(predictions.labels[index])
        true = float(np.exp(predictions.log_probabilities[index, label]))
        rows.append(_prediction_json(predictions, index, LARGE) | {"label": label, "true_probability": true})
    if explainer and len(chosen):
        near = _neighbours(predictions, chosen, explainer) if explainer.training else None
        for place, (index, row) in enumerate(zip(chosen, rows, strict=True)):
            overlay = explainer.attribute(predictions.sources[index], row["predicted"])
            row["overlay"] = web.thumbnail(np.asarray(overlay), LARGE)
            if near:
                row["neighbours"] = near[place]
    return rows


def _neighbours(
    predictions: Predictions, chosen: NDArray[np.int64], explainer: Explainer
) -> list[list[dict[str, Any]]]:
    """Return the nearest training images of each chosen image."""
    record = predictions.record.preprocessing
    squares = np.stack([fit(read(predictions.sources[index], record), record) for index in chosen])
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


def _prediction_json(predictions: Predictions, index: int, side: int) -> dict[str, Any]:
    source, predicted = predictions.sources[index], int(predictions.predicted[index])
    return {
        "picture": web.thumbnail(_pixels(source, side), side),
        "name": predictions.names[index],
        "predicted": predicted,
        "probability": float(np.exp(predictions.log_probabilities[index, predicted])),
    }


def _pixels(source: Source, side: int) -> Pixels:
    return DECODERS.decode(source, least=side) if isinstance(source, Path) else source
