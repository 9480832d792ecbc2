"""The transforms of Winograd's F(4x4, 3x3), compiled by numba: between maps and the tiles that are multiplied.

N images, H x W a map, C channels, T tiles of a layer: ceil(H/4) * ceil(W/4) an image, row by row.
maps    (N, H, W, C), what torch calls channels last
planes  (36, T, C): for each of 6 x 6 places in a transformed tile, that number of every tile and channel

Lavin and Gray, 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.3: an output tile is
A'[(G g G') * (B' d B)]A, with d a patch of 6 x 6 of the input and g the 3 x 3 weights. Backwards each step's matrix is
transposed. Here are B and A; G, the weights', is in `winograd`:

       4  0 -5  0  1  0          1  1  1  1  1  0
       0 -4 -4  1  1  0          0  1 -1  2 -2  0
  B' = 0  4 -4 -1  1  0     A' = 0  1  1  4  4  0
       0 -2 -1  2  1  0          0  1 -1  8 -8  1
       0  2 -1 -2  1  0
       0  4  0 -5  0  1

A tile's numbers depend on nothing but its patch: however the tiles are shared out, the result is the same bit by bit.
The threads are the caller's: numba's own would be a second pool beside torch's, and both would wait in a busy loop.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])

TILE, PATCH = 4, 6  # sides of an output tile and of the patch of input that it depends on
PLANES = PATCH * PATCH
CHANNELS = 64  # at once: two patches of them fit into the first-level cache
TWO, FOUR, FIVE, EIGHT = np.float32(2), np.float32(4), np.float32(5), np.float32(8)  # a plain 2 would make float64


def _compiled(function: Function) -> Function:
    """By the first call, then from numba's cache on disk; a multiplication and an addition may become one rounding."""
    return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})(function))


def _inlined(function: Function) -> Function:
    return cast(Function, numba.njit(inline="always")(function))


@_inlined
def _by_b_transposed(d0: Any, d1: Any, d2: Any, d3: Any, d4: Any, d5: Any) -> Any:
    even, odd, near, far = d4 - FOUR * d2, d3 - FOUR * d1, d4 - d2, TWO * (d3 - d1)
    return (FOUR * d0 - FIVE * d2 + d4, even + odd, even - odd, near + far, near - far, FOUR * d1 - FIVE * d3 + d5)


@_inlined
def _by_b(v0: Any, v1: Any, v2: Any, v3: Any, v4: Any, v5: Any) -> Any:
    near, far = v1 - v2, v3 - v4
    return (
        FOUR * v0, FOUR * (v5 - near) - TWO * far, -FIVE * v0 - FOUR * (v1 + v2) - (v3 + v4),
        near + TWO * far - FIVE * v5, v0 + v1 + v2 + v3 + v4, v5,
    )  # fmt: skip


@_inlined
def _by_a_transposed(m0: Any, m1: Any, m2: Any, m3: Any, m4: Any, m5: Any) -> Any:
    near, far, nearer, farther = m1 + m2, m3 + m4, m1 - m2, m3 - m4
    return m0 + near + far, nearer + TWO * farther, near + FOUR * far, nearer + EIGHT * farther + m5


@_inlined
def _by_a(g0: Any, g1: Any, g2: Any, g3: Any) -> Any:
    even, odd, far_even, far_odd = g0 + g2, g1 + g3, g0 + FOUR * g2, TWO * g1 + EIGHT * g3
    return g0, even + odd, even - odd, far_even + far_odd, far_even - far_odd, g3


@_inlined
def _read(maps: Any, n: Any, top: Any, left: Any, first: Any, patch: Any, side: Any) -> None:
    """A patch of some channels, zero outside the map. Slices of one dimension, or LLVM would not vectorise."""
    _, height, width, channels = maps.shape
    count = min(CHANNELS, channels - first)
    for i in range(side):
        for j in range(side):
            y, x, target = top + i, left + j, patch[i, j]
            if 0 <= y < height and 0 <= x < width:
                source = maps[n, y, x, first : first + count]
                for c in range(count):
                    target[c] = source[c]
            else:
                for c in range(CHANNELS):
                    target[c] = 0


@_inlined
def _write_planes(patch: Any, planes: Any, tile: Any, first: Any) -> None:
    count = min(CHANNELS, planes.shape[2] - first)
    for i in range(PATCH):
        for j in range(PATCH):
            source, target = patch[i, j], planes[PATCH * i + j, tile, first : first + count]
            for c in range(count):
                target[c] = source[c]


@_inlined
def _read_planes(planes: Any, tile: Any, first: Any, patch: Any) -> None:
    count = min(CHANNELS, planes.shape[2] - first)
    for i in range(PATCH):
        for j in range(PATCH):
            source, target = planes[PATCH * i + j, tile, first : first + count], patch[i, j]
            for c in range(count):
                target[c] = source[c]


