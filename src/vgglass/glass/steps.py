"""The arithmetic of one output of a layer, recomputed from the layer's input term by term in float64.

C channels, k side of a kernel. Every kind of layer has a dataclass of its terms with two properties: `result`, and
`magnitude`, the sum of the terms' absolute values, the scale for the rounding error allowed against the network.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgglass import architecture as family
from vgglass import notebook
from vgglass.architecture import Layer
from vgglass.glass.operations import Geometry, Numbers, Window, pooled, window, winners
from vgglass.glass.subject import Subject, untouched
from vgglass.model import VGG, Step

TOLERANCE = 1e-5
SMALLEST = float(np.finfo(np.float32).tiny)  # below it float32 is subnormal, and a softmax may underflow to 0


class Terms(Protocol):
    """The terms of any kind of layer."""

    @property
    def result(self) -> float: ...
    @property
    def magnitude(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Convolution:
    """sum(patch * kernel) + bias over k x k pixels of C input channels; the patch is zero in the padding."""

    seen: Window
    kernel: Numbers  # (C, k, k)
    bias: float

    @property
    def products(self) -> Numbers:
        product: Numbers = self.seen.values * self.kernel
        return product

    @property
    def channel_sums(self) -> Numbers:
        """(C,): over height and width."""
        sums: Numbers = self.products.sum(axis=(1, 2))
        return sums

    @property
    def result(self) -> float:
        return float(self.products.sum()) + self.bias

    @property
    def magnitude(self) -> float:
        return float(np.abs(self.products).sum()) + abs(self.bias)


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift, with the running mean and variance of training."""

    x: float
    mean: float
    variance: float
    epsilon: float
    scale: float
    shift: float

    @property
    def slope(self) -> float:
        return self.scale / float(np.sqrt(self.variance + self.epsilon))

    @property
    def result(self) -> float:
        return (self.x - self.mean) * self.slope + self.shift

    @property
    def magnitude(self) -> float:
        return abs(self.x * self.slope) + abs(self.mean * self.slope) + abs(self.shift)


@dataclass(frozen=True, eq=False)
class LocalResponse:
    """x / (k + alpha * sum(neighbours^2))^beta over the channels first..last around it (Krizhevsky et al., 2012)."""

    x: float
    first: int
    neighbours: Numbers

    @property
    def squares(self) -> float:
        return float((self.neighbours**2).sum())

    @property
    def divisor(self) -> float:
        return float((family.LRN_K + family.LRN_ALPHA * self.squares) ** family.LRN_BETA)

    @property
    def result(self) -> float:
        return self.x / self.divisor

    @property
    def magnitude(self) -> float:
        return abs(self.result)


@dataclass(frozen=True, eq=False)
class Rectifier:
    """max(0, x)."""

    x: float

    @property
    def result(self) -> float:
        return max(0.0, self.x)

    @property
    def magnitude(self) -> float:
        return abs(self.x)


@dataclass(frozen=True, eq=False)
class MaxPooling:
    """The maximum of the window and its position there (row, column)."""

    seen: Window

    @property
    def winner(self) -> tuple[int, int]:
        return winners(self.seen, "max")[0]

    @property
    def result(self) -> float:
        return float(pooled(self.seen, "max")[0])

    @property
    def magnitude(self) -> float:
        return abs(self.result)


@dataclass(frozen=True, eq=False)
class AveragePooling:
    """sum(window) / count: the mean of one channel over all positions."""

    seen: Window

    @property
    def total(self) -> float:
        return float(self.seen.values.sum())

    @property
    def count(self) -> int:
        return self.seen.values.size

    @property
    def result(self) -> float:
        return self.total / self.count

    @property
    def magnitude(self) -> float:
        return float(np.abs(self.seen.values).sum()) / self.count


