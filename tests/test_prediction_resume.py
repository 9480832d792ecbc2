"""A killed prediction goes on where it stopped: each image is in the file once, whatever was cut off when."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vgglass.errors import InterruptedRunError, UsageError
from vgglass.prediction import Prediction, complete, recorded
from vgglass.prediction.journal import Header, beside

FILES = [Path(name) for name in ("/a/1.png", "/a/two words.png", "/a/\udcff.png", "/a/4,\n.png", "/a/五.png")]
HEADER = Header("0" * 64, 2, settings={"engine": "openvino", "views": 1})


def row(path: Path) -> Prediction:
    if path.name == "two words.png":
        return Prediction(str(path), error="the file is empty")
    return Prediction(str(path), (("猫", 0.1 + 0.2), ("dog", 1e-300)))


class Answerer:
    """Answers, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Path] = []

    def __call__(self, files: Sequence[Path]) -> Iterator[Prediction]:
        for path in files:
            self.asked.append(path)
            yield row(path)


def run(out: Path, files: Sequence[Path] = FILES, header: Header = HEADER, resume: bool = False) -> list[Prediction]:
    return list(recorded(Answerer(), files, out, header, resume))


def journal(out: Path, rows: int) -> bytes:
    """The bytes that a run leaves which was killed after so many rows."""
    running = recorded(Answerer(), FILES, out, HEADER, resume=False)
    for _ in range(rows):
        next(running)
    data = beside(out).read_bytes()
    running.close()  # type: ignore[attr-defined]
    return data


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([".csv", ".JSONL", ".parquet"]))
def test_a_journal_cut_anywhere_goes_on_to_the_same_file(tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    expected = run(whole)
    beside(out).unlink(missing_ok=True)
    text = journal(out, len(FILES))
    cut = data.draw(st.integers(0, len(text)))
    beside(out).write_bytes(text[:cut])
    answerer = Answerer()
    assert list(recorded(answerer, FILES, out, HEADER, resume=True)) == expected == [row(path) for path in FILES]
    kept = max(text[:cut].count(b"\n") - 1, 0)
    assert answerer.asked == FILES[kept:]
    assert out.read_bytes() == whole.read_bytes()
    assert complete(out)
    out.unlink()


def test_what_was_killed_between_the_file_and_the_journals_end_ends_well(tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    text = journal(out, len(FILES))
    beside(out).unlink()
    run(out)
    before = out.read_bytes()
    beside(out).write_bytes(text)
    assert not complete(out)
    with pytest.raises(UsageError, match=r"rows\.csv\.partial: holds 5 rows of an earlier run; add --resume .* remove"):
        run(out)
    assert beside(out).read_bytes() == text
    answerer = Answerer()
    assert len(list(recorded(answerer, FILES, out, HEADER, resume=True))) == 5
    assert answerer.asked == []
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    out = tmp_path / "rows[1].csv"
    for name in (".rows[1].csv.17.4711.tmp", ".rows1.csv.17.4711.tmp", ".rows[1].csv.bak.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".rows[1].csv.old.1.tmp").mkdir()
    (tmp_path / ".rows[1].csv.18.4711.tmp").mkdir()
    run(out)
    others = [".rows1.csv.17.4711.tmp", ".rows[1].csv.bak.tmp", ".rows[1].csv.old.1.tmp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*others, "rows[1].csv"]


def test_images_that_came_since_are_answered_too(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    journal(out, 3)
    files = [Path("/a/0.png"), *FILES]
    assert [found.path for found in run(out, files, resume=True)] == [
        str(path) for path in [*FILES[:3], Path("/a/0.png"), *FILES[3:]]
    ]
    assert len(out.read_text(encoding="utf-8").splitlines()) == 6


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model": "1" * 64}, "model 000000000000… and not 111111111111…"),
        ({"top": 3}, "top 2 and not 3"),
        ({"folder": "/b"}, "folder  and not /b"),
        ({"settings": {"engine": "torch", "views": 1}}, "engine openvino and not torch"),
        ({"settings": {"engine": "openvino"}}, "views 1 and not unsaid"),
    ],
)
def test_rows_that_came_about_otherwise_are_not_mixed(tmp_path: Path, changed: dict[str, object], named: str) -> None:
    out = tmp_path / "rows.csv"
    text = journal(out, 2)
    other = replace(HEADER, **changed)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"its rows came about with {named}; repeat the command as it was, or remove"):
        run(out, header=other, resume=True)
    assert beside(out).read_bytes() == text
    beside(out).write_bytes(text.splitlines(keepends=True)[0])  # no rows: nothing would be lost
    assert len(run(out, header=other)) == 5


def test_settings_are_compared_as_they_are_read_back(tmp_path: Path) -> None:
    out, header = tmp_path / "rows.csv", replace(HEADER, settings={"crops": (1, 2)})
    running = recorded(Answerer(), FILES, out, header, resume=False)
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert len(run(out, header=header, resume=True)) == 5


@pytest.mark.parametrize("text", [b"notes\n", b"notes", b"[]\n", b"1\n", b'{"format": 1}\n', b"\x00\xff\n"])
@pytest.mark.parametrize("resume", [False, True])
def test_what_is_no_journal_is_left_alone(tmp_path: Path, text: bytes, resume: bool) -> None:
    out = tmp_path / "rows.csv"
    beside(out).write_bytes(text)
    with pytest.raises(UsageError, match=r"rows\.csv\.partial: its first line is not that of a journal; move it away"):
        run(out, resume=resume)
    assert beside(out).read_bytes() == text


@pytest.mark.parametrize(
    "key_value", [("format", 2), ("settings", ["engine"]), ("unknown", 1)], ids=["format", "settings", "unknown"]
)
def test_a_header_of_another_form_is_no_journals(tmp_path: Path, key_value: tuple[str, object]) -> None:
    out = tmp_path / "rows.csv"
    head, *rest = journal(out, 1).splitlines(keepends=True)
    beside(out).write_bytes(json.dumps(json.loads(head) | dict([key_value])).encode() + b"\n" + b"".join(rest))
    with pytest.raises(UsageError, match="its first line is not that of a journal"):
        run(out, resume=True)


@pytest.mark.parametrize("tail", [b"\0" * 100 + b"\n", b"{}\n", b"[1]\n", b'{"path": "x", "top": 5}\n', b"torn"])
def test_what_follows_a_damaged_line_is_answered_again(tmp_path: Path, tail: bytes) -> None:
    out = tmp_path / "rows.csv"
    lines = journal(out, 4).splitlines(keepends=True)
    beside(out).write_bytes(b"".join([*lines[:3], tail, *([] if tail == b"torn" else lines[3:])]))
    answerer = Answerer()
    assert list(recorded(answerer, FILES, out, HEADER, resume=True)) == [row(path) for path in FILES]
    assert answerer.asked == FILES[2:]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_heeded_between_two_rows(tmp_path: Path, number: signal.Signals, status: int) -> None:
    out, before = tmp_path / "rows.csv", signal.getsignal(number)
    running = recorded(Answerer(), FILES, out, HEADER, resume=False)
    next(running)
    next(running)
    os.kill(os.getpid(), number)
    message = f"interrupted by {number.name}: 2 rows are kept in .*rows.csv.partial; go on with the same .* --resume"
    with pytest.raises(InterruptedRunError, match=message) as interrupted:
        next(running)
    assert interrupted.value.exit_status == status
    assert signal.getsignal(number) == before
    assert len(run(out, resume=True)) == 5


HOLDER = """
import sys
from pathlib import Path
from vgglass.prediction.journal import Header, opened
with opened(Path(sys.argv[1]), Header("0" * 64, 2), False):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    command = [sys.executable, "-c", HOLDER, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for resume in (False, True):
            with pytest.raises(UsageError, match=r"--out .*rows\.csv: another vgglass predict is writing there; wait"):
                run(out, resume=resume)
        process.kill()
    assert len(run(out)) == 5


CONTENDER = """
import os, sys
from pathlib import Path
from vgglass.errors import UsageError
from vgglass.prediction.journal import Header, opened
out, marker, owned = Path(sys.argv[1]), sys.argv[1] + ".owned", 0
while owned < 200:
    try:
        with opened(out, Header("0" * 64, 2), False) as journal:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            os.unlink(marker)
            journal.path.unlink()
            owned += 1
    except UsageError:
        pass
"""


def test_a_journal_that_is_being_removed_has_one_owner(tmp_path: Path) -> None:
    """What is opened before its owner removes it and locked afterwards is nobody's journal any more."""
    command = [sys.executable, "-c", CONTENDER, str(tmp_path / "rows.csv")]
    contenders = [subprocess.Popen(command) for _ in range(3)]
    assert [contender.wait() for contender in contenders] == [0, 0, 0]
