"""Read the bytes of an image file, within the size limit, and detect its format by its signature."""

import ctypes
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from PIL import _imaging
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TgaImagePlugin import TgaImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from vgglass.errors import ImageError
from vgglass.images import headers, jpeg, limits

# Supported formats, detected by signature whatever the file's name. Only decoders that are common for photographs,
# tested here and maintained for untrusted input; none that runs programs (EPS), follows references or renders (SVG,
# PDF, WMF), or is old Python code. TGA has no leading signature and is detected by its TGA 2.0 footer; without one any
# bytes could be a TGA.

_READERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile, "PNG": PngImageFile, "WEBP": WebPImageFile, "BMP": BmpImageFile, "GIF": GifImageFile,
    "TIFF": TiffImageFile, "AVIF": AvifImageFile, "JPEG2000": Jpeg2KImageFile, "TGA": TgaImageFile,
}  # fmt: skip
FORMATS = tuple(_READERS)
FORMAT_OF = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP",
    ".bmp": "BMP", ".dib": "BMP", ".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF", ".avifs": "AVIF",
    ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".jpc": "JPEG2000", ".jpf": "JPEG2000", ".jpx": "JPEG2000",
    ".j2c": "JPEG2000", ".tga": "TGA",
}  # fmt: skip
SUFFIXES = frozenset(FORMAT_OF)

_SIGNATURES = {
    jpeg.SIGNATURE: "JPEG", headers.SIGNATURE: "PNG", b"BM": "BMP", b"GIF87a": "GIF", b"GIF89a": "GIF",
    **dict.fromkeys(headers.SIGNATURES, "TIFF"),
    b"\xff\x4f\xff\x51": "JPEG2000", b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
}  # fmt: skip
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
HEAD = 64  # leading bytes that identify every format but TGA
TAIL = 26  # trailing bytes that identify a TGA

# libtiff prints warnings and errors directly to standard error; Pillow raises exceptions for them anyway.
with suppress(AttributeError, OSError):  # a Pillow built without libtiff, or with it linked statically
    _libtiff = ctypes.CDLL(_imaging.__file__)
    _libtiff.TIFFSetWarningHandler(None)
    _libtiff.TIFFSetErrorHandler(None)


def detect_format(name: str, head: bytes, tail: bytes) -> str:
    """The format of a file by its first HEAD and last TAIL bytes: a member of FORMATS. Raises ImageError."""
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[place : place + 4] for place in range(16, min(len(head), _box_length(head)), 4))}
        if brands & set(_AVIF_BRANDS):
            return "AVIF"
        if brands & set(_HEIF_BRANDS):
            raise ImageError(
                name, "HEIC, which vgglass does not read", "convert it to JPEG, as the package pillow-heif can"
            )
    if tail.endswith(_TGA_FOOTER):
        return "TGA"
    raise ImageError(name, f"not an image that vgglass reads ({', '.join(FORMATS)})", "convert, replace or remove it")


def open_file(kind: str, data: bytes) -> ImageFile:
    """Open an image with Pillow's reader of that format; decodes only the header. Raises Pillow's exceptions."""
    return _READERS[kind](io.BytesIO(data))


def _box_length(head: bytes) -> int:
    return int.from_bytes(head[:4])


class File(Protocol):
    """A source of bytes: a path, or an object in a bucket; str() gives its name."""

    def read_bytes(self) -> bytes:
        """Raises OSError."""


def read(source: File, limit: int) -> bytes:
    """Read a source, a file only if its length fits the limit in pixels. Raises ImageError."""
    if isinstance(source, Path):
        with _open_regular(source) as (file, length):
            limits.require_length(str(source), length, limit)
            return file.read(length)
    try:
        return source.read_bytes()
    except OSError as error:
        raise _image_error(source, error) from error


@contextmanager
def _open_regular(source: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The open file and its length. Rejects pipes and devices, which may never end; later growth is not read."""
    try:
        _require_regular(source, source.stat())
        with open(source, "rb", opener=_open_nonblocking) as file:
            status = os.fstat(file.fileno())
            _require_regular(source, status)
            yield file, status.st_size
    except OSError as error:
        raise _image_error(source, error) from error


def _require_regular(source: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(source, "Is a directory", "check the path and its permissions")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(source, "not a regular file", "name an image file")


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _image_error(source: object, error: OSError) -> ImageError:
    return ImageError(source, error.strerror or str(error), "check the path and its permissions")
