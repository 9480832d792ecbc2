"""Another function in place of every ReLU, to watch what a network without it learns.

An experiment, no member of the family: a model file describes layers that every engine has, and neither these.
"""

from torch import nn

from vgglass.model import VGG

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "none": nn.Identity}


def replace(network: VGG, name: str) -> None:
    """Put the activation of that name in place of every ReLU."""
    if name == "relu":
        return
    for layer in network.architecture.layers():
        if layer.kind == "relu":
            setattr(network, layer.name, ACTIVATIONS[name]())
