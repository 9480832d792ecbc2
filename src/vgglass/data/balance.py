"""Classes of few images: their effective number, and the weights that make up for it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vgglass.data.dataset import Sample

BETA = 0.999  # Cui et al. (2019), one of the four they try
UNEVEN = 3.0  # largest class over smallest, from which the figures are shown


def counts(samples: Sequence[Sample], classes: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.bincount([sample.label for sample in samples], minlength=classes)
    return found


def effective_numbers(images: NDArray[np.int64]) -> NDArray[np.float64]:
    """(1 - beta^n) / (1 - beta) for each class: what n images are worth, as more of a kind add less."""
    return (1 - np.power(BETA, images.astype(np.float64))) / (1 - BETA)


def class_weights(images: NDArray[np.int64]) -> NDArray[np.float64]:
    """Inverse effective numbers, scaled so that the mean over all images is 1."""
    weights = 1 / effective_numbers(images)
    scaled: NDArray[np.float64] = weights * images.sum() / (weights * images).sum()
    return scaled


def sample_weights(samples: Sequence[Sample], images: NDArray[np.int64]) -> NDArray[np.float64]:
    """For a sampler that draws every class equally often."""
    shares: NDArray[np.float64] = 1 / images[[sample.label for sample in samples]].astype(np.float64)
    return np.asarray(shares / shares.sum())


def line(images: NDArray[np.int64], classes: Sequence[str], balance: str) -> str:
    """What a person should know of uneven classes; '' where they are even."""
    if images.max() < UNEVEN * images.min():
        return ""
    order = np.argsort(images, kind="stable")
    worth = effective_numbers(images)
    few = ", ".join(f"{classes[place]} {images[place]:,} (worth {worth[place]:.0f})" for place in order[:3])
    many = f"{classes[order[-1]]} {images[order[-1]]:,} (worth {worth[order[-1]]:.0f})"
    done = {
        "none": "nothing makes up for it; --set balance=weights or balance=sampler would",
        "weights": "the loss weighs them by the inverse of that worth",
        "sampler": "each class is drawn equally often",
    }
    return f"uneven classes: from {few} to {many} images; {done[balance]}"
