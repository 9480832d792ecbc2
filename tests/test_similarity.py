"""Near duplicates: what must be found, what must not, and how groups come of pairs."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pictures import save, scene
from vgglass.data import sources
from vgglass.data.duplicates import BITS, DuplicateGroups, components, find_duplicates
from vgglass.data.examination import Facts, examine
from vgglass.images import Pixels


def facts(pixels: Pixels, folder: Path) -> Facts:
    return examine(save(folder / "picture.png", pixels))


def altered(pixels: Pixels) -> dict[str, Pixels]:
    height, width = pixels.shape[:2]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=40)
    edge = slice(height // 40, height - height // 40), slice(width // 40, width - width // 40)
    return {
        "recompressed": np.asarray(Image.open(buffer)),
        "halved": np.asarray(Image.fromarray(pixels).resize((width // 2, height // 2))),
        "brighter": np.clip(pixels.astype(float) * 1.1 + 5, 0, 255).astype(np.uint8),
        "cropped": pixels[edge],
    }


def test_altered_copies_are_found_and_other_scenes_are_not(tmp_path: Path) -> None:
    for seed in range(8):
        found = [facts(scene(seed), tmp_path)]
        found += [facts(copy, tmp_path) for copy in altered(scene(seed)).values()]
        found += [facts(scene(100 + 10 * seed + other), tmp_path) for other in range(5)]
        group = find_duplicates(found).group
        assert set(group[:5]) == {group[0]}, seed
        assert len(set(group)) == 6, seed


def test_blank_pictures_are_twins_only_of_their_equals(tmp_path: Path) -> None:
    shades = [facts(np.full((100, 100, 3), shade, np.uint8), tmp_path) for shade in (0, 128, 130, 255, 255)]
    assert len({found.phash for found in shades[1:]}) == 1  # the hash alone would take them all for one
    found = find_duplicates(shades)
    assert found.pairs.tolist() == []
    assert list(found.copies()) == [[3, 4]]


def test_tiny_digits_are_not_all_duplicates(tmp_path: Path) -> None:
    samples = sources.digits().split("validation")
    found = [facts(np.repeat(np.asarray(sample.source), 3, axis=2), tmp_path) for sample in samples]
    assert len(find_duplicates(found).pairs) <= 1  # of 16,110 pairs


def test_small_pictures_need_closer_thumbnails(tmp_path: Path) -> None:
    one = facts(scene(1), tmp_path)
    other = facts(scene(1)[9:-9, 12:-12], tmp_path)  # a twentieth less at each edge
    assert len(find_duplicates([one, other]).pairs) == 1
    assert len(find_duplicates([one, replace(other, height=63)]).pairs) == 0


def test_twelve_bits_apart_and_no_more(tmp_path: Path) -> None:
    one = replace(facts(scene(1), tmp_path), height=63)
    assert one.phash is not None
    for bits in (BITS, BITS + 1):
        other = replace(one, phash=one.phash ^ ((1 << bits) - 1), sha256=b"other")
        assert len(find_duplicates([one, other]).pairs) == (bits == 12)


def test_groups_join_what_pairs_chain() -> None:
    assert components(5, np.array([[0, 1], [1, 4]])).tolist() == [0, 0, 1, 2, 0]
    # Files 0 and 3 hold the same bytes; content 0 is near to 1, and 1 to 2.
    found = DuplicateGroups(np.array([0, 1, 2, 0, 3]), np.array([[0, 1], [1, 2]]))
    assert found.group.tolist() == [0, 0, 0, 0, 1]
    assert list(found.copies()) == [[0, 3]]
    assert list(found.near()) == [[0, 1, 2, 3]]
    # Only those count whose own twin is on the other side: content 0 is not near to content 2.
    assert list(found.crossing(["train", "train", "test", "train", "test"])) == [[1, 2]]
    assert list(found.crossing(["train", "train", "train", "test", "test"])) == [[0, 1, 3]]


def test_pairs_are_the_same_however_many_rows_are_compared_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [facts(copy, tmp_path) for seed in range(3) for copy in altered(scene(seed)).values()]
    whole = find_duplicates(found).pairs.tolist()
    for module in ("duplicates", "candidates"):
        monkeypatch.setattr(f"vgglass.data.{module}.CELLS", 1)
    monkeypatch.setattr("vgglass.data.duplicates.PART", 5)
    assert sorted(find_duplicates(found).pairs.tolist()) == sorted(whole)
    assert len(whole) == 18
    assert find_duplicates([]).pairs.tolist() == []
