"""What each channel is worth: the change of the loss that its removal would bring, to first order.

Source: Molchanov et al. 2017, Pruning Convolutional Neural Networks for Resource Efficient Inference (arXiv
1611.06440), section 2.2. N images, C channels.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vgglass.architecture import Layer
from vgglass.model import VGG
from vgglass.shrinking.channels import removable

Importance = dict[str, NDArray[np.float64]]  # by removable layer (C,)


def taylor(network: VGG, batches: Iterable[tuple[Tensor, Tensor]]) -> Importance:
    """The importance of every channel: |activation x gradient of the loss|, averaged over its map, then over images.

    batches  images (N, C, S, S) and labels (N,)
    Each layer's are divided by their l2 norm, without which layers can't be compared (section 2.2 there).
    """
    layers = removable(network.architecture)
    found = {name: torch.zeros(network.architecture.layer(name).output_shape[0]).double() for name in layers}
    required = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.requires_grad_(False)  # activations' gradients alone
    for images, labels in batches:
        for name, worth in _worth(network.eval(), images, labels).items():
            found[name] += worth
    for parameter, before in required:
        parameter.requires_grad_(before)
    return {name: (total / max(float(total.norm()), torch.finfo().tiny)).numpy() for name, total in found.items()}


def _worth(network: VGG, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The importance of the channels of each removable layer, summed over the images of a batch."""
    names = {after_relu(name): name for name in removable(network.architecture)}
    activations: dict[str, Tensor] = {}

    def followed(layer: Layer, output: Tensor) -> Tensor:
        if layer.name not in names:
            return output
        if not output.requires_grad:  # the first: all before it needs no gradient
            output.requires_grad_()
        output.retain_grad()
        activations[names[layer.name]] = output
        return output

    logits = next(step.input for step in network.walk(images, followed) if step.kind == "softmax")
    F.cross_entropy(logits.float(), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
    worth = {}
    for name, activation in activations.items():
        assert activation.grad is not None
        products = (activation * activation.grad).detach().double()[..., None]  # fc6 has no map
        worth[name] = products.flatten(2).mean(2).abs().sum(0).cpu()
    return worth


def after_relu(name: str) -> str:
    """The ReLU of a convolution or fully connected layer: 'relu3_2' of 'conv3_2', 'relu6' of 'fc6'."""
    return name.replace("conv", "relu").replace("fc", "relu")
