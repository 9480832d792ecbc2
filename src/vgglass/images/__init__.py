"""The one decoder: a file or its bytes to a uint8 array (H, W, C), the way every consumer sees it.

JPEG goes through simplejpeg, the rest (and CMYK JPEG) through Pillow. The picture comes out upright (EXIF), 8 bits
deep, with alpha composited on a background, as 1 channel (grey) or 3 (RGB).
"""

import io
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from vgglass.errors import ImageError

Pixels = NDArray[np.uint8]  # (H, W, C)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
FORMAT_OF = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF",
    ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip
SUFFIXES = frozenset(FORMAT_OF)
MAX_PIXELS = 80_000_000  # below the count at which Pillow itself cries decompression bomb
WHITE = (255, 255, 255)

# JPEG's markers. A frame of the discrete cosine transform in Huffman coding (baseline, extended, progressive) may be
# decoded at a part of its size; of any other simplejpeg reserves that part too, but libjpeg writes the whole of a
# lossless one, beyond its end.
_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DCT_FRAMES = (0xC0, 0xC1, 0xC2)
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # markers without a length; 0 is a stuffed byte

_ORIENTATION_TAG = 0x0112
_BITS_PER_SAMPLE_TAG = 258
_PNG_DEPTH = 24  # where a PNG's first chunk, IHDR, says how many bits a sample has
# What the decoders raise on damaged bytes.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error, zlib.error, MemoryError)


class File(Protocol):
    """What bytes can be read from: a path, or an object in a bucket; its str is its name."""

    def read_bytes(self) -> bytes:
        """Raises OSError."""


def decode(
    source: File | bytes,
    *,
    channels: int = 3,
    background: tuple[int, int, int] = WHITE,
    least: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> Pixels:
    """Decode one image.

    least       where positive, a JPEG may be decoded at the smallest DCT-scaled size (1/8 to 8/8) with sides >= least
    max_pixels  refused above this, judged by the header before any pixel is decoded
    Raises ImageError. An animated file gives its first frame.
    """
    name = "image" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else _read(source)
    return _decode(name, data, channels, background, least, max_pixels)[0]


@dataclass(frozen=True)
class Examined:
    """What a file holds and says of itself.

    pixels       as `decode` gives them, in RGB
    fault        damage that decoding passed over, or nothing ('')
    format       a member of FORMATS
    mode         Pillow's: 'RGB', 'L', 'P', 'CMYK', ...
    depth        bits a sample has in the file, whatever Pillow reads of them
    frames       more than 1 where only the first is taken
    orientation  EXIF's, 1 to 8, undone in `pixels`
    """

    pixels: Pixels
    fault: str
    format: str
    mode: str
    depth: int
    frames: int
    orientation: int


def examine(data: bytes) -> Examined:
    """Decode a file's bytes and say what they are. Raises ImageError."""
    pixels, fault = _decode("image", data, 3, WHITE, 0, MAX_PIXELS)
    image = _open("image", data, MAX_PIXELS)
    kind = _format(image)
    try:
        frames = 1 if kind == "JPEG" else int(getattr(image, "n_frames", 1))
    except _DAMAGE as error:
        frames, fault = 1, f"what follows the first frame is damaged ({error})"
    return Examined(pixels, fault, kind, image.mode, _depth(image, data), frames, _orientation(image))


def size(source: Path) -> tuple[int, int]:
    """Height and width by the header, no pixel decoded; EXIF is heeded in a TIFF alone. Raises ImageError."""
    image = _open(str(source), _read(source), MAX_PIXELS)
    return image.height, image.width


def format_of(source: Path) -> str:
    """The format that a file has by its first bytes, a member of FORMATS, whatever its name. Raises ImageError."""
    return _format(_open(str(source), _read(source), MAX_PIXELS))


def plain(source: Path) -> tuple[Pixels, list[str]]:
    """What `Image.open(source).convert('RGB')` gives, as PyTorch tutorials do, and how `decode` would differ.

    Only for showing single operations: everything that meets a model comes through `decode`. The differences are
    keys: 'alpha' (dropped, not composited), 'orientation' (EXIF ignored), 'depth' (16 or 32 bits cut off at 255).
    Raises ImageError.
    """
    name = str(source)
    image = _open(name, _read(source), MAX_PIXELS)
    try:
        image.load()
        found = {
            "alpha": image.has_transparency_data and bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255),
            "orientation": image.format != "TIFF" and _orientation(image) in range(2, 9),
            "depth": image.mode.startswith(("I", "F")),
        }
        return np.asarray(image.convert("RGB")), [key for key, differs in found.items() if differs]
    except _DAMAGE as error:
        _refuse_damaged(name, error)


