"""The one decoder: a file or its bytes to a uint8 array (H, W, C), the way every consumer sees it.

JPEG goes through simplejpeg, the rest (and CMYK JPEG) through Pillow. The picture comes out upright (EXIF), 8 bits
deep, with alpha composited on a background, as 1 channel (grey) or 3 (RGB).
"""

import io
import struct
import zlib
from pathlib import Path
from typing import NoReturn

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vgglass.errors import ImageError

Pixels = NDArray[np.uint8]  # (H, W, C)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MAX_PIXELS = 80_000_000  # below the count at which Pillow itself cries decompression bomb
WHITE = (255, 255, 255)

_ORIENTATION_TAG = 0x0112
# What the decoders raise on damaged bytes.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error, zlib.error, MemoryError)


def decode(
    source: Path | bytes,
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
    image = _open(name, data, max_pixels)
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):  # MPO: a phone's JPEG with more behind it
        try:
            pixels = simplejpeg.decode_jpeg(data, "GRAY" if channels == 1 else "RGB", min_height=least, min_width=least)
        except ValueError:
            pass  # Pillow reads some JPEGs that simplejpeg's strict mode refuses, and names the fault of the rest
        else:
            return _upright(np.asarray(pixels), _orientation(image))
    try:
        return _convert(name, image, channels, background)
    except _DAMAGE as error:
        _refuse_damaged(name, error)


def size(source: Path) -> tuple[int, int]:
    """Height and width by the header, no pixel decoded; EXIF is heeded in a TIFF alone. Raises ImageError."""
    image = _open(str(source), _read(source), MAX_PIXELS)
    return image.height, image.width


def plain(source: Path) -> tuple[Pixels, list[str]]:
    """What `Image.open(source).convert('RGB')` gives, as PyTorch tutorials do, and how `decode` would differ.

    Only for showing single operations: everything that meets a model comes through `decode`. The differences are
    keys: 'alpha' (dropped, not composited), 'orientation' (EXIF ignored), 'depth' (16 or 32 bits cut off at 255).
    Raises ImageError.
    """
    name = str(source)
    image = _open(name, _read(source), MAX_PIXELS)
    try:
        found = {
            "alpha": image.has_transparency_data and bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255),
            "orientation": image.format != "TIFF" and _orientation(image) in range(2, 9),
            "depth": image.mode.startswith(("I", "F")),
        }
        return np.asarray(image.convert("RGB")), [key for key, differs in found.items() if differs]
    except _DAMAGE as error:
        _refuse_damaged(name, error)


def _read(source: Path) -> bytes:
    try:
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
    orientation = _orientation(image)
    if image.mode in ("I", "F"):
        raise ImageError(name, "32-bit pixels have no fixed range", "save it with 8 or 16 bits a channel")
    image.load()
    if image.format == "TIFF":
        orientation = 1  # Pillow turns a TIFF upright as it loads
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), colour).convert("RGB")
    image = image.convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(image)
    return _upright(pixels.reshape(*pixels.shape[:2], channels), orientation)
