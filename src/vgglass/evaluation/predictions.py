"""A model's answers on one split, two models' on the same images, and how far two computations of one model agree.

N images, K classes.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.data.listing import printable
from vgglass.images import Pixels
from vgglass.inference.views import View
from vgglass.modelfile import Record


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's answers on one split.

    record             of the model
    sources            the images as the data set holds them (N)
    labels             (N,), by the model's classes
    log_probabilities  (N, K)
    used_for           see `metrics.Evaluation`
    missing            classes of the model of which the split has no image
    unknown            classes of the split that the model does not tell, with how many images of each are left out
    views              that each image was shown in
    others             of an ensemble the records of the further models; the answers are the average at the softmax
    """

    record: Record
    split: str
    sources: tuple[Path | Pixels, ...]
    labels: NDArray[np.int64]
    log_probabilities: NDArray[np.float64]
    used_for: str = ""
    missing: tuple[str, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)
    views: tuple[View, ...] = ()
    others: tuple[Record, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of each image: a file's path below the folder that all of them lie in, or the number of pixels."""
        files = [source.absolute() if isinstance(source, Path) else None for source in self.sources]
        folders = {str(file.parent) for file in files if file}
        common = os.path.commonpath(folders) if folders else ""
        return tuple(printable(file.relative_to(common)) if file else f"#{n}" for n, file in enumerate(files))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,): the likeliest class of each image; a tie goes to the class that comes first."""
        likeliest: NDArray[np.int64] = self.log_probabilities.argmax(axis=1)
        return likeliest

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,): whether the likeliest class is the true one."""
        right: NDArray[np.bool_] = self.predicted == self.labels
        return right


# Two models on the same images: whether one is better, or only luckier. N images.

CHANCE = 0.05  # a difference is called larger than chance where chance gives its like more seldom


@dataclass(frozen=True)
class Comparison:
    """top1         of the first model and the second
    only_first, only_second  images that only the one or the other gets right: the discordant ones
    p            McNemar's exact test: how often chance alone divides the discordant images so unevenly, or more so
    difference   of the second's top-1 from the first's, with its 95 % interval (paired, Agresti and Min 2005)
    used_for     of either model: see `metrics.Evaluation`
    missing, unknown  see `metrics.Evaluation`; of the classes that both models tell
    """

    split: str
    images: int
    top1: tuple[float, float]
    only_first: int
    only_second: int
    p: float
    difference: tuple[float, float, float]
    used_for: tuple[str, str] = ("", "")
    missing: tuple[str, ...] = ()
    unknown: tuple[tuple[str, int], ...] = ()

    @property
    def is_larger_than_chance(self) -> bool:
        return self.p < CHANCE

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"larger_than_chance": self.is_larger_than_chance, "unknown": dict(self.unknown)}


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test (1947): with no difference each discordant image is a coin's toss."""
    from scipy import stats

    discordant = only_first + only_second
    return float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0


def compare_predictions(first: NDArray[np.bool_], second: NDArray[np.bool_], split: str, **about: Any) -> Comparison:
    """Compare which images (N,) either model gets right; `about` are the fields after `difference`."""
    lost, gained = int((first & ~second).sum()), int((second & ~first).sum())
    top1 = float(first.mean()), float(second.mean())
    difference = (top1[1] - top1[0], *paired_interval(gained, lost, len(first)))
    return Comparison(split, len(first), top1, lost, gained, mcnemar(lost, gained), difference, **about)


# How far two computations of one network answer alike, on the same images. N images, K classes.

Z = 1.959964  # of a normal distribution's middle 95 %


@dataclass(frozen=True)
class Agreement:
    """A network's answers by a second engine beside those by the first.

    top1_agreement  share of the images with the same likeliest class
    probability     the largest difference of any class's probability
    top1            accuracies of the first and the second; None without labels
    difference      of the second's top-1 from the first's, with its 95 % interval; None without labels
    """

    images: int
    top1_agreement: float
    probability: float
    top1: tuple[float, float] | None = None
    difference: tuple[float, float, float] | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def agreement(
    first: NDArray[np.float64], second: NDArray[np.float64], labels: NDArray[np.int64] | None = None
) -> Agreement:
    """Compare log-probabilities (N, K) and (N, K), by labels (N,) where there are any."""
    one, two = first.argmax(axis=1), second.argmax(axis=1)
    same = float((one == two).mean())
    largest = float(np.abs(np.exp(first) - np.exp(second)).max())
    if labels is None:
        return Agreement(len(first), same, largest)
    right = one == labels, two == labels
    top1 = float(right[0].mean()), float(right[1].mean())
    interval = paired_interval(int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum()), len(labels))
    return Agreement(len(first), same, largest, top1, (top1[1] - top1[0], *interval))


def paired_interval(gained: int, lost: int, images: int) -> tuple[float, float]:
    """95 % interval of the difference of two accuracies on the same images, by those that only one of them gets right.

    Agresti and Min 2005: half an image more in each of the four cells, then Wald's.
    """
    more, less, total = gained + 0.5, lost + 0.5, images + 2
    mean = (more - less) / total
    half = Z * sqrt(more + less - (more - less) ** 2 / total) / total
    return mean - half, mean + half
