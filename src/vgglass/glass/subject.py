"""One image in front of one network: what every part of the glass looks at."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vgglass import modelfile
from vgglass.architecture import Layer
from vgglass.engines import finite
from vgglass.errors import UsageError
from vgglass.images import Pixels
from vgglass.isolation import DECODERS
from vgglass.model import VGG
from vgglass.modelfile import ModelFile, Record
from vgglass.names import normalised
from vgglass.preprocess import Placement, fit, normalise, placement, read


@dataclass(frozen=True, eq=False)
class Subject:
    """An image and a network, ready to be looked at.

    original  the picture as decoded, in full size (H, W, C), C as the network takes them
    place     where the picture lies in the square; its rows and columns are the whole original's
    square    what is cut out for the network: uint8 (S, S, C)
    input     `square` normalised: float32 (1, C, S, S)
    """

    network: VGG
    record: Record
    name: str
    original: Pixels
    place: Placement
    square: Pixels
    input: Tensor

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.network.architecture.layers()

    def layer(self, name: str) -> Layer:
        """The layer of this name. Raises UsageError, naming the nearest."""
        return self.network.architecture.layer(name)

    def require_channel(self, layer: Layer, channel: int) -> None:
        """Raises UsageError for a channel that the layer has not."""
        require_channel(layer.name, layer.output_shape[0], channel)

    def require_class(self, number: int) -> None:
        """Raises UsageError for a class that the network does not tell."""
        classes = self.network.architecture.classes
        if not 0 <= number < classes:
            raise UsageError(f"class {number}", f"the classes are numbered 0 to {classes - 1}", "choose one of them")

    def require_position(self, layer: Layer, position: tuple[int, int]) -> None:
        """Raises UsageError for a position (row, column) that the layer's maps have not."""
        height, width = layer.output_shape[1:]
        row, column = position
        if not (0 <= row < height and 0 <= column < width):
            nearest = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
            raise UsageError(
                f"position {row},{column} of {layer.name}",
                f"its maps have rows 0 to {height - 1} and columns 0 to {width - 1}",
                f"the nearest is {nearest[0]},{nearest[1]}",
            )

    def logits(self) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
        """The network's answer to this image (K,). Raises ModelFileError for one that is infinite or not a number."""
        with untouched(self.network), torch.inference_mode():
            answer: np.ndarray[tuple[int], np.dtype[np.float32]] = finite(self.network(self.input)[0].numpy())
        return answer


def require_channel(name: str, count: int, channel: int) -> None:
    """Raises UsageError for a channel that something of so many channels has not."""
    if not 0 <= channel < count:
        nearest = min(max(channel, 0), count - 1)
        raise UsageError(
            f"channel {channel} of {name}", f"it has {count}, numbered 0 to {count - 1}", f"the nearest is {nearest}"
        )


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module's mode and every parameter's requires_grad is as it was."""
    modes = {module: module.training for module in network.modules()}
    wanted = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.eval()
    for parameter, _ in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, requires in wanted:
            parameter.requires_grad_(requires)


def open_subject(model: ModelFile | str | Path, image: Pixels | bytes | str | Path) -> Subject:
    """Put an image (a path, the bytes of a file, or uint8 (H, W, C)) before a model, through the model's own way in.

    Raises ModelFileError, ImageError, or UsageError for an array of another kind.
    """
    file = model if isinstance(model, ModelFile) else modelfile.load(Path(model))
    record = file.record.preprocessing
    source = Path(image) if isinstance(image, str) else image
    fitted = read(source, record, DECODERS.decode)
    if fitted.ndim != 3 or fitted.shape[2] != record.channels or fitted.dtype != np.uint8:
        raise UsageError(
            f"an array of {fitted.dtype} {fitted.shape}",
            f"this network takes uint8 (H, W, {record.channels})",
            "convert it, or give the file itself",
        )
    original = fitted
    if record.jpeg_scaled and not isinstance(source, np.ndarray):  # `fitted` may be smaller
        original = read(source, replace(record, jpeg_scaled=False), DECODERS.decode)
    name = source.name if isinstance(source, Path) else "image"
    place = placement(fitted.shape[0], fitted.shape[1], record)
    return put(VGG.from_file(file), file.record, name, original, place, fit(fitted, record))


def put(network: VGG, record: Record, name: str, original: Pixels, place: Placement, square: Pixels) -> Subject:
    """Put an image that is decoded and fitted already before a network; the arguments as in Subject."""
    return Subject(
        network, record, name, original, place, square, torch.from_numpy(normalise(square[None], record.preprocessing))
    )


def class_number(subject: Subject, name: str | None) -> int | None:
    """The number of a class given by name or number; None for none. Raises UsageError."""
    classes = subject.record.classes
    if name is None:
        return None
    if normalised(name) in map(normalised, classes):
        return [*map(normalised, classes)].index(normalised(name))
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    near = difflib.get_close_matches(name, classes, n=3, cutoff=0.0)
    raise UsageError(
        f"--target {name}", f"is none of the {len(classes)} classes (nearest: {', '.join(near)})", "choose one of them"
    )
