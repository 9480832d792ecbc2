"""Decode images with Pillow: header, cost estimate, and pixels (8-bit, grey or RGB, EXIF orientation applied).

Conversion works in strips, so that no further copy of the image is held beside Pillow's own and the array.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImagePalette
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import MAX_SAMPLESPERPIXEL, TiffImageFile

from vgglass.errors import ImageError
from vgglass.images import files, headers, jpeg, limits
from vgglass.images.limits import Cost

Pixels = NDArray[np.uint8]  # (H, W, C)

_STRIP = 1 << 16  # pixels; fits the processor's cache
_DIRECT = {"La": "LA", "RGBa": "RGBA", "LAB": "RGB"}  # modes that Pillow converts only to these


def pixels_of(
    image: Image.Image, channels: int, background: tuple[int, int, int], top: int = 65535, least_is_white: bool = False
) -> Pixels:
    """Pixels (H, W, C) of a loaded image.

    top             16-bit value that maps to 255
    least_is_white  16-bit values are inverted: 0 is white
    """
    pixels = np.empty((image.height, image.width, channels), np.uint8)
    rows = max(1, _STRIP // image.width)
    for start in range(0, image.height, rows):
        strip = image.crop((0, start, image.width, min(image.height, start + rows)))
        if strip.mode.startswith("I;16"):
            strip = _to_8_bits(strip, top, least_is_white)
        shown = _composite(strip, background).convert("L" if channels == 1 else "RGB")
        pixels[start : start + rows] = np.asarray(shown).reshape(shown.height, shown.width, channels)
    return pixels


def without_colour(image: Image.Image, lower: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Make one 16-bit colour of a loaded RGB image transparent.

    image, lower  the upper and lower bytes of the samples; many colours share their upper bytes
    """
    opaque = np.zeros((image.height, image.width), np.uint8)
    for band, value in enumerate(colour):
        opaque |= np.asarray(image.getchannel(band)) != value >> 8
        opaque |= np.asarray(lower.getchannel(band)) != value & 255
    image.info.pop("transparency", None)
    image.putalpha(Image.fromarray(opaque * 255))
    return image


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation (1 to 8)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _to_8_bits(strip: Image.Image, top: int, least_is_white: bool) -> Image.Image:
    deep = np.asarray(strip).astype(np.uint32)
    light = (np.minimum(deep, top) * 255 + top // 2) // top
    grey = Image.fromarray((255 - light if least_is_white else light).astype(np.uint8))
    if "transparency" in strip.info:
        grey.putalpha(Image.fromarray(np.where(deep == strip.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _composite(strip: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if strip.mode in _DIRECT:
        strip = strip.convert(_DIRECT[strip.mode])
    if not strip.has_transparency_data:
        return strip
    return Image.alpha_composite(Image.new("RGBA", strip.size, (*background, 255)), strip.convert("RGBA")).convert(
        "RGB"
    )


# Exceptions of the decoders on damaged data, translated to ImageError. UserWarning: Pillow's under python -W error.
DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError,
    AssertionError, struct.error, zlib.error, UserWarning,
)  # fmt: skip


@contextmanager
def as_image_errors(name: str) -> Iterator[None]:
    """Translate exceptions of the decoders to ImageError."""
    try:
        yield
    except ImageError:  # a ValueError too
        raise
    except MemoryError as error:
        raise ImageError(name, "needs more memory than there is", "make it smaller first") from error
    except Image.DecompressionBombError as error:
        raise ImageError(name, "declares more pixels than Pillow decodes", "make it smaller first") from error
    except DAMAGE as error:
        raise damaged(name, error) from error


def damaged(name: str, reason: object) -> ImageError:
    words = str(reason) or ("unexpected end of file" if isinstance(reason, EOFError) else type(reason).__name__)
    return ImageError(name, f"damaged ({words})", "replace or remove it")


# Opening a file: header, cost estimate, pixels.

_BYTES = {"1": 1, "L": 1, "P": 1}  # bytes per pixel in Pillow's memory
_BYTES_OF_16, _BYTES_OF_COLOUR, _BYTES_OF_ROW = 2, 4, 32
# Measured with the libraries of Pillow's wheels: further bytes per pixel that a decoder allocates, and pixels per
# second on noisy photographs.
_DECODER_BYTES = {"WEBP": 12, "AVIF": 10, "JPEG2000": 16, "BMP": 2}
_RATE = {"WEBP": 25e6, "AVIF": 25e6, "JPEG2000": 12e6, "BMP": 100e6, "GIF": 80e6, "TGA": 60e6, "TIFF": 150e6}
_RAW_RATE, _SLOW_RAW_RATE = 75e6, 15e6  # bytes per second of PNG and most TIFF compressions; of LZMA
_JPEG2000_RATE = 6e6  # bytes per second, in addition to the time per pixel
_RUN_LENGTHS = (1, 2)  # BMP's compressions that Pillow decodes in Python
_RUN_RATE, _RUN_PIXELS = 2e6, 7.5e6  # bytes and pixels per second of these
_COMPOSED_RATE = 80e6  # pixels per second of alpha compositing
_COLOUR_MAP = 320
_TIFF_HEAD = re.compile(rb"II\x2a\0|MM\0\x2a")


@dataclass(frozen=True)
class Picture:
    """An opened file; fields as in `Examined`. Its orientation is applied by `pixels`."""

    name: str
    kind: str
    image: ImageFile
    depth: int = 8
    frames: int = 1
    fault: str = ""
    orientation: int = 1
    strange: str = ""  # why its pixel format is unsupported
    top: int = 65535
    least_is_white: bool = False
    data: bytes = field(repr=False, default=b"")

    @property
    def mode(self) -> str:
        return self.image.mode

    def pixels(self, channels: int, background: tuple[int, int, int]) -> Pixels:
        """Decode to (H, W, C), with EXIF orientation applied. Raises ImageError."""
        if self.strange:
            raise ImageError(self.name, self.strange, headers.REMEDY)
        with as_image_errors(self.name):
            self.image.load()
            shown = pixels_of(self._with_scaled_transparency(), channels, background, self.top, self.least_is_white)
            return upright(shown, self.orientation)

    def _with_scaled_transparency(self) -> Image.Image:
        """The loaded image, with its transparent colour (PNG's tRNS) scaled to the range of its pixels."""
        colour = self.image.info.get("transparency")
        if self.kind != "PNG" or colour is None:
            return self.image
        if isinstance(colour, tuple) and self.depth == 16:
            lower = files.open_file("PNG", self.data)
            lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
            lower.load()
            return without_colour(self.image, lower, colour)
        if self.image.mode == "L":
            self.image.info["transparency"] = colour * 255 // (2**self.depth - 1)
        return self.image


def open_picture(name: str, kind: str, data: bytes, limit: int) -> Picture:
    """Open a file that simplejpeg can't decode, without decoding pixels. Raises ImageError, CostError."""
    if kind == "JPEG":
        return _open_jpeg(name, data)
    if kind == "PNG":
        return _open_png(name, data, limit)
    if kind == "TIFF":
        return _open_tiff(name, data, limit)
    if kind == "AVIF":
        _require_plain_exif(name, data)
    with as_image_errors(name):
        image = files.open_file(kind, data)
        _require(name, image, limit, _cost(kind, image, data))
        frames, fault = headers.frames(data) if kind == "GIF" else (int(getattr(image, "n_frames", 1)), "")
        tags, xmp = image.info.get("exif", b""), image.info.get("xmp", b"")
        depth = 1 if image.mode == "1" else 16 if image.mode.startswith("I;16") else 8
        return Picture(name, kind, image, depth, frames, fault, headers.orientation(tags, xmp))


def _open_jpeg(name: str, data: bytes) -> Picture:
    """A JPEG that simplejpeg can't decode; its cost was checked by way of `jpeg.Header`."""
    with as_image_errors(name):
        return Picture(name, "JPEG", files.open_file("JPEG", jpeg.bare(name, data)))


def _open_png(name: str, data: bytes, limit: int) -> Picture:
    parts = headers.read_png(name, data)
    limits.require_sides(name, parts.width, parts.height)
    with as_image_errors(name):
        image = files.open_file("PNG", parts.data)
        cost = _with_memory("PNG", image, data, parts.raw / _RAW_RATE)
        if parts.depth == 16 and isinstance(image.info.get("transparency"), tuple):  # decoded twice
            cost = Cost(cost.memory + 3 * _BYTES_OF_COLOUR * image.width * image.height, 2 * cost.seconds)
        _require(name, image, limit, cost)
        frames = int(getattr(image, "n_frames", 1))
    return Picture(name, "PNG", image, parts.depth, frames, parts.fault, parts.orientation, data=parts.data)


def _open_tiff(name: str, data: bytes, limit: int) -> Picture:
    header = headers.read_tiff(name, data)
    limits.require_sides(name, header.first(headers.WIDTH, 1), header.first(headers.HEIGHT, 1))
    strange = header.strange()
    if header.bands > MAX_SAMPLESPERPIXEL:  # Pillow would log a message
        raise ImageError(name, strange or header.unread(), headers.REMEDY)
    try:
        with as_image_errors(name):
            image = files.open_file("TIFF", data)
    except ImageError as error:
        if strange or "unknown pixel mode" in error.rule:
            raise ImageError(name, strange or header.unread(), headers.REMEDY) from error
        raise
    if image.mode == "P":
        _widen_palette(image)
    pixels = image.width * image.height
    seconds = max(header.raw / (_SLOW_RAW_RATE if header.is_slow else _RAW_RATE), pixels / _RATE["TIFF"])
    cost = _with_memory("TIFF", image, data, seconds)
    packed = header.first(headers.COMPRESSION, 1) != headers.UNCOMPRESSED
    _require(name, image, limit, Cost(cost.memory + (header.raw if packed else 0), cost.seconds))
    return Picture(
        name,
        "TIFF",
        image,
        max(header.bits),
        header.pages,
        header.fault,
        1,  # Pillow applies the orientation of a TIFF on load
        strange,
        header.top,
        header.first(headers.PHOTOMETRIC, 1) == headers.MIN_IS_WHITE,
    )


def _widen_palette(image: ImageFile) -> None:
    """Fix 8-bit colours in a palette of 16-bit values, as some programs write: Pillow uses the upper bytes."""
    assert isinstance(image, TiffImageFile)
    colours = image.tag_v2[_COLOUR_MAP]
    if max(colours) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))


def _require_plain_exif(name: str, data: bytes) -> None:
    """Check EXIF in an AVIF like a TIFF, because Pillow parses all of it on opening. Raises ImageError."""
    for found in _TIFF_HEAD.finditer(data):
        headers.read_tiff(name, data[found.start() :])


def _cost(kind: str, image: ImageFile, data: bytes) -> Cost:
    pixels = image.width * image.height
    seconds = pixels / _RATE[kind]
    if kind == "JPEG2000":
        seconds += len(data) / _JPEG2000_RATE
    elif kind == "BMP" and image.info.get("compression") in _RUN_LENGTHS:
        seconds = pixels / _RUN_PIXELS + len(data) / _RUN_RATE
    return _with_memory(kind, image, data, seconds)


def _with_memory(kind: str, image: ImageFile, data: bytes, seconds: float) -> Cost:
    """Cost including the file, the memory of decoder and Pillow, and the resulting three-channel array."""
    kept = _BYTES_OF_16 if image.mode.startswith("I;16") else _BYTES.get(image.mode, _BYTES_OF_COLOUR)
    pixels = image.width * image.height
    if image.has_transparency_data:
        seconds += pixels / _COMPOSED_RATE
    decoding = len(data) + pixels * (kept + _DECODER_BYTES.get(kind, 0) + 3) + _BYTES_OF_ROW * image.height
    return Cost(max(decoding, pixels * (3 + _BYTES_OF_COLOUR)), seconds)


def _require(name: str, image: ImageFile, limit: int, cost: Cost) -> None:
    limits.require_sides(name, image.width, image.height)
    limits.require(name, f"{image.width}x{image.height} pixels", cost, limit)
