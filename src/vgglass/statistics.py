"""95 % confidence intervals, and the smallest detectable difference of a test. N images."""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
TAILS = (2.5, 97.5)  # percentiles
Z = 1.959964  # 97.5 % quantile of the standard normal distribution


def wilson(right: float, images: float) -> tuple[float, float]:
    """Return the Wilson (1927) interval of a proportion, valid for few images and for 0 or 100 %.

    Neither need be a whole number: images that are not independent are worth fewer.
    """
    share, square = right / images, Z**2 / images
    middle, half = share + square / 2, sqrt(square * (share * (1 - share) + square / 4))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def percentiles(figures: NDArray[np.float64]) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a metric's resampled values."""
    low, high = np.percentile(figures, TAILS)
    return float(low), float(high)


# Power analysis: the smallest difference of two models that a paired test is likely to detect.

SIZE, POWER = 0.05, 0.8  # of McNemar's two-sided test: type I error rate, and power


def quantiles() -> tuple[float, float]:
    """Return the normal quantiles z1 at 1 - SIZE / 2 and z2 at POWER."""
    from scipy.stats import norm

    return float(norm.ppf(1 - SIZE / 2)), float(norm.ppf(POWER))


def detectable(images: int, discordant: float) -> float | None:
    """Return the difference x of two accuracies on the same n images that McNemar's test detects with POWER.

    discordant  fraction d of discordant pairs; raised to x where x would exceed it
    Solves n x^2 = (z1 sqrt(d) + z2 sqrt(d - x^2))^2 (Connor 1987). None if n is too small for any.
    """
    from scipy.optimize import brentq

    one, two = quantiles()

    def lacking(x: float) -> float:
        d = max(discordant, x)
        return one * sqrt(d) + two * sqrt(d - x * x) - x * sqrt(images)

    return None if lacking(1.0) > 0 else float(brentq(lacking, 1e-12, 1.0))
