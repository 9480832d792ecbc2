"""Learning curves: accuracy against the number of training images, and what more of them would bring.

S sizes, D draws of training images, m judged images, K classes, B resamples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass import notebook
from vgglass.statistics import RESAMPLES, percentiles

Numbers = NDArray[np.float64]

EXPONENTS = np.arange(0.2, 1.51, 0.05)  # of the power law; 0.5 is that of a mean
STEEPNESS = 0.5  # the exponent of learning curves in general (Hoiem et al. 2021), towards which few points are drawn
PULL = 0.02  # how much: of the squared error that the best exponent leaves, for one exponent of 1 beside it
BEYOND = (2, 4)  # times the images there are
FIRSTS = 3  # a resample's fit leaves out up to two of the smallest sizes, where the law need not hold yet
CERTAIN = 0.8  # share of the resamples in which a class has to gain most, to be named


@dataclass(frozen=True)
class Point:
    """Accuracy for so many images a class, measured (the mean of the draws) or forecast, with its 95 % interval."""

    images: float
    top1: float
    low: float
    high: float
    forecast: bool


@dataclass(frozen=True)
class ClassGain:
    """Points of recall (0 to 1) that twice the images would bring, with their 95 % interval."""

    name: str
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A learning curve and its power law: error = a + b n^-c for n images a class.

    law     a, b, c
    gain    of accuracy by twice the images (0 to 1), and its 95 % interval
    most    the class that gains most; None where the resamples do not agree
    judged  images that trained no fit; draws of training images at each size
    """

    points: tuple[Point, ...]
    law: tuple[float, float, float]
    gain: tuple[float, float, float]
    per_class: tuple[ClassGain, ...]
    most: str | None
    judged: int
    draws: int

    def _repr_html_(self) -> str:
        gain, low, high = self.gain
        forecast = notebook.words()["forecast"]
        table: list[list[object]] = [["perClass", "top1"]]
        for point in self.points:
            images = forecast.format(images=point.images) if point.forecast else f"{point.images:g}"
            table.append([images, notebook.percent(point.top1, (point.low, point.high))])
        return notebook.panel("curve", {"gain": notebook.percent(gain, (low, high)), "most": self.most}, table)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        _, low, high = (100 * share for share in self.gain)
        brings = f"between {low:.1f} and {high:.1f} points" if high >= 0.05 else "nothing"
        most = f"; the class {self.most} gains most" if self.most and high >= 0.05 else ""
        return f"Twice as many photographs would bring {brings}{most}."


def power_law(sizes: Numbers, errors: Numbers, weights: Numbers) -> Numbers:
    """Least squares for a + b n^-c with a and b at least 0: a, b, c of each curve (B, 3).

    sizes    (S,), images a class
    errors   (B, S), and weights (B, S) of them; a size of weight 0 is left out
    Of the EXPONENTS that of the smallest squared error is taken, which a distance from STEEPNESS raises.
    """
    found, best = np.zeros((len(errors), 3)), np.full(len(errors), np.inf)
    total = weights.sum(axis=1)
    level = (weights * errors).sum(axis=1) / total
    spread = (weights * (errors - level[:, None]) ** 2).sum(axis=1) / total
    for exponent in EXPONENTS:
        falling = sizes**-exponent
        mean = (weights * falling).sum(axis=1) / total
        products = (weights * (falling - mean[:, None]) * errors).sum(axis=1)
        slope = products / (weights * (falling - mean[:, None]) ** 2).sum(axis=1)
        through_zero = (weights * falling * errors).sum(axis=1) / (weights * falling**2).sum(axis=1)
        slope = np.maximum(0, np.where(level < slope * mean, through_zero, slope))
        floor = np.maximum(0, level - slope * mean)
        left = (weights * (floor[:, None] + slope[:, None] * falling - errors) ** 2).sum(axis=1) / total
        left = left + PULL * (exponent - STEEPNESS) ** 2 * spread
        better = left < best
        best[better] = left[better]
        found[better] = np.stack([floor, slope, np.full_like(floor, exponent)], axis=1)[better]
    return found


