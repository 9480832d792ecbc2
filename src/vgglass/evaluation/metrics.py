"""Figures of one model on one split; scikit-learn's where it has them. N images, K classes."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import ImageError, MissingExtraError

TOP5_FROM = 6  # with five classes or fewer every answer is in the top five


@dataclass(frozen=True)
class ClassFigures:
    """precision and recall of one class, and how many images of it there were."""

    name: str
    precision: float
    recall: float
    images: int


@dataclass(frozen=True)
class Evaluation:
    """top1 and top5 (None with five classes or fewer) are shares of `images`.

    confusion  (K, K): rows the true class, columns the predicted one
    used_for   '' for images that the model never met; 'selection' where they chose its weights, 'training' where it
               learned from them: the figure then flatters
    """

    split: str
    images: int
    top1: float
    top5: float | None
    per_class: tuple[ClassFigures, ...]
    confusion: NDArray[np.int64]
    used_for: str = ""

    def as_json(self) -> dict[str, Any]:
        figures = [vars(row) for row in self.per_class]
        return vars(self) | {"per_class": figures, "confusion": self.confusion.tolist()}


def require() -> None:
    """Raises MissingExtraError where what reckons the figures is not installed."""
    if not find_spec("sklearn"):
        raise MissingExtraError("scikit-learn", "torch", "evaluation")


def answered(answers: Iterable[NDArray[np.float64] | ImageError]) -> NDArray[np.float64]:
    """The log-probabilities of every image (N, K). Raises ImageError for the first that can't be read."""
    rows = []
    for answer in answers:
        if isinstance(answer, ImageError):
            raise answer
        rows.append(answer)
    return np.stack(rows)


def evaluate(
    scores: NDArray[np.floating[Any]], labels: NDArray[np.int64], classes: tuple[str, ...], split: str, used_for: str
) -> Evaluation:
    """Judge logits or log-probabilities (N, K) by labels (N,); a tie goes to the class that comes first."""
    from sklearn import metrics

    order = np.argsort(-scores, axis=1, kind="stable")
    every = np.arange(len(classes))
    precision, recall, _, support = metrics.precision_recall_fscore_support(
        labels, order[:, 0], labels=every, zero_division=0
    )
    rows = zip(classes, precision, recall, support, strict=True)
    return Evaluation(
        split=split,
        images=len(labels),
        top1=float((order[:, 0] == labels).mean()),
        top5=float((order[:, :5] == labels[:, None]).any(axis=1).mean()) if len(classes) >= TOP5_FROM else None,
        per_class=tuple(ClassFigures(name, float(p), float(r), int(n)) for name, p, r, n in rows),
        confusion=metrics.confusion_matrix(labels, order[:, 0], labels=every),
        used_for=used_for,
    )
