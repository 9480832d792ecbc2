"""Layer names, tensor shapes and preprocessing of VGG in torchvision, timm and Keras."""

from statistics import fmean
from typing import NamedTuple

from vgglass.architecture import Architecture, Layer, Shape
from vgglass.preprocess import Preprocessing
from vgglass.weights import keras_files

FAMILIES = ("torchvision", "timm", "keras")

# Architectures that each family provides; no other can be loaded there.
_PLAIN_AND_NORMED = tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn"))
PUBLISHED = {"torchvision": _PLAIN_AND_NORMED, "timm": _PLAIN_AND_NORMED, "keras": ("vgg16", "vgg19")}

# Keys of fc6, fc7 and fc8. Keras 3 numbers the layers of a class in a file: dense, dense_1, ...
HEADS = {
    "torchvision": ("classifier.0", "classifier.3", "classifier.6"),
    "timm": ("pre_logits.fc1", "pre_logits.fc2", "head.fc"),
    "keras": ("layers/dense", "layers/dense_1", "layers/dense_2"),
}
_TORCH_TENSORS = {name: f".{name}" for name in ("weight", "bias", "running_mean", "running_var")}
TENSORS = {
    "torchvision": _TORCH_TENSORS,
    "timm": _TORCH_TENSORS,
    "keras": {"weight": "/vars/0", "bias": "/vars/1"},
}
SUFFIXES = {
    "torchvision": (".pth", ".pt", ".safetensors"),
    "timm": (".pth", ".pt", ".safetensors"),
    "keras": (".weights.h5",),
}

# Preprocessing: channel order, mean and standard deviation in units of 0..255.
_IMAGENET = ("RGB", (0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255))
FEEDS = {"torchvision": _IMAGENET, "timm": _IMAGENET, "keras": ("BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))}
TORCH_POOL = 7  # side of the map that torchvision's and timm's first fully connected layer takes


class Entry(NamedTuple):
    """One tensor of a layer in a family's files: its key, its shape, and whether kernels are channels-last."""

    layer: Layer
    tensor: str
    key: str
    shape: Shape
    channels_last: bool

    @property
    def kernel(self) -> tuple[int, int, int, int]:
        return (self.layer.output_shape[0], self.layer.input_shape[0], self.layer.kernel, self.layer.kernel)


def key_table(architecture: Architecture, family: str) -> dict[str, Entry]:
    """The family's entry for every tensor, by vgglass name: 'conv1_1.weight' is 'features.0.weight', ..."""
    layers = architecture.layers()
    head = [layer.name for layer in layers if layer.kind == "linear"]  # pooled: fc8 alone, Keras's first dense layer
    keys = dict(zip(head, HEADS[family], strict=False))
    if family == "keras":
        convolutions = [layer for layer in layers if layer.kind == "conv"]
        keys |= {layer.name: keras_files.key("conv2d", number) for number, layer in enumerate(convolutions)}
    else:
        keys |= {layer.name: f"features.{number}" for number, layer in enumerate(layers) if layer.name not in keys}
    return {
        f"{layer.name}.{tensor}": Entry(
            layer,
            tensor,
            keys[layer.name] + TENSORS[family][tensor],
            _foreign_shape(layer, tensor, family),
            channels_last=family == "keras" and tensor == "weight",
        )
        for layer in layers
        for tensor in layer.tensors
    }


def _foreign_shape(layer: Layer, tensor: str, family: str) -> Shape:
    outputs, inputs, side = layer.output_shape[0], layer.input_shape[0], layer.kernel
    if tensor == "weight" and family == "keras":
        return (side, side, inputs, outputs) if layer.kind == "conv" else (side * side * inputs, outputs)
    if tensor == "weight" and family == "timm" and layer.name in ("fc6", "fc7"):
        return (outputs, inputs, side, side)
    return layer.tensors[tensor]


def preprocessing(family: str, architecture: Architecture) -> Preprocessing:
    """The family's preprocessing: shorter side at 256/224 of the input size, then a centre crop."""
    order, mean, std = FEEDS[family]
    size = architecture.image_size
    resize = round(size * 256 / 224)
    if architecture.channels == 1:
        return Preprocessing(size, resize, (fmean(mean),), (fmean(std),), "L")
    return Preprocessing(size, resize, mean, std, order)
