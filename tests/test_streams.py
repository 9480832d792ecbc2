"""Commands print in any encoding, to a full disk, to nobody; pictures are drawn whatever matplotlib is set to."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vgglass.cli import output, streams

FULL = Path("/dev/full")


def prepare(monkeypatch: pytest.MonkeyPatch, stdout: object) -> None:
    """As at the beginning of a command whose standard output this is."""
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stdout and io.TextIOWrapper(io.BytesIO(), "utf-8"))
    streams.prepare()


def printed(encoding: str, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> str:
    """What reaches standard output in this encoding."""
    gathered = io.BytesIO()
    prepare(monkeypatch, io.TextIOWrapper(gathered, encoding))
    work()
    sys.stdout.flush()
    return gathered.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "3×4 … 猫 dög 😀"),
        ("gbk", "3×4 … 猫 d\\u00f6g \\ud83d\\ude00"),
        ("latin-1", "3×4 ... \\u732b dög \\ud83d\\ude00"),
        ("cp1252", "3×4 … \\u732b dög \\ud83d\\ude00"),
        ("ascii", "3x4 ... \\u732b d\\u00f6g \\ud83d\\ude00"),
    ],
)
def test_any_encoding(encoding: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own signs become ASCII's; the letters of a name do not become others."""
    text = printed(encoding, monkeypatch, lambda: output.console().print("3×4 … 猫 dög 😀"))
    assert text == expected + "\n"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "gbk", "cp1252"])
def test_json_says_the_same_in_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["3×4 猫 dög 😀", "not UTF-8: \udcff"]
    assert json.loads(printed(encoding, monkeypatch, lambda: output.print_json(rows))) == rows
    assert json.loads(printed(encoding, monkeypatch, lambda: output.print_json_list(rows))) == rows


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", [False, True])
def test_results_that_cannot_be_printed_are_an_error_and_words_beside_them_are_not(
    unbuffered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def to_full() -> None:
        binary = FULL.open("wb", buffering=0) if unbuffered else FULL.open("wb")
        prepare(monkeypatch, io.TextIOWrapper(binary, "utf-8", write_through=unbuffered))

    def row() -> None:
        print("row")
        sys.stdout.flush()

    to_full()
    with pytest.raises(OSError, match=r"No space left on device: 'standard output'"):
        row()
    sys.stdout.close()  # nothing is left that could not be written
    to_full()
    streams.narrate()
    for _ in range(3):
        output.console().print("epoch 1")
    sys.stdout.close()


def test_who_stops_reading_does_not_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    prepare(monkeypatch, os.fdopen(writing, "w"))
    streams.narrate()
    for _ in range(3):
        output.console().print("epoch 1")
    sys.stdout.close()


def test_closed_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch, None)
    output.print_json(1)
    output.warn("a")
    sys.stdout.close()
    sys.stderr.close()


def test_the_command_reports_a_full_disk_and_no_traceback() -> None:
    command = [sys.executable, "-m", "vgglass", "summary", "vgg16"]
    with FULL.open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: standard output: No space left on device; check that it can be written, or choose another place."
    ]


@pytest.mark.slow
def test_a_back_end_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "vgglass", "relu", "--out", str(tmp_path / "relu.png")]
    environment = os.environ | {"MPLBACKEND": "nonsense", "PYTHONIOENCODING": "ascii", "COLUMNS": "20", "TERM": "dumb"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "relu.png").read_bytes().startswith(b"\x89PNG")
