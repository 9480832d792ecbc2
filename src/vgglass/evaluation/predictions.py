"""A model's predictions on a split, the comparison of two models on the same images, and of two engines of one model.

N images, K classes.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgglass import notebook
from vgglass.images import Pixels
from vgglass.inference.views import View
from vgglass.modelfile import Record
from vgglass.names import printable

if TYPE_CHECKING:
    from vgglass.training.folds import FoldFigures


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's predictions on one split.

    record             of the model
    sources            the data set's images (N)
    labels             (N,), indices of the model's classes
    log_probabilities  (N, K)
    used_for           see `metrics.Evaluation`
    missing            classes of the model without images in the split
    unknown            classes of the split that the model does not have, with the number of images excluded for each
    views              the views averaged for each image
    others             records of an ensemble's further models, whose probabilities are averaged
    folds              where no one model predicted, but for each image what learned without it: the first repeat
    distances          (N,), from the training images, above 1 unfamiliar; None for a model that can't tell, an ensemble
    seen               `Answer.quantities` of each image, by their names; of an ensemble's last model
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
    folds: "FoldFigures | None" = None
    distances: NDArray[np.float64] | None = None
    seen: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each image: a file's path relative to the common folder, or the index of an array."""
        files = [source.absolute() if isinstance(source, Path) else None for source in self.sources]
        folders = {str(file.parent) for file in files if file}
        common = os.path.commonpath(folders) if folders else ""
        return tuple(printable(file.relative_to(common)) if file else f"#{n}" for n, file in enumerate(files))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,): the top-1 class of each image; ties go to the first class."""
        likeliest: NDArray[np.int64] = self.log_probabilities.argmax(axis=1)
        return likeliest

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,): whether top-1 is correct."""
        right: NDArray[np.bool_] = self.predicted == self.labels
        return right


# Two models on the same images: whether their difference is significant. N images.

CHANCE = 0.05  # significance level


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of two models.

    top1         of the first and the second model
    only_first, only_second  numbers of images that only one model classifies correctly: the discordant pairs
    p            two-sided p-value of McNemar's exact test
    difference   second top-1 minus first, with its 95 % interval (paired, Agresti and Min 2005)
    used_for     for either model: see `metrics.Evaluation`
    missing, unknown  see `metrics.Evaluation`; with respect to the classes common to both models
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

    def _repr_html_(self) -> str:
        gain, low, high = self.difference
        rows = {
            "judged": f"{self.split}, {self.images:,}",
            "first": notebook.percent(self.top1[0]),
            "second": notebook.percent(self.top1[1]),
            "difference": notebook.percent(gain, (low, high)),
            "p": self.p,
            "chance": self.is_larger_than_chance,
        }
        return notebook.panel("comparison", rows)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"larger_than_chance": self.is_larger_than_chance, "unknown": dict(self.unknown)}


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947): a binomial test with 1/2 on the discordant pairs."""
    from scipy import stats

    discordant = only_first + only_second
    return float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0


def compare_predictions(first: NDArray[np.bool_], second: NDArray[np.bool_], split: str, **about: Any) -> Comparison:
    """Compare the correctness (N,) of two models; `about` are the fields after `difference`."""
    lost, gained = int((first & ~second).sum()), int((second & ~first).sum())
    top1 = float(first.mean()), float(second.mean())
    difference = (top1[1] - top1[0], *paired_interval(gained, lost, len(first)))
    return Comparison(split, len(first), top1, lost, gained, mcnemar(lost, gained), difference, **about)


# Agreement of two computations of one network on the same images. N images, K classes.

Z = 1.959964  # 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True)
class Agreement:
    """Agreement of a network's predictions by a second engine with those by the first.

    top1_agreement  fraction of images with the same top-1 class
    probability     maximum difference of any class's probability
    top1            accuracies of the first and the second; None without labels
    difference      second top-1 minus first, with its 95 % interval; None without labels
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
    """Compare log-probabilities (N, K) and (N, K); with labels (N,) also accuracies."""
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
    """Return the 95 % interval of the difference of two accuracies on the same images, from the discordant pairs.

    Agresti and Min 2005: add 1/2 to each of the four cells, then the Wald interval.
    """
    more, less, total = gained + 0.5, lost + 0.5, images + 2
    mean = (more - less) / total
    half = Z * sqrt(more + less - (more - less) ** 2 / total) / total
    return mean - half, mean + half
