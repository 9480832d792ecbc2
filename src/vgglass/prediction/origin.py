"""`.rows.csv.origin`, beside a complete file of rows: what they came about with, so that `--resume` can tell."""

import hashlib
import stat
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from vgglass.atomic import replacing
from vgglass.data.loader import ahead
from vgglass.errors import UsageError
from vgglass.prediction.files import Met
from vgglass.prediction.header import FORMAT, Header, differences, line, parsed, read_header

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
    if images != _digest(ahead(lambda path: (path, content(path)), iter(files), AHEAD)):
        raise UsageError(out, "is complete, and its rows are of other images, or of these as they were before", ANEW)


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(images: Iterable[tuple[Path, str]]) -> str:
    """SHA-256 over places and contents, in no particular order."""
    met = Met()
    lines = (f"{met.place(path)}\0{found}".encode(errors="surrogateescape") for path, found in images)
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(each).digest() for each in lines))).hexdigest()


def _beside(out: Path) -> Path:
    return out.with_name(f".{out.name}.origin")
