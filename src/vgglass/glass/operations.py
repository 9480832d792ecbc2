"""Single operations without a model: pooling and convolution as in the study note, and softmax.

Images are float tensors (1, C, H, W). A Place is (row, column) of an output.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vgglass import images
from vgglass.errors import DataError, UsageError
from vgglass.files import replacing
from vgglass.images import Pixels
from vgglass.preprocess import resize

Numbers = NDArray[np.float64]
Place = tuple[int, int]

POOLINGS = ("max", "min", "avg")
KERNELS: dict[str, list[list[float]]] = {
    "sobel-x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "sobel-y": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "blur": [[1 / 16, 2 / 16, 1 / 16], [2 / 16, 4 / 16, 2 / 16], [1 / 16, 2 / 16, 1 / 16]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "emboss": [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
}


def open_image(source: Path) -> tuple[Tensor, list[str]]:
    """Open an image as the study note does; return it (1, 3, H, W) in 0..1, and how `images.decode` differs."""
    pixels, differences = images.plain(source)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()[None].float().div(255), differences


def open_map(path: Path) -> Tensor:
    """Load (C, H, W) from an .npy file. Raises DataError."""
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(path, f"can't be read as a map ({error})", "save one with vgglass look --arrays") from error
    real = np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)
    if values.ndim not in (2, 3) or values.size == 0 or not real:
        shape = "×".join(map(str, values.shape))
        raise DataError(path, f"holds {values.dtype} of shape {shape}, not real numbers (C, H, W)", "save another")
    if not np.isfinite(values).all():
        raise DataError(path, "holds numbers that are infinite or not a number", "save another")
    return torch.from_numpy(values.astype(np.float32)).reshape(-1, *values.shape[-2:])


def save_image(result: Tensor, path: Path) -> None:
    """Write (1, C, H, W), byte for byte as torchvision's save_image does."""
    pixels = result[0].mul(255).add(0.5).clamp(0, 255).permute(1, 2, 0).byte().numpy()
    pixels = pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


@dataclass(frozen=True)
class Geometry:
    """A sliding window: its sides (rows, columns), stride, padding and dilation, in pixels."""

    kernel: tuple[int, int]
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        for name, value, least in (
            ("kernel", min(self.kernel), 1), ("stride", self.stride, 1),
            ("padding", self.padding, 0), ("dilation", self.dilation, 1),
        ):  # fmt: skip
            if value < least:
                raise UsageError(f"{name} {value}", f"must be at least {least}", "choose a larger one")

    def output(self, side: int, axis: int) -> int:
        """Return the output size along one side of the image; axis 0 is vertical, 1 horizontal."""
        return (side + 2 * self.padding - self.dilation * (self.kernel[axis] - 1) - 1) // self.stride + 1

    def formula(self, side: int, axis: int) -> str:
        """Return the output-size formula with its numbers."""
        return (
            f"floor(({side} + 2×{self.padding} − {self.dilation}×({self.kernel[axis]} − 1) − 1) / {self.stride}) + 1"
            f" = {self.output(side, axis)}"
        )

    def require(self, height: int, width: int) -> None:
        """Raises UsageError, with the formula, if the window does not fit into the image."""
        for name, side, axis in (("height", height, 0), ("width", width, 1)):
            if self.output(side, axis) < 1:
                raise UsageError(
                    f"a kernel of {self.kernel[0]}×{self.kernel[1]} on an image of {height}×{width}",
                    "output size = floor((input size + 2×padding − dilation×(kernel − 1) − 1) / stride) + 1, here for"
                    f" the {name} {self.formula(side, axis)}, which leaves no output",
                    "take a smaller kernel or dilation, or more padding",
                )
        if self.output(height, 0) * self.output(width, 1) > images.MAX_PIXELS:
            raise UsageError(
                f"padding {self.padding}", f"makes an output of more than {images.MAX_PIXELS:,} pixels", "choose less"
            )

    def require_place(self, height: int, width: int, place: Place) -> None:
        """Raises UsageError for a place outside the output of an image of this size."""
        rows, columns = self.output(height, 0), self.output(width, 1)
        if not (0 <= place[0] < rows and 0 <= place[1] < columns):
            raise UsageError(
                f"position {place[0]},{place[1]}",
                f"the output has rows 0 to {rows - 1} and columns 0 to {columns - 1}",
                "choose a position there, as Y,X",
            )


@dataclass(frozen=True)
class Window:
    """The input of one output.

    values  (C, rows, columns); zero in the padding
    inside  (rows, columns); False in the padding
    top, left  of the window in the image; negative in the padding
    """

    values: Numbers
    inside: NDArray[np.bool_]
    top: int
    left: int