def evaluated(law: Numbers, size: float | Numbers) -> Numbers:
    """The error of each law (..., 3) for `size` images a class, or of one law for sizes (S,)."""
    error: Numbers = law[..., 0] + law[..., 1] * size ** -law[..., 2]
    return error


def learning_curve(
    sizes: Sequence[float], right: NDArray[np.bool_], labels: NDArray[np.int64], classes: Sequence[str], seed: int = 0
) -> Curve:
    """Fit the curve, and resample draws and judged images for its intervals.

    sizes   (S,), ascending; the last is of all images, which every draw has
    right   (D, S, m), whether the fit to so many images of a draw answered an image rightly
    labels  (m,)
    """
    generator = np.random.default_rng(seed)
    draws, images, steps = len(right), len(labels), np.array(sizes, np.float64)
    picked = generator.multinomial(draws, np.full(draws, 1 / draws), RESAMPLES) / draws
    weights = np.tile(steps, (RESAMPLES, 1))  # the variance of a mean falls as 1 / n
    firsts = generator.integers(0, min(FIRSTS, len(steps) - 2), (RESAMPLES, 1))
    weights[np.arange(len(steps)) < firsts] = 0
    judged = [int(label) for label in np.unique(labels)]
    wrong = {label: 1 - right[:, :, labels == label].astype(np.float64) for label in judged}
    resampled = {label: _resampled(wrong[label], picked, generator) for label in judged}
    measured = (1 - right.mean(axis=(0, 2)))[None]
    errors = np.sum([resampled[label] * wrong[label].shape[2] for label in judged], axis=0) / images
    law, laws = power_law(steps, measured, steps[None])[0], power_law(steps, errors, weights)
    per_class, drawn = [], []
    for label in judged:
        own = power_law(steps, wrong[label].mean(axis=(0, 2))[None], steps[None])[0]
        drawn.append(_gain(power_law(steps, resampled[label], weights), sizes[-1]))
        per_class.append(ClassGain(classes[label], float(_gain(own, sizes[-1])), *percentiles(drawn[-1])))
    first = int(np.argmax([row.gain for row in per_class]))
    agreed = per_class[first].low > 0 and float((np.argmax(drawn, axis=0) == first).mean()) >= CERTAIN
    a, b, c = map(float, law)
    return Curve(
        points=(*_measured(sizes, measured[0], errors), *_forecast(sizes[-1], law, laws)),
        law=(a, b, c),
        gain=(float(_gain(law, sizes[-1])), *percentiles(_gain(laws, sizes[-1]))),
        per_class=tuple(per_class),
        most=per_class[first].name if agreed else None,
        judged=images,
        draws=draws,
    )


def _resampled(wrong: Numbers, picked: Numbers, generator: np.random.Generator) -> Numbers:
    """Errors (B, S) of one class's images (D, S, m), with shares (B, D) of the draws and images drawn anew."""
    images = wrong.shape[2]
    counts = generator.multinomial(images, np.full(images, 1 / images), RESAMPLES)
    errors: Numbers = np.einsum("bd,dsm,bm->bs", picked, wrong, counts, optimize=True) / images
    return errors


def _gain(law: Numbers, size: float) -> Numbers:
    """Accuracy that twice as many images would bring, of each law (..., 3)."""
    return evaluated(law, size) - evaluated(law, 2 * size)


def _measured(sizes: Sequence[float], middle: Numbers, errors: Numbers) -> Iterator[Point]:
    for size, error, drawn in zip(sizes, middle, errors.T, strict=True):
        low, high = percentiles(1 - drawn)
        yield Point(size, 1 - float(error), low, high, forecast=False)


def _forecast(largest: float, law: Numbers, laws: Numbers) -> Iterator[Point]:
    for times in BEYOND:
        low, high = percentiles(1 - evaluated(laws, times * largest))
        yield Point(times * largest, 1 - float(evaluated(law, times * largest)), low, high, forecast=True)
