"""The images of a cluster job: sorted names, and reading them from folders or a bucket."""

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
    """Sorted, unique names of images.

    bucket  the address that the names are relative to; '' if they are absolute paths
    """

    bucket: str
    names: Sequence[bytes]

    def digest(self) -> str:
        return hashlib.sha256(b"\0".join([os.fsencode(self.bucket), *self.names])).hexdigest()


@dataclass(frozen=True)
class Stored:
    """An object in a bucket."""

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
    """List the images of files, folders, manifests or '-', as `inference.expand` does, or of one bucket address.

    say  called with how a list was interpreted, and with what was skipped in folders or the bucket
    Raises DataError, UsageError, MissingExtraError.
    """
    buckets = [path for path in paths if SEPARATOR in path]
    if not buckets:
        files = inference.expand(map(Path, paths), say=say)
        return Images("", sorted(os.fsencode(path.absolute()) for path in files))
    if len(paths) > 1:
        raise UsageError(buckets[0], "a bucket is predicted alone", "give it a command and an --out of its own")
    return Images(buckets[0], sorted(map(os.fsencode, _list_objects(buckets[0], say))))


def files(bucket: str, names: Sequence[bytes]) -> list[File]:
    """Return names as files that `images.decode` reads, on any machine with access to the folders or bucket."""
    if not bucket:
        return [Path(os.fsdecode(name)) for name in names]
    filesystem, _ = _resolve(bucket)
    scheme = bucket.partition(SEPARATOR)[0]
    return [Stored(filesystem, scheme, os.fsdecode(name)) for name in names]


def _list_objects(address: str, say: Say) -> list[str]:
    """List the objects with an image suffix below an address. Checking contents would cost a request for each."""
    from pyarrow import fs

    filesystem, root = _resolve(address)
    try:
        below = filesystem.get_file_info(fs.FileSelector(root, recursive=True))
    except OSError as error:
        reason = " ".join(str(error).split())
        raise DataError(address, f"can't be listed ({reason})", "check the address and the credentials") from error
    objects = [info.path for info in below if info.type == fs.FileType.File]
    why = {path: _skip_reason(path.removeprefix(root).strip("/")) for path in objects}
    found = [path for path in objects if not why[path]]
    if sentence := summary(PassedOver(kind, Path(path)) for path, kind in why.items() if kind):
        say(sentence)
    if not found:
        raise DataError(address, "holds no images", "name a bucket or a folder of it that does")
    return found


def _skip_reason(path: str) -> str:
    """Return the kind of finding of an object to skip; '' for an image."""
    if any(map(is_system_file, path.split("/"))):
        return "system-file"
    return "" if has_image_suffix(path) else "no-image"


def _resolve(address: str) -> tuple[Any, str]:
    """Resolve an address to a file system and a path: pyarrow's (s3, gs, abfss, hdfs, file), else fsspec's."""
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
