"""Warnings on training that fails: numbers that are not finite, a loss that does not move, dead ReLUs, slow data."""

import math
from collections.abc import Iterable, Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from vgglass.architecture import Architecture
from vgglass.model import VGG, Step

LOGIT_RANGE = (1e-4, 1e3)  # of the largest first logit; outside, the initialisation does not fit the input
STUCK_STEPS, STUCK_LEAST, STUCK_SHARE = 300, 50, 0.98  # steps, fewest steps, share of ln K
DEAD_SHARE = 0.8  # of a layer's channels: half of fc6 are often idle where there are few classes
WAIT_SHARE = 0.25  # of an epoch's time


@torch.no_grad()
def first_nonfinite(network: VGG, steps: Iterable[Step], inputs: Tensor) -> str:
    """The first input, weight or output that is not finite, in words.

    steps  of a walk over `inputs`, the images of the failed step
    """
    if not inputs.isfinite().all():
        return "the input"
    for step in steps:
        for name, weight in network.get_submodule(step.name).named_parameters():
            if not weight.isfinite().all():
                return f"{step.name}'s {name}"
        if not step.output.isfinite().all():
            return f"the output of {step.name}"
    return "the loss, of logits that are finite"


def stuck_loss_warning(step: int, steps_in_all: int, losses: Sequence[float], architecture: Architecture) -> str:
    """A sentence where the loss is still that of guessing after STUCK_STEPS steps; '' otherwise."""
    if step + 1 != min(STUCK_STEPS, steps_in_all) or step + 1 < STUCK_LEAST:
        return ""
    classes = architecture.classes
    mean, guessing = float(np.mean(losses)), math.log(classes)
    if mean < STUCK_SHARE * guessing:
        return ""
    return (
        f"after {step + 1} steps the loss is {mean:.3f}, and guessing gives ln({classes}) = {guessing:.3f}. "
        f"The network has not started to learn. What helps: {', '.join(remedies(architecture))}."
    )


def chance_loss(images: Sequence[int]) -> float:
    """The loss of guessing by class frequency alone: ln K where all classes are equally frequent."""
    shares = np.array([count for count in images if count]) / sum(images)
    return float(-(shares * np.log(shares)).sum())


def beats_chance(losses: Sequence[float], images: Sequence[int]) -> bool:
    """Whether any epoch's loss, in training or validation, is below that of guessing.

    images  of each class in the training split
    """
    return min(losses) < STUCK_SHARE * chance_loss(images)


def remedies(architecture: Architecture) -> list[str]:
    """What makes a network start to learn, without what this one has already."""
    found = ["more epochs", "longer warm-up", "another learning rate"]
    if architecture.column not in ("A", "A-LRN"):
        found.insert(0, "fewer layers (vgg11)")
    if not architecture.batch_norm:
        found.insert(0, "batch norm (an architecture ending in _bn: a deep VGG without it often never starts)")
    return found


@torch.no_grad()
def initialisation_warning(network: VGG, images: Tensor, initialisation: str) -> str:
    """A sentence where the initialisation does not fit the scale of the input; '' otherwise."""
    looked = deepcopy(network).train()  # the pass must not change batch norm's running statistics
    largest = float(looked(images).abs().max())
    if LOGIT_RANGE[0] <= largest <= LOGIT_RANGE[1]:
        return ""
    return (
        f"the first logits reach {largest:.0e}: from initialisation {initialisation!r} this "
        "network is unlikely to learn. 'kaiming' suits input of deviation 1; 'paper' was meant for 0..255 "
        "input and the paper's widths; 'glorot' is what the paper's authors recommend in its footnote."
    )


@torch.no_grad()
def dead_channels(steps: Iterable[Step]) -> dict[str, float]:
    """By ReLU, the share of its channels that are zero on every image of a walk, where there are any."""
    found = {}
    for step in steps:
        if step.kind == "relu":
            peaks = step.output.flatten(2).amax((0, 2)) if step.output.ndim > 2 else step.output.amax(0)
            if dead := float(peaks.eq(0).float().mean()):
                found[step.name] = round(dead, 4)
    return found


def dead_relu_warning(dead: dict[str, float]) -> str:
    """A sentence where at least DEAD_SHARE of a layer's channels are dead; '' otherwise."""
    layers = [f"{name} {share:.0%}" for name, share in dead.items() if share >= DEAD_SHARE]
    if not layers:
        return ""
    return (
        f"dead ReLUs, zero on all images that were looked at: {', '.join(layers)} of the channels. "
        "What helps: a lower learning rate, longer warm-up, batch norm."
    )


def data_wait_warning(share: float) -> str:
    """A sentence where at least WAIT_SHARE of the time was spent waiting for data; '' otherwise."""
    if share < WAIT_SHARE:
        return ""
    return (
        f"{share:.0%} of the time the steps waited for data. What helps: more --workers, "
        "images resized beforehand, a cheaper augmentation."
    )
