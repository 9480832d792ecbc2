"""What a network of given widths costs: multiply-adds, or milliseconds measured on this machine and engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from vgglass.architecture import Architecture
from vgglass.shrinking.channels import removable, with_widths
from vgglass.shrinking.selection import group_of

Widths = Mapping[str, int]
LayerTimes = Callable[[Architecture], dict[str, float]]  # milliseconds an image, by layer with weights, measured

LEAST = 1e-4  # milliseconds: what a clock says of a layer that it does not see
# Shares of the channels of the networks that are measured: of layers at even places and at odd ones, so that inputs and
# outputs vary apart.
SHARES = ((1.0, 1.0), (1.0, 0.5), (0.5, 1.0), (0.5, 0.5), (0.5, 0.25), (0.25, 0.5), (0.25, 0.25), (0.125, 0.125))


def multiply_adds(architecture: Architecture, widths: Widths) -> float:
    return float(with_widths(architecture, widths).multiply_adds)


@dataclass(frozen=True)
class Milliseconds:
    """A model of the time that each layer takes for I inputs and O outputs: a + b I + c O + d I O, none negative.

    coefficients  by layer (4,)
    """

    architecture: Architecture
    coefficients: dict[str, list[float]]

    def __call__(self, widths: Widths) -> float:
        """Milliseconds an image of the network with these widths."""
        sizes = _sizes(with_widths(self.architecture, widths))
        return sum(float(np.dot(self.coefficients[name], _terms(*size))) for name, size in sizes.items())


def measured(architecture: Architecture, times: LayerTimes, group: int, count: Callable[[int], None]) -> Milliseconds:
    """Measure some networks of the family, and fit the time of each layer.

    group  the widths are multiples of it
    count  of the networks that are done
    """
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in _sizes(architecture)}
    found: dict[str, list[float]] = {name: [] for name in rows}
    for shares in SHARES:
        network = _scaled(architecture, shares, group)
        layers = times(network)
        for name, size in _sizes(network).items():
            rows[name].append(_terms(*size))
            found[name].append(layers[name])
        count(1)
    # Weighted by the time itself: a narrow network's tenth of a millisecond counts as a wide one's ten.
    fitted = {
        name: nnls(np.array(rows[name]) / np.maximum(found[name], LEAST)[:, None], np.ones(len(SHARES)))[0].tolist()
        for name in rows
    }
    return Milliseconds(architecture, fitted)


def _scaled(architecture: Architecture, shares: tuple[float, float], group: int) -> Architecture:
    wanted = {}
    for place, name in enumerate(removable(architecture)):
        count = architecture.layer(name).output_shape[0]
        together = group_of(count, group)
        wanted[name] = min(count, max(together, round(count * shares[place % 2] / together) * together))
    return with_widths(architecture, wanted)


def _sizes(architecture: Architecture) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each layer with a matrix of weights."""
    return {
        layer.name: (layer.input_shape[0], layer.output_shape[0])
        for layer in architecture.layers()
        if layer.kind in ("conv", "linear")
    }


def _terms(inputs: int, outputs: int) -> tuple[float, ...]:
    return 1.0, float(inputs), float(outputs), float(inputs) * outputs
