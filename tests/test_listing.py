"""What is an image and what is passed over: systems' files, links, names without a suffix; every command agrees."""

import io
import json
import os
import unicodedata
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from glass_subjects import model as drawn
from pictures import photographs, save, scene
from vgglass import modelfile, workflows
from vgglass.data.folder import image_files, survey
from vgglass.data.listing import Folder, summary
from vgglass.errors import DataError, UsageError
from vgglass.glass.subject import class_number
from vgglass.inference import expand
from vgglass.workflows.evaluate import open_split


def encoded(kind: str, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scene(seed, 40, 40)).save(buffer, kind)
    return buffer.getvalue()


def names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in image_files(folder)]


def passed(folder: Path) -> dict[str, tuple[str, str]]:
    """By path, the kind and detail of what is passed over."""
    found = Folder.at(folder).listing().passed_over
    return {str(one.path.relative_to(folder)): (one.kind, one.detail) for one in found}


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir", "@EADIR", ".AppleDouble", "__MACOSX", ".thumbnails", "lost+found", "#recycle", ".ipynb_checkpoints",
        "@Recycle", "$RECYCLE.BIN", "System Volume Information", ".@__thumb", ".Trash-1000", ".git", "#snapshot",
    ],
)  # fmt: skip
def test_folders_of_systems_are_left_out_and_counted(tmp_path: Path, name: str) -> None:
    photographs(tmp_path, cat=2, dog=2)
    for place in ("", "cat"):
        save(tmp_path / place / name / "0.jpg" / "SYNOPHOTO_THUMB_XL.jpg", scene(9))
        save(tmp_path / place / name / "1.jpg", scene(8))
    found = survey(tmp_path)
    assert (found.classes, len(found.entries)) == (("cat", "dog"), 4)
    assert summary(found.passed_over) == f"passed over: 4 of a system or program ({name}, cat/{name})"
    assert len(expand([tmp_path])) == 4


def test_files_of_systems_are_left_out_and_counted(tmp_path: Path) -> None:
    junk = ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.jpg", "ehthumbs.db", "Icon\r", ".hidden.jpg")
    photographs(tmp_path, cat=1)
    for name in junk:
        (tmp_path / "cat" / name).write_bytes(encoded("JPEG"))
    assert names(tmp_path) == ["cat/0.jpg"]
    assert passed(tmp_path) == {f"cat/{name}": ("system-file", "") for name in junk}


def test_what_a_person_named_like_them_is_none_of_theirs(tmp_path: Path) -> None:
    """The folder that is given is looked into whatever its name; only what lies in it is judged."""
    save(tmp_path / ".hidden" / "recycle" / "eaDir.jpg", scene(1))
    assert names(tmp_path / ".hidden") == ["recycle/eaDir.jpg"]


def test_images_are_known_by_their_content(tmp_path: Path) -> None:
    images = {
        "a": "JPEG", "b.jfif": "JPEG", "c.JPE": "JPEG", "d.jpg.1": "JPEG", "e.download": "PNG", "f.jpg?w=640": "WEBP",
        "g.GIF": "GIF", "h.dat": "TIFF", "i.x": "BMP", "j.TIFF": "TIFF",
    }  # fmt: skip
    for name, kind in images.items():
        (tmp_path / name).write_bytes(encoded(kind))
    for name, data in {
        "notes.txt": b"notes", "empty": b"", "BM.txt": b"BMW and more text that is long enough for a header",
        "movie.mp4": b"\0\0\0\x20ftypisom" + bytes(20), "song.wav": b"RIFF\x10\0\0\0WAVEfmt ", "labels.csv": b"a,b\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
    assert names(tmp_path) == list(images)
    assert {kind for kind, _ in passed(tmp_path).values()} == {"no-image"}
    assert len(passed(tmp_path)) == 6


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic" + bytes(40)),
        ("no suffix", b"\0\0\0\x18ftypheix" + bytes(40)),
        ("b.tga", bytes(30)),
        ("c.jxl", b"\xff\x0a" + bytes(30)),
        ("d.NEF", b"MM\0*" + bytes(40)),
        ("e.psd", b"8BPS" + bytes(40)),
        ("f.svg", b"<svg/>"),
        ("g", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40)),
    ],
)
def test_pictures_that_can_not_be_read_are_named(tmp_path: Path, name: str, data: bytes) -> None:
    photographs(tmp_path, cat=1, dog=1)
    (tmp_path / "cat" / name).write_bytes(data)
    ((lost, reason),) = survey(tmp_path).dataset().left_out
    assert lost == f"cat/{name}"
    assert reason
    assert tmp_path / "cat" / name in expand([tmp_path])


