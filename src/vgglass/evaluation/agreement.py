"""How far two computations of one network answer alike, on the same images. N images, K classes."""

from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
