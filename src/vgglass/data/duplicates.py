"""Duplicate detection: equal contents, and near duplicates by perceptual hash and thumbnail."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.data.examination import Facts
from vgglass.errors import MissingExtraError

# Measured on the 398 photographs of hymenoptera (79,003 pairs) and altered copies of each. No two different
# photographs lie within 12 bits; the nearest thumbnails within 16 bits differ by 0.92 of their contrast. Within 12 bits
# and 0.4 lie all copies recompressed at quality 30, halved, or made 15 % brighter, 99 % of those that lost 2 % at each
# edge and 85 % of those that lost 4 %.
BITS = 12
DIFFERENCE = 0.4  # RMS difference of two mean-centred thumbnails, relative to the lower of their contrasts
# Small images have too little detail to be told apart: of the 1.6 million pairs of the 8x8 digits 2,217 lie within
# 0.4, and 1 within 0.15, where the recompressed and halved copies still are.
SMALL_SIDE = 64
SMALL_DIFFERENCE = 0.15
# All blank images have the same hash. Below this standard deviation only equal contents are duplicates.
LEAST_CONTRAST = 4.0
CELLS = 200_000  # of the distance matrix computed at once: fits the processor's cache
Integers = NDArray[np.intp]


@dataclass(frozen=True)
class DuplicateGroups:
    """Distinct contents of F files, and the near duplicates among them.

    content  (F,) index of each file's content
    pairs    (P, 2) near duplicates, as indices of contents
    """

    content: Integers
    pairs: Integers

    @cached_property
    def group(self) -> Integers:
        """(F,) index of each file's group, joined by equal contents and near duplicates."""
        count = int(self.content.max(initial=-1)) + 1
        return components(count, self.pairs)[self.content]

    def crossing(self, sides: Sequence[str]) -> Iterator[list[int]]:
        """Files by group that have a duplicate on another side (a split, or a label)."""
        members: list[set[str]] = [set() for _ in range(int(self.content.max(initial=-1)) + 1)]
        for content, side in zip(self.content, sides, strict=True):
            members[content].add(side)
        seen = [set(found) for found in members]
        for one, other in self.pairs:
            seen[one] |= members[other]
            seen[other] |= members[one]
        return _grouped((index for index, content in enumerate(self.content) if len(seen[content]) > 1), self.group)

    def copies(self) -> Iterator[list[int]]:
        """Groups of files with equal bytes."""
        return _grouped(range(len(self.content)), self.content)

    def near(self) -> Iterator[list[int]]:
        """Groups of files with more than one distinct content."""
        near = set(self.group[np.isin(self.content, self.pairs)])
        return _grouped((index for index, group in enumerate(self.group) if group in near), self.group)


def _grouped(indices: Iterable[int], numbers: Integers) -> Iterator[list[int]]:
    gathered: dict[int, list[int]] = {}
    for index in indices:
        gathered.setdefault(int(numbers[index]), []).append(index)
    return (found for found in gathered.values() if len(found) > 1)


def find_duplicates(facts: Sequence[Facts]) -> DuplicateGroups:
    """Compare all pairs of images. Raises MissingExtraError."""
    numbers: dict[bytes, int] = {}
    content = [numbers.setdefault(found.sha256, len(numbers)) for found in facts]
    firsts = dict(zip(content, facts, strict=True))
    hashed = [number for number in range(len(numbers)) if firsts[number].phash is not None]
    near = _near_duplicates([firsts[number] for number in hashed])
    return DuplicateGroups(np.array(content, np.intp), np.array(hashed, np.intp)[near])


def components(count: int, pairs: Integers) -> Integers:
    """Connected component (count,) of each of `count` nodes, given the edges (P, 2). Raises MissingExtraError."""
    try:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components
    except ModuleNotFoundError as error:
        raise MissingExtraError("scipy", "data", "finding near duplicates") from error
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.intp)


def _near_duplicates(facts: Sequence[Facts]) -> Integers:
    """Pairs (P, 2) of near duplicates. Distances are computed in row blocks, so that memory stays linear."""
    hashes = np.array([found.phash for found in facts], np.uint64)
    thumbnails = np.array([np.frombuffer(found.thumbnail, np.uint8) for found in facts])
    small = np.array([min(found.height, found.width) < SMALL_SIDE for found in facts], bool)
    pairs = [np.empty((0, 2), np.intp)]
    rows = max(1, CELLS // max(1, len(facts)))
    for start in range(0, len(facts), rows):
        close = np.bitwise_count(hashes[start : start + rows, None] ^ hashes[None, start:]) <= BITS
        found = start + np.argwhere(close)
        found = found[found[:, 0] < found[:, 1]]
        for part in range(0, len(found), 100_000):
            candidates = found[part : part + 100_000]
            pairs.append(candidates[_look_alike(thumbnails[candidates], small[candidates].any(axis=1, keepdims=True))])
    return np.concatenate(pairs)


def _look_alike(thumbnails: NDArray[np.uint8], small: Any) -> NDArray[np.bool_]:
    """Mask (P,) of thumbnail pairs (P, 2, places x channels) that match up to brightness and tint; small (P, 1)."""
    values = thumbnails.reshape(len(thumbnails), 2, -1, 3).astype(np.float32)
    values -= values.mean(axis=2, keepdims=True)
    contrast = np.sqrt((values**2).mean(axis=(2, 3))).min(axis=1)
    difference = np.sqrt(((values[:, 0] - values[:, 1]) ** 2).mean(axis=(1, 2)))
    tolerance = np.where(small[:, 0], SMALL_DIFFERENCE, DIFFERENCE)
    alike: NDArray[np.bool_] = (contrast >= LEAST_CONTRAST) & (difference <= tolerance * contrast)
    return alike
