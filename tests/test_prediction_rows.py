"""What is predicted, and where the rows go: lists and folders in; CSV, JSON lines, Parquet and links out."""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from vgglass.cli import output, predict
from vgglass.errors import DataError, UsageError
from vgglass.inference import Prediction, expand, require, sorted_into, write
from vgglass.inference.links import folder_name

ROWS = [
    Prediction("a,b.png", (("猫", 2 / 3), ('the "dog"', 1 / 3))),
    Prediction("two\nlines.png", error="the file is empty"),
    Prediction("\udcff.png", (("half \ud83d", 1.0), ("nothing", 0.0))),
    Prediction(
        "plain.png",
        (("one answer", 0.25),),
        unsure=True,
        unfamiliar=False,
        distance=0.5,
        brightness=0.25,
        sharpness=-1.0,
    ),
]
DOUBTS = ("unsure", "unfamiliar", "distance", "brightness", "sharpness")
COLUMNS = ["path", "class", "probability", "class_2", "probability_2", *DOUBTS, "error"]
TYPES = dict.fromkeys(("probability", "distance", "brightness", "sharpness"), "double")
TYPES |= {"unsure": "bool", "unfamiliar": "bool"}


def touched(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def test_csv_is_read_back(tmp_path: Path) -> None:
    write(ROWS, tmp_path / "rows.CSV", 2)
    with (tmp_path / "rows.CSV").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            COLUMNS,
            ["a,b.png", "猫", "0.666667", 'the "dog"', "0.333333", *[""] * 6],
            ["two\nlines.png", *[""] * 9, "the file is empty"],
            ["\\xff.png", "half \\ud83d", "1.000000", "nothing", "0.000000", *[""] * 6],
            ["plain.png", "one answer", "0.250000", "", "", "true", "false", "0.500000", "0.250000", "-1.000000", ""],
        ]


def test_json_lines_are_read_back(tmp_path: Path) -> None:
    write(iter(ROWS), tmp_path / "rows.jsonl", 2)
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert found == [row.as_json() for row in ROWS]
    assert found[0] == {
        "path": "a,b.png",
        "top": [{"class": "猫", "probability": 2 / 3}, {"class": 'the "dog"', "probability": 1 / 3}],
    }
    assert found[1] == {"path": "two\nlines.png", "error": "the file is empty"}


def test_parquet_has_types_and_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgglass.inference.tables.GROUP", 3)
    write(iter(ROWS), tmp_path / "rows.parquet", 2)
    file = parquet.ParquetFile(tmp_path / "rows.parquet")
    assert file.metadata.num_row_groups == 2
    assert [(field.name, str(field.type)) for field in file.schema_arrow] == [
        (name, TYPES.get(name.removesuffix("_2"), "string")) for name in COLUMNS
    ]
    assert [list(row.values()) for row in file.read().to_pylist()] == [
        ["a,b.png", "猫", 2 / 3, 'the "dog"', 1 / 3, *[None] * 6],
        ["two\nlines.png", *[None] * 9, "the file is empty"],
        ["\\xff.png", "half \\ud83d", 1.0, "nothing", 0.0, *[None] * 6],
        ["plain.png", "one answer", 0.25, None, None, True, False, 0.5, 0.25, -1.0, None],
    ]


def test_a_place_for_rows_is_judged_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"--out rows\.txt: the rows go to a \.csv, \.jsonl or \.parquet file; give it"
    ):
        require(Path("rows.txt"))
    (tmp_path / "rows.csv").mkdir()
    with pytest.raises(UsageError, match=r"--out .*rows\.csv: is a folder; name a file"):
        require(tmp_path / "rows.csv")
    require(tmp_path / "rows.JSONL")
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path; from vgglass.inference import require\n"
        "require(Path('rows.csv')); require(Path('rows.parquet'))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pyarrow: needed for Parquet files, is not installed; run: pip install 'vgglass[data]'" in result.stderr


