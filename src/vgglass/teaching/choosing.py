"""Which images to look at: groups that belong together, those to ask about next, labels in doubt, the nearest taught.

n images, D features, K classes.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vgglass.images import Pixels
from vgglass.teaching.ridge import Features, Integers, Numbers

# Near duplicates: the cosine of two averages (of 1,000 photographs of ten ImageNet classes the largest is 0.953), and
# the correlation of two small grey pictures, for to a network that has learned little all images look alike.
ALIKE, CORRELATED = 0.96, 0.8
SMALL = 16  # side of the small picture
ASKED = 12  # images asked about at a time
SURE = 0.5  # probability from which another class makes a label doubtful
AMONG = 8  # times as many of the least certain are those they are chosen from
ROWS = 512  # compared at once


def unit(features: Features) -> Features:
    """Rows of length 1; a row of zeros stays."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    found: Features = (features / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return found


def small_picture(square: Pixels) -> Features:
    """What is left of the network's square (S, S, C) in SMALL x SMALL places of grey, of mean 0 and length 1."""
    grey = square.mean(axis=2)
    edges = np.linspace(0, len(grey), SMALL + 1).astype(int)[:-1]
    places = np.add.reduceat(np.add.reduceat(grey, edges, 0), edges, 1)
    counts = np.diff(np.append(edges, len(grey)))
    places /= np.outer(counts, counts)
    found: Features = unit((places - places.mean()).astype(np.float32).reshape(1, -1))[0]
    return found


def near_pairs(rows: Features, pictures: Features, new: int) -> list[tuple[int, int]]:
    """Pairs of near duplicates, one at least from `new` on, by averages (n, D) of length 1 and small pictures."""
    found = []
    for start in range(new, len(rows), ROWS):
        stop = min(start + ROWS, len(rows))
        alike = rows[start:stop] @ rows[:stop].T >= ALIKE
        alike &= pictures[start:stop] @ pictures[:stop].T >= CORRELATED
        one, other = np.nonzero(alike)
        found += [(i, j) for i, j in zip((one + start).tolist(), other.tolist(), strict=True) if j < i]
    return found


def groups_of(keys: Sequence[int], bursts: Sequence[str], pairs: Iterable[tuple[int, int]]) -> Integers:
    """A group (n,) of each image: those of one key, of one burst ('' for none), and near duplicates share one.

    keys   of the images' contents, which the pairs are of
    """
    parents = {key: key for key in keys}

    def root(key: int) -> int:
        while parents[key] != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    first: dict[str, int] = {}
    joined = [(key, first.setdefault(burst, key)) for key, burst in zip(keys, bursts, strict=True) if burst]
    for one, other in (*joined, *pairs):
        if one in parents and other in parents:
            parents[root(one)] = root(other)
    return np.array([root(key) for key in keys], np.int64)


def margins(logits: Numbers) -> Numbers:
    """Probability (n,) of the likeliest class minus that of the next."""
    shares = probabilities(logits)
    top = np.partition(shares, -2, axis=1)
    found: Numbers = top[:, -1] - top[:, -2]
    return found


def probabilities(logits: Numbers) -> Numbers:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Numbers = powers / powers.sum(axis=1, keepdims=True)
    return found


def to_ask(rows: Features, certainty: Numbers) -> list[int]:
    """Images whose labels teach most: among the least certain, each the farthest from those before it.

    rows  (n, D) of length 1
    Source: k-centre greedy (Gonzalez 1985), for active learning Sener and Savarese 2018 (arXiv 1708.00489).
    """
    candidates = np.argsort(certainty, kind="stable")[: ASKED * AMONG]
    if not len(candidates):
        return []
    part = rows[candidates]
    chosen, nearest = [0], part @ part[0]
    while len(chosen) < min(ASKED, len(candidates)):
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, part @ part[chosen[-1]])
    return [int(candidates[index]) for index in chosen]


def suspects(left_out: Numbers, labels: Integers) -> NDArray[np.intp]:
    """Images for which a head fitted without them says another class rather than all others, the surest first."""
    shares = probabilities(left_out)
    rows = np.arange(len(labels))
    largest = np.where(shares.argmax(axis=1) == labels, 0, shares.max(axis=1))
    order = np.argsort(shares[rows, labels] - largest, kind="stable")
    found: NDArray[np.intp] = order[largest[order] > SURE]
    return found


def nearest(row: Features, rows: Features, count: int) -> list[int]:
    """The indices of rows (n, D) of length 1 that are nearest to one (D,), the nearest first."""
    return [int(index) for index in np.argsort(-(rows @ row), kind="stable")[:count]]