@_compiled
def transform_input(maps: Floats, planes: Floats, start: int, stop: int) -> None:
    """planes = B' d B of the tiles in rows `start` to `stop`, counted through all images."""
    down, across = -(-maps.shape[1] // TILE), -(-maps.shape[2] // TILE)
    p, t = np.zeros((2, PATCH, PATCH, CHANNELS), np.float32)
    for row in range(start, stop):
        for column in range(across):
            for first in range(0, maps.shape[3], CHANNELS):
                _read(maps, row // down, row % down * TILE - 1, column * TILE - 1, first, p, PATCH)
                for j in range(PATCH):
                    for c in range(CHANNELS):
                        t[0, j, c], t[1, j, c], t[2, j, c], t[3, j, c], t[4, j, c], t[5, j, c] = _by_b_transposed(
                            p[0, j, c], p[1, j, c], p[2, j, c], p[3, j, c], p[4, j, c], p[5, j, c]
                        )
                for i in range(PATCH):
                    for c in range(CHANNELS):
                        p[i, 0, c], p[i, 1, c], p[i, 2, c], p[i, 3, c], p[i, 4, c], p[i, 5, c] = _by_b_transposed(
                            t[i, 0, c], t[i, 1, c], t[i, 2, c], t[i, 3, c], t[i, 4, c], t[i, 5, c]
                        )
                _write_planes(p, planes, row * across + column, first)


@_compiled
def transform_output_gradient(maps: Floats, planes: Floats, start: int, stop: int) -> None:
    """planes = A g A' of the output tiles in rows `start` to `stop`, counted through all images."""
    down, across = -(-maps.shape[1] // TILE), -(-maps.shape[2] // TILE)
    p, t = np.zeros((2, PATCH, PATCH, CHANNELS), np.float32)
    for row in range(start, stop):
        for column in range(across):
            for first in range(0, maps.shape[3], CHANNELS):
                _read(maps, row // down, row % down * TILE, column * TILE, first, p, TILE)
                for j in range(TILE):
                    for c in range(CHANNELS):
                        t[0, j, c], t[1, j, c], t[2, j, c], t[3, j, c], t[4, j, c], t[5, j, c] = _by_a(
                            p[0, j, c], p[1, j, c], p[2, j, c], p[3, j, c]
                        )
                for i in range(PATCH):
                    for c in range(CHANNELS):
                        p[i, 0, c], p[i, 1, c], p[i, 2, c], p[i, 3, c], p[i, 4, c], p[i, 5, c] = _by_a(
                            t[i, 0, c], t[i, 1, c], t[i, 2, c], t[i, 3, c]
                        )
                _write_planes(p, planes, row * across + column, first)


@_compiled
def transform_output(planes: Floats, maps: Floats, start: int, stop: int) -> None:
    """maps = A' m A of the tiles in rows `start` to `stop`, counted through all images."""
    _, height, width, channels = maps.shape
    down, across = -(-height // TILE), -(-width // TILE)
    p, t = np.zeros((2, PATCH, PATCH, CHANNELS), np.float32)
    for row in range(start, stop):
        n, top = row // down, row % down * TILE
        for column in range(across):
            left = column * TILE
            for first in range(0, channels, CHANNELS):
                _read_planes(planes, row * across + column, first, p)
                for j in range(PATCH):
                    for c in range(CHANNELS):
                        t[0, j, c], t[1, j, c], t[2, j, c], t[3, j, c] = _by_a_transposed(
                            p[0, j, c], p[1, j, c], p[2, j, c], p[3, j, c], p[4, j, c], p[5, j, c]
                        )
                for i in range(TILE):
                    for c in range(CHANNELS):
                        p[i, 0, c], p[i, 1, c], p[i, 2, c], p[i, 3, c] = _by_a_transposed(
                            t[i, 0, c], t[i, 1, c], t[i, 2, c], t[i, 3, c], t[i, 4, c], t[i, 5, c]
                        )
                count = min(CHANNELS, channels - first)
                for i in range(min(TILE, height - top)):
                    for j in range(min(TILE, width - left)):
                        source, target = p[i, j], maps[n, top + i, left + j, first : first + count]
                        for c in range(count):
                            target[c] = source[c]


@_compiled
def transform_input_gradient(planes: Floats, maps: Floats, start: int, stop: int) -> None:
    """maps = the sum of B v B' over the patches, which overlap, of the images `start` to `stop`."""
    _, height, width, channels = maps.shape
    down, across = -(-height // TILE), -(-width // TILE)
    p, t = np.zeros((2, PATCH, PATCH, CHANNELS), np.float32)
    maps[start:stop] = 0
    for row in range(start * down, stop * down):
        n, top = row // down, row % down * TILE - 1
        for column in range(across):
            left = column * TILE - 1
            for first in range(0, channels, CHANNELS):
                _read_planes(planes, row * across + column, first, p)
                for j in range(PATCH):
                    for c in range(CHANNELS):
                        t[0, j, c], t[1, j, c], t[2, j, c], t[3, j, c], t[4, j, c], t[5, j, c] = _by_b(
                            p[0, j, c], p[1, j, c], p[2, j, c], p[3, j, c], p[4, j, c], p[5, j, c]
                        )
                for i in range(PATCH):
                    for c in range(CHANNELS):
                        p[i, 0, c], p[i, 1, c], p[i, 2, c], p[i, 3, c], p[i, 4, c], p[i, 5, c] = _by_b(
                            t[i, 0, c], t[i, 1, c], t[i, 2, c], t[i, 3, c], t[i, 4, c], t[i, 5, c]
                        )
                count = min(CHANNELS, channels - first)
                for i in range(max(0, -top), min(PATCH, height - top)):
                    for j in range(max(0, -left), min(PATCH, width - left)):
                        source, target = p[i, j], maps[n, top + i, left + j, first : first + count]
                        for c in range(count):
                            target[c] += source[c]
