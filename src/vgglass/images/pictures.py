"""An image that Pillow decodes: what its header says, what that costs, and its pixels."""

import re
from dataclasses import dataclass, field

from PIL import Image, ImagePalette
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import MAX_SAMPLESPERPIXEL, TiffImageFile

from vgglass.errors import ImageError
from vgglass.images import conversion, exif, formats, gif, jpeg, limits, png, tiff
from vgglass.images.conversion import Pixels
from vgglass.images.damage import told
from vgglass.images.limits import Cost

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
            raise ImageError(self.name, self.strange, tiff.REMEDY)
        with told(self.name):
            self.image.load()
            shown = conversion.pixels_of(self._opaque(), channels, background, self.top, self.least_is_white)
            return conversion.upright(shown, self.orientation)

    def _opaque(self) -> Image.Image:
        """The loaded image, its transparent colour (PNG's tRNS) in the units of its pixels."""
        colour = self.image.info.get("transparency")
        if self.kind != "PNG" or colour is None:
            return self.image
        if isinstance(colour, tuple) and self.depth == 16:
            lower = formats.opened("PNG", self.data)
            lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
            lower.load()
            return conversion.without_colour(self.image, lower, colour)
        if self.image.mode == "L":
            self.image.info["transparency"] = colour * 255 // (2**self.depth - 1)
        return self.image


def opened(name: str, kind: str, data: bytes, limit: int) -> Picture:
    """Read the header of a file that is not for simplejpeg. Raises ImageError, also for what costs beyond the limit."""
    if kind == "JPEG":
        return _jpeg(name, data)
    if kind == "PNG":
        return _png(name, data, limit)
    if kind == "TIFF":
        return _tiff(name, data, limit)
    if kind == "AVIF":
        _require_plain_exif(name, data)
    with told(name):
        image = formats.opened(kind, data)
        _require(name, image, limit, _cost(kind, image, data))
        frames, fault = gif.frames(data) if kind == "GIF" else (int(getattr(image, "n_frames", 1)), "")
        tags, xmp = image.info.get("exif", b""), image.info.get("xmp", b"")
        depth = 1 if image.mode == "1" else 16 if image.mode.startswith("I;16") else 8
        return Picture(name, kind, image, depth, frames, fault, exif.orientation(tags, xmp))


def _jpeg(name: str, data: bytes) -> Picture:
    """One that simplejpeg is not for; `jpeg.Header` has judged what it costs."""
    with told(name):
        return Picture(name, "JPEG", formats.opened("JPEG", jpeg.bare(name, data)))


def _png(name: str, data: bytes, limit: int) -> Picture:
    parts = png.read(name, data)
    limits.require_sides(name, parts.width, parts.height)
    with told(name):
        image = formats.opened("PNG", parts.data)
        cost = _held("PNG", image, data, parts.raw / _RAW_RATE)
        if parts.depth == 16 and isinstance(image.info.get("transparency"), tuple):  # decoded twice
            cost = Cost(cost.memory + 3 * _BYTES_OF_COLOUR * image.width * image.height, 2 * cost.seconds)
        _require(name, image, limit, cost)
        frames = int(getattr(image, "n_frames", 1))
    return Picture(name, "PNG", image, parts.depth, frames, parts.fault, parts.orientation, data=parts.data)


def _tiff(name: str, data: bytes, limit: int) -> Picture:
    header = tiff.read(name, data)
    limits.require_sides(name, header.first(tiff.WIDTH, 1), header.first(tiff.HEIGHT, 1))
    strange = header.strange()
    if header.bands > MAX_SAMPLESPERPIXEL:  # Pillow would write of it into the log
        raise ImageError(name, strange or header.unread(), tiff.REMEDY)
    try:
        with told(name):
            image = formats.opened("TIFF", data)
    except ImageError as error:
        if strange or "unknown pixel mode" in error.rule:
            raise ImageError(name, strange or header.unread(), tiff.REMEDY) from error
        raise
    if image.mode == "P":
        _widen_palette(image)
    pixels = image.width * image.height
    seconds = max(header.raw / (_SLOW_RAW_RATE if header.is_slow else _RAW_RATE), pixels / _RATE["TIFF"])
    cost = _held("TIFF", image, data, seconds)
    packed = header.first(tiff.COMPRESSION, 1) != tiff.UNCOMPRESSED
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
        header.first(tiff.PHOTOMETRIC, 1) == tiff.MIN_IS_WHITE,
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
        tiff.read(name, data[found.start() :])


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
