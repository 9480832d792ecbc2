"""95 % intervals: how far a figure on these images may lie from the figure on all such images. N images."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import DataError

RESAMPLES = 2000
TAILS = (2.5, 97.5)  # percentiles


def bootstrap(
    statistic: Callable[..., float], arrays: Sequence[NDArray[Any]], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval (Efron 1979) of statistic(*arrays): images are drawn again, with their rows of every array.

    arrays  (N, ...) each
    Raises DataError for one image.
    """
    from scipy import stats

    require_several(len(arrays[0]))

    def drawn(chosen: NDArray[np.int64]) -> float:
        return statistic(*(array[chosen] for array in arrays))

    found = stats.bootstrap(
        (np.arange(len(arrays[0])),), drawn, n_resamples=resamples, method="percentile", vectorized=False, rng=seed
    ).confidence_interval
    return float(found.low), float(found.high)


def wilson(right: int, images: int) -> tuple[float, float]:
    """Interval of a share (Wilson 1927): sound for few images too, and where all or none of them are right."""
    from scipy import stats

    found = stats.binomtest(right, images).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def percentiles(figures: NDArray[np.float64]) -> tuple[float, float]:
    """The interval that a figure's values on resampled images span."""
    low, high = np.percentile(figures, TAILS)
    return float(low), float(high)


def require_several(images: int) -> None:
    """Raises DataError where there are not two images to draw from."""
    if images < 2:
        raise DataError(f"an interval of {images} image", "needs two or more", "judge on more images")
