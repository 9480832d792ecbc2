"""Rows on their way to a file: a line each in `rows.csv.partial`, so that what was killed goes on where it stopped.

The first line says what the rows depend on. When all rows are there they become the file, and the journal is removed:
where only the journal is left or both are, `--resume` ends the work; where only the file is, it is whole.
"""

import fcntl
import glob
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vgglass.atomic import discard, temporaries
from vgglass.errors import InterruptedRunError, UsageError
from vgglass.interruption import Interruption
from vgglass.modelfile import Record
from vgglass.prediction import tables
from vgglass.prediction.files import Met
from vgglass.prediction.rows import Prediction
from vgglass.predictor import Predictor

SUFFIX = ".partial"
FORMAT = 1

Answer = Callable[[Sequence[Path]], Iterator[Prediction]]


@dataclass(frozen=True)
class Header:
    """What the rows of a journal depend on.

    model     digest of all in a model file that decides its answers
    top       answers an image
    folder    that relative paths start at; empty where there are none
    settings  what else changes an answer, by the names that a person gives
    """

    model: str
    top: int
    folder: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        return _line({"format": FORMAT, **asdict(self)})

    def facts(self) -> dict[str, Any]:
        return {"model": self.model, "top": self.top, "folder": self.folder, **self.settings}


def header(predictor: Predictor, top: int, files: Sequence[Path]) -> Header:
    """What the rows that a model gives to these files depend on."""
    record = predictor.record
    relative = any(not path.is_absolute() for path in files)
    return Header(
        model_digest(record), min(top, len(record.classes)), str(Path.cwd()) if relative else "", predictor.settings
    )


def model_digest(record: Record) -> str:
    """SHA-256 of all in a model file that decides its answers."""
    values = record.as_json()
    names = ("architecture", "classes", "preprocessing", "temperature", "reject_threshold", "digest")
    decisive = [values[name] for name in names]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


class Journal:
    """The open journal at `path`, whole lines alone.

    Unbuffered: a row that is added outlives the process. Never opened twice: closing any other opened one of a file
    would let go of its lock.
    """

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self.path, self._file = path, file

    def lines(self) -> Iterator[bytes]:
        self._file.seek(0)
        reader = io.BufferedReader(self._file)
        try:
            for line in reader:  # noqa: UP028 (yield from would close the file where it is left early)
                yield line
        finally:
            reader.detach()  # or it would close the file

    def rows(self) -> Iterator[Prediction]:
        return (_row(line) for number, line in enumerate(self.lines()) if number)

    def cut(self, length: int) -> None:
        self._file.truncate(length)

    def write(self, line: bytes) -> None:
        """Add a line. Raises OSError on a full disk: what is left is whole lines and perhaps a torn one."""
        rest = memoryview(line)
        with _named(self.path):
            while rest:
                rest = rest[self._file.write(rest) :]

    def add(self, row: Prediction) -> None:
        self.write(_line(vars(row)))


def beside(out: Path) -> Path:
    return out.with_name(out.name + SUFFIX)


def complete(out: Path) -> bool:
    """Whether there is nothing to resume, for the file is there and its journal is gone."""
    return out.exists() and not beside(out).exists()


def recorded(answer: Answer, files: Sequence[Path], out: Path, header: Header, resume: bool) -> Iterator[Prediction]:
    """A row for each file as it comes, those of the journal first; after the last one `out` is written.

    Raises UsageError before the first row where another process writes to `out`, where rows would be lost, or where
    those to be resumed came about in another way; InterruptedRunError on SIGINT, SIGTERM and
    SIGHUP; OSError.
    """
    with opened(out, header, resume) as journal, Interruption() as interruption:
        answered, count = Met(), 0
        for row in journal.rows():
            answered.add(Path(row.path))
            count += 1
            yield row
        left = [path for path in files if path not in answered]
        for row in answer(left) if left else ():
            journal.add(row)
            count += 1
            yield row
            if interruption.signal:
                kept = f"{count:,} rows are kept in {journal.path}"
                remedy = "go on with the same command and --resume"
                raise InterruptedRunError(interruption.signal.name, interruption.signal, kept, remedy)
        tables.write(journal.rows(), out, header.top)
        journal.path.unlink(missing_ok=True)