def _decode(
    name: str, data: bytes, channels: int, background: tuple[int, int, int], least: int, max_pixels: int
) -> tuple[Pixels, str]:
    """The pixels, and the damage that was passed over ('': none)."""
    image, fault = _open(name, data, max_pixels), ""
    # MPO: a phone's JPEG with more behind it
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB") and _frame_type(data) in _DCT_FRAMES:
        try:
            pixels = simplejpeg.decode_jpeg(data, "GRAY" if channels == 1 else "RGB", min_height=least, min_width=least)
        except ValueError as error:
            fault = str(
                error
            )  # Pillow reads some JPEGs that simplejpeg's strict mode refuses, and names the others' fault
        else:
            return _upright(np.asarray(pixels), _orientation(image)), ""
    try:
        return _convert(name, image, channels, background), fault
    except _DAMAGE as error:
        _refuse_damaged(name, error)


def _frame_type(data: bytes) -> int:
    """The first start-of-frame marker of a JPEG (T.81, table B.1); 0 where there is none before the first scan.

    libjpeg refuses a second one, so that this is the frame that it decodes. Bytes between segments are passed over.
    """
    place = 2
    while (place := data.find(b"\xff", place)) >= 0 and place + 4 <= len(data):
        marker = data[place + 1]
        if marker in _STARTS_OF_FRAME:
            return marker
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return 0
        if marker == 0xFF:
            place += 1  # a fill byte
        elif marker in _ALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return 0


def _format(image: Image.Image) -> str:
    return "JPEG" if image.format == "MPO" else str(image.format)


def _depth(image: Image.Image, data: bytes) -> int:
    if image.format == "PNG":
        return data[_PNG_DEPTH]
    if isinstance(image, TiffImageFile):
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE_TAG, (1,))))
    return 1 if image.mode == "1" else 8


def _read(source: File) -> bytes:
    try:
        if isinstance(source, Path) and stat.S_IFMT(source.stat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            raise ImageError(source, "not a regular file", "name an image file")  # a pipe or device would never end
        return source.read_bytes()
    except OSError as error:
        raise ImageError(source, error.strerror or str(error), "check the path and its permissions") from error


def _open(name: str, data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise ImageError(name, "the file is empty", "replace or remove it")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(
            name, f"not an image that vgglass reads ({', '.join(FORMATS)})", "convert, replace or remove it"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(name, f"declares more than {max_pixels:,} pixels", "make it smaller first") from error
    except _DAMAGE as error:
        _refuse_damaged(name, error)
    if image.width * image.height > max_pixels:
        raise ImageError(
            name,
            f"declares {image.width}x{image.height} pixels, more than {max_pixels:,}",
            "make it smaller first",
        )
    return image


def _refuse_damaged(name: str, error: BaseException) -> NoReturn:
    raise ImageError(name, f"damaged ({error})", "replace or remove it") from error


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except _DAMAGE:
        return 1  # damaged EXIF says nothing about which way is up; the pixels are sound


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation (1 to 8; anything else is upright)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _convert(name: str, image: Image.Image, channels: int, background: tuple[int, int, int]) -> Pixels:
    if image.mode in ("I", "F"):
        raise ImageError(name, "32-bit pixels have no fixed range", "save it with 8 or 16 bits a channel")
    image.load()  # before EXIF is asked for: Pillow would load for that, and half a picture stay behind its error
    orientation = 1 if image.format == "TIFF" else _orientation(image)  # Pillow turns a TIFF upright as it loads
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), colour).convert("RGB")
    image = image.convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(image)
    return _upright(pixels.reshape(*pixels.shape[:2], channels), orientation)
