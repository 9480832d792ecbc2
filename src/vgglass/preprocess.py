"""Preprocessing: decoded pixels to the network's input, by a frozen record that is part of the model file.

`fit` crops and resizes in uint8, `normalise` computes in float32. Every consumer uses these two.
N batch, H height, W width, C channels.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgglass import images
from vgglass.errors import ImageError, UsageError
from vgglass.images import Pixels

Fit = Literal["crop", "pad", "squash"]
INTERPOLATIONS = {name.lower(): Image.Resampling[name] for name in ("NEAREST", "BOX", "BILINEAR", "BICUBIC", "LANCZOS")}
NARROWEST = 150  # longer divided by shorter side; beyond, a crop shows next to nothing and resizing fills memory
ORDERS = {"L": 1, "RGB": 3, "BGR": 3}


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input.

    size           side of the network's square input, in pixels
    resize         for 'crop', length of the shorter side before the centre crop
    fit            'crop' the centre, 'pad' with the background to a square, or 'squash' both sides to the size
    mean, std      per channel in the order of `channel_order`, in units of 0..255: input = (pixel - mean) / std
    channel_order  'L' (grey), 'RGB' or 'BGR'
    interpolation  a key of INTERPOLATIONS; always antialiased
    background     RGB that alpha is composited on and padding is filled with
    jpeg_scaled    decode large JPEGs at a DCT scale with sides of at least twice `resize`: faster, and the same image
                   up to rounding
    """

    size: int
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str = "RGB"
    fit: Fit = "crop"
    interpolation: str = "bilinear"
    background: tuple[int, int, int] = images.WHITE
    jpeg_scaled: bool = False

    def __post_init__(self) -> None:
        _require(self.channel_order in ORDERS, "channel_order", self.channel_order, f"one of {', '.join(ORDERS)}")
        _require(self.fit in ("crop", "pad", "squash"), "fit", self.fit, "crop, pad or squash")
        _require(self.interpolation in INTERPOLATIONS, "interpolation", self.interpolation, ", ".join(INTERPOLATIONS))
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            valid = len(numbers) == self.channels and all(math.isfinite(number) for number in numbers)
            _require(valid, name, numbers, f"{self.channels} finite numbers, one a channel")
        _require(all(number > 0 for number in self.std), "std", self.std, "positive numbers")
        _require(self.size >= 1, "size", self.size, "positive")
        _require(self.resize >= self.size, "resize", self.resize, "at least the size")
        colour = len(self.background) == 3 and all(0 <= value <= 255 for value in self.background)
        _require(colour, "background", self.background, "three numbers from 0 to 255")

    @property
    def channels(self) -> int:
        return ORDERS[self.channel_order]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Preprocessing":
        """Parse the record of a model file. Raises TypeError, KeyError or UsageError if invalid."""
        values: dict[str, Any] = {field.name: record[field.name] for field in fields(cls)}
        return cls(**{name: _tuple(value) for name, value in values.items()})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def read(source: Any, record: Preprocessing, decode: Callable[..., Pixels] = images.decode) -> Pixels:
    """Decode a path or bytes for this record (H, W, C); an array is returned unchanged. Raises ImageError."""
    if isinstance(source, np.ndarray):
        return source
    least = 2 * record.resize if record.jpeg_scaled else 0
    return decode(source, channels=record.channels, background=record.background, least=least)


@dataclass(frozen=True)
class Placement:
    """Placement of an image in the network's input: resized to (rows, columns), with its corner at (top, left).

    top and left are negative if the image is cropped, positive if it is padded.
    """

    rows: int
    columns: int
    top: int
    left: int


def placement(height: int, width: int, record: Preprocessing) -> Placement:
    """Placement of an image of this size by `fit`. Raises ImageError if it is too narrow to resize."""
    size = record.size
    if record.fit == "squash":
        return Placement(size, size, 0, 0)
    if record.fit == "crop":
        rows, columns = _scaled_sides(height, width, record.resize)
        return Placement(rows, columns, -round((rows - size) / 2), -round((columns - size) / 2))
    scale = size / max(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    return Placement(rows, columns, (size - rows) // 2, (size - columns) // 2)


def fit(pixels: Pixels, record: Preprocessing) -> Pixels:
    """Crop, pad or squash an image (H, W, C) to the input size (size, size, C), as uint8. Raises ImageError."""
    place = placement(pixels.shape[0], pixels.shape[1], record)
    pixels = resize(pixels, place.rows, place.columns, record.interpolation)
    if record.fit == "pad":
        square = np.empty((record.size, record.size, record.channels), np.uint8)
        square[:] = _background_colour(record)
        square[place.top : place.top + place.rows, place.left : place.left + place.columns] = pixels
        return square
    top, left = -place.top, -place.left
    return np.ascontiguousarray(pixels[top : top + record.size, left : left + record.size])


def normalise(batch: Pixels, record: Preprocessing) -> NDArray[np.float32]:
    """uint8 (N, H, W, C) to float32 (N, C, H, W), channels last in memory, in the record's channel order."""
    if record.channel_order == "BGR":
        batch = batch[..., ::-1]
    mean, std = (np.asarray(numbers, np.float32) for numbers in (record.mean, record.std))
    return ((batch - mean) / std).transpose(0, 3, 1, 2)


def resize(pixels: Pixels, height: int, width: int, interpolation: str) -> Pixels:
    """Antialiased resize of (H, W, C) by Pillow; the same array if the size already matches."""
    if pixels.shape[:2] == (height, width):
        return pixels
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    resized = np.asarray(picture.resize((width, height), INTERPOLATIONS[interpolation]))
    return resized.reshape(height, width, pixels.shape[2])


def shorter_side_to(pixels: Pixels, side: int, interpolation: str) -> Pixels:
    """Resize the whole image (H, W, C) to a shorter side of `side` pixels. Raises ImageError."""
    rows, columns = _scaled_sides(pixels.shape[0], pixels.shape[1], side)
    return resize(pixels, rows, columns, interpolation)


def _scaled_sides(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Scaled sides, the longer one rounded down, as in torchvision's Resize. Raises ImageError if too narrow."""
    longer = shorter * max(height, width) // min(height, width)
    if (
        longer > NARROWEST * shorter or shorter * longer > images.MAX_PIXELS
    ):  # a tiny file can declare an image one pixel high
        raise ImageError(
            f"an image of {height}x{width}", f"too narrow to bring its shorter side to {shorter}", "crop or remove it"
        )
    return (shorter, longer) if height <= width else (longer, shorter)


def _background_colour(record: Preprocessing) -> NDArray[np.uint8]:
    colour = Image.new("RGB", (1, 1), record.background).convert("L" if record.channels == 1 else "RGB")
    return np.asarray(colour).reshape(record.channels)


def _require(valid: bool, name: str, value: object, rule: str) -> None:
    if not valid:
        raise UsageError(f"preprocessing {name}={value!r}", f"must be {rule}", "mend the record")
