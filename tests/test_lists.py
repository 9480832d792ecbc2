"""Lists of images as spreadsheets, scripts and other systems write them: read where there is one reading."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from pictures import photographs, save, scene
from vgglass.data import lists
from vgglass.data.folder import open_data
from vgglass.errors import DataError
from vgglass.inference import expand
from vgglass.workflows.data import open_data_set

Form = Literal["NFC", "NFD"]
ROWS = "photos/cat/0.jpg,cat\nphotos/cat/1.jpg,cat\nphotos/dog/0.jpg,dog\n"
PLAIN = "path,label\n" + ROWS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photographs(tmp_path / "photos", cat=2, dog=1)
    return tmp_path


def found(folder: Path, content: str | bytes, name: str = "list.csv") -> list[tuple[str, str]]:
    """Paths and labels that a list is read as; every one an image."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    dataset = open_data(path)
    assert dataset.left_out == ()
    assert expand([path]) == [sample.source for sample in dataset.split("all")]
    return [(sample.id, dataset.classes[sample.label]) for sample in dataset.split("all")]


AS_PLAIN = {
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", "|"),
    "Excel's first line": "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
    "byte-order mark": "\ufeff" + PLAIN,
    "byte-order mark and quotes": "\ufeff" + PLAIN.replace("path,label", '"path","label"'),
    "UTF-16": PLAIN.replace(",", "\t").encode("utf-16"),
    "UTF-16, the other end first": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "Windows line ends": PLAIN.replace("\n", "\r\n"),
    "old Macintosh line ends": PLAIN.replace("\n", "\r"),
    "no last line end": PLAIN.rstrip("\n"),
    "backslashes": PLAIN.replace("/", "\\"),
    "a dot and a backslash": PLAIN.replace("photos/", ".\\photos\\"),
    "spaces around": PLAIN.replace(",", " ,  "),
    "quoted": PLAIN.replace("photos", '"photos').replace(".jpg", '.jpg"'),
    "quoted after a space": PLAIN.replace(",", ', "').replace("\n", '"\n'),
    "spaces within quotes": PLAIN.replace("photos", '" photos').replace(".jpg", '.jpg "'),
    "empty lines and cells": "path,label,,\n" + ROWS.replace("\n", ",,\n") + ",,,\n\n",
    "a cell too many": PLAIN.replace("cat\n", "cat,\n"),
    "filename and class": PLAIN.replace("path,label", "filename,class"),
    "Image Path and Species": PLAIN.replace("path,label", "Image Path,Species"),
    "file and target": PLAIN.replace("path,label", "FILE,Target"),
    "image and category": PLAIN.replace("path,label", "image,category"),
    "Chinese": PLAIN.replace("path,label", "文件名,类别"),
    "ours beside others": "\n".join(
        f"{line},{'class,image' if not number else f'{number},x'}" for number, line in enumerate(PLAIN.splitlines())
    ),
    "an index before": "".join(f"{number or ''},{line}\n" for number, line in enumerate(PLAIN.splitlines())),
}


@pytest.mark.parametrize("content", AS_PLAIN.values(), ids=AS_PLAIN)
def test_one_list_however_it_is_written(content: str | bytes, folder: Path) -> None:
    assert found(folder, content) == found(folder, PLAIN)


def test_tab_separated_files_are_lists_too(folder: Path) -> None:
    assert found(folder, PLAIN.replace(",", "\t"), "list.TSV") == found(folder, PLAIN)


def test_a_separator_within_a_name_needs_quotes(folder: Path) -> None:
    save(folder / "a, b; c.jpg", scene(7))
    assert found(folder, 'path;label\n"a, b; c.jpg";cat\n') == [("a, b; c.jpg", "cat")]
    with pytest.raises(DataError, match=r"line 2: has 3 cells, and the first line 2; .* a separator needs quotes"):
        found(folder, "path;label\na, b; c.jpg;cat\n")


