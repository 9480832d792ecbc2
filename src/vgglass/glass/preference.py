"""What a channel looks for: the patches of some images that excite it most, and an image made to excite it.

C channels, S side of the network's input.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vgglass.architecture import Box
from vgglass.glass.receptive_field import on_original, receptive_field
from vgglass.glass.subject import Subject, untouched
from vgglass.images import Pixels

STEPS, RATE, START = 24, 1.5, 0.05  # of the ascent, in deviations of the input; the noise that it starts from
SEED = 0


@dataclass(frozen=True, eq=False)
class Patch:
    """The receptive field of a channel's largest number on one image: uint8 (h, w, C), of the original."""

    name: str
    value: float
    position: tuple[int, int]
    pixels: Pixels = field(repr=False)


@dataclass(frozen=True, eq=False)
class Stage:
    """What is known after `done` of `total` steps; the patches and the image are there once they are complete."""

    done: int
    total: int
    patches: list[Patch] | None = None
    image: Pixels | None = None


def stages(subjects: Sequence[Subject], layer: str, channel: int) -> Iterator[Stage]:
    """Yield after each image's patch and each step of the ascent; the last stage is complete, the strongest first.

    The network is as it was between any two of them. Raises UsageError at once for an unknown layer or channel.
    """
    subjects[0].require_channel(subjects[0].layer(layer), channel)
    return _stages(subjects, layer, channel, len(subjects) + STEPS)


def _stages(subjects: Sequence[Subject], layer: str, channel: int, total: int) -> Iterator[Stage]:
    patches: list[Patch] = []
    for subject in subjects:
        patches.append(_patch(subject, layer, channel))
        yield Stage(len(patches), total)
    patches.sort(key=lambda patch: -patch.value)
    for step, image in enumerate(_ascent(subjects[0], layer, channel), 1):
        yield Stage(len(patches) + step, total, patches, image)


def _patch(subject: Subject, layer: str, channel: int) -> Patch:
    with torch.inference_mode():
        found = _map(subject, subject.input, layer, channel).numpy()
    row, column = (int(place) for place in np.unravel_index(found.argmax(), found.shape))
    box = on_original(subject, receptive_field(subject.network.architecture, layer).box((row, column)))
    return Patch(subject.name, float(found[row, column]), (row, column), _cut(subject.original, box))


def _cut(pixels: Pixels, box: Box) -> Pixels:
    """Every pixel that the box touches; one at least."""
    top, left = int(box.top), int(box.left)
    bottom, right = max(top + 1, int(np.ceil(box.bottom))), max(left + 1, int(np.ceil(box.right)))
    return pixels[top:bottom, left:right]


def _ascent(subject: Subject, layer: str, channel: int) -> Iterator[Pixels | None]:
    """Yield after each step: None, and after the last one an image (h, w, C): the field in the middle of the square.

    Normalised gradient ascent on the number in the middle of the map, from faint noise around the mean image (Erhan et
    al., 2009).
    """
    noise = torch.randn(subject.input.shape, generator=torch.Generator().manual_seed(SEED))
    deviation = subject.input.std().clamp_min(1e-6)
    image = (START * deviation * noise).requires_grad_()
    for step in range(STEPS):
        if step:
            yield None
        with untouched(subject.network):
            values = _map(subject, image, layer, channel)
            (gradient,) = torch.autograd.grad(values[values.shape[0] // 2, values.shape[1] // 2], image)
        with torch.no_grad():
            image += RATE * deviation / STEPS**0.5 * gradient / gradient.abs().amax().clamp_min(1e-12)
    height, width = values.shape
    size = subject.record.preprocessing.size
    box = receptive_field(subject.network.architecture, layer).box((height // 2, width // 2)).clipped(size, size)
    yield _cut(_pixels(subject, image), box)


def _map(subject: Subject, images: Tensor, layer: str, channel: int) -> Tensor:
    """A channel's map (H, W), before its ReLU or after it as the layer says; what lies behind it is not computed."""
    subject.require_channel(subject.layer(layer), channel)
    output = next(step.output for step in subject.network.walk(images) if step.name == layer)
    return output[0, channel].reshape(subject.layer(layer).output_shape[1:])


def _pixels(subject: Subject, image: Tensor) -> Pixels:
    """The image as uint8 (S, S, C), red first."""
    record = subject.record.preprocessing
    mean, std = (np.asarray(numbers, np.float32) for numbers in (record.mean, record.std))
    values = image.detach()[0].permute(1, 2, 0).numpy() * std + mean
    values = values[..., ::-1] if record.channel_order == "BGR" else values
    pixels: Pixels = np.clip(np.round(values), 0, 255).astype(np.uint8)
    return pixels
