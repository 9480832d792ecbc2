"""Convert foreign weights to a model file, with a report of what was used and ignored, and model files to theirs."""

from collections import Counter
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from vgglass import __version__
from vgglass.architecture import SMALLEST_IMAGE, Architecture
from vgglass.errors import MissingExtraError, UsageError, WeightsError
from vgglass.files import replacing
from vgglass.modelfile import ModelFile
from vgglass.weights import formats
from vgglass.weights.families import FAMILIES, FEEDS, PUBLISHED, SUFFIXES, TORCH_POOL, Entry, key_table, preprocessing
from vgglass.weights.formats import Array, Contents
from vgglass.weights.recognition import Network, recognise

SHOWN = 4  # ignored keys that are listed
CONVENTIONS = ("torchvision", "keras")  # of preprocessing
NAMES = {"keras": "Keras", "onnx": "ONNX"}  # for display
WAYS = {"RGB": "RGB, mean and deviation of ImageNet", "BGR": "BGR, mean of ImageNet subtracted"}


@dataclass(frozen=True)
class Foreign:
    """A network recognised in a file of another framework.

    network     architecture, weights, and the keys that were ignored
    family      'torchvision', 'timm' or 'keras'; 'onnx' for a graph
    convention  of preprocessing: 'torchvision' or 'keras'
    contents    all layers of the file
    """

    path: Path
    network: Network
    family: str
    convention: str
    contents: Contents

    def lines(self) -> tuple[str, str]:
        """Two sentences for the user: what was recognised, and which layers were used."""
        network = self.network
        order = FEEDS[self.convention][0] if network.architecture.channels == 3 else "L"
        description = WAYS.get(order, "grey, the colours' mean and deviation averaged")
        chosen = f", {self.contents.chosen}" if self.contents.chosen else ""
        family, convention = (NAMES.get(name, name) for name in (self.family, self.convention))
        what = f"{self.path.name}: {family} weights of {network.architecture.name}{chosen}"
        return (
            f"{what}; preprocessing as {convention} does ({description})",
            f"taken: {network.taken_in_words()}; {self._ignored_in_words()}",
        )

    def _ignored_in_words(self) -> str:
        left = self.network.left_out
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        named = f"left out: {', '.join(left[:SHOWN])}{more}" if left else "nothing left out"
        if self.network.has_classes:
            return named
        return f"{named}; fc8 is zero, so that every class is equally likely until a head is trained"


def read_foreign(path: Path, preprocessing: str | None = None) -> Foreign:
    """Recognise the VGG in a file of torchvision, timm or Keras, or in an ONNX graph.

    preprocessing  one of CONVENTIONS; None: the family's own, if the file determines it
    Raises WeightsError, UsageError, MissingExtraError.
    """
    if preprocessing not in (None, *CONVENTIONS):
        rule = f"not one of {', '.join(CONVENTIONS)}"
        raise UsageError(f"--preprocessing {preprocessing}", rule, "choose how the network was fed when it was trained")
    if not find_spec("torch"):
        raise MissingExtraError("torch", "torch", "converting weights")
    contents = formats.read(path)
    network, family = recognise(path, contents)
    convention = preprocessing or (
        None if contents.own_feed else {"onnx": None, "keras": "keras"}.get(family, "torchvision")
    )
    if convention is None:
        rule = f"does not tell how its network is fed ({contents.own_feed or 'a graph has no family'})"
        remedy = "add --preprocessing torchvision (RGB, mean and deviation) or keras (BGR, mean alone)"
        raise WeightsError(path, rule, remedy)
    return Foreign(path, network, family, convention, contents)


def from_foreign(
    path: Path, classes: tuple[str, ...] | None = None, image_size: int | None = None, preprocessing: str | None = None
) -> ModelFile:
    """`model_of` applied to `read_foreign`."""
    return model_of(read_foreign(path, preprocessing), classes, image_size)


def model_of(foreign: Foreign, classes: tuple[str, ...] | None = None, image_size: int | None = None) -> ModelFile:
    """A model file in memory of a recognised network, including golden inputs.

    classes     in the order of the outputs; None: 'unnamed 1', 'unnamed 2', ...
    image_size  in pixels; None: the family's own (224, or the size that fc6 of Keras or a graph fits)
    At another size, torchvision's and timm's adaptive average pooling is folded into fc6, which preserves the output.
    Greyscale networks use the family's mean and deviation averaged over the channels. Raises WeightsError.
    """
    import torch

    from vgglass.model import VGG

    source = foreign.network.architecture
    if classes is not None and not foreign.network.has_classes:
        source = replace(source, classes=len(classes))
    if classes is None:
        classes = tuple(f"unnamed {number}" for number in range(1, source.classes + 1))
    _require_classes(classes, source.classes)
    target = source.at(image_size or source.image_size)
    weights = dict(foreign.network.weights)
    if target.head == "vgg":
        weights["fc6.weight"] = _fold_pooling(weights["fc6.weight"], source, target, foreign.family)
    missing = {
        name: shape for name, shape in target.tensors().items() if name not in weights
    }  # fc8, if the file has no head
    weights |= {name: np.zeros(shape, np.float32) for name, shape in missing.items()}
    return VGG.from_weights(target, weights).to_file(
        classes,
        preprocessing(foreign.convention, target),
        recipe={"converted_from": foreign.family},
        versions={"vgglass": __version__, "torch": torch.__version__},
    )


