"""What each channel is worth to a class: how far its score would move without it, to first order.

Source: Molchanov et al. 2017, Pruning Convolutional Neural Networks for Resource Efficient Inference (arXiv
1611.06440), section 2.2. N images, C channels, K classes.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vgglass.architecture import Architecture, Layer
from vgglass.glass.layers import Silenced, silence
from vgglass.glass.subject import Subject, untouched
from vgglass.lineage import origins
from vgglass.model import VGG, Edit

Shares = dict[str, NDArray[np.float64]]  # by layer (C,)


def importance(subject: Subject, target: int, without: Silenced | None = None) -> Shares:
    """Each channel's share of its layer's importance for the logit of a class, by layer whose channels reach a ReLU.

    A pooling has the shares of the convolution before it. Where no channel moves the logit, all shares are zero.
    without  channels set to zero, by layer
    """
    architecture = subject.network.architecture
    with untouched(subject.network):
        worth = taylor(
            subject.network, subject.input, lambda logits: logits[:, target].sum(), silence(subject, without or {})
        )
    found = {}
    for name, origin in origins(architecture).items():
        if origin in worth:
            (each,) = worth[origin].numpy()
            found[name] = each / (each.sum() or 1.0)
    return found


def taylor(
    network: VGG, images: Tensor, score: Callable[[Tensor], Tensor], edit: Edit | None = None
) -> dict[str, Tensor]:
    """|activation x gradient of the score, averaged over the map| of each image's channels (N, C), after their ReLU.

    By the convolution or fully connected layer that the channels come from. No parameter may require a gradient.
    score  of logits (N, K): a scalar, the sum over the images
    """
    origin = relus(network.architecture)
    activations: dict[str, Tensor] = {}

    def followed(layer: Layer, output: Tensor) -> Tensor:
        output = edit(layer, output) if edit else output
        if layer.name in origin:
            if not output.requires_grad:  # the first: nothing before it needs a gradient
                output.requires_grad_()
            output.retain_grad()
            activations[origin[layer.name]] = output
        return output

    logits = next(step.input for step in network.walk(images, followed) if step.kind == "softmax")
    score(logits).backward()  # type: ignore[no-untyped-call]
    return {name: _mean_product(activation) for name, activation in activations.items()}


def relus(architecture: Architecture) -> dict[str, str]:
    """By ReLU, the layer that its channels come from: 'conv3_2' of 'relu3_2', 'fc6_2' of 'relu6'."""
    found = origins(architecture)
    return {layer.name: found[layer.name] for layer in architecture.layers() if layer.kind == "relu"}


def _mean_product(activation: Tensor) -> Tensor:
    """(N, C, H, W), or (N, C) of a fully connected layer, to (N, C)."""
    assert activation.grad is not None
    products = (activation * activation.grad).detach().double()[..., None]
    return products.flatten(2).mean(2).abs().cpu()
