"""A journal of predictions, `rows.csv.partial`, so that an interrupted run can be resumed.

The first line is the header, the settings that the rows depend on; every other one is a row with the digest of its
image. Each line starts with a checksum.
When all rows are there, the table is written and the journal removed. If the journal exists, `--resume` continues; if
only the table exists it is complete, and `.rows.csv.origin` records the settings and images that it was made with.
"""

import glob
import hashlib
import io
import json
import os
import stat
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vgglass.data.loader import prefetch
from vgglass.errors import InterruptedRunError, UsageError
from vgglass.files import discard, lock, replacing, temporaries
from vgglass.inference import tables
from vgglass.inference.inputs import SeenImages
from vgglass.inference.predictor import Prediction, Predictor
from vgglass.modelfile import Record
from vgglass.signals import Interruption

SUFFIX = ".partial"
FORMAT = 2

Answer = Callable[[Iterable[Path]], Iterator[Prediction]]
Entry = tuple[Prediction, str]  # a row, and the `content` of its image


@dataclass(frozen=True)
class Header:
    """Everything that the rows of a journal depend on.

    model     digest of the parts of a model file that affect predictions
    top       classes per image
    folder    base of relative paths; empty if there are none
    settings  other options that affect predictions, by their command line names
    """

    model: str
    top: int
    folder: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        return line({"format": FORMAT, **asdict(self)})

    def facts(self) -> dict[str, Any]:
        return {"model": self.model, "top": self.top, "folder": self.folder, **self.settings}


def header(predictor: Predictor, top: int, files: Sequence[Path]) -> Header:
    """The header for predictions of these files."""
    record = predictor.record
    relative = any(not path.is_absolute() for path in files)
    return Header(
        model_digest(record), min(top, len(record.classes)), str(Path.cwd()) if relative else "", predictor.settings
    )


def model_digest(record: Record) -> str:
    """SHA-256 of the parts of a model file that affect predictions."""
    values = record.as_json()
    names = ("architecture", "classes", "preprocessing", "temperature", "reject_threshold", "familiarity", "digest")
    decisive = [values[name] for name in names]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """A phrase on the values that differ; '' if none do."""
    other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {_abbreviated(before.get(name))} and not {_abbreviated(now.get(name))}" for name in other)


def _abbreviated(value: Any) -> str:
    text = str(value) if value is not None else "unsaid"
    return f"{text[:12]}…" if len(text) == 64 else text  # a digest


def read_header(values: dict[str, Any]) -> Header:
    """Inverse of `Header.line`. Raises ValueError, TypeError or KeyError for other values."""
    found = Header(**{name: value for name, value in values.items() if name != "format"})
    if values["format"] != FORMAT or not isinstance(found.settings, dict):
        raise ValueError("another format")
    return found


def line(values: dict[str, Any]) -> bytes:
    """A line of checksum and ASCII JSON, which preserves paths that are not UTF-8."""
    text = json.dumps(values).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def parsed(found: bytes) -> dict[str, Any]:
    """Inverse of `line`. Raises ValueError for an incomplete or damaged line."""
    checksum, _, text = found.partition(b" ")
    if not text.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text[:-1]):
        raise ValueError("its checksum differs")
    values: dict[str, Any] = json.loads(text)
    return values


class Journal:
    """The open journal at `path`, with complete lines only.

    Unbuffered, so that added rows survive the process. Opened only once, because closing any descriptor of a file
    releases the process's lock on it.
    """

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self.path, self._file = path, file

    def lines(self) -> Iterator[bytes]:
        self._file.seek(0)
        reader = io.BufferedReader(self._file)
        try:
            for found in reader:  # noqa: UP028 (yield from would close the file on early exit)
                yield found
        finally:
            reader.detach()  # otherwise it closes the file

    def entries(self) -> Iterator[Entry]:
        return (_entry(found) for number, found in enumerate(self.lines()) if number)

    def rows(self) -> Iterator[Prediction]:
        return (row for row, _ in self.entries())

    def keep(self, chosen: Sequence[bool]) -> None:
        """Keep only the chosen rows."""
        header, *lines = self.lines()
        self.cut(len(header))
        for found, wanted in zip(lines, chosen, strict=True):
            if wanted:
                self.write(found)

    def cut(self, length: int) -> None:
        self._file.truncate(length)

    def write(self, found: bytes) -> None:
        """Append a line. Raises OSError on a full disk, which may leave an incomplete last line."""
        rest = memoryview(found)
        with _with_file_name(self.path):
            while rest:
                rest = rest[self._file.write(rest) :]

    def add(self, row: Prediction, found: str) -> None:
        self.write(line(vars(row) | {"content": found}))


