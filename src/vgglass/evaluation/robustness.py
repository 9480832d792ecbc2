"""Robustness: accuracy under scaling, stretching, downsampling, JPEG compression, blur, brightness changes and noise.

Scale and aspect are changed before the picture is fitted to the network's square (S, S, C); the others apply to the
square, so that a level means the same for photographs of any size. Only the centre view is evaluated.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from vgglass import images
from vgglass.evaluation.predictions import Predictions
from vgglass.images import Pixels
from vgglass.isolation import DECODERS
from vgglass.preprocess import Preprocessing, fit, read, resize
from vgglass.statistics import wilson

Answer = Callable[[Pixels], NDArray[np.floating[Any]]]  # squares (n, S, S, C) to logits (n, K)
Disturb = Callable[[Pixels, Preprocessing, float, int], Pixels]  # a picture or square, the record, a level, a seed
Key = tuple[str, float]  # a kind and one of its levels

IMAGES = 500  # at most, evenly spaced in the split
CHUNK = 16  # pictures held in memory at once


@dataclass(frozen=True)
class Point:
    """Top-1 at one level of a disturbance with its 95 % interval (Wilson); `plain`: the undisturbed level."""

    level: float
    top1: float
    low: float
    high: float
    plain: bool


@dataclass(frozen=True)
class Robustness:
    """Curves by kind in the order of their levels, all on the same `images` out of `split_images`."""

    images: int
    split_images: int
    curves: Mapping[str, tuple[Point, ...]]


def robustness(
    predictions: Predictions, answer: Answer, progress: Callable[[int, int], None] = lambda done, total: None
) -> Robustness:
    """Evaluate a network on up to IMAGES of the images at each level of each disturbance.

    answer    the network: squares (n, S, S, C) -> logits (n, K)
    progress  called with the number of images done and the total
    """
    record = predictions.record.preprocessing
    every = len(predictions.labels)
    chosen = np.linspace(0, every - 1, min(IMAGES, every)).round().astype(int)
    kinds = levels(record)
    right = {(kind, level): 0 for kind, steps in kinds.items() for level in steps}
    for start in range(0, len(chosen), CHUNK):
        members = chosen[start : start + CHUNK]
        pictures = [read(predictions.sources[index], record, DECODERS.decode) for index in members]
        for key, squares in _disturb_all(pictures, members, record, kinds):
            counted = int((answer(squares).argmax(axis=1) == predictions.labels[members]).sum())
            for same in [key] if key else [(kind, plain(kind, record)) for kind in kinds]:
                right[same] += counted
        progress(start + len(members), len(chosen))

    def point(kind: str, level: float) -> Point:
        count = right[kind, level]
        return Point(level, count / len(chosen), *wilson(count, len(chosen)), level == plain(kind, record))

    curves = {kind: tuple(point(kind, level) for level in steps) for kind, steps in kinds.items()}
    return Robustness(len(chosen), every, curves)


def levels(record: Preprocessing) -> dict[str, tuple[float, ...]]:
    """Return the levels of each kind, including the plain one; scale only for networks whose preprocessing crops.

    scale       Q, length of the shorter side before the centre crop, in pixels
    aspect      factor of the width
    resolution  factor of the square's side
    jpeg        quality, or UNCOMPRESSED
    blur        standard deviation of a Gaussian as a fraction of the square's side
    brightness  factor of the pixel values
    noise       standard deviation of Gaussian noise in grey levels of 0..255
    """
    sides = sorted({record.size, *(round(record.resize * factor) for factor in SCALES)})
    return ({"scale": tuple(map(float, sides))} if record.fit == "crop" else {}) | STEPS


def plain(kind: str, record: Preprocessing) -> float:
    """Return the undisturbed level of a kind."""
    return float(record.resize) if kind == "scale" else PLAIN[kind]


def _disturb_all(
    pictures: list[Pixels], seeds: NDArray[np.int64], record: Preprocessing, kinds: Mapping[str, tuple[float, ...]]
) -> Iterator[tuple[Key | None, Pixels]]:
    """Yield the squares (n, S, S, C) at every level; the undisturbed ones once for all kinds, with the key None."""
    squares = [fit(pixels, record) for pixels in pictures]
    yield None, np.stack(squares)
    for kind, steps in kinds.items():
        sources = pictures if kind in BEFORE_FITTING else squares
        for level in steps:
            if level != plain(kind, record):
                disturb = DISTURBANCES[kind]
                yield (
                    (kind, level),
                    np.stack(
                        [disturb(source, record, level, int(seed)) for source, seed in zip(sources, seeds, strict=True)]
                    ),
                )


def _scale(picture: Pixels, record: Preprocessing, level: float, seed: int) -> Pixels:
    return fit(picture, replace(record, resize=round(level)))


def _aspect(picture: Pixels, record: Preprocessing, level: float, seed: int) -> Pixels:
    height, width = picture.shape[:2]
    return fit(resize(picture, height, max(1, round(width * level)), record.interpolation), record)


def _resolution(square: Pixels, record: Preprocessing, level: float, seed: int) -> Pixels:
    side = max(1, round(record.size * level))
    return resize(resize(square, side, side, record.interpolation), record.size, record.size, record.interpolation)


def _jpeg(square: Pixels, record: Preprocessing, level: float, seed: int) -> Pixels:
    space = "GRAY" if record.channels == 1 else "RGB"
    data = simplejpeg.encode_jpeg(square, int(level), space, colorsubsampling="420")
    return images.decode(data, channels=record.channels)


def _blur(square: Pixels, record: Preprocessing, level: float, seed: int) -> Pixels:
    from scipy.ndimage import gaussian_filter

    deviation = level * record.size
    return _rounded(gaussian_filter(square.astype(np.float32), (deviation, deviation, 0)))


def _brightness(square: Pixels, record: Preprocessing, level: float, seed: int) -> Pixels:
    return _rounded(square * np.float32(level))


def _noise(square: Pixels, record: Preprocessing, level: float, seed: int) -> Pixels:
    """Add noise that differs between levels only in its scale."""
    return _rounded(square + level * np.random.default_rng(seed).standard_normal(square.shape, np.float32))


def _rounded(values: NDArray[np.floating[Any]]) -> Pixels:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


DISTURBANCES: dict[str, Disturb] = {
    "scale": _scale, "aspect": _aspect, "resolution": _resolution, "jpeg": _jpeg, "blur": _blur,
    "brightness": _brightness, "noise": _noise,
}  # fmt: skip
BEFORE_FITTING = ("scale", "aspect")
UNCOMPRESSED = 101.0  # above the highest quality
SCALES = (1.0, 1.15, 1.3, 1.5, 2.0)  # factors of the record's own scale
STEPS: dict[str, tuple[float, ...]] = {
    "aspect": (0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0),
    "resolution": (1.0, 0.75, 0.5, 0.35, 0.25),
    "jpeg": (UNCOMPRESSED, 90.0, 70.0, 50.0, 30.0, 10.0),
    "blur": (0.0, 0.01, 0.02, 0.03, 0.05, 0.08),
    "brightness": (0.3, 0.5, 0.75, 1.0, 1.35, 2.0),
    "noise": (0.0, 8.0, 16.0, 32.0, 64.0),
}
PLAIN = {"resolution": 1.0, "aspect": 1.0, "jpeg": UNCOMPRESSED, "blur": 0.0, "brightness": 1.0, "noise": 0.0}
