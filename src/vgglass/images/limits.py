"""Limits on the cost of decoding one image, estimated from its header.

The limit is a number of pixels of a photograph in PNG format, each with a fixed cost in memory and time. Images with a
higher cost per pixel (alpha, many scans) may have fewer pixels, those with a lower cost more.
"""

import math
import os
from dataclasses import dataclass

from vgglass.errors import ImageError, UsageError

MAX_PIXELS = 50_000_000  # 500 MB and 2 s
BYTES_A_PIXEL = 10  # the file, Pillow's four bytes, the array's three
PIXELS_A_SECOND = 25_000_000
LONGEST_SIDE = 65_535  # maximum of JPEG and GIF; Pillow and the resize allocate memory for every row

VARIABLE = "VGGLASS_MAX_PIXELS"  # in the environment, so that decoder processes inherit it
OPTION = "--max-pixels"


class CostError(ImageError):
    """An image whose decoding cost exceeds the limit."""


@dataclass(frozen=True)
class Cost:
    """Cost of decoding: peak memory in bytes, and seconds on a CPU of 2020."""

    memory: float
    seconds: float

    @property
    def pixels(self) -> int:
        """The smallest limit that allows this cost."""
        return math.ceil(max(self.memory / BYTES_A_PIXEL, self.seconds * PIXELS_A_SECOND))


def max_pixels() -> int:
    """The limit of this process. Raises UsageError."""
    value = os.environ.get(VARIABLE, str(MAX_PIXELS))
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"{VARIABLE}={value}", "must be a positive whole number", "mend or unset it")
    return int(value)


def require_sides(name: str, width: int, height: int) -> None:
    """Raises ImageError if a side exceeds LONGEST_SIDE."""
    if max(width, height) > LONGEST_SIDE:
        raise ImageError(
            name,
            f"declares {width}x{height} pixels, and no side may be longer than {LONGEST_SIDE:,}",
            "cut it in parts",
        )


def require(name: str, what: str, cost: Cost, limit: int) -> None:
    """Raises CostError if the cost of decoding `what` ('12000x9000 pixels') exceeds that of `limit` pixels."""
    if cost.pixels > limit:
        raise CostError(
            name,
            f"declares {what}: decoding would take {_phrase(cost, 'and')}, more than {_phrase(_budget(limit), 'or')}",
            _remedy(cost.pixels),
        )


def require_length(name: str, length: int, limit: int) -> None:
    """Raises CostError if a file's length alone exceeds the memory of `limit` pixels."""
    if length > limit * BYTES_A_PIXEL:
        raise CostError(
            name,
            f"has {length:,} bytes, more than {limit * BYTES_A_PIXEL:,}",
            _remedy(math.ceil(length / BYTES_A_PIXEL)),
        )


def _budget(limit: int) -> Cost:
    return Cost(limit * BYTES_A_PIXEL, limit / PIXELS_A_SECOND)


def _phrase(cost: Cost, word: str) -> str:
    return f"{cost.memory / 1e6:,.0f} MB {word} {cost.seconds:,.1f} s"


def _remedy(pixels: int) -> str:
    step = int(10 ** max(0, len(str(pixels)) - 2))  # rounded to two significant digits
    rounded = -(-pixels // step) * step
    return f"make it smaller, or allow it: {OPTION} {rounded}, or {VARIABLE} in the environment"
