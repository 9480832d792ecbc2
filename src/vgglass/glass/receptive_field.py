"""Receptive fields: theoretical (from the architecture), on the original image, and effective (measured)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vgglass.architecture import Architecture, Box, ReceptiveField
from vgglass.glass import sheets
from vgglass.glass.subject import Subject, untouched

HELD = 0.95  # fraction of the gradient within the effective field


def receptive_field(architecture: Architecture, name: str) -> ReceptiveField:
    """Return a layer's theoretical receptive field. Raises UsageError for an unknown layer."""
    return architecture.layer(name).receptive_field


def on_original(subject: Subject, box: Box) -> Box:
    """Map a box from the network's input back through crop and resize to the original image, clipped."""
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
    """The effective receptive field of one position (after Luo et al., 2016).

    gradient  (S, S): |d output / d input|, summed over the channels of both
    side      of the smallest centred square that contains HELD of the gradient, in input pixels
    """

    layer: str
    position: tuple[int, int]
    theory: ReceptiveField
    gradient: NDArray[np.float32]
    side: int

    @property
    def share(self) -> float:
        """Fraction of the theoretical area."""
        return min(1.0, (self.side / self.theory.size) ** 2)

    def _repr_png_(self) -> bytes:
        return sheets.as_png(sheets.heat(np.sqrt(self.gradient)))


def effective_field(subject: Subject, name: str, position: tuple[int, int] | None = None) -> EffectiveField:
    """Measure the effective field of a position (default: the middle) with one backward pass to the image."""
    return effective_fields(subject, {name: position})[0]


def effective_fields(subject: Subject, positions: Mapping[str, tuple[int, int] | None]) -> list[EffectiveField]:
    """Measure the effective fields of several layers with one forward pass."""
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
            theory = step.layer.receptive_field
            field = gradient[0].abs().sum(dim=0).numpy()
            fields.append(
                EffectiveField(step.name, place, theory, field, _smallest_square(field, theory.centre(place)))
            )
            if not places:
                break
    return fields


def _smallest_square(field: NDArray[np.float32], centre: tuple[float, float]) -> int:
    """Return the side of the smallest square around `centre` that contains HELD of `field`."""
    size = len(field)
    away = np.abs(np.arange(size) + 0.5 - centre[0])[:, None], np.abs(np.arange(size) + 0.5 - centre[1])[None, :]
    distance = np.maximum(*away).ravel()
    order = np.argsort(distance, kind="stable")
    held = np.cumsum(field.ravel()[order], dtype=np.float64)
    if held[-1] == 0:
        return 0
    last = float(distance[order][np.searchsorted(held, HELD * held[-1])])
    return math.ceil(2 * last + 1 - 1e-9)
