"""Removing channels from a network: a narrower one whose layers keep the rest of their weights.

A channel is an output of a convolution, or of fc6 or fc7. O outputs, I inputs of a layer; k side of pool5's output.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vgglass.architecture import Architecture, Layer
from vgglass.modelfile import Weights

Indices = NDArray[np.intp]
Kept = Mapping[str, Indices]  # by layer, the channels that stay, ascending; a layer that is not named keeps all


def removable(architecture: Architecture) -> tuple[str, ...]:
    """The layers that channels can be removed from, in order: each convolution; fc6 and fc7 where they are whole."""
    hidden = () if architecture.head == "pooled" or any(architecture.ranks) else ("fc6", "fc7")
    return (*(layer.name for layer in architecture.layers() if layer.kind == "conv"), *hidden)


def widths(architecture: Architecture) -> dict[str, int]:
    """The number of channels of each removable layer, in order."""
    return {name: architecture.layer(name).output_shape[0] for name in removable(architecture)}


def with_widths(architecture: Architecture, wanted: Mapping[str, int]) -> Architecture:
    """The architecture with other numbers of channels, by removable layer."""
    convolutions = tuple(count for name, count in wanted.items() if name.startswith("conv"))
    hidden = (wanted["fc6"], wanted["fc7"]) if "fc6" in wanted else architecture.hidden
    return replace(architecture, widths=convolutions, hidden=hidden)


def narrowed(architecture: Architecture, weights: Weights, kept: Kept) -> tuple[Architecture, Weights]:
    """The network without the channels that are not kept: its architecture and weights."""
    inputs: Indices = np.arange(architecture.channels)
    found: Weights = {}
    for layer in architecture.layers():
        if layer.kind in ("conv", "linear"):
            outputs = kept.get(layer.name, np.arange(layer.output_shape[0]))
            found[f"{layer.name}.weight"] = weights[f"{layer.name}.weight"][outputs][:, _columns(layer, inputs)]
            found[f"{layer.name}.bias"] = weights[f"{layer.name}.bias"][outputs]
            inputs = outputs
        else:
            found |= {f"{layer.name}.{name}": weights[f"{layer.name}.{name}"][inputs] for name in layer.tensors}
    counts = {name: len(kept.get(name, np.arange(count))) for name, count in widths(architecture).items()}
    return with_widths(architecture, counts), found


def _columns(layer: Layer, inputs: Indices) -> Indices:
    """The places of input channels in a layer's weight (O, I): for the first after pool5, k*k to a channel."""
    places = 1 if layer.kind == "conv" else math.prod(layer.input_shape[1:])
    columns: Indices = (inputs[:, None] * places + np.arange(places)).ravel()
    return columns


def removed(before: Mapping[str, int], kept: Kept) -> dict[str, list[int]]:
    """The channels that went, by layer, of the widths before."""
    return {
        name: sorted(set(range(count)) - set(kept[name].tolist()))
        for name, count in before.items()
        if name in kept and len(kept[name]) < count
    }


def composed(first: Kept, second: Kept) -> dict[str, Indices]:
    """What is kept of the original network by removing twice, the second time from what the first left."""
    return {name: channels[second[name]] if name in second else channels for name, channels in first.items()}
