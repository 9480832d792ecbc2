"""Examinations of many files, in threads, each remembered by the file's content.

Every file is read and hashed each time, and decoded once: neither size, times, inode nor name vouch for what is in it,
for there are tools, file systems and clocks that keep each of them while the content changes. Reading and hashing
take a fortieth of the time of the first look.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from vgglass import zoo
from vgglass.data.examination import Facts, as_text, examine, from_text
from vgglass.data.store import Store

FILE = "examined.sqlite3"
CHUNK = 64  # files examined between two writes to the cache: what a kill -9 loses at most
Progress = Callable[[int, int], None]  # images read, images in all


def examined(paths: Sequence[Path], progress: Progress | None = None) -> list[Facts]:
    """The facts of every file, in order; only contents that have not been met before are decoded.

    Raises MissingExtraError.
    """
    facts: list[Facts] = []
    # Threads: decoding, hashing and resizing all release the interpreter lock, so processes were no faster.
    with closing(Store(zoo.cache_folder() / FILE)) as store, ThreadPoolExecutor(os.cpu_count()) as pool:
        memory = _Memory(store)
        for start in range(0, len(paths), CHUNK):
            for found in pool.map(lambda path: examine(path, memory.recall), paths[start : start + CHUNK]):
                facts.append(found)
                if progress:
                    progress(len(facts), len(paths))
            memory.keep(facts[start:])
    return facts


class _Memory:
    """Facts by content. What can't be read is not kept: another limit or another package may read it tomorrow."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: set[bytes] = set()

    def recall(self, digest: bytes) -> Facts | None:
        try:
            facts = from_text(self._store.get([digest])[digest].decode())
        except (KeyError, TypeError, ValueError):
            return None  # never met, or by another version
        self._kept.add(digest)
        return facts

    def keep(self, facts: Sequence[Facts]) -> None:
        new = {found.sha256: found for found in facts if not found.error and found.sha256 not in self._kept}
        self._store.put({digest: as_text(found).encode() for digest, found in new.items()})
        self._kept |= new.keys()
