"""Predictions of files in order, one row per image."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.data.listing import printable
from vgglass.errors import ImageError
from vgglass.images import File
from vgglass.inference.predictor import Predictor


@dataclass(frozen=True)
class Prediction:
    """The prediction of one image: (class name, probability) pairs in descending order, or an error.

    path    as given, so that it can be opened; `shown` is for display
    unsure  whether the top probability is below the model's reject threshold; None without a threshold
    """

    path: str
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""
    unsure: bool | None = None

    def as_json(self) -> dict[str, Any]:
        top = [{"class": name, "probability": share} for name, share in self.top]
        unsure = {} if self.unsure is None else {"unsure": self.unsure}
        return {"path": self.shown} | ({"error": self.error} if self.error else {"top": top, **unsure})

    @property
    def shown(self) -> str:
        return printable(self.path)

    @property
    def label(self) -> str:
        return self.top[0][0] if self.top else ""

    @property
    def probability(self) -> float:
        return self.top[0][1] if self.top else 0.0


def predict(files: Iterable[File], predictor: Predictor, top: int = 5) -> Iterator[Prediction]:
    """Yield one row per file, in order; an unreadable file is a row with an error."""
    inputs, paths = tee(files)
    for path, answer in zip(paths, predictor.stream(inputs), strict=True):
        if isinstance(answer, ImageError):
            yield Prediction(str(path), error=answer.rule)
        else:
            shares, least = np.exp(answer), predictor.record.reject_threshold
            unsure = None if least is None else bool(shares.max() < least)
            yield Prediction(str(path), _top_classes(shares, predictor.record.classes, top), unsure=unsure)


def _top_classes(row: NDArray[np.float64], classes: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    return tuple((classes[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:top])
