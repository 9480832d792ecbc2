"""Figures of one model on one split; scikit-learn's where it has them. N images, K classes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.data.loader import Batch
from vgglass.engines import Engine
from vgglass.errors import MissingExtraError

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


def answer(batches: Iterable[Batch], engine: Engine) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits (N, K) and labels (N,) of every image."""
    pairs = [(engine(batch.images), batch.labels) for batch in batches]
    return np.concatenate([logits for logits, _ in pairs]), np.concatenate([labels for _, labels in pairs])


def evaluate(
    logits: NDArray[np.float32], labels: NDArray[np.int64], classes: tuple[str, ...], split: str, used_for: str
) -> Evaluation:
    """Judge logits (N, K) by labels (N,); a tie goes to the class that comes first."""
    try:
        from sklearn import metrics
    except ModuleNotFoundError as error:
        raise MissingExtraError("scikit-learn", "torch", "evaluation") from error
    order = np.argsort(-logits, axis=1, kind="stable")
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
