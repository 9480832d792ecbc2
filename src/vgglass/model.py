"""VGG in PyTorch, built from `architecture.py` with the same layers and names: `forward`, `walk` and `dense`.

N batch, C channels, H height, W width, K classes, k side of fc6 as a convolution.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgglass import architecture as family
from vgglass import notebook
from vgglass.architecture import SMALLEST_IMAGE, Architecture, Layer
from vgglass.errors import UsageError
from vgglass.modelfile import ModelFile, Record, Weights, golden_images
from vgglass.preprocess import Preprocessing, normalise

Edit = Callable[[Layer, Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """One layer of a walk with its input and output."""

    layer: Layer
    input: Tensor
    output: Tensor

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def kind(self) -> str:
        return self.layer.kind


class VGG(nn.Module):
    """A network of the VGG family; its modules are the layers, in order, under their published names.

    `initialisation` is a key of INITIALISATIONS, or None where the weights will be replaced. The softmax `prob` is a
    module as well, but `forward` and `dense` return logits.

    >>> import torch
    >>> from vgglass.architecture import Architecture
    >>> network = vgglass.VGG(Architecture.named("vgg11", width=0.125, classes=10, image_size=32))
    >>> network(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """

    def __init__(self, architecture: Architecture, initialisation: str | None = "kaiming") -> None:
        super().__init__()
        if initialisation is not None and initialisation not in INITIALISATIONS:
            raise UsageError(
                f"initialisation {initialisation!r}", f"not one of {', '.join(INITIALISATIONS)}", "choose one of them"
            )
        self.architecture = architecture
        for layer in architecture.layers():
            self.add_module(layer.name, _module(layer, architecture.dropout))
        if initialisation is not None:
            INITIALISATIONS[initialisation](self)

    def _repr_html_(self) -> str:
        layers = self.architecture.layers()
        table = [
            [layer.name, layer.kind, "×".join(map(str, reversed(layer.output_shape))), layer.parameters]
            for layer in layers
            if layer.parameters
        ]
        rows = {
            "architecture": self.architecture.name,
            "layers": len(layers),
            "parameters": self.architecture.parameters,
            "work": self.architecture.multiply_adds,
        }
        return notebook.panel("network", rows, [["layer", "kind", "output", "parameters"], *table])

    @classmethod
    def from_file(cls, model: ModelFile, *, shared: bool = False) -> "VGG":
        """The network of a model file, in evaluation mode.

        shared  use the file's arrays without a copy; they must not be modified
        """
        return cls.from_weights(model.record.architecture, model.weights, shared=shared)

    @classmethod
    def from_weights(cls, architecture: Architecture, weights: Weights, *, shared: bool = False) -> "VGG":
        """As `from_file`, of weights that are in no file."""
        # Initialising 138 million weights that are overwritten takes seconds. On "meta", normal_ and empty_like would
        # import torch._dynamo, triton and sympy: two seconds, and 160 MB.
        with torch.device("meta"):
            network = cls(architecture, initialisation=None)
        state = {
            name: torch.from_numpy(array if shared else np.array(array, np.float32, order="C"))
            for name, array in weights.items()
        }
        counts = {name: torch.tensor(0) for name in network.state_dict() if name.endswith("num_batches_tracked")}
        network.load_state_dict(state | counts, assign=True)
        return network.eval()

    def to_file(self, classes: tuple[str, ...], preprocessing: Preprocessing, **about: Any) -> ModelFile:
        """This network as a model file in memory; `about` are further fields of its record."""
        images = golden_images(preprocessing)
        was_training = self.training
        self.eval()
        with torch.inference_mode():
            logits = self(torch.from_numpy(normalise(images, preprocessing)).to(self.device)).float().cpu().numpy()
        self.train(was_training)
        record = Record(self.architecture, classes, preprocessing, **about)
        return ModelFile(record, self.weights(), images, logits)

    def weights(self) -> Weights:
        """A float32 NumPy copy of every tensor of the architecture."""
        state = self.state_dict()
        return {name: state[name].detach().float().cpu().numpy().copy() for name in self.architecture.tensors()}

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, images: Tensor) -> Tensor:  # N C S S -> N K
        self._require_size(images)
        x = images
        for name, layer in self.named_children():
            if name == "prob":
                break
            x = layer(x.flatten(1) if isinstance(layer, nn.Linear) else x)
        return x

    def walk(self, images: Tensor, edit: Edit | None = None) -> Iterator[Step]:
        """Every layer in order, conv1_1 to prob; the first linear layer's input is flattened (N, C*k*k).

        `edit(layer, output)` returns a replacement of a layer's output, as for ablating a channel.
        """
        self._require_size(images)
        yield from self._walk(self.architecture.layers(), images, edit)

    def walk_after(self, name: str, output: Tensor) -> Iterator[Step]:
        """The layers after the named one, up to prob, given its output as in `walk`."""
        following = itertools.dropwhile(lambda layer: layer.name != name, self.architecture.layers())
        yield from self._walk(itertools.islice(following, 1, None), output, None)

    def after(self, name: str, output: Tensor) -> Tensor:
        """Logits (N, K) given the output of a layer before prob, as in `walk`."""
        x = output
        for step in self.walk_after(name, output):
            if step.kind == "softmax":
                break
            x = step.output
        return x

    def _walk(self, layers: Iterable[Layer], x: Tensor, edit: Edit | None) -> Iterator[Step]:
        for layer in layers:
            before = x.flatten(1) if layer.kind == "linear" else x
            x = self.get_submodule(layer.name)(before)
            if edit:
                x = edit(layer, x)
            yield Step(layer, before, x)

    def dense(self, images: Tensor) -> Tensor:  # N C H W -> N K H' W'
        """Logits at every position of the head, with fully connected layers as convolutions.

        H and W at least 32*k. At the training size the map is 1x1 and equals `forward` (paper, section 3.2).
        """
        least = SMALLEST_IMAGE * self.architecture.head_kernel
        if min(images.shape[2:]) < least:
            raise UsageError(
                f"an image of {images.shape[2]}x{images.shape[3]}",
                f"{self.architecture.head_layer} of this network spans {least} pixels a side",
                f"give it at least {least}x{least}",
            )
        x = images
        for layer in self.architecture.layers()[:-1]:
            module = self.get_submodule(layer.name)
            if isinstance(module, nn.Linear):
                kernel = module.weight.view(len(module.weight), -1, layer.kernel, layer.kernel)
                x = F.conv2d(x, kernel, module.bias)
            else:
                x = module(x)
        return x

    def _require_size(self, images: Tensor) -> None:
        size, channels = self.architecture.image_size, self.architecture.channels
        if images.shape[1:] != (channels, size, size):
            raise UsageError(
                f"an input of shape {tuple(images.shape)}",
                f"this network takes (N, {channels}, {size}, {size})",
                "resize it, or use dense() for larger images",
            )


class LocalResponseNorm(nn.LocalResponseNorm):
    """Computes in float32 for any input: torch has no bfloat16 kernel on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


def _module(layer: Layer, dropout: float) -> nn.Module:
    if layer.kind == "conv":
        return nn.Conv2d(layer.input_shape[0], layer.output_shape[0], layer.kernel, padding=layer.padding)
    if layer.kind == "linear":
        return nn.Linear(math.prod(layer.input_shape), layer.output_shape[0])
    if layer.kind == "batchnorm":
        return nn.BatchNorm2d(layer.output_shape[0])
    if layer.kind == "relu":
        return nn.ReLU(inplace=False)  # in place would overwrite the feature map to be inspected
    if layer.kind == "lrn":
        # torch divides alpha by the size of the neighbourhood, Krizhevsky's formula does not.
        alpha = family.LRN_ALPHA * family.LRN_SIZE
        return LocalResponseNorm(family.LRN_SIZE, alpha, family.LRN_BETA, family.LRN_K)
    if layer.kind == "maxpool":
        return nn.MaxPool2d(layer.kernel, layer.stride)
    if layer.kind == "avgpool":
        return nn.AvgPool2d(layer.kernel, layer.stride)
    if layer.kind == "dropout":
        return nn.Dropout(dropout)
    return nn.Softmax(dim=1)


def _kaiming(network: VGG) -> None:
    """As in torchvision: He normal by fan-out for convolutions, normal with standard deviation 0.01 otherwise."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            _zero_bias(module)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            _zero_bias(module)


def _paper(network: VGG) -> None:
    """Normal of variance 0.01, zero biases (paper, section 3.1); meant for 0..255 input with the mean subtracted."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, 0, 0.1)
            _zero_bias(module)


def _glorot(network: VGG) -> None:
    """Glorot uniform, zero biases (paper, footnote of section 3.1)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            _zero_bias(module)


def _he(network: VGG) -> None:
    """He normal by fan-in, zero biases: preserves the variance of activations in a deep plain network.

    Source: He et al. 2015, Delving Deep into Rectifiers, section 2.2.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            _zero_bias(module)


def _zero_bias(module: nn.Conv2d | nn.Linear) -> None:
    assert module.bias is not None
    nn.init.zeros_(module.bias)


INITIALISATIONS: dict[str, Callable[[VGG], None]] = {
    "kaiming": _kaiming, "paper": _paper, "glorot": _glorot, "he": _he,
}  # fmt: skip
