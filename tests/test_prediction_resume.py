"""A killed prediction goes on where it stopped: each image is in the file once, whatever was cut off when."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vgglass.errors import InterruptedRunError, UsageError
from vgglass.inference import Prediction, complete, recorded, require_origin
from vgglass.inference.resume import Header, beside, content, line, parsed

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

    def __call__(self, files: Iterable[Path]) -> Iterator[Prediction]:
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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    assert sorted(path.name for path in tmp_path.iterdir()) == [".rows.csv.origin", "rows.csv"]


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    out = tmp_path / "rows[1].csv"
    for name in (".rows[1].csv.17.4711.tmp", ".rows1.csv.17.4711.tmp", ".rows[1].csv.bak.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".rows[1].csv.old.1.tmp").mkdir()
    (tmp_path / ".rows[1].csv.18.4711.tmp").mkdir()
    run(out)
    others = [".rows1.csv.17.4711.tmp", ".rows[1].csv.bak.tmp", ".rows[1].csv.old.1.tmp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, ".rows[1].csv.origin", "rows[1].csv"])


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
    "key_value", [("format", 1), ("settings", ["engine"]), ("unknown", 1)], ids=["format", "settings", "unknown"]
)
def test_a_header_of_another_form_is_no_journals(tmp_path: Path, key_value: tuple[str, object]) -> None:
    out = tmp_path / "rows.csv"
    head, *rest = journal(out, 1).splitlines(keepends=True)
    beside(out).write_bytes(line(parsed(head) | dict([key_value])) + b"".join(rest))
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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_bit_is_found(tmp_path: Path, data: st.DataObject) -> None:
    """A flipped probability, class or path is a row that nobody computed."""
    out = tmp_path / "rows.csv"
    beside(out).unlink(missing_ok=True)
    text = bytearray(journal(out, len(FILES)))
    place = data.draw(st.integers(text.index(b"\n") + 1, len(text) - 1))
    text[place] ^= 1 << data.draw(st.integers(0, 7))
    beside(out).write_bytes(text)
    answerer = Answerer()
    assert list(recorded(answerer, FILES, out, HEADER, resume=True)) == [row(path) for path in FILES]
    assert answerer.asked == FILES[-len(answerer.asked) :] != []


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "images" / f"{number}.png" for number in range(5)]
    for number, path in enumerate(found):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes([number]) * 100)
    return found


def begun(out: Path, images: Sequence[Path], rows: int) -> None:
    running = recorded(Answerer(), images, out, HEADER, resume=False)
    for _ in range(rows):
        next(running)
    running.close()  # type: ignore[attr-defined]


def test_an_image_that_changed_since_is_answered_again(tmp_path: Path, images: list[Path]) -> None:
    """Whatever its size and times: a row stands for what was read."""
    out = tmp_path / "rows.csv"
    begun(out, images, 4)
    status = images[1].stat()
    images[1].write_bytes(b"x" * 100)
    os.utime(images[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    images[2].touch()  # the same content
    images[3].unlink()
    answerer = Answerer()
    left = [images[0], images[1], images[2], images[4]]
    rows = list(recorded(answerer, left, out, HEADER, resume=True))
    assert [found.path for found in rows] == [str(images[number]) for number in (0, 2, 1, 4)]
    assert answerer.asked == [images[1], images[4]]
    assert len(out.read_text().splitlines()) == 5


def test_what_could_not_be_read_and_can_is_answered_again(tmp_path: Path, images: list[Path]) -> None:
    out, content = tmp_path / "rows.csv", images[0].read_bytes()
    images[0].unlink()
    begun(out, images, 2)
    images[0].write_bytes(content)
    answerer = Answerer()
    assert len(list(recorded(answerer, images, out, HEADER, resume=True))) == 5
    assert answerer.asked == [images[0], *images[2:]]


def test_rows_of_other_images_are_not_mixed_in(tmp_path: Path, images: list[Path]) -> None:
    out = tmp_path / "rows.csv"
    begun(out, images, 2)
    before = beside(out).read_bytes()
    message = r"rows.csv.partial: holds rows of images that are not named now, such as .*0.png; repeat the command"
    with pytest.raises(UsageError, match=message):
        run(out, images[1:], resume=True)
    assert beside(out).read_bytes() == before


def test_a_complete_file_says_what_it_came_about_with(tmp_path: Path, images: list[Path]) -> None:
    out = tmp_path / "rows.csv"
    run(out, images)
    require_origin(out, HEADER, images)
    require_origin(out, HEADER, images[::-1])
    for header, named in (
        (replace(HEADER, model="1" * 64), "model 000000000000… and not 111111111111…"),
        (replace(HEADER, top=1), "top 2 and not 1"),
        (replace(HEADER, settings={"engine": "torch", "views": 1}), "engine openvino and not torch"),
    ):
        with pytest.raises(UsageError, match=f"rows.csv: is complete, and its rows came about with {named}; leave out"):
            require_origin(out, header, images)
    message = r"rows.csv: is complete, and its rows are of other images, or of these as they were before; leave out"
    with pytest.raises(UsageError, match=message):
        require_origin(out, HEADER, images[1:])
    (tmp_path / "more.png").touch()
    with pytest.raises(UsageError, match=message):
        require_origin(out, HEADER, [*images, tmp_path / "more.png"])
    status = images[0].stat()
    images[0].write_bytes(b"y" * 100)
    os.utime(images[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(UsageError, match=message):
        require_origin(out, HEADER, images)


@pytest.mark.parametrize("lost", ["rows.csv", ".rows.csv.origin"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"\0"), lambda path: path.write_bytes(b"")])
def test_a_complete_file_of_unknown_origin_is_refused(
    lost: str, damage: Callable[[Path], int], tmp_path: Path, images: list[Path]
) -> None:
    out = tmp_path / "rows.csv"
    run(out, images)
    damage(tmp_path / lost)
    message = "rows.csv: is complete, and nothing tells what its rows came about with; leave out --resume to predict"
    with pytest.raises(UsageError, match=message):
        require_origin(out, HEADER, images)


def test_what_is_no_regular_file_has_no_content(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "sparse.jpg").touch()
    os.truncate(tmp_path / "sparse.jpg", 2 << 30)
    names = ("pipe.jpg", "none.jpg", ".", "sparse.jpg")
    assert [content(tmp_path / name) for name in names] == ["", "", "", f"{2 << 30} bytes"]


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
from vgglass.inference.resume import Header
from vgglass.inference.resume import open_journal
with open_journal(Path(sys.argv[1]), Header("0" * 64, 2), False):
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
from vgglass.inference.resume import Header
from vgglass.inference.resume import open_journal
out, marker, owned = Path(sys.argv[1]), sys.argv[1] + ".owned", 0
while owned < 200:
    try:
        with open_journal(out, Header("0" * 64, 2), False) as journal:
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
