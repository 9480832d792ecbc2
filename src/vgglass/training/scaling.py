"""Rates and fresh layers scaled by what arrives at each layer, so that one recipe holds for any origin of weights.

A plain VGG is positively homogeneous: make one layer's weights twenty times smaller and the next one's twenty times
larger, and it computes the same. The gradients do not stay the same. With each layer's rate in the units of its own
input and output, training takes the same way whatever the scale of the weights that it starts from.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vgglass.model import VGG

LOOKED_AT = 8  # images


@dataclass(frozen=True)
class Scale:
    """Root mean squares of what a layer with weights takes and gives."""

    taken: float
    given: float

    def of(self, tensor: str, kind: str) -> float:
        """What the rate of a layer's 'weight' or 'bias' is multiplied by: the square of the unit it is written in."""
        unit = self.given / self.taken if tensor == "weight" and kind != "batchnorm" else self.given
        return unit**2


@torch.no_grad()
def unit_variance(network: VGG, fresh: Iterable[str], pool5: Tensor) -> dict[str, float]:
    """Factors for the weights of fresh layers, in order, after which each gives deviation 1; they are applied.

    pool5  (N, C, k, k) of some images
    Source: Mishkin and Matas 2016, All you need is a good init (arXiv 1511.06422), algorithm 1.
    """
    factors = {}
    for name in fresh:
        given = next(step.output for step in network.walk_after("pool5", pool5) if step.name == name)
        factors[name] = 1 / max(float(given.std()), torch.finfo(given.dtype).tiny)
        multiply(network, name, factors[name])
    return factors


@torch.no_grad()
def multiply(network: VGG, name: str, factor: float) -> None:
    module = network.get_submodule(name)
    assert isinstance(module, nn.Linear)
    module.weight.mul_(factor)


@torch.no_grad()
def scales(network: VGG, images: Tensor) -> dict[str, Scale]:
    """Of every layer with weights, by its name; the unit of logits is 1 whatever they are."""
    found = {}
    for step in network.walk(images):
        if step.layer.tensors:
            given = 1.0 if step.name == "fc8" else _size(step.output)
            found[step.name] = Scale(_size(step.input), given)
    return found


def _size(x: Tensor) -> float:
    return float(x.square().mean().sqrt().clamp_min(torch.finfo(x.dtype).tiny))


def from_json(values: dict[str, list[float]]) -> dict[str, Scale]:
    return {name: Scale(*pair) for name, pair in values.items()}


def as_json(found: dict[str, Scale]) -> dict[str, Any]:
    return {name: [scale.taken, scale.given] for name, scale in found.items()}
