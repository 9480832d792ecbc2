"""What a position of a layer sees: in theory from the architecture alone, on the original image, and as measured.

Coordinates are continuous, in pixels: the first pixel spans 0 to 1, so that its centre is 0.5.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vgglass.architecture import Architecture
from vgglass.glass import sheets
from vgglass.glass.subject import Subject, untouched

HELD = 0.95  # share of the gradient that the effective field is to hold


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels; bottom and right are exclusive."""

    top: float
    left: float
    bottom: float
    right: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def empty(self) -> bool:
        """Whether nothing is left of it: what a position in the padding sees of the original."""
        return self.width == 0 or self.height == 0

    def clipped(self, height: float, width: float) -> "Box":
        """The part of it on an image of this size."""
        rows = (min(max(edge, 0.0), height) for edge in (self.top, self.bottom))
        columns = (min(max(edge, 0.0), width) for edge in (self.left, self.right))
        (top, bottom), (left, right) = rows, columns
        return Box(top, left, bottom, right)


@dataclass(frozen=True)
class ReceptiveField:
    """A layer's view of its input: side and jump (distance between neighbours) in pixels, centre of position 0."""

    size: int
    jump: int
    first_centre: float

    def centre(self, position: tuple[int, int]) -> tuple[float, float]:
        row, column = (self.first_centre + self.jump * place for place in position)
        return row, column

    def box(self, position: tuple[int, int]) -> Box:
        """What a position (row, column) sees of the network's input; it may reach over the border."""
        row, column = self.centre(position)
        reach = self.size / 2
        return Box(row - reach, column - reach, row + reach, column + reach)


def receptive_field(architecture: Architecture, name: str) -> ReceptiveField:
    """A layer's receptive field by arithmetic: a window of side k and padding p moves the centre by (k-1)/2 - p."""
    wanted = architecture.layer(name)
    centre, jump = 0.5, 1
    for layer in architecture.layers():
        centre += ((layer.kernel - 1) / 2 - layer.padding) * jump
        jump = layer.jump
        if layer == wanted:
            break
    return ReceptiveField(wanted.receptive_field, jump, centre)


def on_original(subject: Subject, box: Box) -> Box:
    """A box of the network's input as a box of the original image: back through crop and resize, clipped."""
    height, width = subject.original.shape[:2]
    place = subject.place
    rows, columns = height / place.rows, width / place.columns
    size = subject.record.preprocessing.size
    seen = box.clipped(size, size)
    moved = Box(
        (seen.top - place.top) * rows,
        (seen.left - place.left) * columns,
        (seen.bottom - place.top) * rows,
        (seen.right - place.left) * columns,
    )
    return moved.clipped(height, width)


@dataclass(frozen=True, eq=False)
class EffectiveField:
    """Where the gradient of one position falls (after Luo et al., 2016).

    gradient  (S, S): absolute gradient of the layer's outputs there by the input, summed over both's channels
    side      of the smallest square around the centre that holds HELD of it, in input pixels
    """

    layer: str
    position: tuple[int, int]
    theory: ReceptiveField
    gradient: NDArray[np.float32]
    side: int

    @property
    def share(self) -> float:
        """Of the theoretical area, as a share."""
        return min(1.0, (self.side / self.theory.size) ** 2)

    def _repr_png_(self) -> bytes:
        return sheets.as_png(sheets.heat(np.sqrt(self.gradient)))


def effective_field(subject: Subject, name: str, position: tuple[int, int] | None = None) -> EffectiveField:
    """Measure what moves a layer's position (the middle one without): one backward pass to the image."""
    return effective_fields(subject, {name: position})[0]


def effective_fields(subject: Subject, positions: Mapping[str, tuple[int, int] | None]) -> list[EffectiveField]:
    """The same for several layers by one forward pass."""
    places: dict[str, tuple[int, int]] = {}
    for name, position in positions.items():
        layer = subject.layer(name)
        places[name] = position or (layer.output_shape[1] // 2, layer.output_shape[2] // 2)
        subject.require_position(layer, places[name])
    image = subject.input.clone().requires_grad_()
    fields = []
    with untouched(subject.network):
        for step in subject.network.walk(image):
            if step.name not in places:
                continue
            place = places.pop(step.name)
            outputs = step.output.reshape(step.layer.output_shape)[:, *place].sum()
            (gradient,) = torch.autograd.grad(outputs, image, retain_graph=bool(places))
            theory = receptive_field(subject.network.architecture, step.name)
            field = gradient[0].abs().sum(dim=0).numpy()
            fields.append(EffectiveField(step.name, place, theory, field, _holding(field, theory.centre(place))))
            if not places:
                break
    return fields


def _holding(field: NDArray[np.float32], centre: tuple[float, float]) -> int:
    """Side of the smallest square around a centre that holds HELD of a field."""
    size = len(field)
    away = np.abs(np.arange(size) + 0.5 - centre[0])[:, None], np.abs(np.arange(size) + 0.5 - centre[1])[None, :]
    distance = np.maximum(*away).ravel()
    order = np.argsort(distance, kind="stable")
    held = np.cumsum(field.ravel()[order], dtype=np.float64)
    if held[-1] == 0:
        return 0
    last = float(distance[order][np.searchsorted(held, HELD * held[-1])])
    return math.ceil(2 * last + 1 - 1e-9)
