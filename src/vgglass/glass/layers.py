"""Every layer's output for one image, with statistics. C channels, H height, W width."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgglass.architecture import Layer, ReceptiveField
from vgglass.glass import sheets
from vgglass.glass.subject import Subject, untouched
from vgglass.model import Edit, Step

Silenced = Mapping[str, Collection[int]]  # channels by layer


@dataclass(frozen=True, eq=False)
class LayerView:
    """One layer's output and its statistics.

    maps            float32 (C, H, W); 1x1 maps for a fully connected layer
    zeros           fraction of values that are exactly zero
    channel_zeros   the same per channel (C,)
    dead            ReLU channels that are zero everywhere on this image; None for other layers
    receptive_field  a pixel's own for the image itself
    """

    name: str
    kind: str
    maps: NDArray[np.float32] = field(repr=False)
    parameters: int
    receptive_field: ReceptiveField

    @property
    def shape(self) -> tuple[int, int, int]:
        """Width, height, channels."""
        channels, height, width = self.maps.shape
        return width, height, channels

    @property
    def minimum(self) -> float:
        return float(self.maps.min())

    @property
    def mean(self) -> float:
        return float(self.maps.mean(dtype=np.float64))

    @property
    def maximum(self) -> float:
        return float(self.maps.max())

    @property
    def zeros(self) -> float:
        return float(self.channel_zeros.mean())

    @property
    def channel_zeros(self) -> NDArray[np.float64]:
        share: NDArray[np.float64] = (self.maps == 0).mean(axis=(1, 2))
        return share

    @property
    def dead(self) -> tuple[int, ...] | None:
        if self.kind != "relu":
            return None
        return tuple(int(channel) for channel in np.flatnonzero(~self.maps.any(axis=(1, 2))))

    def as_json(self) -> dict[str, Any]:
        """Return the statistics without the maps."""
        figures: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "shape": self.shape,
            "parameters": self.parameters,
            "receptive_field": self.receptive_field.size,
            "jump": self.receptive_field.jump,
            "minimum": self.minimum,
            "mean": self.mean,
            "maximum": self.maximum,
        }
        if self.kind == "relu":
            figures |= {"zeros": self.zeros, "channel_zeros": self.channel_zeros.tolist(), "dead": self.dead}
        return figures

    def _repr_png_(self) -> bytes:
        return sheets.as_png(sheets.grid(self.maps, self.name).image)


def walk(subject: Subject, without: Silenced | None = None) -> list[LayerView]:
    """Return views of the image and of every layer in order, with the channels of `without` set to zero."""
    return [image(subject), *(view(step.layer, step.output) for step in steps(subject, without))]


def steps(subject: Subject, without: Silenced | None = None) -> list[Step]:
    """Return every layer's input and output in order."""
    edit = silence(subject, without or {})
    with untouched(subject.network), torch.inference_mode():
        return list(subject.network.walk(subject.input, edit))


def image(subject: Subject) -> LayerView:
    """Return the view of the image, in 0..255, its channels in the order of conv1_1's input."""
    order = -1 if subject.record.preprocessing.channel_order == "BGR" else 1
    maps = subject.square[..., ::order].transpose(2, 0, 1).astype(np.float32)
    return LayerView("image", "image", maps, 0, ReceptiveField())


def view(layer: Layer, output: Tensor) -> LayerView:
    """Return the view of a layer's output (1, C, H, W) or (1, C)."""
    maps = np.ascontiguousarray(output[0].detach().numpy()).reshape(layer.output_shape)
    return LayerView(layer.name, layer.kind, maps, layer.parameters, layer.receptive_field)


def silence(subject: Subject, without: Silenced) -> Edit:
    """Return an `edit` for `VGG.walk` that sets channels to zero. Raises UsageError for unknown ones."""
    for name, channels in without.items():
        layer = subject.layer(name)
        for channel in channels:
            subject.require_channel(layer, channel)

    def edit(layer: Layer, output: Tensor) -> Tensor:
        if layer.name not in without:
            return output
        edited = output.clone()
        edited[:, list(without[layer.name])] = 0
        return edited

    return edit
