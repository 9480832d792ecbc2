"""A file's bytes: of a regular file alone, and of one that is small enough to hold an image within the limit."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from vgglass.errors import ImageError
from vgglass.images import limits


class File(Protocol):
    """What bytes can be read from: a path, or an object in a bucket; its str is its name."""

    def read_bytes(self) -> bytes:
        """Raises OSError."""


def read(source: File, limit: int) -> bytes:
    """Raises ImageError."""
    if isinstance(source, Path):
        with _opened(source) as (file, length):
            limits.require_length(str(source), length, limit)
            return file.read(length)
    try:
        return source.read_bytes()
    except OSError as error:
        raise _unreadable(source, error) from error


def ends(source: Path, head: int, tail: int) -> tuple[bytes, bytes]:
    """The first and the last bytes of a file. Raises ImageError."""
    with _opened(source) as (file, length):
        first = file.read(head)
        file.seek(max(0, length - tail))
        return first, file.read(tail)


@contextmanager
def _opened(source: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The file and its length. A pipe or a device would never end; a file that grows is read to where it ended."""
    try:
        _require_regular(source, source.stat())
        with open(source, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            _require_regular(source, status)
            yield file, status.st_size
    except OSError as error:
        raise _unreadable(source, error) from error


def _require_regular(source: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(source, "Is a directory", "check the path and its permissions")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(source, "not a regular file", "name an image file")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _unreadable(source: object, error: OSError) -> ImageError:
    return ImageError(source, error.strerror or str(error), "check the path and its permissions")
