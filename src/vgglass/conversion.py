"""Weights of torchvision, timm and Keras <-> vgglass, by declared key tables.

A foreign file holds weights and nothing else: what the family feeds its networks is declared here, in FEEDS, and the
class names come from the caller. Kernels are (O outputs, I inputs, k, k); a fully connected layer is one too.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import safetensors
from numpy.typing import NDArray

from vgglass import __version__, weightfiles
from vgglass.architecture import SMALLEST_IMAGE, Architecture, Layer, Shape
from vgglass.atomic import replacing
from vgglass.errors import MissingExtraError, WeightsError
from vgglass.modelfile import ModelFile
from vgglass.preprocess import Preprocessing
from vgglass.weightfiles import Array, Arrays, keras_key

FAMILIES = ("torchvision", "timm", "keras")

# The networks that each family publishes; a file of any other can't be loaded there.
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

# What the networks are fed: channel order, mean and standard deviation in units of 0..255.
_IMAGENET = ("RGB", (0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255))
FEEDS = {"torchvision": _IMAGENET, "timm": _IMAGENET, "keras": ("BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))}
TORCH_POOL = 7  # side of the map that torchvision's and timm's first fully connected layer takes


class Entry(NamedTuple):
    """One tensor of a layer as a family writes it: under which key, in which shape, kernels channels-last or not."""

    layer: Layer
    tensor: str
    key: str
    shape: Shape
    channels_last: bool

    @property
    def kernel(self) -> tuple[int, int, int, int]:
        return (self.layer.output_shape[0], self.layer.input_shape[0], self.layer.kernel, self.layer.kernel)


def from_foreign(path: Path, classes: tuple[str, ...], image_size: int | None = None) -> ModelFile:
    """Read the weights of a torchvision, timm or Keras VGG into a model file in memory, golden inputs included.

    `.pt`, `.pth`, `.safetensors` (torchvision, timm), `.h5` and `.weights.h5` (Keras). `classes` in the order of the
    outputs; `image_size` in pixels, the family's own (224; Keras: what its fc1 fits) when None. At another size
    torchvision's and timm's answer is kept by folding their average pooling into fc6. A grey network is fed the
    family's mean and deviation averaged over the channels. Raises WeightsError, MissingExtraError.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch", "torch", "converting weights") from error
    from vgglass.model import VGG

    foreign = weightfiles.read(path)
    family, published = _recognise(path, foreign)
    source = _fit(published, family, foreign)
    _require_classes(classes, source.classes)
    target = source.at(image_size or source.image_size)
    weights = {name: _read_in(foreign[entry.key], entry) for name, entry in key_table(source, family).items()}
    weights["fc6.weight"] = _fold_pooling(weights["fc6.weight"], source, target, family)
    network = VGG(target)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()}, strict=False)
    return network.to_file(
        classes,
        preprocessing(family, target),
        recipe={"converted_from": family},
        versions={"vgglass": __version__, "torch": torch.__version__},
    )


def to_foreign(model: ModelFile, path: Path, family: str) -> None:
    """Write the weights as `family`, one of FAMILIES, loads them: `.pth` or `.safetensors`, for Keras `.weights.h5`.

    Class names and preprocessing have no place in such a file: feed the network what the model's own preprocessing
    record says, whatever the family usually does. Raises WeightsError where the family has no such network.
    """
    assert family in FAMILIES, family
    architecture = model.record.architecture
    _require_expressible(architecture, family)
    if not path.name.endswith(SUFFIXES[family]):
        raise WeightsError(path, f"{family} loads {' or '.join(SUFFIXES[family])}", "choose such a name")
    state: dict[str, NDArray[Any]] = {
        entry.key: _write_out(model.weights[name], entry) for name, entry in key_table(architecture, family).items()
    }
    for key in [key for key in state if key.endswith(".running_var")]:
        state[key.replace(".running_var", ".num_batches_tracked")] = np.zeros((), np.int64)
    try:
        with replacing(path) as temporary:
            weightfiles.write(state, temporary, path.suffix)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:  # torch reports a full disk as RuntimeError
        raise WeightsError(path, f"could not be written ({error})", "free space or choose another place") from error


def key_table(architecture: Architecture, family: str) -> dict[str, Entry]:
    """Every tensor as the family writes it, by our name: 'conv1_1.weight' is 'features.0.weight', ..."""
    layers = architecture.layers()
    keys = dict(zip(("fc6", "fc7", "fc8"), HEADS[family], strict=True))
    if family == "keras":
        convolutions = [layer for layer in layers if layer.kind == "conv"]
        keys |= {layer.name: keras_key("conv2d", number) for number, layer in enumerate(convolutions)}
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
    """What the family feeds a network: the shorter side to 256/224 of the input, then the centre."""
    order, mean, std = FEEDS[family]
    size = architecture.image_size
    resize = round(size * 256 / 224)
    if architecture.channels == 1:
        return Preprocessing(size, resize, (fmean(mean),), (fmean(std),), "L")
    return Preprocessing(size, resize, mean, std, order)


# Which network is it?