def window(image: Tensor, geometry: Geometry, place: Place) -> Window:
    """Return the window of an output. Raises UsageError for a place outside the output."""
    image_ = image[0].detach().double().cpu().numpy()
    sides = image_.shape[1:]
    geometry.require_place(sides[0], sides[1], place)
    starts = [at * geometry.stride - geometry.padding for at in place]
    grids = [start + geometry.dilation * np.arange(taps) for start, taps in zip(starts, geometry.kernel, strict=True)]
    within = [(grid >= 0) & (grid < side) for grid, side in zip(grids, sides, strict=True)]
    inside = within[0][:, None] & within[1][None, :]
    clipped = [np.clip(grid, 0, side - 1) for grid, side in zip(grids, sides, strict=True)]
    values = np.where(inside, image_[:, clipped[0][:, None], clipped[1][None, :]], 0.0)
    return Window(values, inside, starts[0], starts[1])


def pool(image: Tensor, kind: str, geometry: Geometry) -> Tensor:
    """Pool every channel ('max', 'min' or 'avg') as torch's MaxPool2d and AvgPool2d do.

    Padding is ignored by maximum and minimum, and counts as zeros in an average. Raises UsageError.
    """
    if kind not in POOLINGS:
        raise UsageError(f"pooling {kind!r}", f"not one of {', '.join(POOLINGS)}", "choose one of them")
    if 2 * geometry.padding > min(geometry.kernel):
        raise UsageError(
            f"padding {geometry.padding}",
            f"is more than half of the kernel {min(geometry.kernel)}, and a window could lie wholly in the padding"
            f" (output height by the formula: {geometry.formula(image.shape[2], 0)})",
            f"choose at most {min(geometry.kernel) // 2}",
        )
    geometry.require(*image.shape[2:])
    options = (geometry.kernel, geometry.stride, geometry.padding)
    if kind == "avg":
        return F.avg_pool2d(image, *options)
    return F.max_pool2d(image, *options) if kind == "max" else -F.max_pool2d(-image, *options)


def pooled(seen: Window, kind: str) -> Numbers:
    """Pool one window to (C,)."""
    if kind == "avg":
        result: Numbers = seen.values.mean(axis=(1, 2))
        return result
    picked = seen.values[:, seen.inside]
    extreme: Numbers = picked.max(axis=1) if kind == "max" else picked.min(axis=1)
    return extreme


