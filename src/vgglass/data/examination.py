"""Examine image files: readability, format, size, perceptual hash and thumbnail; decoding runs in other processes.

Results are cached by SHA-256 of the content. Each file is read and hashed every time, and decoded once: size, times,
inode and name can all stay the same while the content changes. Reading and hashing take a fortieth of the time of a
first examination.
"""

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import PIL
import simplejpeg
from PIL import Image

from vgglass import images
from vgglass.data.store import Store
from vgglass.errors import ImageError, MissingExtraError
from vgglass.files import cache_folder
from vgglass.images import Pixels, files, limits
from vgglass.isolation import DECODERS

VERSION = f"3, Pillow {PIL.__version__}, simplejpeg {simplejpeg.__version__}"  # of the cached facts
THUMBNAIL = 8  # side
GREY = 32  # side of the thumbnail that pictures are aligned on
REDUCED = 64  # side of the box-filtered image that is hashed
RAW = ("sha256", "thumbnail", "grey")  # fields of bytes


@dataclass(frozen=True)
class Facts:
    """Result of examining one file. If `error` is not '', only `size` and `sha256` are set.

    error          why the file can't be read
    fault          damage that the decoder tolerated
    format … orientation   see `images.Examined`
    height, width  after EXIF orientation, in pixels
    phash          64-bit perceptual hash; None for pixels without a file
    thumbnail      RGB, THUMBNAIL x THUMBNAIL, row-major
    grey           GREY x GREY, row-major
    """

    size: int  # in bytes
    sha256: bytes
    error: str = ""
    fault: str = ""
    format: str = ""
    mode: str = ""
    depth: int = 8
    frames: int = 1
    orientation: int = 1
    height: int = 0
    width: int = 0
    phash: int | None = None
    thumbnail: bytes = b""
    grey: bytes = b""

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {name: getattr(self, name).hex() for name in RAW}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Facts":
        """Facts from `as_json`. Raises KeyError, TypeError or ValueError for any other record."""
        raw = {name: bytes.fromhex(record[name]) for name in RAW}
        return cls(**{**record, **raw})


def examine(path: Path, recall: Callable[[bytes], Facts | None] = lambda digest: None) -> Facts:
    """Read one file, and decode it if its content is not cached; errors are reported in the facts.

    recall  looks up cached facts by SHA-256
    Raises MissingExtraError.
    """
    try:
        data = files.read(path, limits.max_pixels())
    except ImageError as error:
        return Facts(0, b"", error=error.rule)
    digest = hashlib.sha256(data).digest()
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return Facts(len(data), digest, error="its name is not UTF-8")
    if cached := recall(digest):
        return cached
    require()
    try:
        return Facts.from_json(DECODERS.look(data))
    except ImageError as error:
        return Facts(len(data), digest, error=error.rule)


def look(data: bytes) -> Facts:
    """Decode a file's bytes and return its facts. Raises ImageError, MissingExtraError."""
    found = images.examine(data)
    picture = Image.fromarray(found.pixels)
    return Facts(
        len(data),
        hashlib.sha256(data).digest(),
        "",
        found.fault,
        found.format,
        found.mode,
        found.depth,
        found.frames,
        found.orientation,
        found.height,
        found.width,
        _perceptual_hash(picture),
        _thumbnail(picture, THUMBNAIL).tobytes(),
        _thumbnail(picture.convert("L"), GREY).tobytes(),
    )


def _thumbnail(picture: Image.Image, side: int) -> Pixels:
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX))


def require() -> None:
    """Raises MissingExtraError if imagehash is not installed."""
    if importlib.util.find_spec("imagehash") is None:
        raise MissingExtraError("imagehash", "data", "finding near duplicates")


def hashing() -> ModuleType:
    """The package imagehash. Raises MissingExtraError."""
    require()
    import imagehash

    found: ModuleType = imagehash
    return found


def _perceptual_hash(picture: Image.Image) -> int:
    if min(picture.size) > REDUCED:  # phash resizes to 32x32 anyway; a box filter first is much faster
        picture = picture.resize((REDUCED, REDUCED), Image.Resampling.BOX)
    return int(str(hashing().phash(picture)), 16)


def _cache_version() -> str:
    return f"{VERSION}, {limits.max_pixels()} pixels"


def as_text(facts: Facts) -> str:
    return json.dumps([_cache_version(), facts.as_json()])


def from_text(text: str) -> Facts:
    """Inverse of `as_text`. Raises KeyError, TypeError or ValueError for text of another version."""
    version, record = json.loads(text)
    if version != _cache_version():
        raise ValueError(version)
    return Facts.from_json(record)


# Many files, in a thread pool.

FILE = "examined.sqlite3"
CHUNK = 64  # files between two writes to the cache, and the most that a kill -9 loses
Progress = Callable[[int, int], None]  # images read, images in total


def examined(paths: Sequence[Path], progress: Progress | None = None) -> list[Facts]:
    """The facts of every file, in order; only contents that are not cached are decoded.

    Raises MissingExtraError.
    """
    facts: list[Facts] = []
    # Threads, because decoding, hashing and resizing release the GIL: processes were no faster.
    with closing(Store(cache_folder() / FILE)) as store, ThreadPoolExecutor(os.cpu_count()) as pool:
        memory = _FactsCache(store)
        for start in range(0, len(paths), CHUNK):
            for found in pool.map(lambda path: examine(path, memory.recall), paths[start : start + CHUNK]):
                facts.append(found)
                if progress:
                    progress(len(facts), len(paths))
            memory.keep(facts[start:])
    return facts


class _FactsCache:
    """Cache of facts by content. Errors are not cached: another limit or library version may read the file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: set[bytes] = set()

    def recall(self, digest: bytes) -> Facts | None:
        try:
            facts = from_text(self._store.get([digest])[digest].decode())
        except (KeyError, TypeError, ValueError):
            return None  # not cached, or cached by another version
        self._kept.add(digest)
        return facts

    def keep(self, facts: Sequence[Facts]) -> None:
        new = {found.sha256: found for found in facts if not found.error and found.sha256 not in self._kept}
        self._store.put({digest: as_text(found).encode() for digest, found in new.items()})
        self._kept |= new.keys()
