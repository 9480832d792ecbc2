"""How good a head is, how it grew so, and what it has never seen; the last two take longer than a change may.

t images, D features, K classes.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vgglass import familiarity
from vgglass.errors import DataError
from vgglass.familiarity import Familiarity
from vgglass.statistics import wilson
from vgglass.teaching import ridge
from vgglass.teaching.ridge import Features, Integers

WIDEST = 0.3  # of an interval that means something
FOLDS = 10  # that familiarity's threshold is chosen on
CURVE = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233)  # groups a class
DRAWS = 5  # of each point of the curve
ON_CURVE = 2000  # images that a point is judged on


@dataclass(frozen=True)
class Accuracy:
    """Of images each judged by a head fitted without its group; each group counts as one.

    right  sum over groups of the share told right
    """

    right: float
    groups: int

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.groups)

    @property
    def known(self) -> bool:
        """Whether the interval says something yet."""
        low, high = self.interval
        return high - low <= WIDEST


@dataclass(frozen=True, eq=False)
class Taught:
    """Images that a head was fitted to: features (t, D), labels and groups (t,) as `ridge.fit` takes them."""

    features: Features
    labels: Integers
    groups: Integers
    classes: tuple[str, ...]
    accuracy: Accuracy | None


def curve(taught: Taught, seed: int = 0) -> list[tuple[int, float]]:
    """Accuracy on the others of heads fitted to so many groups a class, and at last of those without one group."""
    if taught.accuracy is None:
        return []
    features, labels, groups, classes = taught.features, taught.labels, taught.groups, len(taught.classes)
    generator = np.random.default_rng(seed)
    members = [np.unique(groups[labels == label]) for label in range(classes)]
    least = min(map(len, members))
    points = []
    for size in (size for size in CURVE if size < least):
        shares = []
        for _ in range(DRAWS):
            inside = np.isin(groups, np.concatenate([generator.permutation(found)[:size] for found in members]))
            outside = generator.permutation(np.flatnonzero(~inside))[:ON_CURVE]
            head = ridge.fit(features[inside], labels[inside], groups[inside], classes)
            shares.append(float((head.logits(features[outside]).argmax(axis=1) == labels[outside]).mean()))
        points.append((size, float(np.mean(shares))))
    return [*points, (least, taught.accuracy.right / taught.accuracy.groups)]


def familiarity_of(taught: Taught) -> Familiarity | None:
    """What tells images unlike those taught, its threshold chosen out of fold; None for too few images."""
    part = np.unique(taught.groups, return_inverse=True)[1] % FOLDS
    folds = [(np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in range(FOLDS)]
    try:
        gaussians = familiarity.fit(taught.features, taught.labels, taught.classes)
        folds = [(fitted, held) for fitted, held in folds if len(fitted) and len(held)]
        distances = familiarity.out_of_fold(taught.features, taught.labels, folds)
        return Familiarity(gaussians, familiarity.threshold(distances))
    except (DataError, np.linalg.LinAlgError):  # the latter where copies leave the covariance without an inverse
        return None


def accuracy_of(right: NDArray[np.bool_], groups: Integers) -> Accuracy:
    """Of images told right or not (t,), by group."""
    order = np.argsort(groups, kind="stable")
    starts = [*np.flatnonzero(np.diff(groups[order], prepend=-1)).tolist(), len(groups)]
    shares = [float(right[order[start:stop]].mean()) for start, stop in pairwise(starts)]
    return Accuracy(sum(shares), len(shares))
