"""One image in front of one network: what every part of the glass looks at."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vgglass import images, modelfile
from vgglass.architecture import Layer
from vgglass.errors import UsageError
from vgglass.images import Pixels
from vgglass.model import VGG
from vgglass.modelfile import ModelFile, Record
from vgglass.preprocess import fit, normalise, read

NEAREST = 3


@dataclass(frozen=True, eq=False)
class Subject:
    """An image and a network, ready to be looked at.

    original  the picture as decoded, in full size (H, W, C), C as the network takes them
    square    what is cut out for the network: uint8 (S, S, C)
    input     `square` normalised: float32 (1, C, S, S)
    """

    network: VGG
    record: Record
    name: str
    original: Pixels
    square: Pixels
    input: Tensor

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.network.architecture.layers()

    def layer(self, name: str) -> Layer:
        """The layer of this name. Raises UsageError, naming the nearest."""
        found = {layer.name: layer for layer in self.layers}
        if name not in found:
            near = difflib.get_close_matches(name, found, n=NEAREST, cutoff=0.0)
            others = [other for other in found if other not in near]
            raise UsageError(
                f"layer {name!r}",
                f"{self.network.architecture.name} has {', '.join(near)} (nearest), {', '.join(others)}",
                f"did you mean {near[0]}",
            )
        return found[name]

    def require_channel(self, layer: Layer, channel: int) -> None:
        """Raises UsageError for a channel that the layer has not."""
        count = layer.output_shape[0]
        if not 0 <= channel < count:
            nearest = min(max(channel, 0), count - 1)
            raise UsageError(
                f"channel {channel} of {layer.name}",
                f"it has {count}, numbered 0 to {count - 1}",
                f"the nearest is {nearest}",
            )

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
        """The network's answer to this image (K,)."""
        with untouched(self.network), torch.inference_mode():
            answer: np.ndarray[tuple[int], np.dtype[np.float32]] = self.network(self.input)[0].numpy()
        return answer


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

    Raises ModelFileError or ImageError.
    """
    file = model if isinstance(model, ModelFile) else modelfile.load(Path(model))
    record = file.record.preprocessing
    source = Path(image) if isinstance(image, str) else image
    name = source.name if isinstance(source, Path) else "image"
    if isinstance(source, np.ndarray):
        original = source
    else:
        original = images.decode(source, channels=record.channels, background=record.background)
    square = fit(read(source, record), record)
    return Subject(
        VGG.from_file(file), file.record, name, original, square, torch.from_numpy(normalise(square[None], record))
    )
