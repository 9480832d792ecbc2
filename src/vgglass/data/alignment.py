"""Whether one picture is a copy of another: its thumbnail is laid onto the other's and compared place by place.

P pairs of grey thumbnails (P, SIDE, SIDE). Places of a thumbnail run from -1 to 1 down and across.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.data.examination import GREY

Numbers = NDArray[np.float32]

SIDE = GREY
STEPS = 10
LARGEST_STEP = 0.1  # of any parameter in one step
LEAST_GAIN = 0.05  # contrast ratio below which a step would be divided by noise
OVERLAP = 0.6  # least share of the inner picture that the outer one must show
AREAS = 0.5, 1.3  # of the outer picture that the inner one may take
# Local correlation of aligned pairs, measured on 1,398 photographs of hymenoptera and imagenette-small and 50 copies of
# each of twenty kinds: the most similar different photographs, two chain saws on white, one cropped, reach 0.69; of
# copies 2 of 50 with a border of 10 % and 1 of 50 with one of 5 % stay below 0.72, of the other kinds none in place.
ALIKE = 0.72
NEIGHBOURHOOD = 7  # places across, over which brightness and contrast are levelled
NOISE = 5.0  # grey levels: contrast below it is not raised

# What an alignment calls a change.
SMALLER_AREA = 0.93
ROTATED = np.radians(1.5)
PLAIN_EDGE = 5.0  # grey levels: the standard deviation of an edge that is a border
# By orientation; either of two pictures may be the inner one, so that a quarter to the left and to the right are one.
TURNS = ("", "mirrored", "upside-down", "turned-180", "mirrored-turned", "turned-90", "turned-90", "mirrored-turned")


@dataclass(frozen=True)
class Alignment:
    """How P inner pictures lie in P outer ones.

    places  (P, 2, 3): place in the outer picture = places @ (1, down, across)
    score   (P,) local correlation of what they share, from 0 to 1: of all of it or of the middle, whichever is less;
            two frames of one kind agree at the edges alone
    gain    (P,) their correlation's sign: negative for a negative
    """

    places: Numbers
    score: Numbers
    gain: Numbers

    @property
    def areas(self) -> Numbers:
        (dd, da), (ad, aa) = np.moveaxis(self.places[:, :, 1:], 0, -1)
        return np.asarray(dd * aa - da * ad, np.float32)

    @property
    def alike(self) -> NDArray[np.bool_]:
        areas = self.areas
        return np.asarray((self.score >= ALIKE) & (areas >= AREAS[0]) & (areas <= AREAS[1]))


def oriented(pictures: NDArray[Any], orientation: int) -> NDArray[Any]:
    """One of the eight orientations of squares (..., n, n): bit 0 mirrors, 1 turns upside down, 2 transposes then."""
    if orientation & 1:
        pictures = pictures[..., ::-1]
    if orientation & 2:
        pictures = pictures[..., ::-1, :]
    return np.swapaxes(pictures, -1, -2) if orientation & 4 else pictures


def align(inner: Numbers, outer: Numbers, start: Numbers) -> Alignment:
    """Find the affine map, gain and offset that bring `outer` closest to `inner`, by Gauss-Newton from `start`.

    start  (P, 2, 3), see `Alignment.places`
    Source: Lucas and Kanade 1981, with the linear change of brightness of Baker and Matthews 2004, part 3.
    """
    places, best = start.copy(), start.copy()
    highest, gain = np.zeros(len(inner), np.float32), np.zeros(len(inner), np.float32)
    flat = inner.reshape(len(inner), -1)
    slopes = [np.asarray(slope * (SIDE / 2), np.float32) for slope in np.gradient(outer, axis=(1, 2))]
    for step in range(STEPS + 1):
        (seen, down, across), shared = _sampled([outer, *slopes], places)
        one, other = _centred(flat, shared), _centred(seen, shared)
        correlation = _correlation(one, other)
        higher = (np.abs(correlation) > highest) & (shared.mean(axis=1) >= OVERLAP)
        highest[higher], gain[higher], best[higher] = np.abs(correlation)[higher], correlation[higher], places[higher]
        if step < STEPS:
            down, across = down * shared, across * shared
            columns = [down, down * DOWN, down * ACROSS, across, across * DOWN, across * ACROSS, other, shared]
            places = places + _step(np.stack(columns, axis=1), one)
    (seen,), shared = _sampled([outer], best)
    levelled = _levelled(inner), _levelled(seen.reshape(outer.shape))
    one, other = (picture.reshape(flat.shape) * shared for picture in levelled)
    scores = np.stack([_correlation(one, other), _correlation(one * MIDDLE, other * MIDDLE)])
    return Alignment(best, np.abs(scores).min(axis=0), gain)


AXIS = ((np.arange(SIDE) + 0.5) / SIDE * 2 - 1).astype(np.float32)
DOWN, ACROSS = (grid.ravel() for grid in np.meshgrid(AXIS, AXIS, indexing="ij"))
MIDDLE = ((np.abs(DOWN) < 0.65) & (np.abs(ACROSS) < 0.65)).astype(np.float32)
HOMOGENEOUS = np.stack([np.ones_like(DOWN), DOWN, ACROSS])


def _step(columns: Numbers, wanted: Numbers) -> Numbers:
    """The step (P, 2, 3) of least squares: wanted (P, n) from columns (P, 8, n), the last two gain and offset."""
    squares = np.matmul(columns, columns.transpose(0, 2, 1)).astype(np.float64)
    squares[:, range(8), range(8)] *= 1.001  # a picture without detail leaves some directions open
    squares[:, range(8), range(8)] += 1e-3
    solved = np.linalg.solve(squares, np.matmul(columns, wanted[..., None]).astype(np.float64))[..., 0]
    gain = np.where(np.abs(solved[:, 6:7]) > LEAST_GAIN, solved[:, 6:7], np.inf)
    moved = np.clip(solved[:, :6] / gain, -LARGEST_STEP, LARGEST_STEP)
    return moved.reshape(-1, 2, 3).astype(np.float32)


def _sampled(pictures: list[Numbers], places: Numbers) -> tuple[list[Numbers], Numbers]:
    """Each of the pictures (P, SIDE, SIDE) at the places, between pixels; and where these lie inside (P, n)."""
    row, column = np.moveaxis((np.matmul(places, HOMOGENEOUS) + 1) * (SIDE / 2) - 0.5, 1, 0)
    inside = ((row > -0.5) & (row < SIDE - 0.5) & (column > -0.5) & (column < SIDE - 0.5)).astype(np.float32)
    row, column = np.clip(row, 0, SIDE - 1.001), np.clip(column, 0, SIDE - 1.001)
    top, left = row.astype(np.int32), column.astype(np.int32)
    lower, right = row - top, column - left
    first = np.arange(len(places), dtype=np.int64)[:, None] * SIDE**2 + top * SIDE + left
    found = []
    for picture in pictures:
        pixels = np.ascontiguousarray(picture).ravel()  # `take` is far faster than an index of pairs
        above = pixels.take(first) * (1 - right) + pixels.take(first + 1) * right
        below = pixels.take(first + SIDE) * (1 - right) + pixels.take(first + SIDE + 1) * right
        found.append(above * (1 - lower) + below * lower)
    return found, inside


def _centred(values: Numbers, shared: Numbers) -> Numbers:
    means = (values * shared).sum(axis=1) / np.maximum(shared.sum(axis=1), 1)
    return np.asarray((values - means[:, None]) * shared)


def _correlation(one: Numbers, other: Numbers) -> Numbers:
    squares = (one**2).sum(axis=1) * (other**2).sum(axis=1)
    return np.asarray((one * other).sum(axis=1) / np.sqrt(squares + 1e-6))


NEAR = (np.abs(np.subtract.outer(np.arange(SIDE), np.arange(SIDE))) <= NEIGHBOURHOOD // 2).astype(np.float32)
NEAR /= NEAR.sum(axis=1, keepdims=True)


def _levelled(pictures: Numbers) -> Numbers:
    """Brightness and contrast brought to 0 and 1 in each neighbourhood: broad shading makes no two scenes alike."""
    mean = NEAR @ pictures @ NEAR.T
    variance = np.maximum(NEAR @ pictures**2 @ NEAR.T - mean**2, 0)
    return np.asarray((pictures - mean) / np.sqrt(variance + NOISE**2))


def described_changes(found: Alignment, orientations: NDArray[np.int64], outer: Numbers) -> list[tuple[str, ...]]:
    """What distinguishes the pictures of each pair, as keys of the locale's 'copies'; empty where nothing large does.

    orientations  of the inner pictures, see `oriented`
    """
    edges = np.concatenate([outer[:, [0, -1]], outer[:, :, [0, -1]].transpose(0, 2, 1)], axis=1)
    bordered = (edges.std(axis=2) < PLAIN_EDGE).all(axis=1)
    angles = np.arctan2(found.places[:, 1, 1] - found.places[:, 0, 2], found.places[:, 0, 1] + found.places[:, 1, 2])
    rows = zip(orientations.tolist(), found.areas, angles, found.gain, bordered, strict=True)
    named = []
    for orientation, area, angle, gain, border in rows:
        smaller = area < SMALLER_AREA
        about = (
            TURNS[orientation], "bordered" if smaller and border else "cropped" if smaller else "",
            "rotated" if abs(angle) > ROTATED else "", "negative" if gain < 0 else "",
        )  # fmt: skip
        named.append(tuple(filter(None, about)))
    return named
