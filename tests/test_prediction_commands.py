"""vgglass predict as a person types it, on many small images: killed, refused, sorted, from a list."""

import csv
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

import glass_subjects
from sizes import sized
from typed import Done, vgglass
from vgglass import modelfile, workflows

COUNT = 300


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    modelfile.save(glass_subjects.model("A", image_size=32, width=0.0625, hidden=8), path)
    return path


def photographs(folder: Path, count: int = COUNT) -> Path:
    """Large enough that a process is met on its way through them."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        image = generator.integers(0, 256, (128, 128, 3), np.uint8)
        Image.fromarray(image).save(folder / f"{number}.png", compress_level=1)
    return folder


def command(model: Path, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "vgglass", "predict", "--model", str(model), *map(str, arguments)]


def predict(model: Path, *arguments: object, status: int = 0, given: str = "", **options: Any) -> Done:
    """`options` are of a process of its own, which is started where there are any; `given` is on standard input."""
    if not options:
        return vgglass("predict", "--model", model, *arguments, status=status, given=given)
    result = subprocess.run(
        command(model, *arguments), capture_output=True, encoding="utf-8", errors="surrogateescape", check=False,
        **options,
    )  # fmt: skip
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


def read(out: Path) -> list[dict[str, Any]]:
    if out.suffix == ".parquet":
        rows: list[dict[str, Any]] = parquet.read_table(out).to_pylist()
        return rows
    return list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))


def lines(out: Path) -> int:
    journal = out.with_name(f"{out.name}.partial")
    try:
        return journal.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def kill_after(rows: int, out: Path, arguments: Iterable[str]) -> None:
    """Kill -9 when so many more rows are in the journal, or the process has ended."""
    with subprocess.Popen([*arguments], stdout=subprocess.DEVNULL) as process:
        before = lines(out)
        while process.poll() is None and lines(out) < before + rows:
            time.sleep(0.001)
        process.kill()


def survives(model: Path, folder: Path, out: Path, kills: int) -> None:
    """Kill so many times on the way, then compare with what was never killed."""
    whole = out.with_name(f"whole{out.suffix}")
    predict(model, folder, "--out", whole)
    each, reached = len(list(folder.iterdir())) // (kills + 1), 0
    for number in range(kills):
        kill_after(random.Random(number).randint(0, each), out, command(model, folder, "--out", out, "--resume"))
        if out.exists():
            break
        assert lines(out) >= reached
        reached = lines(out)
    assert reached
    predict(model, folder, "--out", out, "--resume")
    rows = read(out)
    assert [row["path"] for row in rows] == [str(folder / f"{number}.png") for number in range(len(rows))]
    assert rows == read(whole)
    assert len(rows) == len(list(folder.iterdir()))
    origins = [f".{name}.origin" for name in (out.name, whole.name)]
    left = sorted(path.name for path in out.parent.iterdir() if path.is_file())
    assert left == sorted([out.name, whole.name, *origins])


@pytest.mark.slow
def test_killed_on_the_way_to_parquet(model: Path, tmp_path: Path) -> None:
    survives(model, photographs(tmp_path / "images"), tmp_path / "rows.parquet", kills=2)


@pytest.mark.slow
def test_killed_many_times(model: Path, tmp_path: Path) -> None:
    survives(model, photographs(tmp_path / "images", sized(800, 2000)), tmp_path / "rows.csv", kills=sized(6, 20))


def test_interrupted_and_gone_on_with(model: Path, tmp_path: Path) -> None:
    folder, out, into = photographs(tmp_path / "images"), tmp_path / "new" / "rows.csv", tmp_path / "images" / "sorted"
    (folder / "7.png").write_bytes(b"")
    arguments = (folder, "--out", out, "--sort-into", into)
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with subprocess.Popen(command(model, *arguments, "--resume"), stderr=subprocess.PIPE, text=True) as process:
            before = lines(out)
            while lines(out) < before + 20:
                assert process.poll() is None
                time.sleep(0.001)
            process.send_signal(number)
            assert process.stderr is not None
            error = process.stderr.read()
        assert process.returncode == status
        assert error.splitlines(keepends=True)[-1] == (
            f"error: interrupted by {number.name}: {lines(out) - 1} rows are kept in {out}.partial;"
            " go on with the same command and --resume.\n"
        )
    kept = lines(out) - 1
    error = predict(model, *arguments, status=2).stderr
    assert f"rows.csv.partial: holds {kept} rows of an earlier run; add --resume to go on with them" in error
    assert "came about with top 5 and not 2" in predict(model, *arguments, "--resume", "--top", 2, status=2).stderr
    result = predict(model, *arguments, "--resume", status=1)
    assert result.stdout == f"{COUNT} rows: {out}\n"
    assert result.stderr.splitlines()[-1] == f"1 of {COUNT} images could not be read"
    rows = read(out)
    assert [row["path"] for row in rows] == [str(folder / f"{number}.png") for number in range(COUNT)]
    links = {str(link.readlink()): link.parent.name for link in into.rglob("*.png")}
    expected = {row["path"]: row["class"].replace("/", "%2F") for row in rows if not row["error"]}
    assert links == expected
    assert len(links) == COUNT - 1
    result = predict(model, *arguments, "--resume")
    assert result.stdout == f"nothing is left to do: {out} is complete; leave out --resume to predict anew\n"
    assert read(out) == rows


def test_a_full_disk_costs_no_row(model: Path, tmp_path: Path) -> None:
    """Of the journal or of the file: a limit on the size of files stands for the disk."""
    folder, out = photographs(tmp_path / "images", 100), tmp_path / "rows.jsonl"

    def limited(size: int) -> str:
        limits = (size, size)
        return predict(
            model, folder, "--out", out, "--resume", status=1,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        ).stderr  # fmt: skip

    assert limited(10_000).splitlines()[-1] == (
        f"error: {out}.partial: File too large; check that it can be written, or choose another place."
    )
    assert not out.exists()
    journal = out.with_name("rows.jsonl.partial")
    torn = journal.read_bytes()
    assert len(torn) == 10_000
    predict(model, folder, "--out", out, "--resume")
    whole = out.read_bytes()
    out.unlink()
    journal.write_bytes(torn)
    assert len(whole) > 30_000
    assert "File too large" in limited(len(whole) - 1)
    assert [path.name for path in tmp_path.glob(".rows*.tmp")] == []
    predict(model, folder, "--out", out, "--resume")
    assert out.read_bytes() == whole


def test_a_place_that_cannot_be_written(model: Path, tmp_path: Path) -> None:
    image = photographs(tmp_path / "images", 1) / "0.png"
    error = predict(model, image, "--out", image / "rows.csv", status=1).stderr
    assert f"{image}: File exists; check that it can be written, or choose another place" in error
    (tmp_path / "sorted").write_text("a file")
    error = predict(model, image, "--sort-into", tmp_path / "sorted", status=1).stderr
    assert "check that it can be written, or choose another place" in error
    error = predict(model, image, "--resume", status=2).stderr
    assert "--resume: goes on with the rows of --out; add --out and the file's name." in error


def test_a_list_on_standard_input(model: Path, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "images", 3)
    strange = folder / os.fsdecode(b"\xff.png")
    (folder / "0.png").rename(strange)
    names = [strange, tmp_path / "none.png", folder, strange]
    text = "\n".join(map(str, names))
    found = json.loads(predict(model, "-", "--json", "--top", 1, input=text, status=1).stdout)
    assert [row["path"] for row in found] == [
        f"{folder}/\\xff.png", str(tmp_path / "none.png"), f"{folder}/1.png", f"{folder}/2.png",
    ]  # fmt: skip
    assert found[1] == {"path": str(tmp_path / "none.png"), "error": "No such file or directory"}
    assert [len(row.get("top", [])) for row in found] == [1, 0, 1, 1]
    result = predict(model, "-", "--out", tmp_path / "rows.csv", "--resume", given="\0".join(map(str, names)), status=1)
    assert "1 of 4 images could not be read" in result.stderr
    assert [row["path"] for row in read(tmp_path / "rows.csv")] == [row["path"] for row in found]
    assert "\\xff.png" in predict(model, strange).stdout
    assert "standard input: names no images" in predict(model, "-", given="\n", status=1).stderr
    assert "-: stands for a list on standard input" in predict(model, "-", folder, status=2).stderr


def test_rows_come_one_at_a_time_or_in_a_list(model: Path, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "images", 20)
    rows = workflows.stream_predictions(model, [folder], top=2, out=tmp_path / "rows.csv")
    first = next(rows)
    assert lines(tmp_path / "rows.csv") == 2
    assert [first, *rows] == workflows.predict(model, [folder, folder / "0.png"], top=2)
    assert len(read(tmp_path / "rows.csv")) == 20
    command_again = (model, folder, "--out", tmp_path / "rows.csv", "--resume", "--json")
    assert json.loads(predict(*command_again, "--top", 2).stdout) == []
    assert "rows.csv: is complete, and its rows came about with top 2" in predict(*command_again, status=2).stderr
