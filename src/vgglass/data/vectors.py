"""One vector an image, kept in the user's cache folder: what a network's frozen layers make of it.

A file holds the vectors of one network, by the content of the image and the way it was drawn. An image that joins a
folder costs itself alone; what a killed process had computed is there for the next.
"""

import hashlib
import json
import logging
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass import zoo

SUFFIX = ".vectors.sqlite3"
LARGEST = 4 << 30  # bytes of all files together: the least recently used make room
PATIENCE = 30.0  # seconds that another process may hold a file
AT_ONCE = 500  # SQLite's limit on parameters of a query was 999 for long

Vectors = NDArray[np.float32]

_log = logging.getLogger(__name__)


class VectorStore:
    """Vectors of `size` numbers by key; a file that can't be used is said once in the log, and costs time alone.

    about  JSON that names the network, what it is fed, and what computes it
    """

    def __init__(self, about: Mapping[str, Any], size: int) -> None:
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        self.path = zoo.cache_folder() / "features" / f"{name}{SUFFIX}"
        self.size = size
        self._database: sqlite3.Connection | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _make_room(self.path)
            self._open()
        except sqlite3.DatabaseError as error:
            _log.warning("%s is damaged (%s): what it held is computed again.", self.path, error)
            self._start_again()
        except OSError as error:
            self._give_up(error)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        """Those that are there and whole."""
        found: dict[bytes, Vectors] = {}
        for start in range(0, len(keys), AT_ONCE):
            part = keys[start : start + AT_ONCE]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, checksum, vector FROM vectors WHERE key IN ({marks})"  # noqa: S608 (marks alone)
            for key, checksum, vector in self._rows(query, part):
                if len(vector) == 4 * self.size and zlib.crc32(key + vector) == checksum:
                    found[key] = np.frombuffer(vector, "<f4")
        return found

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        if self._database is None:
            return
        parts = [np.ascontiguousarray(vector, "<f4").tobytes() for vector in vectors]
        rows = [(key, zlib.crc32(key + part), part) for key, part in zip(keys, parts, strict=True)]
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _rows(self, query: str, values: Sequence[bytes]) -> list[tuple[bytes, int, bytes]]:
        if self._database is None:
            return []
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            _log.warning("%s is damaged (%s): what it held is computed again.", self.path, error)
            self._start_again()
            return []

    def _open(self) -> None:
        self._database = sqlite3.connect(self.path, timeout=PATIENCE)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, checksum INTEGER, vector BLOB) WITHOUT ROWID"
        )
        self._database.execute("SELECT key, checksum, vector FROM vectors LIMIT 1").fetchall()
        self.path.touch()  # used just now

    def _start_again(self) -> None:
        self.close()
        try:
            self.path.unlink()
            self._open()
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        _log.warning("%s can't be used (%s), so features are computed anew; mend or remove it.", self.path, error)
        self.close()


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