def beside(out: Path) -> Path:
    return out.with_name(out.name + SUFFIX)


def complete(out: Path) -> bool:
    """Whether the table exists and there is no journal to resume."""
    return out.exists() and not beside(out).exists()


def recorded(answer: Answer, files: Sequence[Path], out: Path, header: Header, resume: bool) -> Iterator[Prediction]:
    """Yield a row for each file as it is predicted, those of the journal first; then write `out`.

    Rows of removed images are dropped, and changed images are predicted again. Raises UsageError before the first row
    if another process writes to `out`, if rows would be lost, or if those to resume were made with other settings;
    InterruptedRunError on SIGINT, SIGTERM and SIGHUP; OSError.
    """
    with open_journal(out, header, resume) as journal:
        chosen = _still_valid(journal, files)
        with Interruption() as interruption:
            if not all(chosen):
                journal.keep(chosen)
            answered, count = SeenImages(), 0
            for row in journal.rows():
                answered.add(Path(row.path))
                count += 1
                yield row
            remaining = [path for path in files if path not in answered]
            for row, found in _predict(answer, remaining) if remaining else ():
                journal.add(row, found)
                count += 1
                yield row
                if interruption.signal:
                    kept = f"{count:,} rows are kept in {journal.path}"
                    remedy = "go on with the same command and --resume"
                    raise InterruptedRunError(interruption.signal.name, interruption.signal, kept, remedy)
            tables.write(journal.rows(), out, header.top)
            write(out, header, ((Path(row.path), found) for row, found in journal.entries()))
            journal.path.unlink(missing_ok=True)


def _predict(answer: Answer, files: Sequence[Path]) -> Iterator[Entry]:
    """Predict, hashing each image before it is decoded: if it changes in between, --resume predicts it again."""
    contents: deque[str] = deque()

    def hashed() -> Iterator[Path]:
        for path, found in prefetch(lambda path: (path, content(path)), iter(files), AHEAD):
            contents.append(found)
            yield path

    for row in answer(hashed()):
        yield row, contents.popleft()


def _still_valid(journal: Journal, files: Sequence[Path]) -> list[bool]:
    """Whether the image of each row is in `files` and unchanged. Raises UsageError for rows of other existing files."""
    named = SeenImages()
    for path in files:
        named.add(path)

    def is_valid(entry: Entry) -> bool:
        path = Path(entry[0].path)
        if path not in named and os.path.lexists(path):
            rule = f"holds rows of images that are not named now, such as {entry[0].shown}"
            raise UsageError(journal.path, rule, "repeat the command as it was, or remove this file to begin again")
        return path in named and content(path) == entry[1]

    return list(prefetch(is_valid, journal.entries(), AHEAD))


@contextmanager
def open_journal(out: Path, header: Header, resume: bool) -> Iterator[Journal]:
    """The locked journal of `out`: new, or truncated after its last complete row. Raises as `recorded`."""
    path = beside(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path, out) as file:
        journal = Journal(path, file)
        rows, length = _intact_rows(journal, header)
        if rows and not resume:
            rule = f"holds {rows:,} row{'s' * (rows != 1)} of an earlier run"
            raise UsageError(path, rule, "add --resume to go on with them, or remove it")
        if rows:
            _require_same_settings(journal, header)
        journal.cut(length if rows else 0)
        if not rows:
            journal.write(header.line())
        for half_written in temporaries(out.with_name(glob.escape(out.name))):
            discard(half_written)  # of a killed process: this one has the lock on `out`
        yield journal


@contextmanager
def _locked(path: Path, out: Path) -> Iterator[io.FileIO]:
    """Open and lock the file, creating it if missing. Raises UsageError if it is locked, OSError."""
    while True:
        with open(path, "r+b", buffering=0, opener=_open_append) as file:
            try:
                with _with_file_name(path):
                    lock(file)
            except BlockingIOError as error:
                remedy = "wait for it, or choose another --out"
                raise UsageError(f"--out {out}", "another vgglass predict is writing there", remedy) from error
            if _is_at(path, file):
                yield file
                return
        # The file was removed by its owner between opening and locking: try again.


