"""A window that slides over a few numbers: pooling and convolution small enough to see whole.

n side of the input, k side of the kernel.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vgglass.errors import UsageError
from vgglass.glass.operations import KERNELS, POOLINGS, Geometry, Numbers, Place, Window, pooled, window, winners
from vgglass.images import Pixels
from vgglass.preprocess import resize

OPERATIONS = (*POOLINGS, "conv")
KERNEL = "blur"  # of a convolution of side 3; a larger or smaller one averages
NUMBERS = 100  # of the input that no image is behind: 0 to 99
SEED = 6

Problem = Literal["window", "padding"]


@dataclass(frozen=True, eq=False)
class Play:
    """An operation on an input (n, n), or why there is no output.

    problem  'window': it is larger than the padded input; 'padding': a window could lie wholly in it
    span     pixels that a dilated kernel covers; `room` those that it has: n + 2*padding
    formula  of the output's side with its numbers
    outputs  (rows, columns); empty where there is a problem
    """

    operation: str
    values: Numbers
    geometry: Geometry
    problem: Problem | None
    outputs: Numbers

    @property
    def span(self) -> int:
        return self.geometry.dilation * (self.geometry.kernel[0] - 1) + 1

    @property
    def room(self) -> int:
        return len(self.values) + 2 * self.geometry.padding

    @property
    def formula(self) -> str:
        return self.geometry.formula(len(self.values), 0)

    @property
    def kernel(self) -> Numbers | None:
        """What a convolution multiplies by (k, k); None for a pooling."""
        return _kernel(self.geometry.kernel[0]) if self.operation == "conv" else None

    def at(self, place: Place) -> Window:
        """What one output is computed from. Raises UsageError for a place that the output has not."""
        return window(_image(self.values), self.geometry, place)

    def winner(self, place: Place) -> Place | None:
        """Where in the window the largest or smallest number stands; None for what has no winner."""
        return winners(self.at(place), self.operation)[0] if self.operation in ("max", "min") else None


def play(values: Numbers, operation: str, geometry: Geometry) -> Play:
    """Run an operation of OPERATIONS on an input (n, n). Raises UsageError for another operation."""
    if operation not in OPERATIONS:
        raise UsageError(f"operation {operation!r}", f"not one of {', '.join(OPERATIONS)}", "choose one of them")
    side = geometry.output(len(values), 0)
    image = _image(values)
    windows = {place: window(image, geometry, place) for place in np.ndindex(side, side)} if side > 0 else {}
    problem: Problem | None = None
    if operation != "conv" and _may_miss(geometry, windows.values()):
        problem = "padding"
    elif side < 1:
        problem = "window"
    if problem:
        return Play(operation, values, geometry, problem, np.empty((0, 0)))
    kernel = _kernel(geometry.kernel[0])
    outputs = np.empty((side, side))
    for place, seen in windows.items():
        outputs[place] = (seen.values[0] * kernel).sum() if operation == "conv" else pooled(seen, operation)[0]
    return Play(operation, values, geometry, None, outputs)


def _may_miss(geometry: Geometry, windows: Iterable[Window]) -> bool:
    """Whether torch refuses the padding, or a window has the whole input between two of its taps (dilation)."""
    return 2 * geometry.padding > geometry.kernel[0] or not all(seen.inside.any() for seen in windows)


def numbers(side: int) -> Numbers:
    """Whole numbers 0 to 99 (n, n), the same each time."""
    return np.random.default_rng(SEED).integers(0, NUMBERS, (side, side)).astype(np.float64)


def grey(pixels: Pixels, side: int) -> Numbers:
    """A picture (H, W, C) as few grey values 0 to 255 (n, n)."""
    means: Numbers = resize(pixels, side, side, "box").mean(axis=2)
    return np.round(means)


def _kernel(side: int) -> Numbers:
    if side == len(KERNELS[KERNEL]):
        return np.array(KERNELS[KERNEL])
    return np.full((side, side), 1 / side**2)


def _image(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(values[None, None])
