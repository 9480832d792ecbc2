"""An image that Pillow decodes: what its header says, what that costs, and its pixels: 8 bits, grey or RGB, upright.

In strips, so that no copy of the whole is held beside Pillow's own and the array.
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

_STRIP = 1 << 16  # pixels; what fits a processor's cache is fastest
_DIRECT = {"La": "LA", "RGBa": "RGBA", "LAB": "RGB"}  # what Pillow converts to nothing else


def pixels_of(
    image: Image.Image, channels: int, background: tuple[int, int, int], top: int = 65535, least_is_white: bool = False
) -> Pixels:
    """(H, W, C) of a loaded image.

    top             of 16-bit values, what is shown as full light
    least_is_white  of 16-bit values, whether 0 is what is shown as full light
    """
    pixels = np.empty((image.height, image.width, channels), np.uint8)
    rows = max(1, _STRIP // image.width)
    for start in range(0, image.height, rows):
        strip = image.crop((0, start, image.width, min(image.height, start + rows)))
        if strip.mode.startswith("I;16"):
            strip = _shallow(strip, top, least_is_white)
        shown = _composited(strip, background).convert("L" if channels == 1 else "RGB")
        pixels[start : start + rows] = np.asarray(shown).reshape(shown.height, shown.width, channels)
    return pixels


def without_colour(image: Image.Image, lower: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """A loaded RGB image with one colour of 16 bits a channel made transparent.

    image has the upper bytes of its values, which many colours share; lower the lower ones.
    """
    opaque = np.zeros((image.height, image.width), np.uint8)
    for band, value in enumerate(colour):
        opaque |= np.asarray(image.getchannel(band)) != value >> 8
        opaque |= np.asarray(lower.getchannel(band)) != value & 255
    image.info.pop("transparency", None)
    image.putalpha(Image.fromarray(opaque * 255))
    return image


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation (1 to 8)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _shallow(strip: Image.Image, top: int, least_is_white: bool) -> Image.Image:
    deep = np.asarray(strip).astype(np.uint32)
    light = (np.minimum(deep, top) * 255 + top // 2) // top
    grey = Image.fromarray((255 - light if least_is_white else light).astype(np.uint8))
    if "transparency" in strip.info:
        grey.putalpha(Image.fromarray(np.where(deep == strip.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _composited(strip: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if strip.mode in _DIRECT:
        strip = strip.convert(_DIRECT[strip.mode])
    if not strip.has_transparency_data:
        return strip
    return Image.alpha_composite(Image.new("RGBA", strip.size, (*background, 255)), strip.convert("RGBA")).convert(
        "RGB"
    )


# What the decoders raise, as one sentence.

# What the decoders raise on damaged bytes; UserWarning is Pillow's where Python runs with -W error.
DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError,
    AssertionError, struct.error, zlib.error, UserWarning,
)  # fmt: skip


@contextmanager
def as_image_errors(name: str) -> Iterator[None]:
    """Raises ImageError for what the decoders raise."""
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


# An image that Pillow decodes: what its header says, what that costs, and its pixels.

_BYTES = {"1": 1, "L": 1, "P": 1}  # that Pillow keeps for a pixel
_BYTES_OF_16, _BYTES_OF_COLOUR, _BYTES_OF_ROW = 2, 4, 32
# Measured beside what Pillow keeps, with the libraries of its wheels: bytes that a decoder holds for a pixel, and
# pixels a second of noisy photographs.
_HELD = {"WEBP": 12, "AVIF": 10, "JPEG2000": 16, "BMP": 2}
_RATE = {"WEBP": 25e6, "AVIF": 25e6, "JPEG2000": 12e6, "BMP": 100e6, "GIF": 80e6, "TGA": 60e6, "TIFF": 150e6}
_RAW_RATE, _SLOW_RAW_RATE = 75e6, 15e6  # bytes a second of PNG's and most of TIFF's compressions; of LZMA
_JPEG2000_RATE = 6e6  # bytes a second, beside its pixels
_RUN_LENGTHS = (1, 2)  # BMP's compressions that Pillow decodes in Python
_RUN_RATE, _RUN_PIXELS = 2e6, 7.5e6  # bytes and pixels a second of these
_COMPOSED_RATE = 80e6  # pixels a second, where alpha is composited
_COLOUR_MAP = 320
_TIFF_HEAD = re.compile(rb"II\x2a\0|MM\0\x2a")


@dataclass(frozen=True)
class Picture:
    """An opened file; see `Examined` for what the words mean. Its orientation is yet to be undone."""

    name: str
    kind: str
    image: ImageFile
    depth: int = 8
    frames: int = 1
    fault: str = ""
    orientation: int = 1
    strange: str = ""  # why its pixels can't be shown
    top: int = 65535
    least_is_white: bool = False
    data: bytes = field(repr=False, default=b"")

    @property
    def mode(self) -> str:
        return self.image.mode

    def pixels(self, channels: int, background: tuple[int, int, int]) -> Pixels:
        """(H, W, C), upright. Raises ImageError."""
        if self.strange:
            raise ImageError(self.name, self.strange, headers.REMEDY)
        with as_image_errors(self.name):
            self.image.load()
            shown = pixels_of(self._opaque(), channels, background, self.top, self.least_is_white)
            return upright(shown, self.orientation)

    def _opaque(self) -> Image.Image:
        """The loaded image, its transparent colour (PNG's tRNS) in the units of its pixels."""
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
    """Read the header of a file that is not for simplejpeg. Raises ImageError, also for what costs beyond the limit."""
    if kind == "JPEG":
        return _jpeg(name, data)
    if kind == "PNG":
        return _png(name, data, limit)
    if kind == "TIFF":
        return _tiff(name, data, limit)
    if kind == "AVIF":
        _require_plain_exif(name, data)
    with as_image_errors(name):
        image = files.open_file(kind, data)
        _require(name, image, limit, _cost(kind, image, data))
        frames, fault = headers.frames(data) if kind == "GIF" else (int(getattr(image, "n_frames", 1)), "")
        tags, xmp = image.info.get("exif", b""), image.info.get("xmp", b"")
        depth = 1 if image.mode == "1" else 16 if image.mode.startswith("I;16") else 8
        return Picture(name, kind, image, depth, frames, fault, headers.orientation(tags, xmp))


def _jpeg(name: str, data: bytes) -> Picture:
    """One that simplejpeg is not for; `jpeg.Header` has judged what it costs."""
    with as_image_errors(name):
        return Picture(name, "JPEG", files.open_file("JPEG", jpeg.bare(name, data)))


def _png(name: str, data: bytes, limit: int) -> Picture:
    parts = headers.read_png(name, data)
    limits.require_sides(name, parts.width, parts.height)
    with as_image_errors(name):
        image = files.open_file("PNG", parts.data)
        cost = _held("PNG", image, data, parts.raw / _RAW_RATE)
        if parts.depth == 16 and isinstance(image.info.get("transparency"), tuple):  # decoded twice
            cost = Cost(cost.memory + 3 * _BYTES_OF_COLOUR * image.width * image.height, 2 * cost.seconds)
        _require(name, image, limit, cost)
        frames = int(getattr(image, "n_frames", 1))
    return Picture(name, "PNG", image, parts.depth, frames, parts.fault, parts.orientation, data=parts.data)


def _tiff(name: str, data: bytes, limit: int) -> Picture:
    header = headers.read_tiff(name, data)
    limits.require_sides(name, header.first(headers.WIDTH, 1), header.first(headers.HEIGHT, 1))
    strange = header.strange()
    if header.bands > MAX_SAMPLESPERPIXEL:  # Pillow would write of it into the log
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
    cost = _held("TIFF", image, data, seconds)
    packed = header.first(headers.COMPRESSION, 1) != headers.UNCOMPRESSED
    _require(name, image, limit, Cost(cost.memory + (header.raw if packed else 0), cost.seconds))
    return Picture(
        name,
        "TIFF",
        image,
        max(header.bits),
        header.pages,
        header.fault,
        1,  # Pillow turns a TIFF upright as it loads
        strange,
        header.top,
        header.first(headers.PHOTOMETRIC, 1) == headers.MIN_IS_WHITE,
    )


def _widen_palette(image: ImageFile) -> None:
    """Some programs write colours of 8 bits where 16 are meant; Pillow takes the upper ones alone."""
    assert isinstance(image, TiffImageFile)
    colours = image.tag_v2[_COLOUR_MAP]
    if max(colours) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))