@dataclass(frozen=True, eq=False)
class FullyConnected:
    """sum(inputs * weights) + bias."""

    inputs: Numbers
    weights: Numbers
    bias: float

    @property
    def products(self) -> Numbers:
        product: Numbers = self.inputs * self.weights
        return product

    @property
    def largest(self) -> NDArray[np.intp]:
        """Indices of the inputs by absolute contribution, descending."""
        return np.argsort(-np.abs(self.products), kind="stable")

    @property
    def result(self) -> float:
        return float(self.products.sum()) + self.bias

    @property
    def magnitude(self) -> float:
        return float(np.abs(self.products).sum()) + abs(self.bias)


@dataclass(frozen=True, eq=False)
class Dropout:
    """x: dropout is the identity outside training."""

    x: float

    @property
    def result(self) -> float:
        return self.x

    @property
    def magnitude(self) -> float:
        return abs(self.x)


@dataclass(frozen=True, eq=False)
class Share:
    """exp(logit - largest) / sum(exp(logits - largest)): the softmax of one class."""

    logits: Numbers
    index: int

    @property
    def exponentials(self) -> Numbers:
        exponential: Numbers = np.exp(self.logits - self.logits.max())
        return exponential

    @property
    def total(self) -> float:
        return float(self.exponentials.sum())

    @property
    def result(self) -> float:
        return float(self.exponentials[self.index]) / self.total

    @property
    def magnitude(self) -> float:
        return self.result


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """One output of one layer: its terms, and the value that the network computed."""

    layer: Layer
    channel: int
    position: tuple[int, int]
    terms: Terms
    network: float

    @property
    def recomputed(self) -> float:
        return self.terms.result

    @property
    def difference(self) -> float:
        return abs(self.recomputed - self.network)

    @property
    def bound(self) -> float:
        """Largest allowed difference: float32 rounding error scales with the terms, not with their sum."""
        return TOLERANCE * self.terms.magnitude + SMALLEST

    @property
    def agrees(self) -> bool:
        return self.difference <= self.bound

    def _repr_html_(self) -> str:
        row, column = self.position
        rows: dict[str, object] = {"layer": self.layer.name, "channel": self.channel, "position": f"{row}, {column}"}
        rows |= {name: value for name, value in vars(self.terms).items() if isinstance(value, float)}
        rows |= {"recomputed": f"{self.recomputed:.9g}", "network": f"{self.network:.9g}", "agrees": self.agrees}
        if not isinstance(self.terms, Convolution):
            return notebook.panel("step", rows)
        caption, products = _products(self.terms)
        return notebook.panel("step", rows | {caption: ""}, [[""] * len(products[0]), *products])

    def as_json(self) -> dict[str, Any]:
        """Return every term and figure."""
        return {
            "layer": self.layer.name,
            "kind": self.layer.kind,
            "channel": self.channel,
            "position": self.position,
            "terms": _json_value(self.terms),
            "recomputed": self.recomputed,
            "network": self.network,
            "difference": self.difference,
            "bound": self.bound,
        }

    def __str__(self) -> str:
        return f"recomputed = {self.recomputed:.9g}  network = {self.network:.9g}  difference = {self.difference:.2g}"


def _products(terms: Convolution) -> tuple[str, list[list[str]]]:
    """A convolution's products in the channel that contributes most, as a notebook shows them; and a caption."""
    channel = int(np.abs(terms.channel_sums).argmax())
    pairs = zip(terms.seen.values[channel], terms.kernel[channel], strict=True)
    rows = [[f"{value:.3g} × {weight:.3g}" for value, weight in zip(*pair, strict=True)] for pair in pairs]
    return notebook.words()["labels"]["strongest"].format(channel=channel), rows


def step(
    subject: Subject, name: str, channel: int | None = None, position: tuple[int, int] | None = None
) -> Arithmetic:
    """Recompute one output; without a channel or position, the largest one.

    A fully connected layer has the single position (0, 0). Raises UsageError for an unknown layer, channel or position.
    """
    layer = subject.layer(name)
    if channel is not None:
        subject.require_channel(layer, channel)
    if position is not None:
        subject.require_position(layer, position)
    with untouched(subject.network), torch.inference_mode():
        here = next(step for step in subject.network.walk(subject.input) if step.name == name)
    return arithmetic(subject.network, here, channel, position)


