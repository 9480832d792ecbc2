"""One layer's outputs in the order of reading, each with its arithmetic: what the clip of an operation draws."""

from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from vgglass.architecture import Layer
from vgglass.errors import UsageError
from vgglass.glass.steps import Arithmetic, Convolution, MaxPooling, arithmetic
from vgglass.glass.subject import Subject, untouched

SIDE = 9  # at most so many rows and columns of outputs
SHOWN = 3  # input channels of a convolution whose numbers are drawn
KINDS = ("conv", "relu", "maxpool", "linear")


@dataclass(frozen=True, eq=False)
class Sliding:
    """A square of one channel's map; of a fully connected layer, whose maps are 1x1, a stretch of its outputs.

    inputs      (C, H, W) of the layer
    outputs     (H, W) of the channel; of a fully connected layer (K, 1)
    steps       the arithmetic of each output of the square
    rows, columns  of the square
    shown       input channels, those that contribute most to the square first
    rectified   whether a ReLU follows
    """

    subject: Subject
    layer: Layer
    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]
    steps: tuple[Arithmetic, ...]
    rows: int
    columns: int
    shown: tuple[int, ...]
    rectified: bool

    @property
    def first(self) -> bool:
        """Whether the layer's input is the photograph."""
        return self.layer.name == self.subject.layers[0].name

    @property
    def largest(self) -> int:
        """The number of the step with the largest output."""
        return int(np.argmax([step.network for step in self.steps]))


def slide(subject: Subject, name: str, channel: int | None = None) -> Sliding:
    """Compute a square of outputs around the largest of a channel; without a channel, around the layer's largest.

    Of a fully connected layer `channel` is an output, and those around it are computed. Raises UsageError for a layer
    that is none of KINDS or whose input has a single place, and for an unknown layer or channel.
    """
    layer = subject.layer(name)
    if layer.kind not in KINDS or (layer.kind != "linear" and layer.output_shape[1:] == (1, 1)):
        raise UsageError(
            f"--layer {name}",
            "is no operation that can be drawn output by output",
            "name a convolution, a ReLU or a max pooling of a map, or a fully connected layer: conv1_1, relu1_1, pool1,"
            " fc6",
        )
    if channel is not None:
        subject.require_channel(layer, channel)
    index = subject.layers.index(layer)
    with untouched(subject.network), torch.inference_mode():
        here, after = islice(subject.network.walk(subject.input), index, index + 2)
    outputs = here.output[0].reshape(layer.output_shape).numpy()
    channel, *position = _largest(outputs, channel)
    if layer.kind == "linear":
        low, count = _around(channel, len(outputs), SIDE**2)
        rows, columns = -(-count // SIDE), min(count, SIDE)
        places = [(number, (0, 0)) for number in range(low, low + count)]
        maps = outputs[:, 0]
    else:
        maps = outputs[channel]
        (top, rows), (left, columns) = (_around(at, size, SIDE) for at, size in zip(position, maps.shape, strict=True))
        places = [(channel, (top + row, left + column)) for row in range(rows) for column in range(columns)]
    steps = tuple(arithmetic(subject.network, here, number, position) for number, position in places)
    inputs = here.input[0].reshape(layer.input_shape).numpy()
    return Sliding(
        subject, layer, inputs, maps, steps, rows, columns, _strongest(steps), rectified=after.layer.kind == "relu"
    )


def window_of(step: Arithmetic) -> tuple[int, int, int, int]:
    """Return top, left, height and width of an output's window in the layer's input."""
    if isinstance(step.terms, Convolution | MaxPooling):
        seen = step.terms.seen
        return seen.top, seen.left, *seen.inside.shape
    return *step.position, 1, 1


def _largest(outputs: NDArray[np.float32], channel: int | None) -> tuple[int, int, int]:
    """Channel, row and column of the largest output, of a large map not at the border, where padding is seen."""
    edge = SIDE // 2 if min(outputs.shape[1:]) > 2 * SIDE else 0
    _, height, width = outputs.shape
    inner = outputs[:, edge : height - edge, edge : width - edge]
    one = inner if channel is None else inner[channel : channel + 1]
    found, row, column = (int(index) for index in np.unravel_index(one.argmax(), one.shape))
    return found if channel is None else channel, row + edge, column + edge


def _around(place: int, size: int, count: int) -> tuple[int, int]:
    """The first of at most `count` places out of `size` with this one in the middle, and how many they are."""
    return max(0, min(place - count // 2, size - count)), min(count, size)


def _strongest(steps: tuple[Arithmetic, ...]) -> tuple[int, ...]:
    sums = [np.abs(step.terms.channel_sums) for step in steps if isinstance(step.terms, Convolution)]
    if not sums:
        return (steps[0].channel,)
    return tuple(np.argsort(-np.sum(sums, axis=0), kind="stable")[:SHOWN].tolist())
