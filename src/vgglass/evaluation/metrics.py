"""Figures of one model on one split; scikit-learn's where it has them. N images, K classes, B resamples."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import ImageError, MissingExtraError
from vgglass.evaluation.headline import Protocol, headline
from vgglass.evaluation.predictions import Predictions
from vgglass.evaluation.temperature import Calibration, Selective, calibration, selective


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class, and how many images of it there were; None where they are undefined.

    precision  None where no image was taken for it
    recall, f1, auc  None where it has no image; auc (one-vs-rest) also where no other class has one
    """

    name: str
    precision: float | None
    recall: float | None
    images: int
    f1: float | None = None
    auc: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """top1 and top5 (None with five classes or fewer) are shares of `images`.

    balanced_accuracy, macro_f1, auc  means of recall, F1 and one-vs-rest ROC-AUC over the classes that have images
    intervals  of each of these five, its 95 % interval; `undefined` says why a figure or an interval is not there
    confusion  (K, K): rows the true class, columns the predicted one
    used_for   '' for images that the model never met; 'selection' where they chose its weights, 'calibration' where
               they chose its temperature or threshold, 'training' where it learned from them: the figure then flatters
    missing    classes of the model of which the split has no image
    unknown    classes of the split that the model does not tell, with how many images of each are left out
    selective  what the model's reject threshold does here, where it has one
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

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"confusion": self.confusion.tolist()}


def require() -> None:
    """Raises MissingExtraError where what reckons the figures is not installed."""
    if not find_spec("sklearn"):
        raise MissingExtraError("scikit-learn", "torch", "evaluation")


def collect(answers: Iterable[NDArray[np.float64] | ImageError]) -> NDArray[np.float64]:
    """The log-probabilities of every image (N, K).

    Raises ImageError for the first that can't be read.
    """
    rows = []
    for answer in answers:
        if isinstance(answer, ImageError):
            raise answer
        rows.append(answer)
    return np.stack(rows)


def evaluate(judged: Predictions) -> Evaluation:
    """Every figure of a model's answers; a tie goes to the class that comes first."""
    from sklearn import metrics

    labels, predicted, classes = judged.labels, judged.predicted, judged.record.classes
    every = np.arange(len(classes))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=np.nan
    )
    found = headline(judged)
    rows = zip(classes, precision, recall, f1, support, found.class_aucs, strict=True)
    return Evaluation(
        split=judged.split,
        images=len(labels),
        per_class=tuple(
            ClassFigures(name, _known(p), _known(r), int(n), _known(f) if n else None, _known(a))
            for name, p, r, f, n, a in rows
        ),
        confusion=metrics.confusion_matrix(labels, predicted, labels=every),
        calibration=calibration(judged),
        protocol=Protocol.of(judged),
        used_for=judged.used_for,
        missing=judged.missing,
        unknown=judged.unknown,
        selective=selective(judged),
        **found.figures,
        intervals=found.intervals,
        undefined=found.undefined,
    )


def _known(figure: float) -> float | None:
    return None if np.isnan(figure) else float(figure)
