"""The walk: what every layer of a network made of one image. C channels, H height, W width."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgglass.architecture import Layer
from vgglass.glass import sheets
from vgglass.glass.subject import Subject, untouched
from vgglass.model import Edit, Step

Silenced = Mapping[str, Collection[int]]  # channels by layer


@dataclass(frozen=True, eq=False)
class LayerView:
    """One layer's output, and the figures that describe it.

    maps            float32 (C, H, W); a fully connected layer has maps of 1x1
    zeros           share of the numbers that are exactly zero
    channel_zeros   the same for every channel (C,)
    dead            channels of a ReLU that are zero everywhere on this image; None for other layers
    receptive_field, jump  as in `vgglass.architecture.Layer`; 1 and 1 for the image itself
    """

    name: str
    kind: str
    maps: NDArray[np.float32] = field(repr=False)
    parameters: int
    receptive_field: int
    jump: int

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
        """The figures without the maps."""
        figures: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "shape": self.shape,
            "parameters": self.parameters,
            "receptive_field": self.receptive_field,
            "jump": self.jump,
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
    """The image, then every layer in order; `without` names channels to be set to zero on the way."""
    return [image(subject), *(view(step.layer, step.output) for step in steps(subject, without))]


def steps(subject: Subject, without: Silenced | None = None) -> list[Step]:
    """Every layer's input and output in order."""
    edit = silence(subject, without or {})
    with untouched(subject.network), torch.inference_mode():
        return list(subject.network.walk(subject.input, edit))


def image(subject: Subject) -> LayerView:
    """The view of the image itself, in units of 0..255, its colours in the order in which conv1_1 takes them."""
    order = -1 if subject.record.preprocessing.channel_order == "BGR" else 1
    return LayerView("image", "image", subject.square[..., ::order].transpose(2, 0, 1).astype(np.float32), 0, 1, 1)


def view(layer: Layer, output: Tensor) -> LayerView:
    """The view of a layer's output (1, C, H, W) or (1, C)."""
    maps = np.ascontiguousarray(output[0].detach().numpy()).reshape(layer.output_shape)
    return LayerView(layer.name, layer.kind, maps, layer.parameters, layer.receptive_field, layer.jump)


def silence(subject: Subject, without: Silenced) -> Edit:
    """What `VGG.walk` takes as `edit` so that these channels are zero. Raises UsageError for those not there."""
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