def arithmetic(
    network: VGG, here: Step, channel: int | None = None, position: tuple[int, int] | None = None
) -> Arithmetic:
    """Recompute one output of a step of `VGG.walk`; channel and position must exist."""
    layer = here.layer
    output = here.output[0].reshape(layer.output_shape)
    if channel is None:
        channel = int((output.amax(dim=(1, 2)) if position is None else output[:, *position]).argmax())
    if position is None:
        place = int(output[channel].argmax())
        position = (place // output.shape[2], place % output.shape[2])
    with untouched(network):
        terms = TERMS[layer.kind](network.get_submodule(layer.name), layer, here.input, channel, position)
    return Arithmetic(layer, channel, position, terms, float(output[channel, *position]))


def _convolution(module: Any, layer: Layer, x: Tensor, channel: int, position: tuple[int, int]) -> Terms:
    geometry = Geometry((layer.kernel, layer.kernel), layer.stride, layer.padding)
    return Convolution(window(x, geometry, position), _numbers(module.weight[channel]), float(module.bias[channel]))


def _batch_norm(module: Any, layer: Layer, x: Tensor, channel: int, position: tuple[int, int]) -> Terms:
    figures = (module.running_mean, module.running_var)
    mean, variance = (float(tensor[channel]) for tensor in figures)
    scale, shift = float(module.weight[channel]), float(module.bias[channel])
    return BatchNorm(float(x[0, channel, *position]), mean, variance, module.eps, scale, shift)


def _local_response(module: Any, layer: Layer, x: Tensor, channel: int, position: tuple[int, int]) -> Terms:
    reach = family.LRN_SIZE // 2
    first = max(0, channel - reach)
    across = _numbers(x[0, :, *position])
    return LocalResponse(float(across[channel]), first, across[first : channel + reach + 1])


def _pooling(make: Callable[[Window], Terms]) -> Callable[[Any, Layer, Tensor, int, tuple[int, int]], Terms]:
    def terms(module: Any, layer: Layer, x: Tensor, channel: int, position: tuple[int, int]) -> Terms:
        geometry = Geometry((layer.kernel, layer.kernel), layer.stride, layer.padding)
        return make(window(x[:, channel : channel + 1], geometry, position))

    return terms


def _fully_connected(module: Any, layer: Layer, x: Tensor, channel: int, position: tuple[int, int]) -> Terms:
    return FullyConnected(_numbers(x[0]), _numbers(module.weight[channel]), float(module.bias[channel]))


def _softmax(module: Any, layer: Layer, x: Tensor, channel: int, position: tuple[int, int]) -> Terms:
    return Share(_numbers(x[0]), channel)


def _elementwise(make: Callable[[float], Terms]) -> Callable[[Any, Layer, Tensor, int, tuple[int, int]], Terms]:
    def terms(module: Any, layer: Layer, x: Tensor, channel: int, position: tuple[int, int]) -> Terms:
        return make(float(x[0].reshape(layer.output_shape)[channel, *position]))

    return terms


def _json_value(value: Any) -> Any:
    """Convert dataclasses and arrays to JSON types."""
    if is_dataclass(value):
        return {field.name: _json_value(getattr(value, field.name)) for field in fields(value)}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _numbers(tensor: Tensor) -> Numbers:
    numbers: Numbers = tensor.detach().double().cpu().numpy()
    return numbers


TERMS: dict[str, Callable[[Any, Layer, Tensor, int, tuple[int, int]], Terms]] = {
    "conv": _convolution,
    "batchnorm": _batch_norm,
    "relu": _elementwise(Rectifier),
    "lrn": _local_response,
    "maxpool": _pooling(MaxPooling),
    "avgpool": _pooling(AveragePooling),
    "linear": _fully_connected,
    "dropout": _elementwise(Dropout),
    "softmax": _softmax,
}
