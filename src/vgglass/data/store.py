"""Key-value stores in SQLite files of the user's cache folder, safe for concurrent processes and after a kill -9.

Each value has a checksum; damaged values are treated as missing.
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
from vgglass.locale.messages import translated

PATIENCE = 30.0  # seconds to wait for the lock of another process
AT_ONCE = 500  # keys per query; older versions of SQLite allow 999 parameters

_log = logging.getLogger(__name__)


class Store:
    """A key-value store at `path`; thread-safe.

    A damaged file is recreated, and one that can't be opened is ignored; both are logged once, and cost only time.
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
                self._recover(error)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The stored values of these keys; missing and damaged ones are omitted."""
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
                self._recover(error)

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
                self._recover(error)
                return []

    def _open(self) -> None:
        self._database = sqlite3.connect(self.path, timeout=PATIENCE, check_same_thread=False)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, checksum INTEGER, value BLOB) WITHOUT ROWID"
        )
        self._database.execute("SELECT key, checksum, value FROM entries LIMIT 1").fetchall()

    def _recover(self, error: OSError | sqlite3.DatabaseError) -> None:
        """Recreate a damaged file; stop using one that is locked, read-only or on a full disk."""
        self.close()
        if isinstance(error, OSError | sqlite3.OperationalError):
            _log.warning(translated("%s can't be used (%s): what it would hold is computed anew."), self.path, error)
            return
        _log.warning(translated("%s is damaged (%s): what it held is computed again."), self.path, error)
        try:
            self.path.unlink()
            self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)  # or SQLite would replay it
            self._open()
        except (OSError, sqlite3.DatabaseError) as again:
            _log.warning(translated("%s can't be used (%s): what it would hold is computed anew."), self.path, again)
            self.close()


# Feature vectors of a network's frozen layers, cached in one file per network by image content and augmentation. Only
# new images have to be computed, also after a killed process.

SUFFIX = ".vectors.sqlite3"
LARGEST = 4 << 30  # total bytes of all files; the least recently used are evicted

Vectors = NDArray[np.float32]


class VectorStore:
    """Vectors of `size` numbers by key; an unusable file costs only time.

    about  JSON that identifies the network, its preprocessing, and the engine
    """

    def __init__(self, about: Mapping[str, Any], size: int) -> None:
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        self.path = cache_folder() / "features" / f"{name}{SUFFIX}"
        self.size = size
        _evict(self.path)
        self._store = Store(self.path)
        with suppress(OSError):  # already logged by the store
            self.path.touch()  # marks it as recently used

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        """The stored values of these keys; missing and damaged ones are omitted."""
        found = self._store.get(keys)
        return {key: np.frombuffer(value, "<f4") for key, value in found.items() if len(value) == 4 * self.size}

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        self._store.put(
            {key: np.ascontiguousarray(vector, "<f4").tobytes() for key, vector in zip(keys, vectors, strict=True)}
        )

    def close(self) -> None:
        self._store.close()


def _evict(path: Path) -> None:
    """Evict the least recently used of the other files until the total is at most LARGEST."""
    sizes = {other: other.stat() for other in path.parent.glob(f"*{SUFFIX}")}
    total = sum(about.st_size for about in sizes.values())
    for other in sorted(sizes, key=lambda found: sizes[found].st_mtime):
        if total <= LARGEST:
            return
        if other != path:
            with suppress(FileNotFoundError):  # another process may evict as well
                other.unlink()
            total -= sizes[other].st_size
