"""Atomic file replacement (temporary file, fsync, rename), and file locks among processes."""

import fcntl
import os
import re
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import platformdirs

_THREAD_LOCKS: defaultdict[Path, threading.Lock] = defaultdict(
    threading.Lock
)  # file locks do not exclude threads of one process
OURS = re.compile(r"\.[0-9]{1,7}\.[0-9]+\.tmp$")  # process and thread: see `beside`


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which replaces `path` if the block succeeds.

    Raises OSError with a file name if writing fails; the temporary file is then removed and `path` unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(path)
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # according to the umask: safetensors creates files readable by the owner only
        temporary.unlink()
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is None:  # errors of write, as on a full disk, have no file name
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    synced(path.parent)


def beside(path: Path) -> Path:
    """A hidden temporary path in the same folder as `path`, unique to this process and thread."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")


def temporaries(path: Path) -> list[Path]:
    """Existing temporary files of `path`, which may be a pattern.

    Only names in the format of `beside`: other files with the suffix .tmp belong to the user.
    """
    return [leftover for leftover in path.parent.glob(f".{path.name}.*.tmp") if OURS.search(leftover.name)]


def abandoned(path: Path) -> list[Path]:
    """Temporary files of processes that no longer exist."""
    return [leftover for leftover in temporaries(path) if not _is_running(int(leftover.name.split(".")[-3]))]


def discard(leftover: Path) -> None:
    """Remove a temporary file or folder."""
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover)
    else:
        leftover.unlink(missing_ok=True)


def lock(file: IO[Any], *, wait: bool = False) -> None:
    """Lock an open file against other processes until it is closed or this process exits.

    Raises BlockingIOError if it is locked and `wait` is False. Uses lockf, because a forked child inherits locks of
    flock and would hold them for the seconds that it outlives a killed parent.
    """
    fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for the lock file `path`, among processes and threads, and hold it inside the block."""
    with _THREAD_LOCKS[path], path.open("w") as file:
        lock(file, wait=True)
        yield


def cache_folder() -> Path:
    """The user's cache folder, or VGGLASS_CACHE."""
    folder = os.environ.get("VGGLASS_CACHE")
    return Path(folder) if folder else platformdirs.user_cache_path("vgglass")


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # owned by another user
    return True


def synced(folder: Path) -> None:
    """Fsync a folder, so that renames in it survive a power failure."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