def test_each_image_is_named_once_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = touched(tmp_path, "in/a.png", "in/b.png", "in/deep/c.png")
    (tmp_path / "same").symlink_to(tmp_path / "in")
    (tmp_path / "in/link.png").symlink_to(a)
    (tmp_path / "list.csv").write_text("path\nin/deep/c.png\nin/a.png\n")
    monkeypatch.chdir(tmp_path)
    assert expand([b, tmp_path / "in", tmp_path / "list.csv", Path("in/a.png"), Path("in/../in/b.png")]) == [
        b, a, c,
    ]  # fmt: skip
    assert expand([tmp_path / "same/a.png", a]) == [tmp_path / "same/a.png"]
    with pytest.raises(DataError, match=r"none\.png: does not exist; check the path"):
        expand([a, tmp_path / "none.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no images; name a folder that does, or files"):
        expand([tmp_path / "empty"])


def given_list(monkeypatch: pytest.MonkeyPatch, data: bytes) -> list[Path]:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return expand([Path("-")])


def test_a_list_comes_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["x/b.png", "x/a.png", "odd\n.png", os.fsdecode(b"\xff.png")]
    touched(tmp_path, *names)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert given_list(monkeypatch, b"none.png\n\n  \nx\nempty\nx/b.png\n\xff.png") == [
        Path("none.png"), Path("x/a.png"), Path("x/b.png"), Path(os.fsdecode(b"\xff.png")),
    ]  # fmt: skip
    assert given_list(monkeypatch, b"odd\n.png\0x/a.png\0\0x\0") == [
        Path("odd\n.png"), Path("x/a.png"), Path("x/b.png"),
    ]  # fmt: skip
    for nothing in (b"", b"\n \n", b"\0", b"empty\n"):
        with pytest.raises(DataError, match="standard input: names no images; pipe a list into it"):
            given_list(monkeypatch, nothing)
    with pytest.raises(
        UsageError, match="-: stands for a list on standard input, and for all the paths; give it alone"
    ):
        expand([Path("-"), Path("x")])


@given(st.lists(st.text(min_size=1) | st.text("./%\0A2F5ED80", min_size=1), unique=True))
def test_no_two_classes_share_a_folder(labels: list[str]) -> None:
    names = [folder_name(label) for label in labels]
    assert len(set(names)) == len(names)
    for name in names:
        os.fsencode(name)
        assert name not in ("", ".", "..")
        assert not set(name) & {"/", "\0"}
        assert not name.startswith(".")


def test_class_names_as_folders() -> None:
    assert [folder_name(label) for label in ("tabby, cat", "..", "a/b", "50%", "\ud83d", "猫")] == [
        "tabby, cat", "%2E.", "a%2Fb", "50%25", "%D83D", "猫",
    ]  # fmt: skip


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images=st.lists(st.tuples(st.sampled_from("abc"), NAMES, st.sampled_from(["cat", "../dog", "."])), min_size=1))
def test_every_image_has_a_link_and_running_again_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, images: list[tuple[str, str, str]]
) -> None:
    root = tmp_path_factory.mktemp("sort")
    expected = {(str(root / folder), f"{name}.png"): label for folder, name, label in images}
    for folder, name in expected:
        touched(Path(folder), name)
    rows = [Prediction(os.path.join(*image), ((label, 1.0),)) for image, label in expected.items()]  # noqa: PTH118
    rows.append(Prediction(str(root / "bad.png"), error="the file is empty"))
    for given_rows in (rows, rows, rows[::-1]):
        assert list(sorted_into(root / "sorted", given_rows)) == given_rows
        found = {
            (os.path.split(link.readlink()), link.parent.name): link.is_file()
            for link in (root / "sorted").rglob("*")
            if link.is_symlink()
        }
        assert found == {(image, folder_name(label)): True for image, label in expected.items()}
        assert sum(path.is_symlink() for path in root.rglob("*")) == len(expected)


def test_what_lies_in_the_way_of_a_link_stays(tmp_path: Path) -> None:
    one, two, three = touched(tmp_path, "1/x.tar.png", "2/x.tar.png", f"3/{'é' * 125}.png")
    (other,) = touched(tmp_path, "sorted/cat/x.tar.png")
    other.write_text("a real file")
    foreign = tmp_path / "sorted/cat" / three.name
    foreign.symlink_to("/nowhere")
    rows = [Prediction(str(path), (("cat", 1.0),)) for path in (one, two, three)]
    for _ in range(2):
        list(sorted_into(tmp_path / "sorted", rows))
    assert other.read_text() == "a real file"
    assert foreign.readlink() == Path("/nowhere")
    links = [path for path in other.parent.iterdir() if path not in (other, foreign)]
    assert sorted(link.readlink() for link in links) == [one, two, three]
    digest = hashlib.sha256(os.fsencode(one)).hexdigest()
    assert (other.parent / f"x.tar-{digest[:6]}.png").readlink() == one
    (other.parent / f"x.tar-{digest[:6]}.png").unlink()
    for taken in (f"x.tar-{digest[:6]}.png", f"x.tar-{digest}.png"):
        (other.parent / taken).write_text("taken")
    with pytest.raises(DataError, match=r"cat/x\.tar-\w+\.png: is not the link to .*x\.tar\.png that belongs there"):
        list(sorted_into(tmp_path / "sorted", rows[:1]))


def test_links_are_no_images_of_their_own(tmp_path: Path) -> None:
    a, b = touched(tmp_path, "a.png", "b.png")
    rows = [Prediction(str(path), ((f"is {path.stem}", 1.0),)) for path in (a, b)]
    list(sorted_into(tmp_path / "sorted", rows))
    assert (tmp_path / "sorted/is a/a.png").readlink() == a
    assert expand([tmp_path], tmp_path / "sorted") == [a, b]
    assert expand([tmp_path]) == [a, b]
    with pytest.raises(DataError, match="sorted: holds all the images that are named; name the folder that they came"):
        expand([tmp_path / "sorted"], tmp_path / "sorted")


def test_long_tables_come_in_pages(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Prediction(f"{number}.png", (("cat", 0.5),)) for number in range(2001)]
    predict._show(iter(rows))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [number for number, line in enumerate(lines) if line[0] == "image"] == [0, 1001, 2002]
    assert [line[0] for line in lines if line[0] != "image"] == [row.path for row in rows]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_json_list_is_printed_as_it_comes(capsys: pytest.CaptureFixture[str], count: int) -> None:
    values = [row.as_json() | {"strange": "line\u2028end\x85\n"} for row in ROWS[:count]]
    output.print_json_list(iter(values))
    streamed = capsys.readouterr().out
    output.print_json(values)
    assert streamed == capsys.readouterr().out