def _require_classes(classes: tuple[str, ...], outputs: int) -> None:
    if len(classes) != outputs:
        raise WeightsError(
            f"{len(classes)} class names", f"the weights have {outputs} outputs", "give one name an output, in order"
        )
    name, times = Counter(classes).most_common(1)[0]
    if times > 1:
        raise WeightsError(f"class {name!r}", f"named {times} times", "give every class a name of its own")


def _fold_pooling(fc6: Array, source: Architecture, target: Architecture, family: str) -> Array:
    """fc6 for another input size: adaptive average pooling is linear and is folded into the matrix."""
    before, after = source.head_kernel, target.head_kernel
    if before == after:
        return fc6
    if family in ("keras", "onnx"):
        rule = f"{'Keras' if family == 'keras' else 'the graph'}'s fc1 here fits {source.image_size}"
        raise WeightsError(f"image size {target.image_size}", rule, "leave the image size out")
    if family == "timm" and after > TORCH_POOL:
        raise WeightsError(
            f"image size {target.image_size}",
            f"timm slides its head over a {after}x{after} map and averages, which no fully connected layer equals",
            f"choose {SMALLEST_IMAGE * (TORCH_POOL + 1) - 1} or less",
        )
    pooling = pooling_matrix(before, after)
    # (row, column) is flattened to one index, so pooling both axes is a Kronecker product.
    return (fc6.reshape(-1, before * before) @ np.kron(pooling, pooling)).reshape(len(fc6), -1)


def pooling_matrix(outputs: int, inputs: int) -> Array:
    """Adaptive average pooling along one axis, (outputs, inputs): bin i spans floor(i*in/out) to ceil((i+1)*in/out)."""
    matrix = np.zeros((outputs, inputs), np.float32)
    for row in range(outputs):
        start, stop = row * inputs // outputs, -(-(row + 1) * inputs // outputs)
        matrix[row, start:stop] = 1 / (stop - start)
    return matrix


# Export to torchvision, timm and Keras.


def to_foreign(model: ModelFile, path: Path, family: str) -> None:
    """Write the weights in the format of `family`, one of FAMILIES: `.pth` or `.safetensors`, for Keras `.weights.h5`.

    Such files have no class names or preprocessing: apply the preprocessing of the model's own record, not the
    family's default. Raises UsageError for an unknown family, WeightsError if the family lacks the architecture.
    """
    if family not in FAMILIES:
        raise UsageError(f"--to {family}", f"not one of {', '.join(FAMILIES)}", "choose the framework to write for")
    architecture = model.record.architecture
    _require_expressible(architecture, family)
    if not path.name.endswith(SUFFIXES[family]):
        raise WeightsError(path, f"{family} loads {' or '.join(SUFFIXES[family])}", "choose such a name")
    state: dict[str, NDArray[Any]] = {
        entry.key: _to_foreign_layout(model.weights[name], entry)
        for name, entry in key_table(architecture, family).items()
    }
    for key in [key for key in state if key.endswith(".running_var")]:
        state[key.replace(".running_var", ".num_batches_tracked")] = np.zeros((), np.int64)
    try:
        with replacing(path) as temporary:
            formats.write(state, temporary, path.suffix)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:  # torch reports a full disk as RuntimeError
        raise WeightsError(path, f"could not be written ({error})", "free space or choose another place") from error


def _require_expressible(architecture: Architecture, family: str) -> None:
    if architecture.name not in PUBLISHED[family]:
        raise WeightsError(
            architecture.name,
            f"{family} has no such network",
            f"it has {', '.join(PUBLISHED[family])}; keep the vgglass file",
        )
    if family != "keras" and architecture.head == "pooled":
        rule = f"averages pool5 and has fc8 alone, where {family}'s {architecture.name} has fc6, fc7 and fc8"
        raise WeightsError("a pooled head", rule, "keep the vgglass file, or write it for keras")
    if any(architecture.ranks):
        ranks = " and ".join(map(str, architecture.ranks))
        rule = f"has two matrices for one, and {family}'s fc6 and fc7 are a matrix each"
        raise WeightsError(f"a head factorised to ranks {ranks}", rule, "keep the vgglass file, or write its parent")
    if family == "timm" and architecture.head == "vgg" and len(set(architecture.hidden)) > 1:
        rule = "timm's head has as many outputs in fc6 as in fc7"
        widths = " and ".join(map(str, architecture.hidden))
        raise WeightsError(f"fc6 and fc7 of {widths} outputs", rule, "keep the vgglass file, or write torchvision's")
    side = architecture.head_kernel
    if family != "keras" and side != TORCH_POOL:
        raise WeightsError(
            f"an image size of {architecture.image_size}",
            f"fc6 takes a {side}x{side} map, and {family} always pools to {TORCH_POOL}x{TORCH_POOL}",
            "keep the vgglass file",
        )


def _to_foreign_layout(array: Array, entry: Entry) -> Array:
    if entry.channels_last:
        array = array.reshape(entry.kernel).transpose(2, 3, 1, 0)
    return np.ascontiguousarray(array.reshape(entry.shape))
