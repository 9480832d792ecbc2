"""Copies that were turned, cut or inverted: found, named, and told from other pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from pictures import photographs, save, scene
from vgglass import workflows
from vgglass.cli import check as command
from vgglass.data.alignment import SIDE, TURNS, align, oriented
from vgglass.data.candidates import find_candidates, neighbours, placed
from vgglass.data.duplicates import find_duplicates
from vgglass.data.examination import Facts, examine
from vgglass.locale import words

Change = Callable[[Image.Image], Image.Image]
TURN = Image.Transpose


def facts(picture: Image.Image, folder: Path) -> Facts:
    return examine(save(folder / "picture.png", np.asarray(picture)))


def grey(seed: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    picture = Image.fromarray(scene(seed)).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(picture, np.float32)


CHANGES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "mirrored": (ImageOps.mirror, ("mirrored",)),
    "flipped": (ImageOps.flip, ("upside-down",)),
    "left": (lambda picture: picture.transpose(TURN.ROTATE_90), ("turned-90",)),
    "right": (lambda picture: picture.transpose(TURN.ROTATE_270), ("turned-90",)),
    "half": (lambda picture: picture.transpose(TURN.ROTATE_180), ("turned-180",)),
    "transposed": (lambda picture: picture.transpose(TURN.TRANSPOSE), ("mirrored-turned",)),
    "cropped": (lambda picture: picture.crop((24, 18, 216, 162)), ("cropped",)),
    "bordered": (lambda picture: ImageOps.expand(picture, 20, "red"), ("bordered",)),
    "rotated": (lambda picture: picture.rotate(3, Image.Resampling.BICUBIC), ("rotated",)),
    "negative": (ImageOps.invert, ("negative",)),
    "grey": (lambda picture: picture.convert("L"), ()),
    "both": (lambda picture: ImageOps.invert(ImageOps.mirror(picture)), ("mirrored", "negative")),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_copy_is_found_and_the_change_is_named(kind: str, tmp_path: Path) -> None:
    change, expected = CHANGES[kind]
    for seed in range(2):
        picture = Image.fromarray(scene(seed))
        others = [facts(Image.fromarray(scene(100 + 10 * seed + other)), tmp_path) for other in range(3)]
        found = find_duplicates([facts(picture, tmp_path), facts(change(picture), tmp_path), *others])
        assert found.pairs.tolist() == [[0, 1]], seed
        assert found.changes == (expected,), seed


def test_no_scene_is_another_even_if_all_are_candidates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("vgglass.data.candidates.CLOSE", 0.0)
    found = [facts(Image.fromarray(scene(seed)), tmp_path) for seed in range(20)]
    assert find_duplicates(found).pairs.tolist() == []


def test_a_crop_is_laid_where_it_was_cut() -> None:
    """Rows 18 to 162 of 180 and columns 48 to 216 of 240: -0.8 to 0.8 down, -0.6 to 0.8 across."""
    cut = Image.fromarray(scene(3)[18:162, 48:216]).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    start = np.array([[[0, 0.9, 0], [0, 0, 0.9]]], np.float32)
    found = align(np.asarray(cut, np.float32)[None], grey(3)[None], start)
    assert np.allclose(found.places[0], [[0, 0.8, 0], [0.1, 0, 0.7]], atol=0.02)
    assert found.areas[0] == pytest.approx(0.56, abs=0.03)
    assert found.score[0] > 0.9
    assert found.gain[0] > 0.9
    assert found.alike[0]
    assert not align(grey(4)[None], grey(3)[None], start).alike[0]


def test_orientations_by_hand() -> None:
    square = np.array([[1, 2], [3, 4]])
    expected = {
        "mirrored": [[2, 1], [4, 3]], "upside-down": [[3, 4], [1, 2]], "turned-180": [[4, 3], [2, 1]],
        "mirrored-turned": [[1, 3], [2, 4]], "turned-90": [[2, 4], [1, 3]],
    }  # fmt: skip
    for name, pixels in expected.items():
        assert oriented(square, TURNS.index(name)).tolist() == pixels
    assert len({oriented(square, orientation).tobytes() for orientation in range(8)}) == 8


def test_a_candidate_is_in_the_orientation_of_its_copy() -> None:
    pictures = np.array([grey(1), *(oriented(grey(1), orientation) for orientation in range(1, 8)), grey(2)])
    found = find_candidates(pictures)
    for one, other, turn in zip(found.inner, found.outer, found.orientation.tolist(), strict=True):
        assert np.array_equal(oriented(pictures[one], turn), pictures[other])
    assert {*found.inner, *found.outer} == set(range(8))
    given = placed(pictures, np.array([[0, 5], [0, 8]]))
    one, other, turn = given.inner[0], given.outer[0], int(given.orientation[0])  # two orders agree equally well
    assert np.array_equal(oriented(pictures[one], turn), pictures[other])
    assert given.window[0] == 0
    assert len(given.inner) == 2  # a pair of different pictures stays a candidate where it is given


def test_neighbours_by_features_are_candidates_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 0.1]], np.float32)
    monkeypatch.setattr("vgglass.data.candidates.NEIGHBOURS", 1)
    assert neighbours(vectors).tolist() == [[0, 2]]  # the second is near to none
    assert neighbours(vectors[:1]).tolist() == []
    monkeypatch.setattr("vgglass.data.candidates.CLOSE", 1.1)
    one, other = Image.fromarray(scene(1)), Image.fromarray(scene(2))
    found = [facts(picture, tmp_path) for picture in (one, other, ImageOps.mirror(one))]
    assert find_duplicates(found).pairs.tolist() == []
    assert find_duplicates(found, vectors).pairs.tolist() == [[0, 2]]


def test_the_audit_says_what_was_done(tmp_path: Path) -> None:
    photographs(tmp_path, cat=3, dog=3)
    picture = Image.open(tmp_path / "cat" / "0.jpg")
    save(tmp_path / "cat" / "mirrored.jpg", np.asarray(ImageOps.mirror(picture)))
    save(tmp_path / "dog" / "cut.jpg", np.asarray(Image.open(tmp_path / "dog" / "1.jpg").crop((24, 18, 216, 162))))
    audit = workflows.check(tmp_path)
    cases = audit.findings["near-duplicate"]
    assert [case.changes for case in cases] == [("mirrored",), ("cropped",)]
    assert audit.as_json()["findings"]["near-duplicate"][0]["changes"] == ["mirrored"]
    assert command._line(audit, cases[0], "{detail}") == "cat/0.jpg = cat/mirrored.jpg: mirrored"
    workflows.write_audit_page(audit, tmp_path / "page.html")
    assert '"changes": ["mirrored"]' in (tmp_path / "page.html").read_text().replace('":[', '": [')


def test_every_change_has_its_word() -> None:
    keys = {*filter(None, TURNS), "cropped", "bordered", "rotated", "negative"}
    assert set(words("en", "audit")["copies"]) == keys
