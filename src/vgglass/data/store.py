"""Values by key in one SQLite file of the user's cache folder, which stays whole among processes and after a kill -9.

Each value has its checksum, so that what is damaged is not there.
"""

import logging
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

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