@contextmanager
def opened(out: Path, header: Header, resume: bool) -> Iterator[Journal]:
    """The journal of `out`, this process alone in it: begun, or cut after its last whole row; see `recorded`."""
    path = beside(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path, out) as file:
        journal = Journal(path, file)
        rows, length = _whole(journal, header)
        if rows and not resume:
            rule = f"holds {rows:,} row{'s' * (rows != 1)} of an earlier run"
            raise UsageError(path, rule, "add --resume to go on with them, or remove it")
        if rows:
            _compare(journal, header)
        journal.cut(length if rows else 0)
        if not rows:
            journal.write(header.line())
        for half_written in temporaries(out.with_name(glob.escape(out.name))):
            discard(half_written)  # of a process that was killed: this one alone writes to `out`
        yield journal


@contextmanager
def _alone(path: Path, out: Path) -> Iterator[io.FileIO]:
    """The open file, made where it is missing, no other process in it. Raises UsageError, OSError."""
    while True:
        with open(path, "r+b", buffering=0, opener=_appending) as file:
            try:
                with _named(path):
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock: children would inherit it
            except BlockingIOError as error:
                remedy = "wait for it, or choose another --out"
                raise UsageError(f"--out {out}", "another vgglass predict is writing there", remedy) from error
            if _is_at(path, file):
                yield file
                return
        # Its owner finished and removed it between our opening and our locking: what is locked is no longer there.


def _appending(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CREAT | os.O_APPEND, 0o666)


def _is_at(path: Path, file: io.FileIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _whole(journal: Journal, header: Header) -> tuple[int, int]:
    """How many rows a journal holds before the first line that is none, and their bytes with the header.

    Raises UsageError for a file that is no journal.
    """
    rows, length = -1, 0
    for line in journal.lines():
        if rows < 0:
            if not _is_header(line, header):
                raise UsageError(journal.path, "its first line is not that of a journal", "move it away or remove it")
        elif not _is_row(line):
            break
        rows, length = rows + 1, length + len(line)
    return max(rows, 0), length


def _compare(journal: Journal, header: Header) -> None:
    """Raises UsageError where the journal's rows came about in another way."""
    before, now = (_read_header(line).facts() for line in (next(journal.lines()), header.line()))
    if found := differences(before, now):
        remedy = "repeat the command as it was, or remove this file to begin again"
        raise UsageError(journal.path, f"its rows came about with {found}", remedy)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is no longer as it was, for a person; '' where all is."""
    other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {_short(before.get(name))} and not {_short(now.get(name))}" for name in other)


def _short(value: Any) -> str:
    text = str(value) if value is not None else "unsaid"
    return f"{text[:12]}…" if len(text) == 64 else text  # a digest


def _is_header(line: bytes, header: Header) -> bool:
    """Whether a line heads a journal; a torn one, after which there are no rows, only where it is our own."""
    try:
        _read_header(line)
    except (ValueError, TypeError, KeyError, AttributeError):
        return not line.endswith(b"\n") and header.line().startswith(line)
    return True


def _read_header(line: bytes) -> Header:
    values = json.loads(line)
    header = Header(**{name: value for name, value in values.items() if name != "format"})
    if values["format"] != FORMAT or not isinstance(header.settings, dict):
        raise ValueError("another format")
    return header


def _is_row(line: bytes) -> bool:
    try:
        _row(line)
    except (ValueError, TypeError, KeyError):
        return False
    return line.endswith(b"\n")


def _row(line: bytes) -> Prediction:
    values = json.loads(line)
    return Prediction(**values | {"top": tuple((name, share) for name, share in values["top"])})


def _line(values: dict[str, Any]) -> bytes:
    """ASCII: a path whose bytes are not UTF-8 comes back as it was."""
    return json.dumps(values).encode() + b"\n"


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of an open file know no name, and a person needs one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
