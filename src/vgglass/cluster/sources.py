"""What a cluster is to predict: names in one order, and the bytes behind a name, from a folder or a bucket."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgglass import inference
from vgglass.data.dataset import PassedOver
from vgglass.data.listing import has_image_suffix, is_system_file, summary
from vgglass.errors import DataError, UsageError
from vgglass.images import File
from vgglass.inference.inputs import Say

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


def listed(paths: Sequence[str], say: Say = lambda sentence: None) -> Images:
    """All that is named: files, folders, manifests or '-', as `inference.expand` takes them; or one bucket address.

    say  is told how a list was understood, and what in folders or the bucket is no image
    Raises DataError, UsageError, MissingExtraError.
    """
    buckets = [path for path in paths if SEPARATOR in path]
    if not buckets:
        files = inference.expand(map(Path, paths), say=say)
        return Images("", sorted(os.fsencode(path.absolute()) for path in files))
    if len(paths) > 1:
        raise UsageError(buckets[0], "a bucket is predicted alone", "give it a command and an --out of its own")
    return Images(buckets[0], sorted(map(os.fsencode, _objects(buckets[0], say))))


def files(bucket: str, names: Sequence[bytes]) -> list[File]:
    """What `images.decode` reads, on any machine that sees the same folders or the same bucket."""
    if not bucket:
        return [Path(os.fsdecode(name)) for name in names]
    filesystem, _ = _located(bucket)
    scheme = bucket.partition(SEPARATOR)[0]
    return [Stored(filesystem, scheme, os.fsdecode(name)) for name in names]


def _objects(address: str, say: Say) -> list[str]:
    """Every object with an image's suffix below an address: to look into the others would be a request for each."""
    from pyarrow import fs

    filesystem, root = _located(address)
    try:
        below = filesystem.get_file_info(fs.FileSelector(root, recursive=True))
    except OSError as error:
        reason = " ".join(str(error).split())
        raise DataError(address, f"can't be listed ({reason})", "check the address and the credentials") from error
    objects = [info.path for info in below if info.type == fs.FileType.File]
    why = {path: _why_passed_over(path.removeprefix(root).strip("/")) for path in objects}
    found = [path for path in objects if not why[path]]
    if sentence := summary(PassedOver(kind, Path(path)) for path, kind in why.items() if kind):
        say(sentence)
    if not found:
        raise DataError(address, "holds no images", "name a bucket or a folder of it that does")
    return found


def _why_passed_over(path: str) -> str:
    """The kind of finding that an object is, or nothing ('') for an image."""
    if any(map(is_system_file, path.split("/"))):
        return "system-file"
    return "" if has_image_suffix(path) else "no-image"


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
