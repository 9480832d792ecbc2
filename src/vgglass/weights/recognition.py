"""Recognise the VGG in a foreign file: convolutions by number or order, the head by its shapes."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vgglass.architecture import SMALLEST_IMAGE, Architecture
from vgglass.errors import WeightsError
from vgglass.modelfile import Weights
from vgglass.weights.families import HEADS, PUBLISHED, TORCH_POOL, key_table
from vgglass.weights.formats import Array, Contents, Part

Body = dict[str, Part]  # convolutions and batch norms by vgglass name
BODY_KINDS = ("conv", "batchnorm")

# Keys or layer names that are typical of other networks.
OTHERS = {
    r"denseblock|conv2_block1_0_bn": "a DenseNet",
    r"\blayer[1-4]\.\d+\.|conv2_block1|resnet": "a ResNet",
    r"stages\.\d|convnext|features\.\d+\.\d+\.block\.\d+\.\s": "a ConvNeXt",
    r"_blocks\.\d+\._|block1a_|features\.\d+\.\d+\.block\.|\.se\.conv_reduce|efficientnet": "an EfficientNet",
    r"features\.\d+\.(conv|block)\.|conv_pw_\d|expanded_conv|conv_dw|depthwise_conv|mobilenet": "a MobileNet",
    r"\battn\.|\bencoder_layer_|self_attention|cls_token|class_token": "a vision transformer",
    r"Mixed_5b|inception": "an Inception network",
    r"\.squeeze\.|fire\d": "a SqueezeNet",
}


@dataclass(frozen=True)
class Network:
    """A VGG recognised in a file.

    weights      in vgglass names and layout
    left_out     keys of ignored layers
    has_classes  whether fc8 is included; without it the architecture has two classes
    """

    architecture: Architecture
    weights: Weights
    left_out: tuple[str, ...]
    has_classes: bool

    def taken_in_words(self) -> str:
        architecture = self.architecture
        convolutions = f"{len(architecture.widths)} convolutions" + ", batch norm" * architecture.batch_norm
        if architecture.head == "vgg":
            outputs = f"fc8 of {architecture.classes:,} outputs" if self.has_classes else ""
            return ", ".join(filter(None, (convolutions, "fc6", "fc7", outputs)))
        if self.has_classes:
            dense = f"one dense layer of {architecture.classes:,} outputs"
            return f"{convolutions}, {dense}, assumed to follow a global average"
        return convolutions


def recognise(path: Path, contents: Contents) -> tuple[Network, str]:
    """The VGG in a file and its family ('torchvision', 'timm', 'keras', 'onnx'). Raises WeightsError."""
    numbered = contents.framework == "torch"
    name, body, prefix = _match_by_number(path, contents) if numbered else _match_by_order(path, contents)
    taken = {id(part) for part in body.values()}
    rest = [part for part in contents.parts if part.kind != "maxpool" and id(part) not in taken]
    timm = any(part.key.startswith(f"{prefix}pre_logits.") for part in rest)
    family = ("timm" if timm else "torchvision") if numbered else contents.framework
    trunk = _infer_widths(name, body, path)
    head = _torch_head(rest, trunk, HEADS[family], prefix) if numbered else _dense_head(rest, trunk)
    head = head or _pooled_head(rest, trunk)
    architecture = _with_head(trunk, head)
    parts = body | head
    weights = _convert_weights(architecture, parts, contents.channels_last)
    _require_finite(path, weights, parts)
    used = {id(part) for part in parts.values()}
    left_out = tuple(part.name or part.key for part in rest if id(part) not in used)
    return Network(architecture, weights, left_out, "fc8" in head), family


# The convolutions


def _match_by_number(path: Path, contents: Contents) -> tuple[str, Body, str]:
    """Match convolutions to torchvision's numbering, under any prefix of 'features': name, layers, prefix."""
    containers: dict[str, dict[str, Part]] = {}
    for part in contents.parts:
        container, _, number = part.key.rpartition(".")
        if number.isdecimal() and part.kind in BODY_KINDS:
            containers.setdefault(container, {})[number] = part
    found = [
        (name, {layer: modules[number] for number, layer in table.items()}, container)
        for container, modules in containers.items()
        for name, table in ((name, _numbers(name)) for name in PUBLISHED["torchvision"])
        if {number: part.kind for number, part in modules.items()} == _kinds(table)
    ]
    if len(found) > 1:
        places = " and ".join(repr(container) for _, _, container in found[:2])
        raise WeightsError(path, f"holds {len(found)} VGGs, under {places}", "save the weights of one of them")
    if not found:
        raise _not_a_vgg(path, contents, max(containers.values(), key=len, default={}))
    name, body, container = found[0]
    if not container.endswith("features"):
        return name, body, f"{container}/"  # matches no key: the head has torchvision's names only beside 'features'
    return name, body, container.removesuffix("features")


