"""The class map of a pooled head: a logit as the mean of one score for each place of pool5, exactly.

Averaging is linear, so that logit = mean over places of (sum over channels of weight * pool5) + bias.
Source: Zhou et al. 2016, Learning Deep Features for Discriminative Localization (arXiv 1512.04150), section 2.
C channels, k side of pool5, S side of the network's input.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from vgglass.architecture import SMALLEST_IMAGE, Architecture
from vgglass.errors import UsageError
from vgglass.glass.operations import Numbers
from vgglass.glass.steps import SMALLEST, TOLERANCE
from vgglass.glass.subject import Subject, untouched


@dataclass(frozen=True, eq=False)
class ClassMap:
    """What each place of pool5 says for a class, or for it and against another.

    scores     (k, k), in float64
    bias       of the class, or the difference of both
    logit      the network's own, or the difference of both
    magnitude  the sum of the terms' absolute values, against which the difference from the network is judged
    """

    scores: Numbers = field(repr=False)
    bias: float
    logit: float
    magnitude: float
    target: int = 0
    against: int | None = None

    @property
    def mean(self) -> float:
        return float(self.scores.mean())

    @property
    def recomputed(self) -> float:
        return self.mean + self.bias

    @property
    def difference(self) -> float:
        return abs(self.recomputed - self.logit)

    @property
    def bound(self) -> float:
        return TOLERANCE * self.magnitude + SMALLEST

    @property
    def agrees(self) -> bool:
        return self.difference <= self.bound

    def spread(self, size: int) -> NDArray[np.float32]:
        """(S, S): each pixel has the score of the place in whose cell it lies, the border that of the nearest."""
        places = np.minimum(np.arange(size) // SMALLEST_IMAGE, len(self.scores) - 1)
        return self.scores[places[:, None], places[None, :]].astype(np.float32)


def class_map(subject: Subject, target: int | None = None, against: int | None = None) -> ClassMap:
    """The map of a class, the predicted one without `target`; a softmax sees only differences: `against` another.

    Raises UsageError for a network without a pooled head, or for a class that it does not tell.
    """
    require_pooled(subject.network.architecture)
    for number in (target, against):
        if number is not None:
            subject.require_class(number)
    with untouched(subject.network), torch.inference_mode():
        outputs = {step.name: step.output for step in subject.network.walk(subject.input)}
    logits = outputs["fc8"][0].double().numpy()
    target = int(logits.argmax()) if target is None else target
    if target == against:
        raise UsageError(f"class {against}", "is the class itself", "compare with another")
    weights, biases = (
        subject.network.get_parameter(f"fc8.{name}").detach().double().numpy() for name in ("weight", "bias")
    )
    if against is not None:
        weights, biases, logits = (numbers - numbers[against] for numbers in (weights, biases, logits))
    pool5 = outputs["pool5"][0].numpy()
    return reckon(pool5, weights[target], float(biases[target]), float(logits[target]), target, against)


def reckon(
    pool5: NDArray[np.float32], weights: Numbers, bias: float, logit: float, target: int, against: int | None = None
) -> ClassMap:
    """The map of pool5 (C, k, k), whoever computed it, and one row (C,) of fc8."""
    terms = pool5.astype(np.float64) * weights[:, None, None]
    magnitude = float(np.abs(terms).sum(axis=0).mean()) + abs(bias)
    return ClassMap(terms.sum(axis=0), bias, logit, magnitude, target, against)


def require_pooled(architecture: Architecture) -> None:
    """Raises UsageError for a head that mixes the places."""
    if architecture.head != "pooled":
        raise UsageError(
            "class-map",
            f"needs a head that averages pool5; {architecture.name} with fc6 and fc7 has no exact map",
            "choose gradcam, or a model with a pooled head",
        )
