"""What a cluster is to predict: names in one order, and the bytes behind a name, from a folder or a bucket."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgglass import images, prediction
from vgglass.errors import DataError, UsageError
from vgglass.images import File

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

SEPARATOR = "://"


@dataclass(frozen=True)
class Images:
    """Names of images, sorted, each once.

    bucket  the address below which the names are looked up, or '': the names are absolute paths
    """

    bucket: str
    names: Sequence[bytes]

    def digest(self) -> str:
        return hashlib.sha256(b"\0".join([os.fsencode(self.bucket), *self.names])).hexdigest()


@dataclass(frozen=True)
class Stored:
    """One object of a bucket."""

    filesystem: "FileSystem"
    scheme: str
    path: str

    def __str__(self) -> str:
        return self.scheme + SEPARATOR + self.path

    def read_bytes(self) -> bytes:
        """Raises OSError."""
        with self.filesystem.open_input_stream(self.path) as stream:
            data: bytes = stream.read()
        return data


def listed(paths: Sequence[str]) -> Images:
    """All that is named: files, folders, manifests or '-', as `prediction.expand` takes them; or one bucket address.

    Raises DataError, UsageError, MissingExtraError.
    """
    buckets = [path for path in paths if SEPARATOR in path]
    if not buckets:
        files = prediction.expand(map(Path, paths))
        return Images("", sorted(os.fsencode(path.absolute()) for path in files))
    if len(paths) > 1:
        raise UsageError(buckets[0], "a bucket is predicted alone", "give it a command and an --out of its own")
    return Images(buckets[0], sorted(map(os.fsencode, _objects(buckets[0]))))


def files(bucket: str, names: Sequence[bytes]) -> list[File]:
    """What `images.decode` reads, on any machine that sees the same folders or the same bucket."""
    if not bucket:
        return [Path(os.fsdecode(name)) for name in names]
    filesystem, _ = _located(bucket)
    scheme = bucket.partition(SEPARATOR)[0]
    return [Stored(filesystem, scheme, os.fsdecode(name)) for name in names]


def _objects(address: str) -> list[str]:
    """Every object with an image's suffix below an address, hidden ones apart."""
    from pyarrow import fs

    filesystem, root = _located(address)
    try:
        below = filesystem.get_file_info(fs.FileSelector(root, recursive=True))
    except OSError as error:
        reason = " ".join(str(error).split())
        raise DataError(address, f"can't be listed ({reason})", "check the address and the credentials") from error
    found = [info.path for info in below if info.type == fs.FileType.File and _is_image(info.path, root)]
    if not found:
        raise DataError(address, "holds no images", "name a bucket or a folder of it that does")
    return found


def _is_image(path: str, root: str) -> bool:
    parts = path.removeprefix(root).strip("/").split("/")
    return Path(path).suffix.lower() in images.SUFFIXES and not any(part.startswith(".") for part in parts)


def _located(address: str) -> tuple[Any, str]:
    """The file system and the path in it: pyarrow's own (s3, gs, abfss, hdfs, file), else fsspec's."""
    import fsspec
    import pyarrow
    from pyarrow import fs

    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(address)
    except pyarrow.ArrowInvalid:
        try:
            filesystem, path = fsspec.core.url_to_fs(address)
        except (ValueError, ImportError) as error:
            raise UsageError(
                address, f"neither pyarrow nor fsspec opens it ({error})", "check its beginning"
            ) from error
        return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path
    return found
