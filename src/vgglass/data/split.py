"""Train, validation and test: stratified, the same every time, near duplicates together, stable as images are added."""

from collections.abc import Mapping, Sequence

import numpy as np

from vgglass.data.dataset import Sample
from vgglass.data.duplicates import Integers, components, find_duplicates

HELD_OUT_SHARE = 0.15  # of each class, for each of validation and test
BETWEEN = "near duplicate of"  # how the reason begins for which a new image is left out
Parts = dict[str, tuple[Sample, ...]]
LeftOut = tuple[tuple[str, str], ...]


def divide(samples: Sequence[Sample], held_out: Sequence[str], earlier: Mapping[bytes, str]) -> tuple[Parts, LeftOut]:
    """Give each held-out split its share of every class, and 'train' the rest; what had to be left out, with reasons.

    earlier  the split of contents seen before; they stay there. What is new joins the split of its near duplicates,
             or falls by its digest, so that shares are approximate; what is near to images of two splits is left out

    Without earlier splits, whole groups of near duplicates fill each class's exact share in the order of their
    digests: the same images always fall the same way, wherever the folder lies. Raises MissingExtraError.
    """
    ordered = sorted(samples, key=lambda sample: (sample.digest, sample.id))
    firsts = list({sample.digest: sample for sample in reversed(ordered)}.values())[::-1]  # one a content, by digest
    pairs = find_duplicates([sample.described() for sample in firsts]).pairs
    allowed = ("train", *held_out)
    known = {digest: side for digest, side in earlier.items() if side in allowed}
    if not known.keys().isdisjoint(sample.digest for sample in firsts):
        sides, left_out = _added(firsts, pairs, held_out, known)
    else:
        sides, left_out = _fresh(firsts, pairs, held_out), {}
    parts: dict[str, list[Sample]] = {name: [] for name in allowed}
    for sample in sorted(ordered, key=lambda sample: sample.label):
        if sample.digest in sides:
            parts[sides[sample.digest]].append(sample)
    torn = ((sample.id, left_out[sample.digest]) for sample in ordered if sample.digest in left_out)
    return {name: tuple(members) for name, members in parts.items()}, tuple(torn)


def _fresh(firsts: Sequence[Sample], pairs: Integers, held_out: Sequence[str]) -> dict[bytes, str]:
    """A group counts whole under the label of its first member; one larger than what a share still lacks goes on."""
    groups: dict[int, list[Sample]] = {}
    for sample, group in zip(firsts, components(len(firsts), pairs), strict=True):
        groups.setdefault(int(group), []).append(sample)
    sides: dict[bytes, str] = {}
    for label in sorted({members[0].label for members in groups.values()}):
        waiting = [members for members in groups.values() if members[0].label == label]
        count = max(1, round(sum(map(len, waiting)) * HELD_OUT_SHARE)) if len(waiting) > len(held_out) else 0
        for name in held_out:
            lacking, rest = count, []
            for members in waiting:
                if len(members) <= lacking:
                    lacking -= len(members)
                    sides |= dict.fromkeys((sample.digest for sample in members), name)
                else:
                    rest.append(members)
            waiting = rest
        sides |= dict.fromkeys((sample.digest for members in waiting for sample in members), "train")
    return sides


def _added(
    firsts: Sequence[Sample], pairs: Integers, held_out: Sequence[str], known: Mapping[bytes, str]
) -> tuple[dict[bytes, str], dict[bytes, str]]:
    """Known contents where they were; groups of new ones at the side of what they are near, or by their digest."""
    old = np.array([sample.digest in known for sample in firsts])
    group = components(len(firsts), pairs[~old[pairs].any(axis=1)])  # of new contents alone
    near: dict[int, dict[str, str]] = {}  # by group, the sides it is near to and an image there
    for one, other in [*pairs.tolist(), *pairs[:, ::-1].tolist()]:
        if old[other] and not old[one]:
            near.setdefault(int(group[one]), {})[known[firsts[other].digest]] = firsts[other].id
    sides = {sample.digest: known[sample.digest] for sample in firsts if sample.digest in known}
    left_out: dict[bytes, str] = {}
    fallen: dict[int, str] = {}
    for index, sample in enumerate(firsts):
        number = int(group[index])
        found = near.get(number, {})
        if old[index]:
            continue
        if len(found) > 1:
            places = " and ".join(f"{name!r} in {side}" for side, name in sorted(found.items()))
            left_out[sample.digest] = f"{BETWEEN} {places}"
        elif found:
            sides[sample.digest] = next(iter(found))
        else:  # firsts are in the order of their digests: the first of a group places it
            sides[sample.digest] = fallen.setdefault(number, _by_digest(sample.digest, held_out))
    return sides, left_out


def _by_digest(digest: bytes, held_out: Sequence[str]) -> str:
    """The side where a content falls: SHA-256 spreads them evenly over 0..1, and each held-out side has its share."""
    place = int(int.from_bytes(digest[:8]) / 2**64 / HELD_OUT_SHARE)
    return held_out[place] if place < len(held_out) else "train"
