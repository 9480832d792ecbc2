"""The folder that is taught by: every action on the disk, taken back, cut off, and refused."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from served import photographs
from vgglass.data.layout import detect_layout
from vgglass.errors import DataError, UsageError
from vgglass.teaching import names
from vgglass.teaching.folder import HIDDEN, Item, TaughtFolder
from vgglass.teaching.journal import Journal
from vgglass.workflows.data import open_data_set

PHOTOGRAPHS = photographs(4)


def tree(folder: Path) -> dict[str, bytes]:
    """What class folders and the tray hold, and empty classes, by path."""
    found = {}
    for path in folder.rglob("*"):
        place = path.relative_to(folder).as_posix()
        if path.is_dir() and not place.startswith("."):
            found[place] = b""
        elif path.is_file() and (not place.startswith(".") or place.startswith(f"{HIDDEN}/tray/")):
            found[place] = path.read_bytes()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[TaughtFolder]:
    folder = TaughtFolder(tmp_path / "taught")
    folder.add_class("猫", "1")
    folder.add_class("dog", "2")
    folder.add(PHOTOGRAPHS[0], "a.jpg", "猫", "3")
    folder.add(PHOTOGRAPHS[1], "a.jpg", "dog", "4")
    folder.add(PHOTOGRAPHS[2], "b.jpg", None, "5")
    yield folder
    folder.close()


def item(folder: TaughtFolder, path: str) -> Item:
    return folder.items[path]


def test_what_was_done_is_taken_back_gesture_by_gesture(folder: TaughtFolder) -> None:
    states = [tree(folder.top)]
    cat, dog, tray = (item(folder, path) for path in ("猫/a.jpg", "dog/a.jpg", ".vgglass/tray/b.jpg"))
    actions: list[Callable[[], object]] = [
        lambda: folder.move([dog, tray], "猫", "6"),
        lambda: folder.rename_class("猫", "cat", "7"),
        lambda: folder.remove([folder.items["cat/a.jpg"]], "8"),
        lambda: folder.delete_class("cat", "9"),
        lambda: folder.merge("dog", "dog2", "10"),
    ]
    folder.add_class("dog2", "x")
    states = [tree(folder.top)]
    for act in actions:
        act()
        states.append(tree(folder.top))
    assert {item.number for item in folder.items.values()} == {dog.number, tray.number}
    assert cat.label == "猫"
    assert {item.label for item in folder.items.values()} == {None}
    for state in reversed(states[:-1]):
        folder.undo()
        assert tree(folder.top) == state
    for _ in range(6):
        folder.undo()
    assert tree(folder.top) == {}
    with pytest.raises(UsageError, match="nothing has been done that could be undone; do something first"):
        folder.undo()


def test_actions_of_one_gesture_are_undone_together(folder: TaughtFolder) -> None:
    for data in PHOTOGRAPHS[2:]:
        folder.add(data, "drop.jpg", "dog", "a drop of two")
    assert [entry.what for entry in folder.undo()] == ["add", "add"]
    assert sorted(folder.items) == [".vgglass/tray/b.jpg", "dog/a.jpg", "猫/a.jpg"]


def test_no_image_is_ever_overwritten(folder: TaughtFolder) -> None:
    (folder.top / "猫" / "A-2.jpg").write_bytes(b"not theirs")  # as on a disk that ignores case
    folder.move([item(folder, "dog/a.jpg")], "猫", "")
    assert (folder.top / "猫" / "a-2.jpg").read_bytes() == PHOTOGRAPHS[1]
    assert (folder.top / "猫" / "a.jpg").read_bytes() == PHOTOGRAPHS[0]


def test_the_folder_and_its_manifest_are_data_sets(folder: TaughtFolder) -> None:
    folder.move([item(folder, ".vgglass/tray/b.jpg")], "dog", "")
    folder.write_manifest()
    layout = detect_layout(folder.top)
    assert layout.classes == ("dog", "猫")
    assert layout.remarks == ()
    for source in (folder.top, folder.top / "manifest.csv"):
        dataset = open_data_set(source, Console(stderr=True))
        assert dataset.classes == ("dog", "猫")
        assert sorted(sample.label for sample in dataset.split("all")) == [0, 0, 1]


def test_a_start_finishes_what_was_cut_off(folder: TaughtFolder) -> None:
    """As after a kill -9: the line is written, and any part of the renames has happened."""
    before = tree(folder.top)
    folder.merge("猫", "dog", "merge")
    after = tree(folder.top)
    (entry, *_) = reversed(folder.journal.entries)
    folder.close()
    for undone in range(len(entry.renames) + 1):
        for source, target in list(reversed(entry.renames))[:undone]:
            (folder.top / target).rename(folder.top / source)
        again = TaughtFolder(folder.top)
        assert tree(folder.top) == after
        again.close()
    again = TaughtFolder(folder.top)
    again.undo()
    assert tree(folder.top) == before
    for source, target in entry.renames[:1]:  # an undo that was cut off before its last rename
        (folder.top / source).rename(folder.top / target)
    again.close()
    TaughtFolder(folder.top).close()
    assert tree(folder.top) == before


def test_a_line_that_was_cut_off_has_never_been(folder: TaughtFolder) -> None:
    journal = folder.top / HIDDEN / "journal.jsonl"
    whole = journal.read_bytes()
    folder.close()
    journal.write_bytes(whole + b'{"number": 6, "what": "mo')
    again = TaughtFolder(folder.top)
    again.add_class("bird", "")
    assert json.loads(journal.read_bytes().splitlines()[-1])["what"] == "add-class"
    assert len(journal.read_bytes().splitlines()) == 6
    again.close()
    journal.write_bytes(b"{}\n")
    with pytest.raises(DataError, match=r"line 1: is no line of a journal .* move the journal away; the images stay"):
        TaughtFolder(folder.top)
    journal.write_bytes(whole.replace(b"dog/a.jpg", b"../a.jpg"))
    with pytest.raises(DataError, match=r"leads out of the folder"):
        TaughtFolder(folder.top)


def test_a_full_disk_changes_nothing(folder: TaughtFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before, journal = tree(folder.top), (folder.top / HIDDEN / "journal.jsonl").read_bytes()

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)  # the one mock: a disk can't be filled here
    for act in (
        lambda: folder.move([item(folder, "dog/a.jpg")], "猫", ""),
        lambda: folder.add(PHOTOGRAPHS[3], "c.jpg", "dog", ""),
    ):
        with pytest.raises(OSError, match="No space left"):
            act()
    monkeypatch.undo()
    assert tree(folder.top) == before
    assert (folder.top / HIDDEN / "journal.jsonl").read_bytes() == journal
    assert not any((folder.top / HIDDEN / "incoming").iterdir())
    folder.move([item(folder, "dog/a.jpg")], "猫", "")


def test_an_action_on_a_file_that_others_removed_is_refused_whole(folder: TaughtFolder) -> None:
    gone, there = item(folder, "dog/a.jpg"), item(folder, "猫/a.jpg")
    (folder.top / gone.path).unlink()
    before, entries = tree(folder.top), len(folder.journal.entries)
    with pytest.raises(FileNotFoundError):
        folder.move([there, gone], None, "")
    assert (tree(folder.top), len(folder.journal.entries)) == (before, entries)
    folder.rescan()
    assert gone.path not in folder.items
    assert folder.items["猫/a.jpg"] == there


def test_what_others_put_in_is_found(folder: TaughtFolder) -> None:
    (folder.top / "dog" / "theirs.jpg").write_bytes(PHOTOGRAPHS[3])
    (folder.top / "dog" / "notes.txt").write_text("no image")
    folder.rescan()
    assert folder.items["dog/theirs.jpg"].label == "dog"
    folder.delete_class("dog", "")
    assert "dog" not in folder.classes
    folder.undo()
    assert (folder.top / "dog" / "notes.txt").exists()


def test_a_folder_is_taught_by_one_process(folder: TaughtFolder) -> None:
    code = (
        "import sys, pathlib; from vgglass.teaching.folder import TaughtFolder; TaughtFolder(pathlib.Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(folder.top)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "is taught in another process already; use its page, or stop it first" in said


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("", "empty"), ("  ", "empty"), ("../x", "forbidden"), ("a\\b", "forbidden"), ("a\nb", "forbidden"),
        ("\ud800", "forbidden"), ("x" * 300, "long"), ("猫" * 60, "long"), ("con", "reserved"), ("Nul.txt", "reserved"),
        (".", "reserved"), (".hidden", "reserved"), ("Thumbs.db", "reserved"), ("end.", "reserved"), ("DOG", "taken"),
        ("test", "part"), ("训练", "part"),
    ],
)  # fmt: skip
def test_names_that_no_class_can_have(name: str, kind: str) -> None:
    with pytest.raises(names.ClassNameError) as caught:
        names.class_name(name, ["dog", "猫"])
    assert caught.value.kind == kind


@pytest.mark.parametrize("name", ["猫", "🐟", "É", "a b", "images"])
def test_names_that_a_class_can_have(name: str) -> None:
    assert names.class_name(f" {name} ", ["dog"]) == name


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"), ("C:\\photos\\猫.jpg", "猫.jpg"), ("", "image"), ("..", "image"),
        ("con.png", "image-con.png"), (".hidden.jpg", "hidden.jpg"), ("a\0b?.jpg", "a_b_.jpg"),
        ("😀" * 100 + ".jpg", "😀" * 36 + ".jpg"), ("thumbs.db", "image-thumbs.db"),
    ],
)  # fmt: skip
def test_file_names_are_made_safe(given: str, kept: str) -> None:
    assert names.file_name(given) == kept


def test_folders_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val"):
        (tmp_path / "divided" / name).mkdir(parents=True)
    with pytest.raises(DataError, match="is divided into train and val, and is taught by class folders alone"):
        TaughtFolder(tmp_path / "divided")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is no folder; name one, or a new one"):
        TaughtFolder(tmp_path / "file")
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "manifest.csv").write_text("path,label\n")
    with pytest.raises(DataError, match="not as vgglass teach writes it; rename it, or name another folder"):
        TaughtFolder(tmp_path / "listed")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "cat").symlink_to(tmp_path / "listed")
    with pytest.raises(DataError, match="is a link, and images are moved in and out of class folders; copy the folder"):
        TaughtFolder(tmp_path / "linked")


def test_a_journal_takes_no_step_out_of_a_full_target(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    journal = Journal(tmp_path, tmp_path / "journal")
    with pytest.raises(FileExistsError):
        journal.do("move", {}, "", [("a", "b")])
    assert (tmp_path / "b").read_text() == "b"
    assert (tmp_path / "journal").read_bytes() == b""
