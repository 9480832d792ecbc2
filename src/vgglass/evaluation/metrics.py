"""Metrics of one model on one split, by scikit-learn where it has them. N images, K classes, B resamples."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vgglass import notebook
from vgglass.errors import ImageError, MissingExtraError
from vgglass.evaluation.headline import Protocol, headline
from vgglass.evaluation.predictions import Predictions
from vgglass.evaluation.temperature import Calibration, Familiar, Selective, calibration, familiar, selective

T = TypeVar("T")

if TYPE_CHECKING:
    from vgglass.training.folds import FoldFigures


@dataclass(frozen=True)
class ClassFigures:
    """Metrics of one class and its number of images; None if undefined.

    precision  None if no image was predicted as this class
    recall, f1, auc  None if it has no image; auc (one-vs-rest) also if no other class has one
    """

    name: str
    precision: float | None
    recall: float | None
    images: int
    f1: float | None = None
    auc: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a model on one split.

    top1, top5  fractions of `images`; top5 is None with five classes or fewer
    balanced_accuracy, macro_f1, auc  means of recall, F1 and one-vs-rest ROC-AUC over the classes that have images
    intervals  95 % interval of each of these five; `undefined` gives the reason for a missing metric or interval
    confusion  (K, K): rows the true class, columns the predicted one
    used_for   '' for images new to the model; 'selection' if they selected its weights, 'calibration' if they fitted
               its temperature or threshold, 'training' if it was trained on them: metrics are then biased upwards
    missing    classes of the model without images in the split
    unknown    classes of the split that the model does not have, with the number of images excluded for each
    selective  selective prediction by the model's reject threshold, if it has one
    folds      where heads or networks of folds predicted: top1 is the mean over repeats, the rest is of the first one
    familiar   how much is unfamiliar to the model, if it can tell
    """

    split: str
    images: int
    top1: float
    top5: float | None
    per_class: tuple[ClassFigures, ...]
    confusion: NDArray[np.int64]
    balanced_accuracy: float
    macro_f1: float
    auc: float | None
    intervals: Mapping[str, tuple[float, float]]
    undefined: Mapping[str, str]
    calibration: Calibration
    protocol: Protocol
    used_for: str = ""
    missing: tuple[str, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)
    selective: Selective | None = None
    folds: "FoldFigures | None" = None
    familiar: Familiar | None = None

    def _repr_html_(self) -> str:
        caution = notebook.words()["cautions"].get(self.used_for)
        rows: dict[str, object] = {"judged": f"{self.split}, {self.images:,}", "caution": caution}
        rows |= {
            name: notebook.percent(getattr(self, name), self.intervals.get(name))
            for name in ("top1", "top5", "balanced_accuracy")
        }
        rows |= {"macro_f1": self.macro_f1, "auc": self.auc, "ece": notebook.percent(self.calibration.ece)}
        return notebook.panel("evaluation", rows, self._class_table())

    def _class_table(self) -> list[list[object]]:
        """The confusion matrix of few classes; of many the recall, the lowest first."""
        if len(self.per_class) <= notebook.MOST_ROWS:
            names = [row.name for row in self.per_class]
            counts = [[name, *row] for name, row in zip(names, self.confusion.tolist(), strict=True)]
            return [["truth", *names], *counts]
        known = sorted((row for row in self.per_class if row.recall is not None), key=lambda row: row.recall or 0)
        rows: list[list[object]] = [[row.name, notebook.percent(row.recall), row.images] for row in known]
        return [["class", "recall", "images"], *rows]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"confusion": self.confusion.tolist()}


def require() -> None:
    """Raises MissingExtraError if scikit-learn is not installed."""
    if not find_spec("sklearn"):
        raise MissingExtraError("scikit-learn", "torch", "evaluation")


def collect(answers: Iterable[NDArray[np.float64] | ImageError]) -> NDArray[np.float64]:
    """Stack the log-probabilities of every image (N, K).

    Raises ImageError for the first unreadable image.
    """
    return np.stack(list(readable(answers)))


def readable(answers: Iterable[T | ImageError]) -> Iterator[T]:
    """Every answer. Raises ImageError for the first unreadable image."""
    for answer in answers:
        if isinstance(answer, ImageError):
            raise answer
        yield answer


def evaluate(predictions: Predictions) -> Evaluation:
    """Compute every metric of a model's predictions; ties go to the first class."""
    from sklearn import metrics

    labels, predicted, classes = predictions.labels, predictions.predicted, predictions.record.classes
    every = np.arange(len(classes))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=np.nan
    )
    found = headline(predictions)
    rows = zip(classes, precision, recall, f1, support, found.class_aucs, strict=True)
    return Evaluation(
        split=predictions.split,
        images=len(labels),
        per_class=tuple(
            ClassFigures(
                name, _none_if_nan(p), _none_if_nan(r), int(n), _none_if_nan(f) if n else None, _none_if_nan(a)
            )
            for name, p, r, f, n, a in rows
        ),
        confusion=metrics.confusion_matrix(labels, predicted, labels=every),
        calibration=calibration(predictions),
        protocol=Protocol.of(predictions),
        used_for=predictions.used_for,
        missing=predictions.missing,
        unknown=predictions.unknown,
        selective=selective(predictions),
        folds=predictions.folds,
        familiar=familiar(predictions),
        **found.figures,
        intervals=found.intervals,
        undefined=found.undefined,
    )


def _none_if_nan(figure: float) -> float | None:
    return None if np.isnan(figure) else float(figure)
