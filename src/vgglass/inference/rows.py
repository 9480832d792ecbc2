"""What a model says of each file, in order: one image's answer is one row."""

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
    """One image's answer: (class name, probability), likeliest first; or the reason why there is none.

    path    as the image was named, so that it can be opened; `shown` is for print
    unsure  whether the likeliest class is below the model's reject threshold; None where it has none
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


# What a model says of each file, in order.


def predict(files: Iterable[File], predictor: Predictor, top: int = 5) -> Iterator[Prediction]:
    """One row a file, in order, as they come; a file that can't be read is a row with its reason."""
    asked, answered = tee(files)
    for path, answer in zip(answered, predictor.stream(asked), strict=True):
        if isinstance(answer, ImageError):
            yield Prediction(str(path), error=answer.rule)
        else:
            shares, least = np.exp(answer), predictor.record.reject_threshold
            unsure = None if least is None else bool(shares.max() < least)
            yield Prediction(str(path), _ranked(shares, predictor.record.classes, top), unsure=unsure)


def _ranked(row: NDArray[np.float64], classes: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    return tuple((classes[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:top])
