"""What each channel is worth: the change of the loss that its removal would bring, to first order.

Source: Molchanov et al. 2017, Pruning Convolutional Neural Networks for Resource Efficient Inference (arXiv
1611.06440), section 2.2. N images, C channels.
"""

from collections.abc import Iterable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vgglass.glass.importance import taylor as each_taylor
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
        worth = each_taylor(network.eval(), images, partial(_loss, labels=labels))
        for name, total in found.items():
            total += worth[name].sum(0)
    for parameter, before in required:
        parameter.requires_grad_(before)
    return {name: (total / max(float(total.norm()), torch.finfo().tiny)).numpy() for name, total in found.items()}


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), labels, reduction="sum")