def _numbers(name: str) -> dict[str, str]:
    """vgglass names of a network's convolutions and batch norms, by torchvision's number."""
    table = key_table(Architecture.named(name), "torchvision").values()
    return {entry.key.split(".")[1]: entry.layer.name for entry in table if entry.layer.kind in BODY_KINDS}


def _kinds(table: Mapping[str, str]) -> dict[str, str]:
    return {number: "batchnorm" if layer.startswith("bn") else "conv" for number, layer in table.items()}


def _match_by_order(path: Path, contents: Contents) -> tuple[str, Body, str]:
    """Match layers by order: name, layers, prefix. Graphs contain the poolings, Keras files do not."""
    graph = contents.framework == "onnx"
    kinds = ("conv", "batchnorm", "maxpool") if graph else BODY_KINDS
    parts = [part for part in contents.parts if part.kind in kinds]
    while graph and parts and parts[-1].kind != "maxpool":
        parts.pop()  # timm's fully connected layers are convolutions after the last pooling
    for name in PUBLISHED["torchvision" if graph else "keras"]:
        layers = [layer for layer in Architecture.named(name).layers() if layer.kind in kinds]
        if [part.kind for part in parts] == [layer.kind for layer in layers]:
            pairs = zip(layers, parts, strict=True)
            return name, {layer.name: part for layer, part in pairs if layer.kind != "maxpool"}, ""
    raise _not_a_vgg(path, contents, {})


def _not_a_vgg(path: Path, contents: Contents, modules: Mapping[str, Part]) -> WeightsError:
    """The error for a file without a VGG: names the other network, or the differences to the nearest VGG."""
    text = "\n".join(f"{part.key}.\n{part.name}" for part in contents.parts)
    remedy = "name the weights of a VGG-11, 13, 16 or 19"
    for pattern, other in OTHERS.items():
        if re.search(pattern, text):
            return WeightsError(path, f"holds the weights of {other}, not of a VGG", remedy)
    kinds = [part.kind for part in contents.parts]
    if contents.framework != "torch" or not modules:
        rule = (
            f"not the weights of a VGG: it has {kinds.count('conv')} convolutions"
            f" and {kinds.count('batchnorm')} batch norms"
        )
        hint = "VGG-16 has 13 and VGG-19 has 16, without batch norm" if contents.framework == "keras" else ""
        return WeightsError(path, f"{rule}{', and ' + hint if hint else ''}", remedy)
    tables = {name: set(_numbers(name)) for name in PUBLISHED["torchvision"]}
    keys = set(modules)
    nearest = max(tables, key=lambda name: len(keys & tables[name]) / len(keys | tables[name]))
    difference = [
        f"{word} {_first_numbers(numbers)}"
        for word, numbers in (("lacks", tables[nearest] - keys), ("adds", keys - tables[nearest]))
        if numbers
    ]
    rule = (
        f"not the weights of a VGG; next to the numbered layers of {nearest} it {' and '.join(difference) or 'differs'}"
    )
    return WeightsError(path, rule, remedy)


def _first_numbers(numbers: set[str]) -> str:
    first = sorted(numbers, key=int)[:3]
    return ", ".join(first) + (f" and {len(numbers) - len(first)} more" if len(numbers) > len(first) else "")


def _infer_widths(name: str, body: Body, path: Path) -> Architecture:
    """The architecture with channels and widths from the shapes. Raises WeightsError if they are inconsistent."""
    convolutions = [part for layer, part in body.items() if layer.startswith("conv")]
    biased = ["bias" in part.tensors for part in convolutions]
    if any(biased) and not all(biased):
        without = convolutions[biased.index(False)].key
        raise WeightsError(f"{without} in {path}", "has no bias, and other convolutions have one", "save all weights")
    fitted = Architecture.named(
        name,
        channels=convolutions[0].tensors["weight"].shape[1],
        widths=tuple(part.tensors["weight"].shape[0] for part in convolutions),
        head="pooled",
        classes=2,
    )
    expected = fitted.tensors()
    for layer, part in body.items():
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            shape = expected.get(f"{layer}.{tensor}")
            if shape is None or (tensor == "bias" and layer.startswith("conv") and not all(biased)):
                continue
            found = part.tensors[tensor].shape if tensor in part.tensors else "nothing"
            if found != shape:
                raise WeightsError(
                    f"{part.key}.{tensor} in {path}",
                    f"expected {shape} (outputs, inputs, height, width), found {found}"
                    if len(shape) == 4
                    else f"expected {shape}, found {found}",
                    f"this is {layer}.{tensor} of a {name}; convert an unchanged one",
                )
    return fitted