def _open_append(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CREAT | os.O_APPEND, 0o666)


def _is_at(path: Path, file: io.FileIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _intact_rows(journal: Journal, header: Header) -> tuple[int, int]:
    """Number of rows before the first damaged line, and their length in bytes including the header.

    Raises UsageError for a file that is not a journal.
    """
    rows, length = -1, 0
    for found in journal.lines():
        if rows < 0:
            if not _is_header(found, header):
                raise UsageError(journal.path, "its first line is not that of a journal", "move it away or remove it")
        elif not _is_row(found):
            break
        rows, length = rows + 1, length + len(found)
    return max(rows, 0), length


def _require_same_settings(journal: Journal, header: Header) -> None:
    """Raises UsageError if the journal's rows were made with other settings."""
    before, now = (read_header(parsed(found)).facts() for found in (next(journal.lines()), header.line()))
    if found := differences(before, now):
        remedy = "repeat the command as it was, or remove this file to begin again"
        raise UsageError(journal.path, f"its rows came about with {found}", remedy)


def _is_header(found: bytes, header: Header) -> bool:
    """Whether a line is a journal's header; an incomplete one only if it is a prefix of this header."""
    try:
        read_header(parsed(found))
    except (ValueError, TypeError, KeyError, AttributeError):
        return not found.endswith(b"\n") and header.line().startswith(found)
    return True


def _is_row(found: bytes) -> bool:
    try:
        _entry(found)
    except (ValueError, TypeError, KeyError):
        return False
    return True


def _entry(found: bytes) -> Entry:
    values = parsed(found)
    held = values.pop("content")
    return Prediction(**values | {"top": tuple((name, share) for name, share in values["top"])}), held


@contextmanager
def _with_file_name(path: Path) -> Iterator[None]:
    """Add the file name to errors of an open file."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


# `.rows.csv.origin` beside a complete table: the settings and images that it was made with, for `--resume`.

AHEAD = 16  # files hashed concurrently
LARGEST = 1 << 30  # bytes; larger files, which can't be images, are not hashed
ANEW = "leave out --resume to predict anew, or choose another --out"


def content(path: Path) -> str:
    """SHA-256 of a file; its size if larger than LARGEST, '' if it can't be read."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            return ""  # reading a pipe would block
        return _file_digest(path) if about.st_size <= LARGEST else f"{about.st_size} bytes"
    except OSError:
        return ""


def write(out: Path, header: Header, images: Iterable[tuple[Path, str]]) -> None:
    """Record the settings and images that the rows in `out` were made with.

    images  path and `content` of each row
    Raises OSError.
    """
    about = {"format": FORMAT, **asdict(header), "images": _digest(images), "rows": _file_digest(out)}
    with replacing(_origin_path(out)) as temporary:
        temporary.write_bytes(line(about))


def require(out: Path, header: Header, files: Sequence[Path]) -> None:
    """Raises UsageError unless a complete table was made with this header and these images."""
    try:
        found = parsed(_origin_path(out).read_bytes())
        if found.pop("rows") != _file_digest(out):
            raise ValueError("another file has taken its place")
        images, before = found.pop("images"), read_header(found)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(out, "is complete, and nothing tells what its rows came about with", ANEW) from error
    if other := differences(before.facts(), header.facts()):
        raise UsageError(out, f"is complete, and its rows came about with {other}", ANEW)
    if images != _digest(prefetch(lambda path: (path, content(path)), iter(files), AHEAD)):
        raise UsageError(out, "is complete, and its rows are of other images, or of these as they were before", ANEW)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(images: Iterable[tuple[Path, str]]) -> str:
    """SHA-256 over paths and contents, independent of their order."""
    seen = SeenImages()
    lines = (f"{seen.place(path)}\0{found}".encode(errors="surrogateescape") for path, found in images)
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(each).digest() for each in lines))).hexdigest()


def _origin_path(out: Path) -> Path:
    return out.with_name(f".{out.name}.origin")
