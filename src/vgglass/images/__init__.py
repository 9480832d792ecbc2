"""The one image decoder: a file or its bytes to a uint8 array (H, W, C).

simplejpeg decodes JPEG, Pillow everything else (and CMYK JPEG). The result has EXIF orientation applied, 8 bits per
sample, alpha composited on a background, and 1 (grey) or 3 (RGB) channels. The cost is estimated from the header first.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg

from vgglass.errors import ImageError
from vgglass.images import files, jpeg, limits, pillow
from vgglass.images.files import FORMAT_OF, FORMATS, SUFFIXES, File
from vgglass.images.limits import MAX_PIXELS
from vgglass.images.pillow import Pixels, as_image_errors

__all__ = [
    "FORMATS", "FORMAT_OF", "MAX_PIXELS", "SUFFIXES", "WHITE", "Examined", "File", "Pixels", "decode", "eighths",
    "examine", "plain",
]  # fmt: skip

WHITE = (255, 255, 255)
EXAMINED_SIDE = 1024  # minimum side to which a JPEG beyond the limit is scaled down for examination


def decode(
    source: File | bytes,
    *,
    channels: int = 3,
    background: tuple[int, int, int] = WHITE,
    least: int = 0,
    max_pixels: int | None = None,
) -> Pixels:
    """Decode one image.

    least       if positive, a JPEG is decoded at the smallest DCT scale (1/8 to 8/8) with sides >= least
    max_pixels  cost limit, see `limits`; None: the limit of this process
    Raises ImageError. Of an animation the first frame is decoded.
    """
    limit = limits.max_pixels() if max_pixels is None else max_pixels
    name = "image" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else files.read(source, limit)
    kind = _kind(name, data)
    if kind == "JPEG":
        return _decode_jpeg(name, data, jpeg.read(name, data), channels, background, least, limit)[0]
    return pillow.open_picture(name, kind, data, limit).pixels(channels, background)


@dataclass(frozen=True)
class Examined:
    """Pixels and properties of an image file.

    pixels         as `decode` returns them, in RGB; scaled down for a JPEG beyond the limit
    height, width  at full size, after EXIF orientation
    fault          damage that the decoder tolerated; '' if none
    format         a member of FORMATS
    mode           Pillow's: 'RGB', 'L', 'P', 'CMYK', ...
    depth          bits per sample in the file, which may be more than Pillow decodes
    frames         number of frames; only the first is decoded
    orientation    EXIF orientation, 1 to 8, already applied to `pixels`
    """

    pixels: Pixels
    height: int
    width: int
    fault: str
    format: str
    mode: str
    depth: int
    frames: int
    orientation: int


def examine(data: bytes) -> Examined:
    """Decode a file's bytes and return their properties. Raises ImageError."""
    limit = limits.max_pixels()
    kind = _kind("image", data)
    if kind == "JPEG":
        return _examine_jpeg(data, limit)
    picture = pillow.open_picture("image", kind, data, limit)
    pixels = picture.pixels(3, WHITE)
    height, width = pixels.shape[:2]
    return Examined(
        pixels, height, width, picture.fault, kind, picture.mode, picture.depth, picture.frames, picture.orientation
    )


def plain(source: Path) -> tuple[Pixels, list[str]]:
    """`Image.open(source).convert('RGB')`, as in PyTorch tutorials, and how `decode` differs from it.

    Only for demonstrating single operations: model inputs always come from `decode`. The differences are keys:
    'alpha' (dropped, not composited), 'orientation' (EXIF ignored), 'depth' (16 or 32 bits clipped at 255).
    Raises ImageError.
    """
    name, limit = str(source), limits.max_pixels()
    data = files.read(source, limit)
    kind = _kind(name, data)
    header = jpeg.read(name, data) if kind == "JPEG" else None
    if header is not None:
        _require(name, header, header.cost(8, 3, by_pillow=True), limit)
    picture = pillow.open_picture(name, kind, data, limit)
    with as_image_errors(name):
        image = picture.image
        image.load()
        orientation = header.orientation if header is not None else picture.orientation
        found = {
            "alpha": image.has_transparency_data and bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255),
            "orientation": orientation != 1,
            "depth": image.mode.startswith(("I", "F")),
        }
        return np.asarray(image.convert("RGB")), [key for key, differs in found.items() if differs]


def eighths(data: bytes, least: int) -> int:
    """The scale, in eighths, at which `decode` decodes a file's bytes; 8 unless a JPEG. Raises ImageError."""
    return _scale(jpeg.read("image", data), least) if _kind("image", data) == "JPEG" else 8


def _kind(name: str, data: bytes) -> str:
    if not data:
        raise ImageError(name, "the file is empty", "replace or remove it")
    return files.detect_format(name, data[: files.HEAD], data[-files.TAIL :])


def _examine_jpeg(data: bytes, limit: int) -> Examined:
    header = jpeg.read("image", data)
    least = 0 if header.cost(8, 3).pixels <= limit else EXAMINED_SIDE
    pixels, fault = _decode_jpeg("image", data, header, 3, WHITE, least, limit)
    sides = (header.height, header.width)
    height, width = reversed(sides) if header.orientation >= 5 else sides
    mode = {1: "L", 3: "RGB"}.get(header.components, "CMYK")
    return Examined(pixels, height, width, fault, "JPEG", mode, header.precision, 1, header.orientation)


def _is_simple(header: jpeg.Header) -> bool:
    return header.frame in jpeg.DCT_FRAMES and header.components in (1, 3)


def _scale(header: jpeg.Header, least: int) -> int:
    return header.scaled(least) if _is_simple(header) else 8


def _decode_jpeg(
    name: str, data: bytes, header: jpeg.Header, channels: int, background: tuple[int, int, int], least: int, limit: int
) -> tuple[Pixels, str]:
    """The pixels, and the damage that was tolerated ('' if none)."""
    simple, scale = _is_simple(header), _scale(header, least)
    _require(name, header, header.cost(scale, channels, by_pillow=not simple), limit)
    fault = ""
    if simple:
        with as_image_errors(name):
            try:
                expected = tuple(-(-side * scale // 8) for side in (header.height, header.width))
                if simplejpeg.decode_jpeg_header(data, least, least)[:2] == expected:
                    pixels = simplejpeg.decode_jpeg(
                        data, "GRAY" if channels == 1 else "RGB", min_height=least, min_width=least
                    )
                    return pillow.upright(np.asarray(pixels), header.orientation), ""
                fault = "its header can be read in two ways"
            except ValueError as error:
                # Pillow decodes some JPEGs that simplejpeg's strict mode rejects, and has better errors for others
                fault = str(error)
    _require(name, header, header.cost(8, channels, by_pillow=True), limit)
    picture = pillow.open_picture(name, "JPEG", data, limit)
    return pillow.upright(picture.pixels(channels, background), header.orientation), fault


def _require(name: str, header: jpeg.Header, cost: limits.Cost, limit: int) -> None:
    if not header.width * header.height:
        raise ImageError(name, f"declares {header.width}x{header.height} pixels", "replace or remove it")
    if header.components not in (1, 3, 4):
        raise ImageError(name, f"a JPEG of {header.components} components", "save it as grey or RGB")
    if header.precision != 8:
        raise ImageError(name, f"a JPEG of {header.precision} bits a sample", "save it with 8 bits")
    limits.require(name, header.size, cost, limit)
