"""One vector an image, kept in the user's cache folder: what a network's frozen layers make of it.

A file holds the vectors of one network, by the content of the image and the way it was drawn. An image that joins a
folder costs itself alone; what a killed process had computed is there for the next.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass import zoo
from vgglass.data.store import Store

SUFFIX = ".vectors.sqlite3"
LARGEST = 4 << 30  # bytes of all files together: the least recently used make room

Vectors = NDArray[np.float32]


class VectorStore:
    """Vectors of `size` numbers by key; a file that can't be used costs time alone.

    about  JSON that names the network, what it is fed, and what computes it
    """

    def __init__(self, about: Mapping[str, Any], size: int) -> None:
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        self.path = zoo.cache_folder() / "features" / f"{name}{SUFFIX}"
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
