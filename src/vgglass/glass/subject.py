"""A Subject: one image prepared for one network, the input of every function in vgglass.glass."""

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
    """A network and an image prepared as its input.

    original  the decoded picture in full size (H, W, C), with the network's channels
    place     where the picture lies in the square; its rows and columns are those of the whole original
    square    the network's crop, uint8 (S, S, C)
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
        """Return a layer by name. Raises UsageError, which suggests the closest name."""
        return self.network.architecture.layer(name)

    def require_channel(self, layer: Layer, channel: int) -> None:
        """Raises UsageError for a channel out of range."""
        require_channel(layer.name, layer.output_shape[0], channel)

    def require_class(self, number: int) -> None:
        """Raises UsageError for a class number out of range."""
        classes = self.network.architecture.classes
        if not 0 <= number < classes:
            raise UsageError(f"class {number}", f"the classes are numbered 0 to {classes - 1}", "choose one of them")

    def require_position(self, layer: Layer, position: tuple[int, int]) -> None:
        """Raises UsageError for a position (row, column) outside the layer's maps."""
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
        """Return the logits (K,) of the image. Raises ModelFileError if they are infinite or NaN."""
        with untouched(self.network), torch.inference_mode():
            answer: np.ndarray[tuple[int], np.dtype[np.float32]] = finite(self.network(self.input)[0].numpy())
        return answer


def require_channel(name: str, count: int, channel: int) -> None:
    """Raises UsageError for a channel not in 0..count-1."""
    if not 0 <= channel < count:
        nearest = min(max(channel, 0), count - 1)
        raise UsageError(
            f"channel {channel} of {name}", f"it has {count}, numbered 0 to {count - 1}", f"the nearest is {nearest}"
        )


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode in the block; afterwards restore modules' modes and parameters' requires_grad."""
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


def open_subject(
    model: ModelFile | str | Path, image: Pixels | bytes | str | Path, *, network: VGG | None = None
) -> Subject:
    """Decode and preprocess an image (a path, a file's bytes, or uint8 (H, W, C)) as the model does.

    network  the model's, where it is built already

    Raises ModelFileError, ImageError, or UsageError for an array of another type or shape.
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
    if record.jpeg_scaled and not isinstance(source, np.ndarray):  # `fitted` may be a reduced-size decode
        original = read(source, replace(record, jpeg_scaled=False), DECODERS.decode)
    name = source.name if isinstance(source, Path) else "image"
    place = placement(fitted.shape[0], fitted.shape[1], record)
    return put(network or VGG.from_file(file), file.record, name, original, place, fit(fitted, record))


def put(network: VGG, record: Record, name: str, original: Pixels, place: Placement, square: Pixels) -> Subject:
    """Create a Subject from an image already decoded and cropped; arguments as in Subject."""
    return Subject(
        network, record, name, original, place, square, torch.from_numpy(normalise(square[None], record.preprocessing))
    )


def class_number(subject: Subject, name: str | None) -> int | None:
    """Return the number of a class given by name or number; None for None. Raises UsageError."""
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