def test_links_are_followed_and_count_once(tmp_path: Path) -> None:
    photographs(tmp_path / "elsewhere", more=3, single=1)
    photographs(tmp_path / "photos", cat=2, dog=2)
    cat = tmp_path / "photos" / "cat"
    (cat / "more").symlink_to(tmp_path / "elsewhere" / "more")
    (cat / "again").symlink_to(tmp_path / "elsewhere" / "more")  # found first, in natural order
    (cat / "single.jpg").symlink_to(tmp_path / "elsewhere" / "single" / "0.jpg")
    (cat / "same.jpg").symlink_to(tmp_path / "elsewhere" / "single" / "0.jpg")
    (cat / "00.jpg").symlink_to("1.jpg")
    (cat / "up").symlink_to("..")
    (cat / "itself").symlink_to("itself")
    (cat / "gone.jpg").symlink_to("nowhere")
    (cat / "gone.txt").symlink_to("nowhere")
    found = survey(tmp_path / "photos")
    assert [entry.id for entry in found.entries] == [
        "cat/0.jpg", "cat/1.jpg", "cat/gone.jpg", "cat/same.jpg",
        "cat/again/0.jpg", "cat/again/1.jpg", "cat/again/2.jpg", "dog/0.jpg", "dog/1.jpg",
    ]  # fmt: skip
    assert [entry.id for entry in found.entries if entry.facts.error] == ["cat/gone.jpg"]
    assert {(str(one.path), one.kind) for one in found.passed_over} == {
        ("cat/more", "linked-twice"), ("cat/up", "linked-twice"), ("cat/00.jpg", "linked-twice"),
        ("cat/single.jpg", "linked-twice"), ("cat/itself", "no-image"), ("cat/gone.txt", "no-image"),
    }  # fmt: skip
    assert len(expand([tmp_path / "photos"])) == 9


def test_links_among_folders_end(tmp_path: Path) -> None:
    """Ten folders, each with links to all of them: 10! ways through."""
    for number in range(10):
        save(tmp_path / f"{number}" / "a.jpg", scene(number, 8, 8))
        for other in range(10):
            (tmp_path / f"{number}" / f"to {other}").symlink_to(tmp_path / f"{other}")
    assert len(image_files(tmp_path)) == 10
    assert len(survey(tmp_path).entries) == 100  # each class holds all pictures, which check calls a conflict
    assert "label-conflict" in workflows.check(tmp_path).findings


def test_class_folders_may_be_links(tmp_path: Path) -> None:
    photographs(tmp_path / "store", a=2, b=2)
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        (tmp_path / "photos" / f"class {name}").symlink_to(tmp_path / "store" / name)
    found = survey(tmp_path / "photos")
    assert [entry.id for entry in found.entries] == [f"class {name}/{index}.jpg" for name in "ab" for index in (0, 1)]


