"""Files appear whole or not at all: beside their place, synced, renamed; and the lock among processes."""

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

_OF_THREADS: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)  # a lock on a file is its process's
OURS = re.compile(r"\.[0-9]{1,7}\.[0-9]+\.tmp$")  # process and thread: see `beside`


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; when the block ends well it takes the place of `path`.

    Raises OSError as the writing does, a file named in it; the temporary file is then gone and `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(path)
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # what the umask asks for: safetensors makes files for their owner alone
        temporary.unlink()
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is None:  # a full disk: what fails is a write, which knows no name
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    synced(path.parent)


def beside(path: Path) -> Path:
    """A place in the same folder for what is to become `path`: hidden, and named for this process and thread."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")


def temporaries(path: Path) -> list[Path]:
    """What stands at the places beside `path`, which may be a pattern.

    Of names as `beside` gives them alone: any other that ends in .tmp is a person's.
    """
    return [left for left in path.parent.glob(f".{path.name}.*.tmp") if OURS.search(left.name)]


def abandoned(path: Path) -> list[Path]:
    """Those of them that processes left which have gone."""
    return [left for left in temporaries(path) if not _lives(int(left.name.split(".")[-3]))]


def discard(left: Path) -> None:
    """Remove what was left, a file or a folder."""
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left)
    else:
        left.unlink(missing_ok=True)


def lock(file: IO[Any], *, wait: bool = False) -> None:
    """Keep other processes from this open file until it is closed, or this process ends, however that ends.

    Raises BlockingIOError where another one has it and this one will not wait. By lockf: a child that was forked
    inherits what flock holds, and would keep it for the seconds that it outlives a killed parent.
    """
    fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for a lock of this name, among processes and this one's threads, and hold it in the block."""
    with _OF_THREADS[path], path.open("w") as file:
        lock(file, wait=True)
        yield


def cache_folder() -> Path:
    """The user's cache folder, or VGGLASS_CACHE."""
    folder = os.environ.get("VGGLASS_CACHE")
    return Path(folder) if folder else platformdirs.user_cache_path("vgglass")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another person's
    return True


def synced(folder: Path) -> None:
    """See to it that what was renamed into a folder survives a power cut."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
