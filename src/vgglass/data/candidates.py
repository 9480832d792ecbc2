"""Which pairs of many pictures may be copies: their low frequencies agree in one of eight orientations and some window.

N grey thumbnails (N, SIDE, SIDE).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgglass.data.alignment import SIDE, Numbers

FREQUENCIES = 8  # of the discrete cosine transform, each way
ORIENTATIONS = range(8)
# Lowest correlation of a candidate. On 1,398 photographs and 50 copies of each kind (benchmarks/trust_duplicates.py) it
# keeps 1 pair in 1,000 of different ones, and all copies but 8 of 50 that were cropped by 20 % off their centre.
CLOSE = 0.8
NEAREST = 16  # candidates of one picture at most: time grows no faster than comparing them all
NEIGHBOURS = 4  # by features, at most
LEAST_COSINE = 0.8  # of theirs: most pairs of different photographs have about 0.6 at pool5
CELLS = 200_000  # of the matrix computed at once: fits the processor's cache
MANY = 20_000  # beyond it parts are not searched for: 7 windows would take minutes
SCALES = (
    (1.0, 0.5, 0.5),
    (0.9, 0.5, 0.5),
    (0.8, 0.5, 0.5),
    *((0.82, y, x) for y in (0.15, 0.85) for x in (0.15, 0.85)),
)
# (first row, last row, first column, last column) of each window, as shares of the picture.
WINDOWS = np.array([[(1 - s) * y, (1 - s) * y + s, (1 - s) * x, (1 - s) * x + s] for s, y, x in SCALES], np.float32)


@dataclass(frozen=True)
class Candidates:
    """C pairs: picture `inner` in this orientation resembles that window of picture `outer`.

    inner, outer, orientation, window  (C,) each, the last an index of WINDOWS
    similarity                         (C,) absolute correlation of low frequencies
    """

    inner: NDArray[np.int64]
    outer: NDArray[np.int64]
    orientation: NDArray[np.int64]
    window: NDArray[np.int64]
    similarity: Numbers

    def __getitem__(self, chosen: NDArray[np.int64]) -> "Candidates":
        return Candidates(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    @property
    def start(self) -> Numbers:
        """(C, 2, 3): how `alignment.align` lays the inner picture onto the window."""
        first, last, left, right = WINDOWS[self.window].T
        zero = np.zeros_like(first)
        rows = [[first + last - 1, last - first, zero], [left + right - 1, zero, right - left]]
        return np.moveaxis(np.array(rows, np.float32), 2, 0)


def find_candidates(pictures: Numbers) -> Candidates:
    """Of all pairs those of similarity CLOSE, for each inner picture the NEAREST; each pair once."""
    count = len(pictures)
    inner = [_frequencies(pictures, WINDOWS[0], orientation) for orientation in ORIENTATIONS]
    found = [_none()]
    rows = max(1, CELLS // max(1, count))
    for window in range(len(WINDOWS) if count <= MANY else 1):
        outer = _frequencies(pictures, WINDOWS[window], 0).T.copy()
        for start in range(0, count, rows):
            for orientation in ORIENTATIONS:
                similarity = np.abs(inner[orientation][start : start + rows] @ outer)
                one, other = np.nonzero(similarity >= CLOSE)
                found.append(_numbered(start + one, other, orientation, window, similarity[one, other]))
    return joined(*found)


def placed(pictures: Numbers, pairs: NDArray[np.int64]) -> Candidates:
    """Given pairs (C, 2) in the orientation and window in which they agree best."""
    found = [_none()]
    for one, other in (pairs.T, pairs.T[::-1]):
        for orientation in ORIENTATIONS:
            inner = _frequencies(pictures[one], WINDOWS[0], orientation)
            for window, place in enumerate(WINDOWS):
                outer = _frequencies(pictures[other], place, 0)
                similarity = np.abs((inner * outer).sum(axis=1))
                found.append(_numbered(one, other, orientation, window, similarity))
    return joined(*found)


def joined(*parts: Candidates) -> Candidates:
    """One list of several; each pair once, as it agrees best."""
    columns = ([getattr(part, name) for part in parts] for name in Candidates.__dataclass_fields__)
    return _best(Candidates(*(np.concatenate(column) for column in columns)))


def neighbours(features: Numbers) -> NDArray[np.int64]:
    """Pairs (C, 2) of each image and its NEIGHBOURS by the cosine of their features (N, D)."""
    units = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    nearest = min(NEIGHBOURS, len(units) - 1)
    pairs = [np.empty((0, 2), np.int64)]
    rows = max(1, CELLS // max(1, len(units)))
    for start in range(0, len(units) if nearest > 0 else 0, rows):
        cosines = units[start : start + rows] @ units.T
        here = np.arange(len(cosines))
        cosines[here, start + here] = -np.inf
        closest = np.argpartition(-cosines, nearest - 1, axis=1)[:, :nearest]
        near = np.take_along_axis(cosines, closest, axis=1) >= LEAST_COSINE
        pairs.append(np.stack([start + np.nonzero(near)[0], closest[near]], axis=1))
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def _frequencies(pictures: Numbers, window: Numbers, orientation: int) -> Numbers:
    """Unit vectors (N, FREQUENCIES²) of a window: the transform without its mean, high frequencies raised a little."""
    down, across = _cosines(*window[:2]), _cosines(*window[2:])
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    found = down @ centred @ across.T * WEIGHTS
    signs = (-1.0) ** np.arange(FREQUENCIES, dtype=np.float32)  # mirrored, a cosine of odd frequency changes its sign
    if orientation & 1:
        found = found * signs
    if orientation & 2:
        found = found * signs[:, None]
    if orientation & 4:
        found = found.transpose(0, 2, 1)
    flat = found.reshape(len(found), FREQUENCIES**2)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), np.float32)


# Natural images have less of a high frequency: by its root each counts for something.
WEIGHTS = np.sqrt(np.hypot(*np.mgrid[:FREQUENCIES, :FREQUENCIES])).astype(np.float32)
FINER = 8  # samples of a cosine within one place


def _cosines(first: float, last: float) -> Numbers:
    """(FREQUENCIES, SIDE) cosines between two edges, 0 outside of them."""
    place = ((np.arange(SIDE * FINER) + 0.5) / (SIDE * FINER) - first) / (last - first)
    waves = np.cos(np.pi * np.arange(FREQUENCIES)[:, None] * place) * ((place > 0) & (place < 1))
    return np.asarray(waves.reshape(FREQUENCIES, SIDE, FINER).mean(axis=2), np.float32)


def _numbered(
    inner: NDArray[np.int64], outer: NDArray[np.int64], orientation: int, window: int, similarity: Numbers
) -> Candidates:
    return Candidates(inner, outer, np.full(len(inner), orientation), np.full(len(inner), window), similarity)


def _none() -> Candidates:
    empty = np.empty(0, np.int64)
    return _numbered(empty, empty, 0, 0, np.empty(0, np.float32))


def _best(found: Candidates) -> Candidates:
    """The best of each pair, then the NEAREST of each inner picture."""
    ordered = np.lexsort((found.window, found.orientation, -found.similarity))
    ordered = ordered[found.inner[ordered] != found.outer[ordered]]
    pairs = np.sort(np.stack([found.inner, found.outer], axis=1)[ordered], axis=1)
    firsts = np.sort(np.unique(pairs, axis=0, return_index=True)[1])  # the first of each pair is its best
    best = found[ordered[firsts]]
    by_inner = best[np.argsort(best.inner, kind="stable")]
    rank = np.arange(len(by_inner.inner)) - np.searchsorted(by_inner.inner, by_inner.inner)
    return by_inner[np.flatnonzero(rank < NEAREST)]