def test_what_is_no_regular_file_holds_nobody_up(tmp_path: Path) -> None:
    photographs(tmp_path, cat=1, dog=1)
    for name in ("pipe", "pipe.jpg"):
        os.mkfifo(tmp_path / "cat" / name)
    found = survey(tmp_path)
    assert dict(found.dataset().left_out) == {"cat/pipe.jpg": "not a regular file"}
    assert [(str(one.path), one.detail) for one in found.passed_over] == [("cat/pipe", "not a regular file")]


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match=r"holds no images \(passed over: 1 no image \(.*a.txt\)\); name a folder that"):
        expand([tmp_path])


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs divided into parts, with oddities of every kind among them."""
    top = tmp_path_factory.mktemp("odd") / "download"
    root = top / "data"
    photographs(root / "Training", Cat=6, dog=6)
    for number, name in enumerate(("cat", "dog", "cow")):
        for index in range(3):
            save(root / "test_set" / name / f"{index}.jpg", scene(5000 + 100 * number + index))
    cat, dog = root / "Training" / "Cat", root / "Training" / "dog"
    for number, (name, kind) in enumerate({"noname": "PNG", "a.jfif": "JPEG", "B.JPG": "JPEG"}.items()):
        (cat / name).write_bytes(encoded(kind, 7000 + number))
    (cat / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (dog / "torn.jpg").write_bytes((dog / "0.jpg").read_bytes()[:500])
    (dog / "notes.txt").write_text("notes")
    (dog / "gone.jpg").symlink_to("nowhere")
    (dog / "again.jpg").symlink_to("1.jpg")
    (dog / "loop").symlink_to("..")
    save(top / "elsewhere" / "x.jpg", scene(8000))
    (dog / "linked").symlink_to(top / "elsewhere")
    (top / "elsewhere").rename(top.parent / "elsewhere")
    (dog / "linked").unlink()
    (dog / "linked").symlink_to(top.parent / "elsewhere")
    for junk in (cat / "@eaDir" / "0.jpg", root / "__MACOSX" / "0.jpg", dog / ".ipynb_checkpoints" / "0.jpg"):
        save(junk, scene(8001))
    (root / "Thumbs.db").write_text("x")
    save(root / "sample.jpg", scene(8002))
    save(root / "unlabelled" / "1.jpg", scene(8003))
    (root / "val").mkdir()
    return top


def test_check_train_evaluate_and_predict_agree(odd: Path, tmp_path: Path) -> None:
    """On what is an image and what class it has; and every file is a row, an image of no class, or counted."""
    text = io.StringIO()
    console = Console(file=text, width=1000)
    audit = workflows.check(odd, console=console)
    checked = {entry.id: audit.label(entry) for entry in audit.survey.entries}
    readable = {entry.id for entry in audit.survey.entries if not entry.facts.error}
    assert set(checked) - readable == {
        f"data/Training/{name}" for name in ("Cat/phone.heic", "dog/torn.jpg", "dog/gone.jpg")
    }
    assert checked["data/test_set/cat/0.jpg"] == checked["data/Training/Cat/noname"] == "Cat"
    assert checked["data/Training/dog/linked/x.jpg"] == "dog"

    trained = workflows.data.read_training_data(odd, console)
    assert {sample.id: trained.classes[sample.label] for sample in trained.split("all")} == {
        name: checked[name] for name in readable
    }
    assert [len(trained.splits[name]) for name in ("train", "validation", "test")] == [14, 2, 6]
    said = text.getvalue()
    assert "divided by its folders: train from data/Training, 2 classes, 19 images; test from data/test_set, 2" in said
    assert (
        "val holds no images; test has folders of no class of train, which are left out (cow); cat of test is" in said
    )
    assert "left out 3 files that can't be read:" in said

    file = drawn("A", 0, classes=2)
    model = replace(file, record=replace(file.record, classes=("Cat", "dog")))
    dataset, split = open_split(model.record, odd, None, console)
    assert (split, [sample.id for sample in dataset.split("test")]) == (
        "test", [name for name in checked if name.startswith("data/test_set/")],
    )  # fmt: skip
    judged = workflows.predictions_on_split(model, odd, console=console)
    assert [str(Path(str(path)).relative_to(odd)) for path in judged.sources] == [s.id for s in dataset.split("test")]
    assert [model.record.classes[label] for label in judged.labels] == ["Cat"] * 3 + ["dog"] * 3

    modelfile.save(model, tmp_path / "model.safetensors")
    rows = workflows.predict(tmp_path / "model.safetensors", [odd], console=console)
    predicted = {str(Path(row.path).relative_to(odd)): row.error for row in rows}
    of_no_class = {
        "data/sample.jpg",
        "data/unlabelled/1.jpg",
        *(f"data/test_set/cow/{index}.jpg" for index in range(3)),
    }
    assert set(predicted) == set(checked) | of_no_class
    assert {name for name, error in predicted.items() if error} == set(checked) - readable
    assert np.allclose([sum(share for _, share in row.top) for row in rows if not row.error], 1)

    # Nothing is passed over without a count: all paths on the disk are among what is named.
    on_disk = [os.path.join(place, name) for place, _, files in os.walk(odd) for name in files]  # noqa: PTH118
    counted = sum(one.files for one in audit.survey.passed_over)
    linked = {"data/Training/dog/linked/x.jpg"}
    folders_linked = {one.path for one in audit.survey.passed_over if one.path.name == "loop"}
    assert len(set(checked) - linked) + counted - len(folders_linked) == len(on_disk)
    found = json.loads(json.dumps(audit.as_json()))["findings"]
    assert {kind: len(found[kind]) for kind in ("no-class", "no-image", "system-file", "linked-twice")} == {
        "no-class": 3, "no-image": 1, "system-file": 4, "linked-twice": 2,
    }  # fmt: skip


def test_files_and_models_are_named_in_any_normal_form(tmp_path: Path) -> None:
    composed, apart = "Größe.png", unicodedata.normalize("NFD", "Größe.png")
    save(tmp_path / apart, scene(1))
    assert expand([tmp_path / composed]) == [tmp_path / apart]
    with pytest.raises(DataError, match=r"GRÖSSE.png: does not exist \(there is .*, which differs by case alone\)"):
        expand([tmp_path / "GRÖSSE.png"])
    modelfile.save(drawn("A"), tmp_path / unicodedata.normalize("NFD", "modèle.safetensors"))
    assert workflows.load(tmp_path / "modèle.safetensors").record.classes == drawn("A").record.classes


def test_what_lies_among_the_links_of_an_earlier_sorting_is_not_told(tmp_path: Path) -> None:
    save(tmp_path / "a.png", scene(1))
    (tmp_path / "sorted" / "cat").mkdir(parents=True)
    (tmp_path / "sorted" / "cat" / "a.png").symlink_to(tmp_path / "a.png")
    said: list[str] = []
    assert expand([tmp_path], tmp_path / "sorted", said.append) == expand([tmp_path], say=said.append)
    assert said == [f"passed over: 1 counted already, reached by a link ({tmp_path / 'sorted/cat/a.png'})"]


def test_a_target_is_named_in_any_normal_form() -> None:
    subject: Any = SimpleNamespace(record=SimpleNamespace(classes=("dog", unicodedata.normalize("NFD", "café"))))
    assert class_number(subject, "café") == 1
    with pytest.raises(UsageError, match="--target cow: is none of the 2 classes"):
        class_number(subject, "cow")
