"""From what Pillow has decoded to pixels: 8 bits, grey or RGB, alpha composited.

In strips, so that no copy of the whole is held beside Pillow's own and the array.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
