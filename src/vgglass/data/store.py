"""Values by key in one SQLite file of the user's cache folder, whole among processes and after a kill -9.

Each value has its checksum, so that what is damaged is not there.
"""

import hashlib
import json
import logging
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.files import cache_folder

PATIENCE = 30.0  # seconds that another process may hold the file
AT_ONCE = 500  # SQLite's limit on parameters of a query was 999 for long

_log = logging.getLogger(__name__)


class Store:
    """The open file at `path`; threads may share it.

    A file that is damaged is begun anew, one that can't be used goes unused: either is said once in the log, and costs
    time alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._database: sqlite3.Connection | None = None
        with self._lock:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._open()
            except (OSError, sqlite3.DatabaseError) as error:
                self._mend(error)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those that are there and whole."""
        rows = (row for start in range(0, len(keys), AT_ONCE) for row in self._rows(keys[start : start + AT_ONCE]))
        return {key: value for key, checksum, value in rows if zlib.crc32(key + value) == checksum}

    def put(self, values: Mapping[bytes, bytes]) -> None:
        rows = [(key, zlib.crc32(key + value), value) for key, value in values.items()]
        with self._lock:
            if self._database is None:
                return
            try:
                with self._database:
                    self._database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)
            except sqlite3.DatabaseError as error:
                self._mend(error)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _rows(self, keys: Sequence[bytes]) -> list[tuple[bytes, int, bytes]]:
        marks = ",".join("?" * len(keys))
        with self._lock:
            if self._database is None:
                return []
            try:
                query = f"SELECT key, checksum, value FROM entries WHERE key IN ({marks})"  # noqa: S608 (marks alone)
                return self._database.execute(query, keys).fetchall()
            except sqlite3.DatabaseError as error:
                self._mend(error)
                return []

    def _open(self) -> None:
        self._database = sqlite3.connect(self.path, timeout=PATIENCE, check_same_thread=False)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, checksum INTEGER, value BLOB) WITHOUT ROWID"
        )
        self._database.execute("SELECT key, checksum, value FROM entries LIMIT 1").fetchall()

    def _mend(self, error: OSError | sqlite3.DatabaseError) -> None:
        """Begin a damaged file anew; leave alone one that is locked, can't be written or lies on a full disk."""
        self.close()
        if isinstance(error, OSError | sqlite3.OperationalError):
            _log.warning("%s can't be used (%s): what it would hold is computed anew.", self.path, error)
            return
        _log.warning("%s is damaged (%s): what it held is computed again.", self.path, error)
        try:
            self.path.unlink()
            self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)  # or it would be played back
            self._open()
        except (OSError, sqlite3.DatabaseError) as again:
            _log.warning("%s can't be used (%s): what it would hold is computed anew.", self.path, again)
            self.close()


# One vector an image, kept in the user's cache folder: what a network's frozen layers make of it. A file holds the
# vectors of one network, by the content of the image and the way it was drawn. An image that joins a folder costs
# itself alone; what a killed process had computed is there for the next.

SUFFIX = ".vectors.sqlite3"
LARGEST = 4 << 30  # bytes of all files together: the least recently used make room

Vectors = NDArray[np.float32]


class VectorStore:
    """Vectors of `size` numbers by key; a file that can't be used costs time alone.

    about  JSON that names the network, what it is fed, and what computes it
    """

    def __init__(self, about: Mapping[str, Any], size: int) -> None:
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        self.path = cache_folder() / "features" / f"{name}{SUFFIX}"
        self.size = size
        _make_room(self.path)
        self._store = Store(self.path)
        with suppress(OSError):  # the store has said why
            self.path.touch()  # used just now

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        """Those that are there and whole."""
        found = self._store.get(keys)
        return {key: np.frombuffer(value, "<f4") for key, value in found.items() if len(value) == 4 * self.size}

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        self._store.put(
            {key: np.ascontiguousarray(vector, "<f4").tobytes() for key, vector in zip(keys, vectors, strict=True)}
        )

    def close(self) -> None:
        self._store.close()


def _make_room(path: Path) -> None:
    """Remove the least recently used of the other files until all fit into LARGEST."""
    sizes = {other: other.stat() for other in path.parent.glob(f"*{SUFFIX}")}
    total = sum(about.st_size for about in sizes.values())
    for other in sorted(sizes, key=lambda found: sizes[found].st_mtime):
        if total <= LARGEST:
            return
        if other != path:
            with suppress(FileNotFoundError):  # another process makes room too
                other.unlink()
            total -= sizes[other].st_size