@pytest.mark.parametrize(("written", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_paths_are_found_in_another_normal_form(written: Form, stored: Form, folder: Path) -> None:
    for name in ("café/naïve.jpg", "가나/다.jpg", "plain/Å.jpg", "übung/x.jpg", "plain/ế.jpg"):
        save(folder / unicodedata.normalize(stored, name), scene(len(name)))
        given, there = unicodedata.normalize(written, name), unicodedata.normalize(stored, name)
        assert found(folder, f"path,label\n{given},a\n") == [(there, "a")]
        backslashes = given.replace("/", "\\")
        assert found(folder, f"path,label\n{backslashes},a\n") == [(there, "a")]


def test_what_is_there_as_written_is_taken_as_written(folder: Path) -> None:
    """A name may hold a backslash, spaces at its ends, or be there in both normal forms."""
    both = [unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD")]
    for number, name in enumerate([*both, "a\\b.jpg", " c.jpg"]):
        save(folder / name, scene(number))
        save(folder / "a" / "b.jpg", scene(50))
        save(folder / "c.jpg", scene(51))
        assert found(folder, f'path,label\n"{name}",x\n') == [(name, "x")]


def test_labels_are_one_class_as_a_person_sees_them(folder: Path) -> None:
    one, two = (unicodedata.normalize(form, "Pêcher") for form in ("NFC", "NFD"))
    content = f"path,label\nphotos/cat/0.jpg,{one}\nphotos/cat/1.jpg, {two}\nphotos/dog/0.jpg,pêcher\n"
    assert [label for _, label in found(folder, content)] == [one, one, "pêcher"]
    said = open_data(folder / "list.csv").understood
    assert said.endswith("3 images; 'Pêcher' and 'pêcher' differ in case alone and are 2 classes")


def test_what_was_understood_is_said(folder: Path) -> None:
    path = folder / "list.csv"
    found(folder, PLAIN)
    assert open_data(path).understood == ""
    found(folder, "Filename;species\n" + ROWS.replace(",", ";").replace("/", "\\"))
    said = f"{path}: 3 images; separated by semicolons; 'Filename' taken for the path; 'species' taken for the label; "
    said += "3 paths with backslashes"
    assert open_data(path).understood == said
    heard: list[str] = []
    expand([path], say=heard.append)
    assert heard == [said.replace(" 'species' taken for the label;", "")]
    console = Console(record=True, width=10)
    open_data_set(path, console)
    assert said in console.export_text()
    save(folder / unicodedata.normalize("NFD", "é.jpg"), scene(9))
    found(folder, 'path,label\né.jpg,a\n" photos/cat/0.jpg",b\n')
    assert open_data(path).understood == (
        f"{path}: 2 images; 1 path in another Unicode form than the disk's; 1 path with spaces around them"
    )


REFUSED = {
    "id;species\n1;cat\n": r"line 1: holds 'id', 'species', separated by semicolons: no column is called 'path'; name",
    "image,confidence\na,1\n": r"line 1: holds 'image', 'confidence', separated by commas: no column is called 'label'",
    "photos/cat/0.jpg cat\n": r"line 1: holds 'photos/cat/0.jpg cat': no column is called 'path'",
    "sep=;\npath,label\na,b\n": r"line 1: holds 'path,label': no column is called 'path'",
    "path,class,species\na,b,c\n": r"line 1: 'class' and 'species' may each be the label; call one of them label",
    "file,image,label\na,b,c\n": r"line 1: 'file' and 'image' may each be the path; call one of them path",
    "path,label,Label\na,b,c\n": r"line 1: 'label' and 'Label' may each be the label",
    "path,label\na\0b,c\n": r"line 2: holds a NUL, which is no text; save the file as UTF-8",
    "path,label\nphotos/CAT/0.jpg,a\n": r"1 of its 1 files can not be read, the first 'photos/CAT/0.jpg \(line 2\)'",
    "path,label\nphotos/cat/0.JPG,a\n": r"the first 'photos/cat/0.JPG \(line 2\)'; it may mean 0.jpg",
    "path,label\nphotos\\cat\\0.jpg,a\nphotos/cat/0.jpg,b\n": r"line 3: names 'photos/cat/0.jpg' again, after line 2",
    "path,label,part\n,,\n": r"holds no rows",
    "sep=;\npath;label;split\nphotos/cat/0.jpg;a;b\n": r"line 3: split 'b' is not one of train",
}


@pytest.mark.parametrize("content", REFUSED)
def test_what_has_two_readings_or_none_is_refused(content: str, folder: Path) -> None:
    with pytest.raises(DataError, match=REFUSED[content]):
        found(folder, content)


def test_a_mark_that_lies_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: is not the UTF-16 that its mark says; save the file as UTF-8"):
        found(folder, b"\xff\xfe\x00\xd8")


def test_a_long_list_of_another_normal_form_lists_each_folder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / unicodedata.normalize("NFD", "é")
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.jpg").touch()
    path = tmp_path / "list.csv"
    path.write_text("path\n" + "".join(f"é/{number}.jpg\n" for number in range(300)))
    listed: list[Path] = []
    whole = Path.iterdir

    def watched(one: Path) -> Iterator[Path]:
        listed.append(one)
        return whole(one)

    monkeypatch.setattr(Path, "iterdir", watched)
    assert len(lists.read(path, ("path",)).rows) == 300
    assert listed == [tmp_path, folder]


@pytest.mark.parametrize(
    "content",
    [
        "tench, Tinca tinca\ncafé\n".encode(),
        "\ufefftench, Tinca tinca\r\ncafé\r\n".encode(),
        "tench, Tinca tinca\ncafé".encode("utf-16"),
        '"tench, Tinca tinca"\n"café"\n'.encode(),
        unicodedata.normalize("NFD", "  tench, Tinca tinca\t\n\n café \n\n").encode(),
        "tench, Tinca tinca\rcafé".encode(),
    ],
    ids=["plain", "mark and Windows line ends", "UTF-16", "quotes", "spaces, empty lines, form D", "Macintosh"],
)
def test_class_names_are_lines(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    assert lists.lines(tmp_path / "names.txt") == ("tench, Tinca tinca", "café")


def test_other_ends_of_lines_are_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text('a\u2028b\n"c" or "d"\n')
    assert lists.lines(tmp_path / "names.txt") == ("a\u2028b", '"c" or "d"')
