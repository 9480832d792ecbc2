"""A shrunk network beside the one that it came from, on one image. C channels, H height, W width."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vgglass.glass.importance import Shares, importance
from vgglass.glass.layers import Silenced, silence, walk
from vgglass.glass.steps import Arithmetic
from vgglass.glass.subject import Subject, put, untouched
from vgglass.lineage import Kin, kin
from vgglass.model import VGG
from vgglass.modelfile import ModelFile


@dataclass(frozen=True, eq=False)
class Removed:
    """The channels of a layer that went.

    layer        the ReLU whose maps these are
    channels     the parent's numbers, most important first
    shares       of the layer's importance in the parent, in that order
    maps         of the parent, in that order: float32 (C, H, W)
    probability  that the parent gives the class without them
    """

    layer: str
    channels: tuple[int, ...]
    shares: NDArray[np.float64]
    maps: NDArray[np.float32]
    probability: float

    def as_json(self) -> dict[str, Any]:
        """Return the numbers without the maps."""
        return {
            "layer": self.layer, "channels": self.channels, "importance": self.shares.tolist(),
            "probability": self.probability,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Comparison:
    """What the parent makes of the image.

    maps         by the same layers, the parent's maps of the kept channels in the child's order (C, H, W)
    kin          by layer of the child that is shown
    probability  that the parent gives the class, and `without` that it gives without any removed channel
    removed      of the shown ReLUs that lost channels
    """

    kin: Mapping[str, Kin]
    maps: Mapping[str, NDArray[np.float32]]
    target: int
    probability: float
    without: float
    removed: tuple[Removed, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the numbers without the maps."""
        return {
            "probability": self.probability,
            "without": self.without,
            "removed": [layer.as_json() for layer in self.removed],
            "kept": {name: each.kept for name, each in self.kin.items()},
        }


def parent_subject(subject: Subject, parent: ModelFile) -> Subject:
    """The same image before the network that the subject's was shrunk from, by `lineage.require_parent`."""
    network = VGG.from_file(parent, shared=True).requires_grad_(False)
    return put(network, parent.record, subject.name, subject.original, subject.place, subject.square)


def compare(subject: Subject, parent: Subject, target: int, layers: Collection[str]) -> Comparison:
    """Compute what a shrunk network's parent makes of the same image, and of what was removed.

    parent  see `parent_subject`
    target  the class whose probability is followed
    layers  of the child, to show
    """
    found = kin(subject.record, parent.record)
    shown = {name: each for name, each in found.items() if name in layers}
    views = {view.name: view.maps for view in walk(parent)}
    shares = importance(parent, target)
    return Comparison(
        shown,
        {name: views[each.layer][list(each.kept)] for name, each in shown.items()},
        target,
        probability(parent, target, {}),
        probability(parent, target, silenced(found)),
        tuple(
            _removed(parent, each, views[each.layer], shares, target)
            for name, each in shown.items()
            if each.removed and subject.layer(name).kind == "relu"
        ),
    )


def silenced(found: Mapping[str, Kin]) -> dict[str, tuple[int, ...]]:
    """All removed channels, by the parent's ReLU, where they have a say."""
    return {each.layer: each.removed for name, each in found.items() if name.startswith("relu") and each.removed}


def probability(subject: Subject, target: int, without: Silenced) -> float:
    """The probability of a class with channels set to zero."""
    with untouched(subject.network), torch.inference_mode():
        *_, last = subject.network.walk(subject.input, silence(subject, without))
    return float(subject.record.probabilities(last.input[0].numpy())[target])


@dataclass(frozen=True)
class Counterpart:
    """The parent's number in the place of one of its child's: layer, channel, and value."""

    layer: str
    channel: int
    value: float


def counterpart(subject: Subject, parent: Subject, found: Arithmetic) -> Counterpart | None:
    """What the parent has in the place of a number of its child; None for a layer that is the child's alone."""
    each = kin(subject.record, parent.record).get(found.layer.name)
    if each is None:
        return None
    maps = next(view.maps for view in walk(parent) if view.name == each.layer)
    channel = each.kept[found.channel]
    return Counterpart(each.layer, channel, float(maps[channel, *found.position]))


def by_importance(channels: tuple[int, ...], shares: NDArray[np.float64]) -> NDArray[np.intp]:
    """Some of a layer's channels, most important first. shares: of all of the layer's."""
    chosen = np.array(channels, np.intp)
    order: NDArray[np.intp] = chosen[np.argsort(-shares[chosen], kind="stable")]
    return order


def _removed(parent: Subject, each: Kin, maps: NDArray[np.float32], shares: Shares, target: int) -> Removed:
    order = by_importance(each.removed, shares[each.layer])
    after = probability(parent, target, {each.layer: each.removed})
    return Removed(each.layer, tuple(order.tolist()), shares[each.layer][order], maps[order], after)