# The head


def _torch_head(rest: list[Part], trunk: Architecture, keys: tuple[str, ...], prefix: str) -> Body:
    """fc6 and fc7 under the family's keys, and fc8 if its shape fits; empty if fc6 and fc7 do not fit."""
    parts = {part.key: part for part in rest}
    six, seven, eight = (parts.get(prefix + key) for key in keys)
    inner = [key for key in parts if key.startswith(prefix + keys[0].rpartition(".")[0] + ".")]
    others = [key for key in inner if not key.startswith(tuple(prefix + key for key in keys))]
    if others or not six or not seven or not _is_pair(six, seven, TORCH_POOL**2 * trunk.widths[-1]):
        return {}
    if eight and _is_classifier(eight, len(_matrix(seven))):
        return {"fc6": six, "fc7": seven, "fc8": eight}
    square = len(_matrix(six)) == len(_matrix(seven))  # otherwise its outputs may be classes
    return {"fc6": six, "fc7": seven} if square else {}


def _dense_head(rest: list[Part], trunk: Architecture) -> Body:
    """The head of exactly three matching fully connected layers after the convolutions; empty otherwise."""
    if len(rest) != 3 or not all(part.kind in ("linear", "conv") for part in rest):
        return {}
    six, seven, eight = rest
    inputs = _matrix(six).shape[1]
    side = math.isqrt(inputs // trunk.widths[-1])
    fits = side and _is_pair(six, seven, side**2 * trunk.widths[-1]) and _is_classifier(eight, len(_matrix(seven)))
    return {"fc6": six, "fc7": seven, "fc8": eight} if fits else {}


def _pooled_head(rest: list[Part], trunk: Architecture) -> Body:
    """The single fully connected layer after global average pooling; empty if there is none."""
    return {"fc8": rest[0]} if len(rest) == 1 and _is_classifier(rest[0], trunk.widths[-1]) else {}


def _is_pair(six: Part, seven: Part, inputs: int) -> bool:
    """Whether two layers are fc6, with `inputs` inputs, and fc7."""
    if not all("weight" in part.tensors and part.kind in ("linear", "conv") for part in (six, seven)):
        return False
    first, second = _matrix(six), _matrix(seven)
    return (first.shape[1], second.shape[1]) == (inputs, len(first))


def _is_classifier(part: Part, inputs: int) -> bool:
    """Whether a layer is fc8, with `inputs` inputs and at least two outputs."""
    return part.kind in ("linear", "conv") and _matrix(part).shape[1] == inputs and len(_matrix(part)) > 1


def _matrix(part: Part) -> Array:
    """The weight as a matrix (O, I); timm stores fc6 and fc7 as convolutions."""
    weight = part.tensors["weight"]
    return weight.reshape(len(weight), -1)


def _with_head(trunk: Architecture, head: Body) -> Architecture:
    classes = len(_matrix(head["fc8"])) if "fc8" in head else trunk.classes
    if "fc6" not in head:
        return replace(trunk, classes=classes)
    inputs = _matrix(head["fc6"]).shape[1]
    hidden = len(_matrix(head["fc6"])), len(_matrix(head["fc7"]))
    side = math.isqrt(inputs // trunk.widths[-1])
    return replace(trunk, classes=classes, head="vgg", hidden=hidden, image_size=SMALLEST_IMAGE * side)


# Layouts


def _convert_weights(architecture: Architecture, parts: Body, channels_last: bool) -> Weights:
    """Contiguous arrays in vgglass's layout; missing biases are zero."""
    weights: Weights = {}
    for layer in architecture.layers():
        for tensor, shape in layer.tensors.items() if layer.name in parts else ():
            array = parts[layer.name].tensors.get(tensor, np.zeros(shape, np.float32))
            if channels_last and (layer.name, tensor) == ("fc6", "weight"):
                inputs, side, _ = layer.input_shape
                array = array.reshape(-1, side, side, inputs).transpose(0, 3, 1, 2)
            if array.size != math.prod(shape):
                rule = f"expected {shape}, found {array.shape}"
                raise WeightsError(f"{parts[layer.name].key}.{tensor}", rule, "save the layer whole")
            weights[f"{layer.name}.{tensor}"] = np.ascontiguousarray(array.reshape(shape))
    return weights


def _require_finite(path: Path, weights: Weights, parts: Body) -> None:
    for name, array in weights.items():
        wrong = int(array.size - np.isfinite(array).sum())
        if wrong:
            layer, _, tensor = name.partition(".")
            raise WeightsError(
                f"{parts[layer].key}.{tensor} in {path}",
                f"{wrong:,} of {array.size:,} numbers are NaN or infinite: the training that made it had diverged",
                "take an earlier checkpoint, or fetch the file again",
            )
