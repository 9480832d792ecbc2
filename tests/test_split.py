"""Splits: exact shares, nothing torn, nothing moved when images are added."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgglass.data.dataset import Dataset, Sample
from vgglass.data.examination import Facts
from vgglass.data.folder import trainable
from vgglass.data.split import divide
from vgglass.errors import DataError

HELD_OUT = ("validation", "test")
THUMBNAIL = bytes(range(192))


def sample(scene: int, shot: int = 0, label: int = 0, first: int | None = None) -> Sample:
    """An image whose digest is its own; `first` sets the digest's first byte, which places a new group."""
    digest = np.random.default_rng((scene, shot)).bytes(32)
    digest = digest if first is None else bytes([first]) + digest[1:]
    grey = np.random.default_rng(scene).bytes(1024)  # every scene's own; its shots are near duplicates
    facts = Facts(1, digest, height=99, width=99, phash=0, thumbnail=THUMBNAIL, grey=grey)
    return Sample(f"{label}/{scene}-{shot}", np.zeros((1, 1, 3), np.uint8), label, digest, facts)


def sides(parts: dict[str, tuple[Sample, ...]]) -> dict[str, str]:
    return {sample.id: name for name, members in parts.items() for sample in members}


def test_shares_are_exact_in_the_order_of_the_digests() -> None:
    samples = [sample(scene, label=scene % 2) for scene in range(40)]
    parts, left_out = divide(samples, HELD_OUT, {})
    assert left_out == ()
    for label in (0, 1):
        counts = {name: sum(member.label == label for member in members) for name, members in parts.items()}
        assert counts == {"train": 14, "validation": 3, "test": 3}
        ordered = sorted((each for each in samples if each.label == label), key=lambda each: each.digest)
        assert [sides(parts)[each.id] for each in ordered] == ["validation"] * 3 + ["test"] * 3 + ["train"] * 14


def test_a_group_goes_whole_to_one_side_under_its_first_members_label() -> None:
    group = [sample(0, shot, label=1 - (shot == 0), first=0) for shot in range(2)]  # first by digest in both labels
    others = [sample(scene, label=scene % 2, first=9) for scene in range(1, 40)]
    parts, _ = divide([*group, *others], HELD_OUT, {})
    assert {sides(parts)[each.id] for each in group} == {"validation"}
    large = [sample(0, shot, first=0) for shot in range(4)]  # a share is 3 of 23: such a group stays in train
    parts, _ = divide([*large, *(sample(scene, first=9) for scene in range(1, 20))], HELD_OUT, {})
    assert {sides(parts)[each.id] for each in large} == {"train"}
    assert len(parts["validation"]) == len(parts["test"]) == 3


scenes = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 3), st.integers(0, 2)),
    min_size=1,
    max_size=40,
    unique_by=lambda x: x[:2],
)


@given(scenes, st.randoms())
def test_nothing_is_torn_whatever_the_order(found: Sequence[tuple[int, int, int]], random: Random) -> None:
    samples = [sample(*each) for each in found]
    parts, left_out = divide(samples, HELD_OUT, {})
    random.shuffle(samples)
    assert divide(samples, HELD_OUT, {}) == (parts, left_out)
    assert sorted(sides(parts)) == sorted(each.id for each in samples)
    by_scene: dict[str, set[str]] = {}
    for name, side in sides(parts).items():
        by_scene.setdefault(name.split("/")[1].split("-")[0], set()).add(side)
    assert all(len(found) == 1 for found in by_scene.values())


