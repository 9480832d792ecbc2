"""Examinations of many files, in threads, each remembered by path, size and time of change."""

import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from vgglass import zoo
from vgglass.data.examination import VERSION, Facts, as_text, examine, from_text

FILE = "examinations.sqlite3"
CHUNK = 64  # files examined between two writes to the cache: what a kill -9 loses at most
PATIENCE = 30.0  # seconds that another process may hold the cache
Progress = Callable[[int, int], None]  # images read, images in all

_log = logging.getLogger(__name__)


class Stamp(NamedTuple):
    """What tells a file and its state; a changed file has another stamp."""

    path: bytes  # absolute; bytes, because a name need not be UTF-8
    size: int
    changed: int  # nanoseconds


def examined(paths: Sequence[Path], progress: Progress | None = None) -> list[Facts]:
    """The facts of every file, in order; only files that are new or have changed are read.

    A cache that can't be used is said once in the log, and costs time alone. Raises MissingExtraError.
    """
    facts: list[Facts] = []
    # Threads: decoding, hashing and resizing all release the interpreter lock, so processes were no faster.
    with closing(_Cache(zoo.cache_folder() / FILE)) as cache, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), CHUNK):
            chunk = paths[start : start + CHUNK]
            stamps = [_stamp(path) for path in chunk]  # before reading: a file that changes meanwhile is read again
            known = [cache.get(stamp) if stamp else None for stamp in stamps]
            fresh = pool.map(examine, (path for path, old in zip(chunk, known, strict=True) if old is None))
            new: dict[Stamp, Facts] = {}
            for stamp, old in zip(stamps, known, strict=True):
                facts.append(old or next(fresh))
                if old is None and stamp and facts[-1].sha256:  # a file that could not be opened may be so tomorrow
                    new[stamp] = facts[-1]
                if progress:
                    progress(len(facts), len(paths))
            cache.put(new)
    return facts


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None  # `examine` says why
    return Stamp(os.fsencode(path.absolute()), status.st_size, status.st_mtime_ns)


class _Cache:
    """A database beside the pretrained models; SQLite keeps it whole among processes and after a kill -9."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=PATIENCE)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS examinations"
                " (path BLOB PRIMARY KEY, size INTEGER, changed INTEGER, version INTEGER, facts TEXT) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def get(self, stamp: Stamp) -> Facts | None:
        if self._database is None:
            return None
        query = "SELECT facts FROM examinations WHERE path = ? AND size = ? AND changed = ? AND version = ?"
        try:
            row = self._database.execute(query, (*stamp, VERSION)).fetchone()
            return from_text(row[0]) if row else None
        except (sqlite3.Error, KeyError, TypeError, ValueError) as error:
            self._give_up(error)
            return None

    def put(self, new: dict[Stamp, Facts]) -> None:
        if self._database is None or not new:
            return
        rows = [(*stamp, VERSION, as_text(facts)) for stamp, facts in new.items()]
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO examinations VALUES (?, ?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _give_up(self, error: Exception) -> None:
        _log.warning("%s can't be used (%s), so files are examined anew; mend or remove it.", self._path, error)
        self.close()
