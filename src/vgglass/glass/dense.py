"""Fully connected layers as convolutions: the equality of both, and dense class score maps of larger images."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vgglass.architecture import SMALLEST_IMAGE
from vgglass.errors import UsageError
from vgglass.glass import sheets
from vgglass.glass.subject import Subject, untouched
from vgglass.images import Pixels
from vgglass.preprocess import normalise, resize

PRESET_SHAPE, PRESET_OUTPUTS = (5, 3, 3), 4096  # the study note's question: how does 3x3x5 become 1x4096
# In multiples of the training size: images of a larger area are downscaled first; longer strips are refused.
LARGEST, LARGEST_STRIP = 3, 8
SEED = 0


@dataclass(frozen=True, eq=False)
class BothWays:
    """One layer computed as a matrix product and as a convolution.

    For fc6 (fc6_1) the kernels cover its whole input. For fc8 of a pooled head they are 1x1: the matrix is applied to
    the average of pool5, the convolution to each position, whose scores are then averaged.

    input_shape  (C, H, W); the matrix is (outputs, C*H*W) or, for a pooled head, (outputs, C)
    """

    layer: str
    input_shape: tuple[int, ...]
    inputs: NDArray[np.float32] = field(repr=False)
    weights: NDArray[np.float32] = field(repr=False)
    connected: NDArray[np.float32] = field(repr=False)  # (outputs,)
    convolved: NDArray[np.float32] = field(repr=False)  # (outputs,)

    @property
    def largest_difference(self) -> float:
        return float(np.abs(self.connected - self.convolved).max())

    @property
    def largest_output(self) -> float:
        return float(np.abs(self.connected).max())


def preset() -> BothWays:
    """Compare both for the study note's example with random numbers: 3x3x5 (H x W x C) to 4096 outputs."""
    generator = torch.Generator().manual_seed(SEED)
    inputs = torch.rand(1, *PRESET_SHAPE, generator=generator)
    weights = torch.randn(PRESET_OUTPUTS, inputs.numel(), generator=generator) / inputs.numel() ** 0.5
    return _fc6_both_ways("fc", inputs, weights, None)


def both_ways(subject: Subject) -> BothWays:
    """Compare both for the layer that combines all positions of pool5: fc6, or fc8 of a pooled head."""
    architecture = subject.network.architecture
    with untouched(subject.network), torch.inference_mode():
        pooled = next(step.output for step in subject.network.walk(subject.input) if step.name == "pool5")
    name = architecture.head_layer if architecture.head == "vgg" else "fc8"
    module = subject.network.get_submodule(name)
    assert isinstance(module, torch.nn.Linear)
    make = _fc6_both_ways if architecture.head == "vgg" else _pooled_head_both_ways
    return make(name, pooled, module.weight.detach(), module.bias.detach())


def _fc6_both_ways(name: str, inputs: Tensor, weights: Tensor, bias: Tensor | None) -> BothWays:
    with torch.inference_mode():
        connected = F.linear(inputs.flatten(1), weights, bias)[0]
        convolved = F.conv2d(inputs, weights.view(len(weights), *inputs.shape[1:]), bias)[0, :, 0, 0]
    return BothWays(
        name, tuple(inputs.shape[1:]), inputs[0].numpy(), weights.numpy(), connected.numpy(), convolved.numpy()
    )


def _pooled_head_both_ways(name: str, inputs: Tensor, weights: Tensor, bias: Tensor) -> BothWays:
    """Compare averaging before the matrix product with averaging the scores of each position."""
    with torch.inference_mode():
        connected = F.linear(inputs.mean(dim=(2, 3)), weights, bias)[0]
        scored = F.conv2d(inputs, weights[:, :, None, None], bias)[0].mean(dim=(1, 2))
    return BothWays(
        name, tuple(inputs.shape[1:]), inputs[0].numpy(), weights.numpy(), connected.numpy(), scored.numpy()
    )


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """Class scores at every position of the classifier on a larger image.

    image   uint8 (H, W, C), at the size that was scored
    logits  (K, rows, columns); position (i, j) covers the square of `side` pixels with its corner at (step*i, step*j)
    target  the class to show
    """

    image: Pixels = field(repr=False)
    logits: NDArray[np.float32] = field(repr=False)
    probabilities: NDArray[np.float64] = field(repr=False)  # of the same shape
    target: int
    side: int
    step: int

    def picture(self) -> Image.Image:
        """The target's probability (black 0, bright 1) over the photograph; a pixel shows the nearest position."""
        values = self.probabilities[self.target].astype(np.float32)
        rows, columns = (
            np.clip(np.round((np.arange(side) + 0.5 - self.side / 2) / self.step), 0, count - 1).astype(int)
            for side, count in zip(self.image.shape[:2], values.shape, strict=True)
        )
        return sheets.overlay(values[rows[:, None], columns[None, :]], self.image, end=1.0)

    def _repr_png_(self) -> bytes:
        return sheets.as_png(self.picture())


def score_map(subject: Subject, target: int | None = None) -> ScoreMap:
    """Run the classifier over the whole original image (paper, section 3.2).

    target  default: the class with the largest mean score
    The image keeps its size unless it is very large. Raises UsageError for an image too small for the head or too
    narrow to be downscaled, or an unknown class.
    """
    record = subject.record.preprocessing
    if target is not None:
        subject.require_class(target)
    image = resize(subject.original, *scored_size(subject), record.interpolation)
    with untouched(subject.network), torch.inference_mode():
        logits = subject.network.dense(torch.from_numpy(normalise(image[None], record)))[0].numpy()
    shares = subject.record.probabilities(np.moveaxis(logits, 0, -1))
    target = int(logits.mean(axis=(1, 2)).argmax()) if target is None else target
    return ScoreMap(image, logits, np.moveaxis(shares, -1, 0), target, _side(subject), SMALLEST_IMAGE)


def scored_size(subject: Subject) -> tuple[int, int]:
    """Return height and width at which to score the original. Raises UsageError if it is too small or narrow."""
    size, side = subject.record.preprocessing.size, _side(subject)
    height, width = subject.original.shape[:2]
    if min(height, width) < side:
        raise UsageError(
            f"an image of {height}x{width}",
            f"{subject.network.architecture.head_layer} of this network spans {side} pixels a side",
            f"give it at least {side}x{side}",
        )
    scale = min(1.0, max(LARGEST * size / (height * width) ** 0.5, side / min(height, width)))
    if height * width * scale**2 > (LARGEST_STRIP * size) ** 2:
        raise UsageError(f"an image of {height}x{width}", "too long a strip to be scored whole", "crop it first")
    return round(height * scale), round(width * scale)


def _side(subject: Subject) -> int:
    """Return the side of the input square that the head covers, in pixels."""
    return SMALLEST_IMAGE * subject.network.architecture.head_kernel