def winners(seen: Window, kind: str) -> list[Place]:
    """Return each channel's position in the window of its maximum or minimum, the first among ties."""
    worst = -np.inf if kind == "max" else np.inf
    ranked = np.where(seen.inside, seen.values, worst).reshape(len(seen.values), -1)
    flat = ranked.argmax(axis=1) if kind == "max" else ranked.argmin(axis=1)
    columns = seen.inside.shape[1]
    return [(int(index) // columns, int(index) % columns) for index in flat]


def kernel(text: str) -> Numbers:
    """Return a kernel (rows, columns) by name or from a JSON list of rows. Raises UsageError."""
    if text in KERNELS:
        return np.array(KERNELS[text], np.float64)
    remedy = f"name one of {', '.join(KERNELS)}, or write rows such as [[0,1,0],[1,-4,1],[0,1,0]]"
    try:
        numbers = np.array(json.loads(text), np.float64)
    except (ValueError, TypeError) as error:
        raise UsageError(f"kernel {text!r}", "is neither a name nor a list of equally long rows", remedy) from error
    if numbers.ndim != 2 or not numbers.size or not np.isfinite(numbers).all():
        raise UsageError(f"kernel {text!r}", "must be rows of finite numbers, all equally long", remedy)
    return numbers


def gather(image: Tensor, weights: Numbers, geometry: Geometry, *, per_channel: bool = False) -> Tensor:
    """Convolve as networks do (cross-correlation): every output is the weighted sum of its window.

    The kernel (rows, columns) applies to each channel, and the maps are summed to one; `per_channel` keeps the C maps.
    """
    geometry.require(*image.shape[2:])
    channels = image.shape[1]
    spread = torch.from_numpy(weights.copy()).to(image.dtype).expand(channels, 1, *weights.shape)
    if per_channel:
        return F.conv2d(image, spread, None, geometry.stride, geometry.padding, geometry.dilation, channels)
    return F.conv2d(image, spread.transpose(0, 1), None, geometry.stride, geometry.padding, geometry.dilation)


def scatter(image: Tensor, weights: Numbers, geometry: Geometry, *, per_channel: bool = False) -> Tensor:
    """Compute the same result as a superposition: every input position adds its value times the impulse response.

    The impulse response is the kernel rotated by 180 degrees, because networks do not flip kernels.
    """
    geometry.require(*image.shape[2:])
    height, width = image.shape[2:]
    response = weights[::-1, ::-1]
    reach = [geometry.dilation * (taps - 1) for taps in geometry.kernel]
    superposed = image.new_zeros(1, image.shape[1], height + reach[0], width + reach[1])
    for (row, column), weight in np.ndenumerate(response):  # this tap of all positions at once
        top, left = geometry.dilation * row, geometry.dilation * column
        superposed[:, :, top : top + height, left : left + width] += float(weight) * image
    margin = geometry.padding  # room for outputs whose window lies entirely in the padding
    superposed = F.pad(superposed, (margin,) * 4)
    rows, columns = (geometry.output(side, axis) for axis, side in enumerate((height, width)))
    taken = superposed[
        :,
        :,
        reach[0] : reach[0] + (rows - 1) * geometry.stride + 1 : geometry.stride,
        reach[1] : reach[1] + (columns - 1) * geometry.stride + 1 : geometry.stride,
    ]
    return taken if per_channel else taken.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class Softmax:
    """Every term of a softmax over K numbers: scaled = logits / temperature, exponentials of scaled - max(scaled)."""

    logits: Numbers
    temperature: float
    scaled: Numbers
    shifted: Numbers
    exponentials: Numbers
    total: float
    probabilities: Numbers


def softmax(logits: list[float], temperature: float = 1.0) -> Softmax:
    """Compute a softmax with all its terms; subtracting the maximum first prevents overflow and cancels out."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise UsageError(f"temperature {temperature}", "must be a positive number", "1 leaves the logits as they are")
    numbers = np.array(logits, np.float64)
    with np.errstate(over="ignore"):
        scaled = numbers / temperature
    if not len(numbers) or not np.isfinite(scaled).all():
        raise UsageError(f"logits {logits}", "must be finite, divided by the temperature too", "leave the others out")
    shifted = scaled - scaled.max()
    exponentials = np.exp(shifted)
    total = float(exponentials.sum())
    return Softmax(numbers, temperature, scaled, shifted, exponentials, total, exponentials / total)


# The playground: pooling and convolution of an input small enough to show every number. n side of the input, k side of
# the kernel.

OPERATIONS = (*POOLINGS, "conv")
KERNEL = "blur"  # the convolution kernel of side 3; other sides average
NUMBERS = 100  # the input without an image holds integers below this
SEED = 6

Problem = Literal["window", "padding"]


@dataclass(frozen=True, eq=False)
class Play:
    """An operation on an input (n, n), or the reason why there is no output.

    problem  'window': larger than the padded input; 'padding': a window could lie entirely in it
    span     side of the dilated kernel; `room` side of the padded input: n + 2*padding
    formula  of the output's side with its numbers
    outputs  (rows, columns); empty if there is a problem
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
        """The convolution's kernel (k, k); None for pooling."""
        return _kernel(self.geometry.kernel[0]) if self.operation == "conv" else None

    def at(self, place: Place) -> Window:
        """Return the window of an output. Raises UsageError for a place outside the output."""
        return window(_image(self.values), self.geometry, place)

    def winner(self, place: Place) -> Place | None:
        """Return the position in the window of its maximum or minimum; None for the other operations."""
        return winners(self.at(place), self.operation)[0] if self.operation in ("max", "min") else None


def play(values: Numbers, operation: str, geometry: Geometry) -> Play:
    """Run one of OPERATIONS on an input (n, n). Raises UsageError for an unknown operation."""
    if operation not in OPERATIONS:
        raise UsageError(f"operation {operation!r}", f"not one of {', '.join(OPERATIONS)}", "choose one of them")
    side = geometry.output(len(values), 0)
    image = _image(values)
    windows = {place: window(image, geometry, place) for place in np.ndindex(side, side)} if side > 0 else {}
    problem: Problem | None = None
    if operation != "conv" and _window_may_miss_input(geometry, windows.values()):
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


def _window_may_miss_input(geometry: Geometry, windows: Iterable[Window]) -> bool:
    """Whether torch refuses the padding, or the whole input lies between two taps of a dilated window."""
    return 2 * geometry.padding > geometry.kernel[0] or not all(seen.inside.any() for seen in windows)


def numbers(side: int) -> Numbers:
    """Return fixed pseudo-random integers 0 to 99 (n, n)."""
    return np.random.default_rng(SEED).integers(0, NUMBERS, (side, side)).astype(np.float64)


def grey(pixels: Pixels, side: int) -> Numbers:
    """Reduce a picture (H, W, C) to grey values 0 to 255 (n, n)."""
    means: Numbers = resize(pixels, side, side, "box").mean(axis=2)
    return np.round(means)


def _kernel(side: int) -> Numbers:
    if side == len(KERNELS[KERNEL]):
        return np.array(KERNELS[KERNEL])
    return np.full((side, side), 1 / side**2)


def _image(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(values[None, None])
