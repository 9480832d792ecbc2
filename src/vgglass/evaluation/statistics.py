"""95 % intervals, and the smallest difference that a test can find. N images."""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
TAILS = (2.5, 97.5)  # percentiles


def wilson(right: int, images: int) -> tuple[float, float]:
    """Interval of a share (Wilson 1927): sound for few images too, and where all or none of them are right."""
    from scipy import stats

    found = stats.binomtest(right, images).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def percentiles(figures: NDArray[np.float64]) -> tuple[float, float]:
    """The interval that a figure's values on resampled images span."""
    low, high = np.percentile(figures, TAILS)
    return float(low), float(high)


# The smallest difference between two models that a test on the same images is likely to find.

SIZE, POWER = 0.05, 0.8  # of McNemar's two-sided test: false alarms, and true differences that it finds


def quantiles() -> tuple[float, float]:
    """Of the normal distribution: z1 at 1 - SIZE / 2 and z2 at POWER."""
    from scipy.stats import norm

    return float(norm.ppf(1 - SIZE / 2)), float(norm.ppf(POWER))


def detectable(images: int, discordant: float) -> float | None:
    """The difference x of two accuracies on the same n images that McNemar's test finds with POWER.

    discordant  share d of the images that one of the two gets right and the other wrong; as x can't exceed it, d grows
                with an x beyond it
    It solves n x^2 = (z1 sqrt(d) + z2 sqrt(d - x^2))^2 (Connor 1987). None where n is too small for any.
    """
    from scipy.optimize import brentq

    one, two = quantiles()

    def lacking(x: float) -> float:
        d = max(discordant, x)
        return one * sqrt(d) + two * sqrt(d - x * x) - x * sqrt(images)

    return None if lacking(1.0) > 0 else float(brentq(lacking, 1e-12, 1.0))