@given(scenes, scenes)
def test_additions_never_move_an_old_image(
    old: Sequence[tuple[int, int, int]], new: Sequence[tuple[int, int, int]]
) -> None:
    before = [sample(*each) for each in old]
    parts, _ = divide(before, HELD_OUT, {})
    earlier = {member.digest: name for name, members in parts.items() for member in members}
    known = {each[:2] for each in old}
    added = [sample(*each) for each in new if each[:2] not in known]
    again, left_out = divide([*added, *before], HELD_OUT, earlier)
    assert {name: sides(again)[name] for name in sides(parts)} == sides(parts)
    assert left_out == ()  # a scene is on one side, so nothing can bridge two
    for each in added:
        twin = next(
            (other for other in before if other.id.split("/")[1].split("-")[0] == each.id.split("/")[1].split("-")[0]),
            None,
        )
        if twin:
            assert sides(again)[each.id] == sides(parts)[twin.id]


def test_new_groups_fall_by_their_digest() -> None:
    old = sample(0)
    # 0.15 of 256 is 38.4, 0.30 is 76.8
    firsts = {37: "validation", 39: "test", 75: "test", 77: "train", 255: "train"}
    new = [sample(scene, first=first) for scene, first in enumerate(firsts, start=1)]
    new.append(sample(1, 1, first=200))  # near duplicate of the first, so it falls with it
    parts, _ = divide([old, *new], HELD_OUT, {old.digest: "test"})
    assert [sides(parts)[each.id] for each in new] == [*firsts.values(), "validation"]
    assert sides(parts)[old.id] == "test"


def test_an_image_that_bridges_two_sides_is_left_out_and_named() -> None:
    one, other = sample(0, 0), sample(0, 1)
    bridge, beside = sample(0, 2), sample(1)
    parts, left_out = divide([one, other, bridge, beside], HELD_OUT, {one.digest: "train", other.digest: "test"})
    assert left_out == ((bridge.id, "near duplicate of '0/0-1' in test and '0/0-0' in train"),)
    assert (sides(parts)[one.id], sides(parts)[other.id]) == ("train", "test")
    assert bridge.id not in sides(parts)


def test_what_is_near_to_one_side_alone_is_not_left_out_with_a_bridge() -> None:
    def apart(name: str, *bits: int) -> Sample:
        """A small image whose hash has ten bits set for each place."""
        facts = sample(0).facts
        assert facts
        digest = hashlib.sha256(name.encode()).digest()
        phash = sum(0x3FF << place for place in bits)
        return replace(sample(0), id=name, digest=digest, facts=replace(facts, sha256=digest, phash=phash, height=40))

    one = apart("0/0-0")
    beside, bridge, other = apart("beside", 0), apart("bridge", 20), apart("other", 20, 40)
    earlier = {one.digest: "train", other.digest: "test"}
    parts, left_out = divide([one, beside, bridge, other], HELD_OUT, earlier)
    assert left_out == (("bridge", "near duplicate of 'other' in test and '0/0-0' in train"),)
    assert sides(parts) == {"0/0-0": "train", "beside": "train", "other": "test"}


def test_contents_without_pictures_to_compare_are_divided_by_digest() -> None:
    digits = [Sample(str(n), np.full((8, 8, 1), n, np.uint8), 0, bytes([n]) * 32) for n in range(20)]
    parts, _ = divide(digits, ("validation",), {})
    assert Counter(sides(parts).values()) == {"train": 17, "validation": 3}


def test_classes_that_near_duplicates_leave_empty_are_named() -> None:
    burst = [sample(0, shot, label=0) for shot in range(4)] + [sample(1, shot, label=1) for shot in range(4)]
    with pytest.raises(DataError, match="leaves no validation images: near duplicates stay together"):
        trainable(Dataset("bursts", ("a", "b"), {"all": tuple(burst)}))
    twins = [sample(scene, 1, label=1, first=200 + scene) for scene in range(3)]
    firsts = [sample(scene, 0, label=0, first=scene) for scene in range(3)]
    rest = [sample(scene, label=0, first=99) for scene in range(10, 30)]
    with pytest.raises(DataError, match=r"class 'b' of pairs: has no training image: .* were all held out"):
        trainable(Dataset("pairs", ("a", "b"), {"all": (*twins, *firsts, *rest)}))
