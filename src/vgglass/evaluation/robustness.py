"""Accuracy under disturbances: the same images larger, coarser, stretched, compressed, blurred, darker, noisy.

Scale and aspect are disturbed before the picture is fitted to the network's square (S, S, C), the rest on the square:
a step then means the same for photographs of any size. The centre view is judged.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from vgglass import images
from vgglass.evaluation.predictions import Predictions
from vgglass.evaluation.statistics import wilson
from vgglass.images import Pixels
from vgglass.isolation import DECODERS
from vgglass.preprocess import Preprocessing, fit, read, resize

Answer = Callable[[Pixels], NDArray[np.floating[Any]]]  # squares (n, S, S, C) to logits (n, K)
Disturb = Callable[[Pixels, Preprocessing, float, int], Pixels]  # a picture or square, the record, a level, a seed
Key = tuple[str, float]  # a kind and one of its levels

IMAGES = 500  # at most, evenly out of the split
CHUNK = 16  # pictures that are held at once


@dataclass(frozen=True)
class Point:
    """Top-1 at one level of a disturbance with its 95 % interval (Wilson); `plain`: the level that disturbs nothing."""

    level: float
    top1: float
    low: float
    high: float
    plain: bool


@dataclass(frozen=True)
class Robustness:
    """curves by kind, in the order of their levels: all of them on the same `images`, out of `split_images`."""

    images: int
    split_images: int
    curves: Mapping[str, tuple[Point, ...]]


def robustness(
    judged: Predictions, answer: Answer, progress: Callable[[int, int], None] = lambda done, total: None
) -> Robustness:
    """Judge a network on up to IMAGES of the images at each level of each disturbance.

    answer    the network: squares (n, S, S, C) to logits (n, K)
    progress  told of the images done, of how many
    """
    record = judged.record.preprocessing
    every = len(judged.labels)
    chosen = np.linspace(0, every - 1, min(IMAGES, every)).round().astype(int)
    kinds = levels(record)
    right = {(kind, level): 0 for kind, steps in kinds.items() for level in steps}
    for start in range(0, len(chosen), CHUNK):
        members = chosen[start : start + CHUNK]
        pictures = [read(judged.sources[index], record, DECODERS.decode) for index in members]
        for key, squares in _disturbed(pictures, members, record, kinds):
            counted = int((answer(squares).argmax(axis=1) == judged.labels[members]).sum())
            for same in [key] if key else [(kind, plain(kind, record)) for kind in kinds]:
                right[same] += counted
        progress(start + len(members), len(chosen))

    def point(kind: str, level: float) -> Point:
        count = right[kind, level]
        return Point(level, count / len(chosen), *wilson(count, len(chosen)), level == plain(kind, record))

    curves = {kind: tuple(point(kind, level) for level in steps) for kind, steps in kinds.items()}
    return Robustness(len(chosen), every, curves)


def levels(record: Preprocessing) -> dict[str, tuple[float, ...]]:
    """The steps of each kind for a network, its plain one among them; a scale for those alone that crop.

    scale       Q, what the shorter side is brought to before the centre is cut out, in pixels
    aspect      what the width is multiplied by
    resolution  share of the square's pixels a side that is left
    jpeg        quality, or UNCOMPRESSED
    blur        standard deviation of a Gaussian as a share of the square's side
    brightness  what the pixels are multiplied by
    noise       standard deviation of Gaussian noise in grey levels of 0..255
    """
    sides = sorted({record.size, *(round(record.resize * factor) for factor in SCALES)})
    return ({"scale": tuple(map(float, sides))} if record.fit == "crop" else {}) | STEPS


def plain(kind: str, record: Preprocessing) -> float:
    """The level of a kind that disturbs nothing."""
    return float(record.resize) if kind == "scale" else PLAIN[kind]


def _disturbed(
    pictures: list[Pixels], seeds: NDArray[np.int64], record: Preprocessing, kinds: Mapping[str, tuple[float, ...]]
) -> Iterator[tuple[Key | None, Pixels]]:
    """The squares (n, S, S, C) at every level; those that nothing disturbs once for all kinds, under None."""
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
    """The same noise on an image at every level, only stronger."""
    return _rounded(square + level * np.random.default_rng(seed).standard_normal(square.shape, np.float32))


def _rounded(values: NDArray[np.floating[Any]]) -> Pixels:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


DISTURBANCES: dict[str, Disturb] = {
    "scale": _scale, "aspect": _aspect, "resolution": _resolution, "jpeg": _jpeg, "blur": _blur,
    "brightness": _brightness, "noise": _noise,
}  # fmt: skip
BEFORE_FITTING = ("scale", "aspect")
UNCOMPRESSED = 101.0  # beyond the best quality
SCALES = (1.0, 1.15, 1.3, 1.5, 2.0)  # of the record's own
STEPS: dict[str, tuple[float, ...]] = {
    "aspect": (0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0),
    "resolution": (1.0, 0.75, 0.5, 0.35, 0.25),
    "jpeg": (UNCOMPRESSED, 90.0, 70.0, 50.0, 30.0, 10.0),
    "blur": (0.0, 0.01, 0.02, 0.03, 0.05, 0.08),
    "brightness": (0.3, 0.5, 0.75, 1.0, 1.35, 2.0),
    "noise": (0.0, 8.0, 16.0, 32.0, 64.0),
}
PLAIN = {"resolution": 1.0, "aspect": 1.0, "jpeg": UNCOMPRESSED, "blur": 0.0, "brightness": 1.0, "noise": 0.0}