def _require_plain_exif(name: str, data: bytes) -> None:
    """Pillow reads all of an AVIF's EXIF as it opens it: as of a TIFF, that must not hold more than there is."""
    for found in _TIFF_HEAD.finditer(data):
        headers.read_tiff(name, data[found.start() :])


def _cost(kind: str, image: ImageFile, data: bytes) -> Cost:
    pixels = image.width * image.height
    seconds = pixels / _RATE[kind]
    if kind == "JPEG2000":
        seconds += len(data) / _JPEG2000_RATE
    elif kind == "BMP" and image.info.get("compression") in _RUN_LENGTHS:
        seconds = pixels / _RUN_PIXELS + len(data) / _RUN_RATE
    return _held(kind, image, data, seconds)


def _held(kind: str, image: ImageFile, data: bytes, seconds: float) -> Cost:
    """With the file, what the decoder and Pillow keep, and the array of three channels that comes out."""
    kept = _BYTES_OF_16 if image.mode.startswith("I;16") else _BYTES.get(image.mode, _BYTES_OF_COLOUR)
    pixels = image.width * image.height
    if image.has_transparency_data:
        seconds += pixels / _COMPOSED_RATE
    decoding = len(data) + pixels * (kept + _HELD.get(kind, 0) + 3) + _BYTES_OF_ROW * image.height
    return Cost(max(decoding, pixels * (3 + _BYTES_OF_COLOUR)), seconds)


def _require(name: str, image: ImageFile, limit: int, cost: Cost) -> None:
    limits.require_sides(name, image.width, image.height)
    limits.require(name, f"{image.width}x{image.height} pixels", cost, limit)
