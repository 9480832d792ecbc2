"""What one image may cost: judged by what its header declares, before anything is decoded.

The limit is a count of pixels, those of a photograph in a PNG. Each stands for the memory and the time that decoding
one takes; what needs more a pixel (alpha, many scans) may have fewer of them, what needs less may have more.
"""

import math
import os
from dataclasses import dataclass

from vgglass.errors import ImageError, UsageError

MAX_PIXELS = 50_000_000  # 500 MB and 2 s
BYTES_A_PIXEL = 10  # the file, Pillow's four bytes, the array's three
PIXELS_A_SECOND = 25_000_000
LONGEST_SIDE = 65_535  # a JPEG's and a GIF's longest; Pillow and the resize keep records for every row

VARIABLE = "VGGLASS_MAX_PIXELS"  # in the environment, so that every process that decodes for this one knows it
OPTION = "--max-pixels"


class CostError(ImageError):
    """An image that costs more than is allowed."""


@dataclass(frozen=True)
class Cost:
    """What decoding takes: bytes at the peak, and seconds on a processor of 2020."""

    memory: float
    seconds: float

    @property
    def pixels(self) -> int:
        """The limit that allows it."""
        return math.ceil(max(self.memory / BYTES_A_PIXEL, self.seconds * PIXELS_A_SECOND))


def max_pixels() -> int:
    """The limit that this process is under. Raises UsageError."""
    given = os.environ.get(VARIABLE, str(MAX_PIXELS))
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"{VARIABLE}={given}", "must be a positive whole number", "mend or unset it")
    return int(given)


def require_sides(name: str, width: int, height: int) -> None:
    """Raises ImageError for an image that is longer than any decoder below is good for."""
    if max(width, height) > LONGEST_SIDE:
        raise ImageError(
            name,
            f"declares {width}x{height} pixels, and no side may be longer than {LONGEST_SIDE:,}",
            "cut it in parts",
        )


def require(name: str, what: str, cost: Cost, limit: int) -> None:
    """Raises CostError where decoding `what` ('12000x9000 pixels') costs more than `limit` pixels stand for."""
    if cost.pixels > limit:
        raise CostError(
            name,
            f"declares {what}: decoding would take {_amounts(cost, 'and')}, more than {_amounts(_worth(limit), 'or')}",
            _remedy(cost.pixels),
        )


def require_length(name: str, length: int, limit: int) -> None:
    """Raises CostError for a file that alone takes more bytes than `limit` pixels stand for."""
    if length > limit * BYTES_A_PIXEL:
        raise CostError(
            name,
            f"has {length:,} bytes, more than {limit * BYTES_A_PIXEL:,}",
            _remedy(math.ceil(length / BYTES_A_PIXEL)),
        )


def _worth(limit: int) -> Cost:
    return Cost(limit * BYTES_A_PIXEL, limit / PIXELS_A_SECOND)


def _amounts(cost: Cost, word: str) -> str:
    return f"{cost.memory / 1e6:,.0f} MB {word} {cost.seconds:,.1f} s"


def _remedy(pixels: int) -> str:
    step = int(10 ** max(0, len(str(pixels)) - 2))  # two digits are enough for a person
    enough = -(-pixels // step) * step
    return f"make it smaller, or allow it: {OPTION} {enough}, or {VARIABLE} in the environment"
