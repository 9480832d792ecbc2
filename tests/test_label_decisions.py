"""A person's decisions on labels: the list, the manifest and the moves that come of it, killed and undone."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pictures import photographs, save, scene
from typed import vgglass
from vgglass import workflows
from vgglass.data import corrections, moves
from vgglass.data.folder import open_data, trainable
from vgglass.errors import DataError, UsageError

HOSTILE = 'a "quoted", name; 鸟\n.jpg'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Train and val of three classes, with a name that a list must quote; val has no fox."""
    folder = tmp_path / "photos"
    photographs(folder / "train", cat=5, dog=5, fox=3)
    for number, name in enumerate(("cat", "dog")):
        save(folder / "val" / name / "v.jpg", scene(8000 + number))
    save(folder / "train" / "dog" / "deep" / HOSTILE, scene(7000))
    return folder


def decide(folder: Path, path: Path, **changes: tuple[str, str]) -> Path:
    """A list of all images, with decisions (and suggestions) by the end of their path."""
    dataset = open_data(folder)
    rows = []
    for sample in dataset.split("all"):
        label = dataset.classes[sample.label]
        end = next((end for end in changes if sample.id.replace("/", "_").removesuffix(".jpg").endswith(end)), None)
        suggested, decision = changes[end] if end else ("fox", "")
        row = list(corrections.row_of(sample, label, suggested, -0.25))
        rows.append([*row[:4], decision, row[5]])
    corrections.write(rows, path)
    return path


CHANGES = {
    "train_cat_0": ("dog", "suggested"), "train_cat_1": ("dog", "remove"), "train_cat_2": ("dog", "keep"),
    "val_dog_v": ("fox", "suggested"), "鸟\n": ("cat", "suggested"),
}  # fmt: skip


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_list_is_read_as_it_was_written(folder: Path, tmp_path: Path) -> None:
    path = decide(folder, tmp_path / "labels.csv", **CHANGES)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == corrections.COLUMNS == ("path", "label", "suggested", "score", "decision", "sha256")
    assert rows[0]["score"] == "-0.2500"
    dataset = open_data(folder)
    found = corrections.read(path, dataset)
    label = dataset.classes.index
    assert {change.sample.id: change.label for change in found} == {
        "train/cat/0.jpg": label("dog"), "train/cat/1.jpg": None, f"train/dog/deep/{HOSTILE}": label("cat"),
        "val/dog/v.jpg": label("fox"),
    }  # fmt: skip


def test_what_spreadsheets_make_of_it(folder: Path, tmp_path: Path) -> None:
    path = decide(folder, tmp_path / "labels.csv", **CHANGES)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    with path.open("w", encoding="utf-16", newline="") as file:
        csv.writer(file, delimiter=";").writerows([cell.replace("keep", "KEEP") for cell in row] for row in rows)
    assert len(corrections.read(path, open_data(folder))) == 4


