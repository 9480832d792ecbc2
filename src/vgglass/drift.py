"""Whether the images that a model sees have changed since its training record, however often one looks.

Each image gives a few numbers, and bets are placed on them against "as in the training record" (testing by betting:
Shafer 2021, arXiv 1903.06991; Ramdas et al. 2023, arXiv 2210.01948). No bet gains by expectation while nothing has
changed, so that the wealth of all of them together ever exceeds 1 / rate with probability `rate` at most (Ville 1939):
looking after every image costs nothing. A period, such as a week, begins with a wealth of 1. n images of the record.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import ModelFileError
from vgglass.images import Pixels
from vgglass.modelfile import ModelFile

FALSE_ALARMS = 0.05  # a period
QUANTITIES = ("brightness", "sharpness", "probability", "distance")
ANSWER = "answer"
PLACES = 6  # decimals, as in a table: where probabilities crowd at 1, the seventh would look like a change
PREFIX = "training.seen."  # of the attached arrays
MOST = 4096  # images of a training record: 24 bytes each
BLACK = 0.1  # added to the sums of pixels: an even image has both 0
LEAST = 100  # with fewer, more than 5 % of unchanged weeks raise an alarm: 9 % with 50, in a simulation
STAKES = np.array([-0.9, -0.6, -0.3, 0.3, 0.6, 0.9])
ODDS = np.array([0.4, 2.5])  # by which a class's odds change: a share of 0.1 doubles at 2.25, one of 0.2 at 2.67
# The record is a sample itself: bets are fair while a mean lies within so many of its standard errors. Fewer for a
# class's share, since bets at these odds do not grow before three or so.
SURE, SURE_OF_SHARES = 2.0, 1.0

Numbers = NDArray[np.float64]


def look(square: Pixels) -> tuple[float, float]:
    """Brightness and sharpness of an image as the network sees it (S, S, C): the mean of its pixels, from 0 to 1, and
    the logarithm of its Laplacian's mean magnitude over its gradient's, which a darker image shares."""
    grey = square.mean(axis=2, dtype=np.float32)
    inner = grey[1:-1, 1:-1]
    laplacian = 4 * inner - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    gradient = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    ratio = (np.abs(laplacian).mean() + BLACK) / (gradient + BLACK)
    return float(grey.mean() / 255), math.log(ratio)


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """What a model saw of images like those trained on.

    values   by quantity, sorted (n,); a model that can't tell what is unfamiliar has no 'distance'
    answers  (K,): how many of them got each class as the likeliest
    """

    values: Mapping[str, Numbers]
    answers: NDArray[np.int64]

    @property
    def images(self) -> int:
        return int(self.answers.sum())


class Monitor:
    """The bets on a stream of images in one period; `images` counts them."""

    def __init__(self, record: TrainingRecord, rate: float = FALSE_ALARMS) -> None:
        self.record, self.rate = record, rate
        counts = record.answers[:, None]
        share = (counts + 0.5) / (counts.sum() + len(counts) / 2)  # half an image more, so that none is 0
        tilted = share * ODDS / (1 - share + share * ODDS)
        own, other = tilted / share, (1 - tilted) / (1 - share)
        error = np.sqrt(share * (1 - share) / record.images)
        fair = 1 + SURE_OF_SHARES * error * np.abs(own - other)
        self._own, self._other = np.log(own / fair), np.log(other / fair)  # (K, bets): what an answer gains
        self._fair = np.log1p(SURE * np.abs(STAKES) / math.sqrt(3 * record.images))  # places deviate by 1 / sqrt(3)
        self.restart()

    def restart(self) -> None:
        """Begin a period."""
        self.images = 0
        self._wealth = {name: np.zeros(len(STAKES)) for name in self.record.values}
        self._wealth[ANSWER] = np.zeros_like(self._own)

    def add(self, values: Mapping[str, float], answer: int) -> None:
        """Settle the bets on one image: its quantities, and the index of its likeliest class."""
        self.images += 1
        for name, known in self.record.values.items():
            value = float(np.float32(round(values[name], PLACES)))
            below, upto = np.searchsorted(known, value), np.searchsorted(known, value, side="right")
            place = (below + upto) / len(known) - 1  # -1 to 1, of mean 0 over the record
            self._wealth[name] += np.log1p(STAKES * place) - self._fair
        self._wealth[ANSWER] += self._other
        self._wealth[ANSWER][answer] += self._own[answer] - self._other[answer]

    @property
    def evidence(self) -> dict[str, float]:
        """By quantity, the natural logarithm of the mean wealth of its bets."""
        return {name: _log_mean(wealth) for name, wealth in self._wealth.items()}

    @property
    def total(self) -> float:
        """The natural logarithm of the mean wealth over all quantities; above -log(rate) the images have changed."""
        return _log_mean(np.array(list(self.evidence.values())))

    @property
    def has_moved(self) -> bool:
        return self.total >= -math.log(self.rate)

    @property
    def moved(self) -> list[str]:
        """The quantities that have changed, most evidently first; at least one where `has_moved`."""
        if not self.has_moved:
            return []
        order = sorted(self.evidence.items(), key=lambda pair: -pair[1])
        return [name for name, found in order if found >= -math.log(self.rate)]

    @property
    def likeliest_class(self) -> int:
        """The class whose share has changed most evidently."""
        return int(self._wealth[ANSWER].max(axis=1).argmax())


def _log_mean(logarithms: Numbers) -> float:
    """The logarithm of the mean of numbers given by theirs."""
    most = logarithms.max()
    return float(most + np.log(np.exp(logarithms - most).mean()))


# In a model file.


def attach(model: ModelFile, values: Mapping[str, Sequence[float]], answers: Sequence[int]) -> ModelFile:
    """The model with a training record of these images, or of MOST of them; without one for fewer than LEAST.

    values  by quantity, one number an image; answers: the index of each one's likeliest class
    """
    chosen = np.random.default_rng(0).permutation(len(answers))[:MOST]
    arrays: dict[str, NDArray[Any]] = {
        name: array for name, array in model.attached.items() if not name.startswith(PREFIX)
    }
    if len(answers) < LEAST:
        return replace(model, attached=arrays)
    arrays |= {
        PREFIX + name: np.sort(np.round(np.array(each), PLACES).astype(np.float32)[chosen])
        for name, each in values.items()
    }
    arrays[PREFIX + ANSWER] = np.bincount(np.array(answers)[chosen], minlength=len(model.record.classes))
    return replace(model, attached=arrays)


def attached(model: ModelFile) -> TrainingRecord | None:
    """A model's training record; None for a model without one. Raises ModelFileError if it is damaged."""
    arrays = {name.removeprefix(PREFIX): array for name, array in model.attached.items() if name.startswith(PREFIX)}
    if not arrays:
        return None
    answers, classes = arrays.pop(ANSWER, np.zeros(0, np.int64)), len(model.record.classes)
    sound = answers.shape == (classes,) and answers.dtype == np.int64 and answers.min() >= 0 and answers.sum() >= LEAST
    known = {"brightness", "sharpness", "probability"} <= arrays.keys() <= set(QUANTITIES)
    whole = all(
        each.dtype == np.float32 and each.shape == (answers.sum(),) and np.isfinite(each).all()
        for each in arrays.values()
    )
    if not (sound and known and whole):
        place = model.mapped.path if model.mapped else "the model"
        rule = "its training record, which drift is told by, is not one number an image"
        raise ModelFileError(place, rule, "write or fetch the file again, or run vgglass calibrate")
    return TrainingRecord({name: np.sort(array).astype(np.float64) for name, array in arrays.items()}, answers)
