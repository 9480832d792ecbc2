"""Few images judged honestly: in folds, each image by what learned without it and its near duplicates.

n images, V views of each, D features a view, K classes, F folds, R repeats.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import TrainingError, UsageError
from vgglass.statistics import wilson
from vgglass.training.probe import Features, Integers, Numbers, fit_probe, folds_of


@dataclass(frozen=True)
class FoldFigures:
    """What folds say of a fit, or of a training.

    top1        mean over the repeats
    interval    its 95 % interval: see `interval`
    accuracies  of the images left out, by repeat and fold
    networks    were trained in each fold; else heads were fitted
    """

    folds: int
    repeats: int
    images: int
    top1: float
    interval: tuple[float, float]
    accuracies: tuple[tuple[float, ...], ...]
    networks: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        low, high = self.interval
        times = f", {self.repeats} times" if self.repeats > 1 else ""
        return (
            f"in {self.folds} folds{times}: accuracy {self.top1:.4f} ({low:.4f} to {high:.4f}) on {self.images:,}"
            f" images, each answered by a {'network trained' if self.networks else 'head fitted'} without it and its"
            " near duplicates"
        )


@dataclass(frozen=True, eq=False)
class Folds:
    """Answers out of fold.

    logits          (R, n, K), of fitted heads divided by the temperature of each fold's own fit
    folds           (R, n): in which an image was left out
    labels, groups  (n,)
    networks        see `FoldFigures`
    """

    logits: Numbers
    folds: NDArray[np.intp]
    labels: Integers
    groups: NDArray[np.intp]
    networks: bool = False

    @cached_property
    def figures(self) -> FoldFigures:
        right = self.logits.argmax(axis=2) == self.labels
        repeats, folds, top1 = len(right), int(self.folds.max()) + 1, float(right.mean())
        accuracies = tuple(
            tuple(float(row[of == fold].mean()) for fold in range(folds))
            for row, of in zip(right, self.folds, strict=True)
        )
        found = interval(top1, self.groups, folds, repeats)
        return FoldFigures(folds, repeats, len(self.labels), top1, found, accuracies, self.networks)


def interval(top1: float, groups: NDArray[np.intp], folds: int, repeats: int) -> tuple[float, float]:
    """95 % interval of a cross-validated accuracy: Wilson's (1927), for the number of images that these are worth.

    groups  (n,): near duplicates share one, and are worth n^2 / sum of squared sizes images (Kish 1965)
    Folds share training images, so that their accuracies are not independent: Nadeau and Bengio
    (2003) correct the variance over J = RF splits from 1 / J to 1 / J + 1 / (F - 1), here relative to n images' 1 / F.
    Their t interval itself has no width where every fold is right, and the variance of five numbers is a poor one:
    benchmarks/trust_folds.py has the coverage of both.
    """
    worth = len(groups) ** 2 / float((np.bincount(groups) ** 2).sum())
    worth /= 1 / repeats + folds / (folds - 1)
    return wilson(top1 * worth, worth)


def judge(
    views: Features, labels: Integers, groups: NDArray[np.intp], weights: Numbers, *,
    folds: int, repeats: int, seed: int, count: Callable[[int], None] = lambda more: None,
) -> Folds:  # fmt: skip
    """Repeat a whole fit, its choice of penalty and temperature included, in stratified folds; groups stay together.

    views, labels, groups, weights  as `fit_probe` takes them, for which `require_folds` has passed
    count                           is told of each fold that is done
    Raises TrainingError as `fit_probe` does.
    """
    logits = np.empty((repeats, len(labels), len(weights)))
    numbers = np.empty((repeats, len(labels)), np.intp)
    for repeat in range(repeats):
        divided = folds_of(labels, groups, folds, seed + repeat)
        for number, (train, test) in enumerate(divided):
            found = fit_probe(views[:, train], labels[train], groups[train], weights, seed)
            logits[repeat, test], numbers[repeat, test] = found.logits(views[0, test]), number
            count(1)
    return Folds(logits, numbers, labels, groups)


def require_folds(labels: Integers, groups: NDArray[np.intp], classes: Sequence[str], folds: int) -> None:
    """Raises TrainingError for a class that can't be left out, UsageError for more folds than a class has images."""
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    images = np.bincount(pairs[0], minlength=len(classes))
    rarest, fewest = int(images.argmin()), int(images.min())
    if fewest < 2:
        rule = f"has {fewest} images, and folds leave some out and learn from others; near duplicates count as one"
        raise TrainingError(f"class {classes[rarest]!r}", rule, "add images of it, or remove the class")
    if fewest < folds:
        rule = f"more than the {fewest} images of class {classes[rarest]!r}, of which near duplicates count as one"
        raise UsageError(f"--folds {folds}", rule, f"choose at most {fewest}, or add images")