def edited(folder: Path, path: Path, place: str, value: str) -> None:
    """The list with one cell of train/cat/4.jpg, or of the header, changed."""
    decide(folder, path, **CHANGES)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    if place == "header":
        rows[0][2] = value
    else:
        next(row for row in rows if row[0] == "train/cat/4.jpg")[rows[0].index(place)] = value
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("path", "train/cat/none.jpg", r"line 6: 'train/cat/none\.jpg' is no image of .*; name the folder it lies in"),
        ("path", "train/cat/1.jpg", r"line 6: names 'train/cat/1\.jpg' again, after line 3; remove one"),
        ("label", "cow", "line 6: 'cow' is no class of .*; its classes are cat, dog, fox"),
        ("suggested", "cow", "line 6: 'cow' is no class of .*; its classes are cat, dog, fox"),
        ("label", "dog", r"line 6: calls 'train/cat/4\.jpg' 'dog', and it is 'cat' by now; remove the line, or write"),
        ("decision", "maybe", "line 6: decision 'maybe' is unknown; write keep, suggested, remove or nothing"),
        ("header", "guess", "line 1: no column is called 'suggested'; write the list again with vgglass check"),
    ],
)
def test_a_list_that_does_not_fit(place: str, value: str, message: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    edited(folder, path, place, value)
    with pytest.raises(DataError, match=message):
        corrections.read(path, open_data(folder))


def test_other_lists_that_are_refused(folder: Path, tmp_path: Path) -> None:
    path = decide(folder, tmp_path / "labels.csv", train_cat_0=("cat", "suggested"), train_cat_1=("dog", "keep"))
    with pytest.raises(DataError, match="holds no decision that changes anything; tick the page's boxes, or write"):
        corrections.read(path, open_data(folder))
    path.write_text(",".join(corrections.COLUMNS) + '\n"a')
    with pytest.raises(DataError, match=r"line \d: is not CSV \(unexpected end of data\); mend the line"):
        corrections.read(path, open_data(folder))
    with pytest.raises(DataError, match="No such file or directory"):
        corrections.read(tmp_path / "none.csv", open_data(folder))


@pytest.mark.parametrize("decision", corrections.DECISIONS)
def test_a_decision_for_a_file_that_changed_since(decision: str, folder: Path, tmp_path: Path) -> None:
    path = decide(folder, tmp_path / "labels.csv", train_cat_0=("dog", decision), train_cat_1=("dog", "remove"))
    save(folder / "train" / "cat" / "0.jpg", scene(6000))
    save(folder / "train" / "cat" / "3.jpg", scene(6001))  # without a decision
    with pytest.raises(DataError, match=r"line 2: 'train/cat/0\.jpg' has changed since its label was judged; look"):
        corrections.read(path, open_data(folder))


def test_the_manifest_has_the_decisions_and_no_file_moves(folder: Path, tmp_path: Path) -> None:
    path, manifest, before = decide(folder, tmp_path / "labels.csv", **CHANGES), tmp_path / "m.parquet", tree(folder)
    printed = vgglass("check", folder, "--labels", "--apply", path, "--manifest", manifest).stdout
    assert "train 13   validation 2; 4 images by your decisions. No file moved." in printed
    assert f"Next:    vgglass train {manifest} --out runs/corrected" in printed
    assert tree(folder) == before
    found = open_data(manifest)
    labels = {str(sample.source): found.classes[sample.label] for sample in found.split("all")}
    assert labels[str(folder / "train" / "cat" / "0.jpg")] == "dog"
    assert labels[str(folder / "train" / "cat" / "2.jpg")] == "cat"
    assert labels[str(folder / "val" / "dog" / "v.jpg")] == "fox"
    assert str(folder / "train" / "cat" / "1.jpg") not in labels
    trainable(found)


MOVED = {
    "train/cat/0.jpg": "train/dog/0-2.jpg",  # dog has another 0.jpg
    "train/cat/1.jpg": ".vgglass-labels/removed/train/cat/1.jpg",
    f"train/dog/deep/{HOSTILE}": f"train/cat/deep/{HOSTILE}",
    "val/dog/v.jpg": "val/fox/v.jpg",
}


def test_files_move_with_yes_alone_and_are_put_back(folder: Path, tmp_path: Path) -> None:
    path, before = decide(folder, tmp_path / "labels.csv", **CHANGES), tree(folder)
    folders = sorted(folder.rglob("*"))
    printed = vgglass("check", folder, "--labels", "--apply", path, "--move").stdout
    assert f"  {folder}/train/cat/0.jpg → {folder}/train/dog/0-2.jpg\n" in printed
    assert "4 files would move; add --yes to move them" in printed
    assert sorted(folder.rglob("*")) == folders
    printed = vgglass("check", folder, "--labels", "--apply", path, "--move", "--yes").stdout
    assert f"4 files moved; vgglass check {folder} --labels --undo puts them back" in printed
    after = tree(folder)
    del after[".vgglass-labels/1.json"]
    assert after == {MOVED.get(name, name): content for name, content in before.items()}
    dataset = open_data(folder)
    assert {sample.id for sample in dataset.split("all")} == {name for name in after if not name.startswith(".")}
    error = vgglass("check", folder, "--labels", "--apply", path, "--move", "--yes", status=1).stderr
    assert "was applied to" in error
    assert "already; put all back with --undo" in error
    assert "4 files put back" in vgglass("check", folder, "--labels", "--undo").stdout
    assert tree(folder) == before
    assert sorted(folder.rglob("*")) == folders
    error = vgglass("check", folder, "--labels", "--undo", status=1).stderr
    assert "holds no record of moved files; name the folder that --apply --move was given" in error


class KilledError(Exception):
    """Stands for a signal that can't be heeded."""


def killed_after(files: int, work: Callable[[], Any]) -> None:
    """Do work that dies before the next file, once so many have moved."""
    left, rename = [files], Path.rename

    def until(source: Path, target: Any) -> Any:
        if not left[0]:
            raise KilledError
        left[0] -= 1
        return rename(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", until)
        with pytest.raises(KilledError):
            work()


@pytest.mark.parametrize("files", [0, 1, 3])
def test_killed_half_way_the_same_command_goes_on(files: int, folder: Path, tmp_path: Path) -> None:
    path, before = decide(folder, tmp_path / "labels.csv", **CHANGES), tree(folder)
    moved = {MOVED.get(name, name): content for name, content in before.items()}

    def content() -> dict[str, bytes]:
        return {name: found for name, found in tree(folder).items() if not name.endswith(".json")}

    killed_after(files, workflows.plan_moves(folder, path).carry_out)
    assert sorted(content().values()) == sorted(before.values())
    assert sum(name in before for name in content()) == len(before) - files
    other = decide(folder, tmp_path / "other.csv", train_cat_3=("fox", "remove"))
    with pytest.raises(DataError, match="holds moves by another list that were cut short; give it the list that it"):
        workflows.plan_moves(folder, other)
    found = workflows.plan_moves(folder, path)
    assert len(found.waiting()) == 4 - files
    found.carry_out()
    assert content() == moved
    killed_after(files, lambda: workflows.undo_moves(folder))
    assert sorted(content().values()) == sorted(before.values())
    assert workflows.undo_moves(folder) == 4 - files
    assert tree(folder) == before


def test_a_move_that_was_cut_short_can_be_undone(folder: Path, tmp_path: Path) -> None:
    path, before = decide(folder, tmp_path / "labels.csv", **CHANGES), tree(folder)
    killed_after(2, workflows.plan_moves(folder, path).carry_out)
    assert workflows.undo_moves(folder) == 2
    assert tree(folder) == before


def test_the_last_list_is_undone_first(folder: Path, tmp_path: Path) -> None:
    before = tree(folder)
    workflows.plan_moves(folder, decide(folder, tmp_path / "1.csv", train_cat_0=("dog", "suggested"))).carry_out()
    between = tree(folder)
    workflows.plan_moves(folder, decide(folder, tmp_path / "2.csv", train_cat_1=("dog", "remove"))).carry_out()
    assert workflows.undo_moves(folder) == 1
    assert tree(folder) == between
    assert workflows.undo_moves(folder) == 1
    assert tree(folder) == before


def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    path = decide(folder, tmp_path / "labels.csv", train_cat_0=("dog", "suggested"))
    found = workflows.plan_moves(folder, path)
    found.carry_out()
    save(folder / "train" / "cat" / "0.jpg", scene(6000))
    with pytest.raises(DataError, match=r"one moved file, but both exist; put one file at one of the two places"):
        workflows.undo_moves(folder)
    (folder / "train" / "cat" / "0.jpg").unlink()
    (folder / "train" / "dog" / "0-2.jpg").unlink()
    with pytest.raises(DataError, match=r"one moved file, but neither exists; .* take the pair out of .*1\.json"):
        workflows.undo_moves(folder)


def test_what_can_not_be_moved(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "cat" / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    save(tmp_path / "elsewhere.jpg", scene(6000))
    path = decide(folder, tmp_path / "labels.csv", train_cat_link=("dog", "suggested"))
    with pytest.raises(DataError, match="is a link, which may not hold elsewhere; write a --manifest in place of"):
        workflows.plan_moves(folder, path)
    (tmp_path / "list.csv").write_text("path,label\nphotos/train/cat/0.jpg,cat\n")
    with pytest.raises(UsageError, match=r"--move: moves files of class folders, and .* has none; write a --manifest"):
        workflows.plan_moves(tmp_path / "list.csv", path)
    with pytest.raises(DataError, match=r"none\.csv: is not a file; name the labels\.csv that the page or --out"):
        workflows.plan_moves(folder, tmp_path / "none.csv")


@pytest.mark.parametrize(
    "text", ['{"decisions": ""}', "text", '{"decisions": "", "folders": [], "files": [["../x", "y"]]}']
)
def test_a_journal_that_is_none(text: str, folder: Path) -> None:
    (folder / moves.HIDDEN).mkdir()
    (folder / moves.HIDDEN / "1.json").write_text(text)
    with pytest.raises(DataError, match=r"not a journal of moves .*; remove it, and move the files yourself"):
        workflows.undo_moves(folder)
