"""Duplicate detection: equal contents, and near duplicates: candidates confirmed on aligned pixels.

Mirrored, turned, bordered, cropped, slightly rotated and negative copies are found, beside those that were resized,
recompressed, blurred or changed in contrast. Images below SMALL_SIDE pixels are compared by perceptual hash alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vgglass.data.alignment import SIDE, align, described_changes, oriented
from vgglass.data.candidates import CELLS, find_candidates, joined, neighbours, placed
from vgglass.data.examination import Facts
from vgglass.errors import MissingExtraError

# Small images have too little detail to be turned or aligned: they are compared as they are. Of the 1.6 million pairs
# of the 8x8 digits 1 lies within 12 bits and 0.15, where recompressed and halved copies still are.
SMALL_SIDE = 64
BITS = 12
DIFFERENCE = 0.15  # RMS difference of two mean-centred thumbnails, relative to the lower of their contrasts
# All blank images have the same hash. Below this standard deviation only equal contents are duplicates.
LEAST_CONTRAST = 4.0
PART = 64  # pairs aligned at once: fits the processor's cache
Integers = NDArray[np.intp]


@dataclass(frozen=True)
class DuplicateGroups:
    """Distinct contents of F files, and the near duplicates among them.

    content  (F,) index of each file's content
    pairs    (P, 2) near duplicates, as indices of contents
    changes  what distinguishes each pair, as keys of the locale's 'copies'
    """

    content: Integers
    pairs: Integers
    changes: tuple[tuple[str, ...], ...] = ()

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

    def changes_in(self, files: Sequence[int]) -> tuple[str, ...]:
        """What distinguishes some files from one another, as keys of the locale's 'copies', each once."""
        contents = self.content[list(files)]
        within = np.isin(self.pairs, contents).all(axis=1)
        return tuple(dict.fromkeys(change for pair in np.flatnonzero(within) for change in self.changes[pair]))


def _grouped(indices: Iterable[int], numbers: Integers) -> Iterator[list[int]]:
    gathered: dict[int, list[int]] = {}
    for index in indices:
        gathered.setdefault(int(numbers[index]), []).append(index)
    return (found for found in gathered.values() if len(found) > 1)


def find_duplicates(facts: Sequence[Facts], features: NDArray[np.float32] | None = None) -> DuplicateGroups:
    """Compare all pairs of images.

    features  (F, D) of each image, such as pool5's averages: neighbours by them are candidates too
    Raises MissingExtraError.
    """
    numbers: dict[bytes, int] = {}
    content = [numbers.setdefault(found.sha256, len(numbers)) for found in facts]
    firsts = {number: index for index, number in reversed([*enumerate(content)])}
    hashed = [number for number in range(len(numbers)) if facts[firsts[number]].phash is not None]
    described = [facts[firsts[number]] for number in hashed]
    small = np.array([min(found.height, found.width) < SMALL_SIDE for found in described], bool)
    whole = np.flatnonzero(~small)
    vectors = features[[firsts[hashed[index]] for index in whole]] if features is not None else None
    aligned, changes = _aligned_copies([described[index] for index in whole], vectors)
    plain = _plain_copies(described, np.flatnonzero(small))
    pairs = np.array(hashed, np.intp)[np.concatenate([whole[aligned], plain])]
    return DuplicateGroups(np.array(content, np.intp), pairs, (*changes, *([()] * len(plain))))


def components(count: int, pairs: Integers) -> Integers:
    """Connected component (count,) of each of `count` nodes, given the edges (P, 2). Raises MissingExtraError."""
    try:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components
    except ModuleNotFoundError as error:
        raise MissingExtraError("scipy", "data", "finding near duplicates") from error
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.intp)


def _aligned_copies(
    facts: Sequence[Facts], features: NDArray[np.float32] | None
) -> tuple[Integers, list[tuple[str, ...]]]:
    """Pairs (P, 2) of pictures one of which is a copy of the other, or of a part of it; and what was done to it."""
    pictures = np.array([np.frombuffer(found.grey, np.uint8) for found in facts], np.float32).reshape(-1, SIDE, SIDE)
    rich = np.flatnonzero(pictures.std(axis=(1, 2)) >= LEAST_CONTRAST)
    pictures = pictures[rich]
    found = find_candidates(pictures)
    if features is not None:
        found = joined(found, placed(pictures, neighbours(features[rich])))
    pairs, changes = [np.empty((0, 2), np.intp)], []
    for start in range(0, len(found.inner), PART):
        part = found[np.arange(start, min(start + PART, len(found.inner)))]
        turned = [
            oriented(pictures[index], turn) for index, turn in zip(part.inner, part.orientation.tolist(), strict=True)
        ]
        outer = pictures[part.outer]
        alignment = align(np.array(turned), outer, part.start)
        alike = np.flatnonzero(alignment.alike)
        pairs.append(np.sort(np.stack([part.inner, part.outer], axis=1)[alike], axis=1))
        named = described_changes(alignment, part.orientation, outer)
        changes += [named[index] for index in alike]
    return rich[np.concatenate(pairs)], changes


def _plain_copies(facts: Sequence[Facts], small: Integers) -> Integers:
    """Pairs (P, 2) of a small image and any other with near hashes and thumbnails."""
    hashes = np.array([found.phash for found in facts], np.uint64)
    thumbnails = np.array([np.frombuffer(found.thumbnail, np.uint8) for found in facts])
    is_small = np.isin(np.arange(len(facts)), small)
    pairs = [np.empty((0, 2), np.intp)]
    rows = max(1, CELLS // max(1, len(facts)))
    for start in range(0, len(small), rows):
        close = np.bitwise_count(hashes[small[start : start + rows], None] ^ hashes) <= BITS
        one, other = np.nonzero(close)
        one = small[start + one]
        once = (one < other) | ~is_small[other]  # two small images meet twice
        found = np.sort(np.stack([one, other], axis=1)[once & (one != other)], axis=1)
        for part in range(0, len(found), 100_000):
            candidates = found[part : part + 100_000]
            pairs.append(candidates[_look_alike(thumbnails[candidates])])
    return np.concatenate(pairs)


def _look_alike(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mask (P,) of thumbnail pairs (P, 2, places x channels) that match up to brightness and tint."""
    values = thumbnails.reshape(len(thumbnails), 2, -1, 3).astype(np.float32)
    values -= values.mean(axis=2, keepdims=True)
    contrast = np.sqrt((values**2).mean(axis=(2, 3))).min(axis=1)
    difference = np.sqrt(((values[:, 0] - values[:, 1]) ** 2).mean(axis=(1, 2)))
    alike: NDArray[np.bool_] = (contrast >= LEAST_CONTRAST) & (difference <= DIFFERENCE * contrast)
    return alike
