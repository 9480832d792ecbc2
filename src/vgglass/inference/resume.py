"""Rows on their way to a file: a line each in `rows.csv.partial`, so that what was killed goes on where it stopped.

The first line says what the rows depend on, each other one also what the image held; each begins with its checksum.
When all rows are there they become the file, and the journal is removed: where only the journal is left or both are,
`--resume` ends the work; where only the file is, it is whole, and `.rows.csv.origin` says what it came about with.
"""

import glob
import hashlib
import io
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from vgglass.data.loader import prefetch
from vgglass.errors import InterruptedRunError, UsageError
from vgglass.files import discard, lock, replacing, temporaries
from vgglass.inference import tables
from vgglass.inference.header import FORMAT, Header, differences, line, parsed, read_header
from vgglass.inference.inputs import SeenImages
from vgglass.inference.rows import Prediction
from vgglass.signals import Interruption

SUFFIX = ".partial"

Answer = Callable[[Iterable[Path]], Iterator[Prediction]]
Entry = tuple[Prediction, str]  # a row, and the `content` of its image


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
            for found in reader:  # noqa: UP028 (yield from would close the file where it is left early)
                yield found
        finally:
            reader.detach()  # or it would close the file

    def entries(self) -> Iterator[Entry]:
        return (_entry(found) for number, found in enumerate(self.lines()) if number)

    def rows(self) -> Iterator[Prediction]:
        return (row for row, _ in self.entries())

    def keep(self, chosen: Sequence[bool]) -> None:
        """Leave the rows that are chosen."""
        header, *lines = self.lines()
        self.cut(len(header))
        for found, wanted in zip(lines, chosen, strict=True):
            if wanted:
                self.write(found)

    def cut(self, length: int) -> None:
        self._file.truncate(length)

    def write(self, found: bytes) -> None:
        """Add a line. Raises OSError on a full disk: what is left is whole lines and perhaps a torn one."""
        rest = memoryview(found)
        with _named(self.path):
            while rest:
                rest = rest[self._file.write(rest) :]

    def add(self, row: Prediction, found: str) -> None:
        self.write(line(vars(row) | {"content": found}))


def beside(out: Path) -> Path:
    return out.with_name(out.name + SUFFIX)


def complete(out: Path) -> bool:
    """Whether there is nothing to resume, for the file is there and its journal is gone."""
    return out.exists() and not beside(out).exists()


def recorded(answer: Answer, files: Sequence[Path], out: Path, header: Header, resume: bool) -> Iterator[Prediction]:
    """A row for each file as it comes, those of the journal first; after the last one `out` is written.

    Rows of images that went or changed since are left out, and what changed is answered again. Raises UsageError before
    the first row where another process writes to `out`, where rows would be lost, or where those to be resumed came
    about in another way; InterruptedRunError on SIGINT, SIGTERM and SIGHUP; OSError.
    """
    with open_journal(out, header, resume) as journal:
        chosen = _chosen(journal, files)
        with Interruption() as interruption:
            if not all(chosen):
                journal.keep(chosen)
            answered, count = SeenImages(), 0
            for row in journal.rows():
                answered.add(Path(row.path))
                count += 1
                yield row
            left = [path for path in files if path not in answered]
            for row, found in _answers(answer, left) if left else ():
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


def _answers(answer: Answer, files: Sequence[Path]) -> Iterator[Entry]:
    """Each image is hashed before it is read: where it changes in between it is answered again on --resume."""
    contents: deque[str] = deque()

    def hashed() -> Iterator[Path]:
        for path, found in prefetch(lambda path: (path, content(path)), iter(files), AHEAD):
            contents.append(found)
            yield path

    for row in answer(hashed()):
        yield row, contents.popleft()


def _chosen(journal: Journal, files: Sequence[Path]) -> list[bool]:
    """Whether the image of each row is among the files and as it was. Raises UsageError for rows of others."""
    named = SeenImages()
    for path in files:
        named.add(path)

    def stands(entry: Entry) -> bool:
        path = Path(entry[0].path)
        if path not in named and os.path.lexists(path):
            rule = f"holds rows of images that are not named now, such as {entry[0].shown}"
            raise UsageError(journal.path, rule, "repeat the command as it was, or remove this file to begin again")
        return path in named and content(path) == entry[1]

    return list(prefetch(stands, journal.entries(), AHEAD))


@contextmanager
def open_journal(out: Path, header: Header, resume: bool) -> Iterator[Journal]:
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
                    lock(file)
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
    for found in journal.lines():
        if rows < 0:
            if not _is_header(found, header):
                raise UsageError(journal.path, "its first line is not that of a journal", "move it away or remove it")
        elif not _is_row(found):
            break
        rows, length = rows + 1, length + len(found)
    return max(rows, 0), length


def _compare(journal: Journal, header: Header) -> None:
    """Raises UsageError where the journal's rows came about in another way."""
    before, now = (read_header(parsed(found)).facts() for found in (next(journal.lines()), header.line()))
    if found := differences(before, now):
        remedy = "repeat the command as it was, or remove this file to begin again"
        raise UsageError(journal.path, f"its rows came about with {found}", remedy)


def _is_header(found: bytes, header: Header) -> bool:
    """Whether a line heads a journal; a torn one, after which there are no rows, only where it is our own."""
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
def _named(path: Path) -> Iterator[None]:
    """Errors of an open file know no name, and a person needs one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


# `.rows.csv.origin`, beside a complete file of rows: what they came about with, so that `--resume` can tell.

AHEAD = 16  # files whose contents are hashed at once
LARGEST = 1 << 30  # bytes of a file that is hashed; no image has so many
ANEW = "leave out --resume to predict anew, or choose another --out"


def content(path: Path) -> str:
    """SHA-256 of a file, or '' where it can't be read."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            return ""  # a pipe would wait for ever
        return _hashed(path) if about.st_size <= LARGEST else f"{about.st_size} bytes"
    except OSError:
        return ""


def write(out: Path, header: Header, images: Iterable[tuple[Path, str]]) -> None:
    """Write down what the rows in `out` came about with.

    images  of each row the path and its `content`
    Raises OSError.
    """
    about = {"format": FORMAT, **asdict(header), "images": _digest(images), "rows": _hashed(out)}
    with replacing(_beside(out)) as temporary:
        temporary.write_bytes(line(about))


def require(out: Path, header: Header, files: Sequence[Path]) -> None:
    """Raises UsageError for a complete file whose rows are not those that this header and these images would give."""
    try:
        found = parsed(_beside(out).read_bytes())
        if found.pop("rows") != _hashed(out):
            raise ValueError("another file has taken its place")
        images, before = found.pop("images"), read_header(found)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(out, "is complete, and nothing tells what its rows came about with", ANEW) from error
    if other := differences(before.facts(), header.facts()):
        raise UsageError(out, f"is complete, and its rows came about with {other}", ANEW)
    if images != _digest(prefetch(lambda path: (path, content(path)), iter(files), AHEAD)):
        raise UsageError(out, "is complete, and its rows are of other images, or of these as they were before", ANEW)


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(images: Iterable[tuple[Path, str]]) -> str:
    """SHA-256 over places and contents, in no particular order."""
    met = SeenImages()
    lines = (f"{met.place(path)}\0{found}".encode(errors="surrogateescape") for path, found in images)
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(each).digest() for each in lines))).hexdigest()


def _beside(out: Path) -> Path:
    return out.with_name(f".{out.name}.origin")
