"""What a model says of each file, in order."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import ImageError
from vgglass.images import File
from vgglass.prediction.rows import Prediction
from vgglass.predictor import Predictor


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
