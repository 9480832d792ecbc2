"""Train, validation and test splits: stratified, deterministic, grouped by near duplicates, stable under additions."""

from collections.abc import Mapping, Sequence

import numpy as np

from vgglass.data.dataset import Sample
from vgglass.data.duplicates import Integers, components, find_duplicates

HELD_OUT_SHARE = 0.15  # of each class, for each of validation and test
BETWEEN = "near duplicate of"  # prefix of the reason for leaving out a new image
Parts = dict[str, tuple[Sample, ...]]
LeftOut = tuple[tuple[str, str], ...]


def divide(samples: Sequence[Sample], held_out: Sequence[str], earlier: Mapping[bytes, str]) -> tuple[Parts, LeftOut]:
    """Assign a share of every class to each held-out split and the rest to 'train'; also what was left out, and why.

    earlier  previous split by SHA-256, which is kept. A new image joins the split of its near duplicates, or is
             assigned by its digest, so that shares are approximate; near duplicates of two splits are left out

    Without earlier splits, whole groups of near duplicates fill the exact share of each class in the order of their
    digests: the result depends only on the contents. Raises MissingExtraError.
    """
    ordered = sorted(samples, key=lambda sample: (sample.digest, sample.id))
    firsts = list({sample.digest: sample for sample in reversed(ordered)}.values())[
        ::-1
    ]  # one sample per content, sorted by digest
    pairs = find_duplicates([sample.described() for sample in firsts]).pairs
    allowed = ("train", *held_out)
    known = {digest: side for digest, side in earlier.items() if side in allowed}
    if not known.keys().isdisjoint(sample.digest for sample in firsts):
        sides, left_out = _extended_split(firsts, pairs, held_out, known)
    else:
        sides, left_out = _new_split(firsts, pairs, held_out), {}
    parts: dict[str, list[Sample]] = {name: [] for name in allowed}
    for sample in sorted(ordered, key=lambda sample: sample.label):
        if sample.digest in sides:
            parts[sides[sample.digest]].append(sample)
    excluded = ((sample.id, left_out[sample.digest]) for sample in ordered if sample.digest in left_out)
    return {name: tuple(members) for name, members in parts.items()}, tuple(excluded)


def _new_split(firsts: Sequence[Sample], pairs: Integers, held_out: Sequence[str]) -> dict[bytes, str]:
    """Split by groups of near duplicates; a group has its first member's label, and skips a share that it overfills."""
    groups: dict[int, list[Sample]] = {}
    for sample, group in zip(firsts, components(len(firsts), pairs), strict=True):
        groups.setdefault(int(group), []).append(sample)
    sides: dict[bytes, str] = {}
    for label in sorted({members[0].label for members in groups.values()}):
        unassigned = [members for members in groups.values() if members[0].label == label]
        count = max(1, round(sum(map(len, unassigned)) * HELD_OUT_SHARE)) if len(unassigned) > len(held_out) else 0
        for name in held_out:
            lacking, rest = count, []
            for members in unassigned:
                if len(members) <= lacking:
                    lacking -= len(members)
                    sides |= dict.fromkeys((sample.digest for sample in members), name)
                else:
                    rest.append(members)
            unassigned = rest
        sides |= dict.fromkeys((sample.digest for members in unassigned for sample in members), "train")
    return sides


def _extended_split(
    firsts: Sequence[Sample], pairs: Integers, held_out: Sequence[str], known: Mapping[bytes, str]
) -> tuple[dict[bytes, str], dict[bytes, str]]:
    """Keep known contents; assign groups of new ones to the split of their near duplicates, or by digest."""
    old = np.array([sample.digest in known for sample in firsts])
    group = components(len(firsts), pairs[~old[pairs].any(axis=1)])  # of new contents only
    near: dict[int, dict[str, str]] = {}  # by group: splits with near duplicates, and one image of each
    for one, other in [*pairs.tolist(), *pairs[:, ::-1].tolist()]:
        if old[other] and not old[one]:
            near.setdefault(int(group[one]), {})[known[firsts[other].digest]] = firsts[other].id
    sides = {sample.digest: known[sample.digest] for sample in firsts if sample.digest in known}
    left_out: dict[bytes, str] = {}
    assigned: dict[int, str] = {}
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
        else:  # firsts are sorted by digest: the first of a group decides
            sides[sample.digest] = assigned.setdefault(number, _by_digest(sample.digest, held_out))
    return sides, left_out


def _by_digest(digest: bytes, held_out: Sequence[str]) -> str:
    """Assign a content to a split by its SHA-256, taken as uniform in 0..1."""
    place = int(int.from_bytes(digest[:8]) / 2**64 / HELD_OUT_SHARE)
    return held_out[place] if place < len(held_out) else "train"