def _recognise(path: Path, found: Iterable[str]) -> tuple[str, Architecture]:
    """Family and architecture whose keys are exactly these; how the nearest differs, where there is none."""
    keys = set(found)
    candidates = [(family, Architecture.named(name)) for family, names in PUBLISHED.items() for name in names]
    tables = [{entry.key for entry in key_table(architecture, family).values()} for family, architecture in candidates]
    expected, (family, architecture) = max(
        zip(tables, candidates, strict=True), key=lambda entry: len(keys & entry[0]) / len(keys | entry[0])
    )
    if keys == expected:
        return family, architecture
    difference = [
        f"{word} {_few(names)}" for word, names in (("lacks", expected - keys), ("adds", keys - expected)) if names
    ]
    raise WeightsError(
        path,
        f"not the weights of a VGG; next to {family}'s {architecture.name} it {' and '.join(difference)}",
        f"save all weights of one of {', '.join(PUBLISHED[family])}, under their own names",
    )


def _few(names: set[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(first) + (f" and {len(names) - len(first)} more" if len(names) > len(first) else "")


def _fit(published: Architecture, family: str, foreign: Arrays) -> Architecture:
    """The published architecture with channels, width, hidden, classes and size read from the shapes."""
    table = key_table(published, family)
    _require_shapes(published, family, foreign, rank_only=True)
    shapes = {name: foreign[entry.key].shape for name, entry in table.items()}
    fitted = replace(
        published,
        classes=shapes["fc8.bias"][0],
        channels=shapes["conv1_1.weight"][2 if family == "keras" else 1],
        widths=tuple(shapes[f"{layer.name}.bias"][0] for layer in published.layers() if layer.kind == "conv"),
        hidden=shapes["fc6.bias"][0],
    )
    if family == "keras":
        pooled = key_table(fitted, family)["fc6.weight"].kernel[1]
        fitted = fitted.at(SMALLEST_IMAGE * max(1, math.isqrt(shapes["fc6.weight"][0] // pooled)))
    _require_shapes(fitted, family, foreign)
    return fitted


def _require_shapes(expected: Architecture, family: str, foreign: Arrays, rank_only: bool = False) -> None:
    for name, entry in key_table(expected, family).items():
        found = foreign[entry.key].shape
        if len(found) != len(entry.shape) if rank_only else found != entry.shape:
            raise WeightsError(
                entry.key,
                f"expected {entry.shape}, found {found}",
                f"this is {name} of a {expected.name}; convert an unchanged one",
            )


def _require_classes(classes: tuple[str, ...], outputs: int) -> None:
    if len(classes) != outputs:
        raise WeightsError(
            f"{len(classes)} class names", f"the weights have {outputs} outputs", "give one name an output, in order"
        )
    name, times = Counter(classes).most_common(1)[0]
    if times > 1:
        raise WeightsError(f"class {name!r}", f"named {times} times", "give every class a name of its own")


def _require_expressible(architecture: Architecture, family: str) -> None:
    if architecture.name not in PUBLISHED[family]:
        raise WeightsError(
            architecture.name,
            f"{family} has no such network",
            f"it has {', '.join(PUBLISHED[family])}; keep the vgglass file",
        )
    side = architecture.head_kernel
    if family != "keras" and side != TORCH_POOL:
        raise WeightsError(
            f"an image size of {architecture.image_size}",
            f"fc6 takes a {side}x{side} map, and {family} always pools to {TORCH_POOL}x{TORCH_POOL}",
            "keep the vgglass file",
        )


# Layouts


def _read_in(array: Array, entry: Entry) -> Array:
    if entry.channels_last:
        outputs, inputs, side, _ = entry.kernel
        array = array.reshape(side, side, inputs, outputs).transpose(3, 2, 0, 1)
    return np.ascontiguousarray(array.reshape(entry.layer.tensors[entry.tensor]))


def _write_out(array: Array, entry: Entry) -> Array:
    if entry.channels_last:
        array = array.reshape(entry.kernel).transpose(2, 3, 1, 0)
    return np.ascontiguousarray(array.reshape(entry.shape))


def _fold_pooling(fc6: Array, source: Architecture, target: Architecture, family: str) -> Array:
    """fc6 for another input size: adaptive average pooling is linear, so it becomes part of the matrix."""
    before, after = source.head_kernel, target.head_kernel
    if before == after:
        return fc6
    if family == "keras":
        raise WeightsError(
            f"image size {target.image_size}", f"Keras's fc1 here fits {source.image_size}", "leave the image size out"
        )
    if family == "timm" and after > TORCH_POOL:
        raise WeightsError(
            f"image size {target.image_size}",
            f"timm slides its head over a {after}x{after} map and averages, which no fully connected layer equals",
            f"choose {SMALLEST_IMAGE * (TORCH_POOL + 1) - 1} or less",
        )
    pooling = pooling_matrix(before, after)
    # The pair (row, column) of a map is one index, so pooling both axes is one product.
    return (fc6.reshape(-1, before * before) @ np.kron(pooling, pooling)).reshape(len(fc6), -1)


def pooling_matrix(outputs: int, inputs: int) -> Array:
    """Adaptive average pooling along one axis, (outputs, inputs): bin i spans floor(i*in/out) to ceil((i+1)*in/out)."""
    matrix = np.zeros((outputs, inputs), np.float32)
    for row in range(outputs):
        start, stop = row * inputs // outputs, -(-(row + 1) * inputs // outputs)
        matrix[row, start:stop] = 1 / (stop - start)
    return matrix
