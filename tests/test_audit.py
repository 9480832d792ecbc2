"""An audit of folders with one of each fault: it finds them all and nothing else."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pictures import damaged, photographs, save, scene
from vgglass import workflows
from vgglass.data import audit
from vgglass.data.audit import KINDS, SERIOUS, Audit
from vgglass.data.examination import Facts
from vgglass.errors import DataError, UsageError
from vgglass.images import FORMATS
from vgglass.locale import words
from vgglass.preprocess import Preprocessing


def found(audit: Audit) -> dict[str, list[tuple[list[str], str]]]:
    """By kind, each case's paths and detail."""
    return {
        kind: [([entry.id for entry in case.entries] or [case.path], case.detail) for case in cases]
        for kind, cases in audit.findings.items()
    }


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty good photographs in two classes, and one of each fault beside them."""
    folder = photographs(tmp_path_factory.mktemp("audit") / "photos", cat=30, dog=30)
    cat = folder / "cat"
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(cat / f"turned-{orientation}.jpg", scene(100 + orientation), exif=exif)
    (cat / "text.jpg").write_text("this is text")
    (cat / "nothing.jpg").touch()
    content = (cat / "0.jpg").read_bytes()
    (cat / "cut.jpg").write_bytes(content[: len(content) // 2])
    damaged(cat / "damaged.jpg")
    buffer = io.BytesIO()
    Image.fromarray(scene(120)).save(buffer, "PNG")
    (cat / "really-a.png.jpg").write_bytes(buffer.getvalue())
    frames = [Image.fromarray(scene(number)) for number in (121, 122)]
    frames[0].save(cat / "moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(scene(123)).convert("CMYK").save(cat / "print.jpg")
    deep = np.random.default_rng(0).integers(0, 2**16, (150, 150), dtype=np.uint16)
    Image.fromarray(deep).save(cat / "deep.png")
    save(cat / "long.jpg", scene(124, 140, 600))
    save(cat / "tiny.jpg", scene(125, 60, 80))
    Image.fromarray(np.dstack([scene(126), scene(126)[..., 0]])).save(cat / "clear.webp", lossless=True)
    save(cat / "line.png", scene(127, 1, 4000))
    (cat / "copy.jpg").write_bytes((cat / "1.jpg").read_bytes())
    save(cat / "again.jpg", scene(2), quality=40)
    (folder / "dog" / "really-a-cat.jpg").write_bytes((cat / "3.jpg").read_bytes())
    (cat / "picture").write_bytes((cat / "4.jpg").read_bytes())
    (cat / "notes.txt").write_text("notes")
    (folder / "README").write_text("notes")
    (folder / "cow").mkdir()
    (folder / ".hidden" / "cat").mkdir(parents=True)
    (cat / ".hidden.jpg").write_text("text")
    return folder


def test_one_of_each_fault_is_found_and_nothing_else(faulty: Path) -> None:
    audit = workflows.check(faulty)
    expected = {
        "unreadable": [(["cat/text.jpg"], f"not an image that vgglass reads ({', '.join(FORMATS)})")],
        "empty-file": [(["cat/nothing.jpg"], "the file is empty")],
        "truncated": [(["cat/cut.jpg"], found(audit)["truncated"][0][1])],
        "damaged": [(["cat/damaged.jpg"], "Corrupt JPEG data: premature end of data segment")],
        "too-narrow": [(["cat/line.png"], "4000×1")],
        "label-conflict": [(["cat/3.jpg", "dog/really-a-cat.jpg"], "")],
        "duplicate": [(["cat/1.jpg", "cat/copy.jpg"], ""), (["cat/4.jpg", "cat/picture"], "")],
        "near-duplicate": [(["cat/2.jpg", "cat/again.jpg"], "")],
        "imbalance": [([""], "cat: 50, cow: 0")],
        "empty-class": [(["cow"], "")],
        "no-image": [(["README"], ""), (["cat/notes.txt"], "")],
        "system-file": [(["cat/.hidden.jpg"], "")],
        "wrong-suffix": [(["cat/really-a.png.jpg"], "PNG")],
        "odd-format": [
            (["cat/clear.webp"], "WEBP"), (["cat/deep.png"], "PNG"), (["cat/line.png"], "PNG"),
            (["cat/moving.gif"], "GIF"), (["cat/really-a.png.jpg"], "PNG"),
        ],
        "animated": [(["cat/moving.gif"], "2")],
        "odd-mode": [(["cat/clear.webp"], "RGBA"), (["cat/print.jpg"], "CMYK")],
        "deep": [(["cat/deep.png"], "16")],
        "rotated": [([f"cat/turned-{number}.jpg"], str(number)) for number in range(2, 9)],
        "extreme-aspect": [(["cat/line.png"], "4000×1"), (["cat/long.jpg"], "600×140")],
        "large-cut": [(["cat/long.jpg"], "600×140, 82%")],
        "small": [(["cat/line.png"], "4000×1"), (["cat/tiny.jpg"], "80×60")],
    }  # fmt: skip
    assert found(audit) == expected
    assert "truncated" in expected["truncated"][0][1]
    assert audit.serious
    assert expected.keys() | {"leak", "no-class", "class-names", "linked-twice"} == set(KINDS)


def test_a_sound_folder_has_no_findings(tmp_path: Path) -> None:
    audit = workflows.check(photographs(tmp_path, cat=5, dog=6))
    assert audit.findings == {}
    assert not audit.serious
    facts = audit.as_json()
    assert (facts["files"], facts["readable"], facts["splits"], facts["formats"]) == (11, 11, {"all": 11}, {"JPEG": 11})
    # 180x240 becomes 146x194, of which 128x128 is seen: 1 - 16384 / 28324
    assert facts["median_cut"] == pytest.approx(0.421551, abs=1e-6)
    assert facts["class_ratio"] == 1.2
    # (1 - 0.999^5) / 0.001, by hand 4.990009995001
    assert [row["effective"] for row in facts["classes"]] == pytest.approx([4.990009995001, 5.985019985005999])


def test_leaks_and_how_far_they_may_flatter(tmp_path: Path) -> None:
    photographs(tmp_path / "train", cat=6, dog=6)
    for number, (name, label) in enumerate([("cat", 0), ("dog", 1)]):
        for index in range(5):
            save(tmp_path / "test" / name / f"{index}.jpg", scene(5000 + 100 * number + index))
        save(tmp_path / "test" / name / "twin.jpg", scene(1000 * label), quality=50)
    (tmp_path / "test" / "dog" / "wrong.jpg").write_bytes((tmp_path / "train" / "cat" / "5.jpg").read_bytes())
    save(tmp_path / "extra" / "of-no-class.jpg", scene(9000))
    audit = workflows.check(tmp_path)
    assert [paths for paths, _ in found(audit)["leak"]] == [
        ["train/cat/0.jpg", "test/cat/twin.jpg"],
        ["train/cat/5.jpg", "test/dog/wrong.jpg"],
        ["train/dog/0.jpg", "test/dog/twin.jpg"],
    ]
    (row,) = audit.flattery
    assert (row.split, row.images, row.twins) == ("test", 13, 2)  # wrong.jpg was learned as a cat: it flatters nobody
    assert row.points == pytest.approx(200 / 13)
    assert [row.images for row in audit.balance] == [6, 6]  # of train alone
    assert found(audit)["no-class"] == [(["extra"], "1")]
    assert audit.serious


def test_two_labels_and_two_sides_alone_are_serious(faulty: Path) -> None:
    audit = workflows.check(faulty)
    mild = {kind: cases for kind, cases in audit.findings.items() if kind not in SERIOUS}
    assert not replace(audit, findings=mild).serious
    for kind in SERIOUS:
        assert replace(audit, findings={kind: ()}).serious


def test_the_chosen_network_decides_what_is_cut_and_what_is_small(tmp_path: Path) -> None:
    photographs(tmp_path, cat=1, dog=1)
    save(tmp_path / "cat" / "wide.jpg", scene(7, 100, 250))
    assert [paths for paths, _ in found(workflows.check(tmp_path))["large-cut"]] == [["cat/wide.jpg"]]
    assert "small" in found(workflows.check(tmp_path))
    recipe = tmp_path / "pad.toml"
    recipe.write_text('fit = "pad"\nimage_size = 100\n')
    assert found(workflows.check(tmp_path, recipe=str(recipe))) == {"no-image": [(["pad.toml"], "")]}
    assert "small" in found(workflows.check(tmp_path, recipe=str(recipe), image_size=224))
    with pytest.raises(UsageError, match="recipe 'none': no such file"):
        workflows.check(tmp_path, recipe="none")


def test_what_the_crop_cuts_away_by_hand() -> None:
    record = Preprocessing(224, 256, (0.0,) * 3, (1.0,) * 3)
    # 200x400 becomes 256x512, of which 224x224 is seen
    assert audit.cut_away(Facts(1, b"", height=200, width=400), record) == pytest.approx(1 - 224**2 / (256 * 512))
    whole = replace(record, fit="squash")
    assert audit.cut_away(Facts(1, b"", height=200, width=400), whole) == 0
    assert audit.cut_away(Facts(1, b"", height=1, width=5000), record) is None


def test_a_format_is_odd_only_beside_a_usual_one() -> None:
    jpeg, png = Facts(1, b"", format="JPEG"), Facts(1, b"", format="PNG")
    assert audit.usual_format([jpeg] * 9 + [png]) == "JPEG"
    assert audit.usual_format([jpeg] * 8 + [png]) == ""
    assert audit.usual_format([]) == ""


def test_every_kind_is_explained() -> None:
    text = words("en", "audit")
    assert list(text["kinds"]) == list(text["kindNotes"]) == list(KINDS)
    assert text["kindDetails"].keys() <= set(KINDS)


def test_manifests_and_archives_can_be_checked(faulty: Path, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(
        f"path,label\n{faulty}/cat/1.jpg,a\n{faulty}/cat/copy.jpg,b\n{faulty}/cat/text.jpg,b\n"
    )
    audit = workflows.check(tmp_path / "data.csv")
    assert {kind: len(cases) for kind, cases in audit.findings.items()} == {"unreadable": 1, "label-conflict": 1}
    assert audit.as_json()["findings"]["unreadable"][0]["files"][0]["class"] == ""
    with pytest.raises(DataError, match="is not a folder; name one with a subfolder for each class, or a manifest"):
        workflows.check(tmp_path / "none")
