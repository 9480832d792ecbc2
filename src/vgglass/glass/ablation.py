"""Channel ablation: set channels to zero and measure the change of the logits. K classes."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgglass.errors import UsageError
from vgglass.glass.layers import Silenced, silence
from vgglass.glass.subject import Subject, untouched
from vgglass.model import Edit

BATCH_NUMBERS = 2**23  # elements in a batch of ablated copies of a layer's output: 32 MiB


@dataclass(frozen=True, eq=False)
class Ablation:
    """Logits (K,) before and after ablating channels."""

    without: Mapping[str, Collection[int]]
    before: NDArray[np.float32]
    after: NDArray[np.float32]

    @property
    def moves(self) -> NDArray[np.float32]:
        return self.after - self.before


@dataclass(frozen=True)
class Stage:
    """How far an ablation is: `done` of `total` layers; its result is there with the last one."""

    done: int
    total: int
    ablation: Ablation | None = None


@dataclass(frozen=True)
class Effect:
    """The effect of ablating one channel: the change of the predicted class's logit, and the new prediction."""

    channel: int
    move: float
    winner: int


def ablate(subject: Subject, without: Silenced) -> Ablation:
    """Run the network with the given channels set to zero. Raises UsageError for unknown layers or channels."""
    *_, last = stages(subject, without, subject.logits())
    assert last.ablation
    return last.ablation


def stages(subject: Subject, without: Silenced, before: NDArray[np.float32]) -> Iterator[Stage]:
    """Yield after each layer of the network without the channels; the last stage is what `ablate` returns.

    The network is as it was between any two of them. Raises UsageError at once for unknown layers or channels.

    before  logits of the whole network
    """
    for name in without:
        require_before_prob(subject, name)
    return _stages(subject, without, before, silence(subject, without))


def _stages(subject: Subject, without: Silenced, before: NDArray[np.float32], edit: Edit) -> Iterator[Stage]:
    walk, total = subject.network.walk(subject.input, edit), len(subject.layers)
    for done in range(1, total + 1):
        with untouched(subject.network), torch.inference_mode():
            step = next(walk)
        yield Stage(done, total, Ablation(without, before, step.input[0].numpy()) if done == total else None)


def rank(subject: Subject, name: str) -> list[Effect]:
    """Rank a layer's channels by their effect on the predicted class's logit, largest first."""
    require_before_prob(subject, name)
    with untouched(subject.network), torch.inference_mode():
        whole = next(step.output for step in subject.network.walk(subject.input) if step.name == name)
    found = [effect for batch in effects(subject, name, whole) for effect in batch]
    return sorted(found, key=lambda effect: -abs(effect.move))


def effects(subject: Subject, name: str, whole: Tensor) -> Iterator[list[Effect]]:
    """Yield the effects of a layer's channels in channel order, a batch at a time.

    whole  the layer's output, as `VGG.walk` returns it
    """
    with untouched(subject.network), torch.inference_mode():
        before = subject.network.after(name, whole)[0]
    target, channels = int(before.argmax()), whole.shape[1]
    size = max(1, BATCH_NUMBERS // whole.numel())
    for start in range(0, channels, size):
        chosen = torch.arange(start, min(start + size, channels))
        with untouched(subject.network), torch.inference_mode():
            copies = whole.repeat(len(chosen), *[1] * (whole.ndim - 1))
            copies[torch.arange(len(chosen)), chosen] = 0
            logits = subject.network.after(name, copies)
            moves = logits[:, target] - before[target]
        yield [
            Effect(int(channel), float(move), int(row.argmax()))
            for channel, move, row in zip(chosen, moves, logits, strict=True)
        ]


def parse(texts: list[str]) -> dict[str, list[int]]:
    """Parse 'conv3_2:17' or 'conv3_2:1,5,17', repeatable, to channels by layer. Raises UsageError."""
    without: dict[str, list[int]] = {}
    for text in texts:
        name, _, numbers = text.partition(":")
        channels = numbers.split(",")
        if not all(re.fullmatch(r"\s*\d{1,9}\s*", number) for number in channels):
            raise UsageError(
                f"--without {text[:100]}", "is not LAYER:CHANNEL", "write it as conv3_2:17 or conv3_2:1,5,17"
            )
        without.setdefault(name, []).extend(int(number) for number in channels)
    return without


def require_before_prob(subject: Subject, name: str) -> None:
    """Raises UsageError for prob, whose ablation has no effect on the logits, or an unknown layer."""
    if subject.layer(name).kind == "softmax":
        raise UsageError(f"layer {name}", "comes after the logits", "choose a layer before it")
