"""The exercises of the course: what is right, and what the usual slips come to.

The sentences are in locale/*/exercises.json, for each exercise `right`, `hint` and one for every slip.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgglass.errors import UsageError
from vgglass.locale import language, words

RELATIVE = 2e-3  # answers may be rounded to three digits


@dataclass(frozen=True)
class Exercise:
    """A question with one right answer, a number or an array, and answers that tell which step was missed."""

    answer: Any
    slips: Mapping[str, Any]
    tolerance: float = RELATIVE


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and what there is to say of it."""

    right: bool
    sentence: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{'✓' if self.right else '✗'} {self.sentence}"


def _softmax(*logits: float) -> float:
    """The first one's share."""
    return 1 / sum(math.exp(logit - logits[0]) for logit in logits)


EXERCISES: dict[str, Exercise] = {
    "image.numbers": Exercise(224 * 224 * 3, {"channels": 224 * 224, "area": 224 * 3, "alpha": 224 * 224 * 4}, 0),
    "image.grey": Exercise(
        0.299 * 200 + 0.587 * 100 + 0.114 * 50,
        {"mean": 350 / 3, "order": 0.114 * 200 + 0.587 * 100 + 0.299 * 50, "largest": 200},
    ),
    "convolution.sum": Exercise(8, {"flipped": -8, "unweighted": 45, "down": 24}, 0),
    "convolution.parameters": Exercise(
        3 * 3 * 64 * 128 + 128, {"bias": 3 * 3 * 64 * 128, "depth": 3 * 3 * 128 + 128, "one": 3 * 3 * 64}, 0
    ),
    "convolution.size": Exercise(112, {"padding": 109, "one": 111, "floor": 112.5}, 0),
    "pooling.size": Exercise(110, {"one": 109, "halved": 112, "stride": 37}, 0),
    "pooling.parameters": Exercise(0, {"window": 2 * 2, "channels": 2 * 2 * 64, "convolution": 2 * 2 * 64 * 64}, 0),
    "pooling.gradient": Exercise(
        [[0, 2], [0, 0]], {"average": [[0.5, 0.5], [0.5, 0.5]], "all": [[2, 2], [2, 2]], "value": [[0, 14], [0, 0]]}
    ),
    "relu.values": Exercise([0, 0, 3], {"absolute": [2, 0, 3], "unchanged": [-2, 0, 3], "slope": [0, 0, 1]}, 0),
    "relu.gradient": Exercise(0.25**5, {"one": 0.25, "sum": 5 * 0.25, "half": 0.5**5}),
    "receptive.three": Exercise(7, {"product": 9, "two": 5, "cube": 27}, 0),
    "receptive.weights": Exercise(
        3 * 9 * 64 * 64, {"seven": 49 * 64 * 64, "channels": 3 * 9, "outputs": 3 * 9 * 64}, 0
    ),
    "receptive.pool": Exercise(10, {"jump": 8, "pool": 7, "doubled": 12}, 0),
    "family.fc6": Exercise(
        7 * 7 * 512 * 4096 + 4096,
        {"bias": 7 * 7 * 512 * 4096, "places": 512 * 4096 + 4096, "next": 4096 * 4096 + 4096},
        0,
    ),
    "family.layers": Exercise(16, {"all": 19, "sixteen": 13, "pools": 21}, 0),
    "connected.weights": Exercise(
        3 * 3 * 5 * 4096, {"depth": 3 * 3 * 4096, "one": 3 * 3 * 5, "biases": 3 * 3 * 5 * 4096 + 4096}, 0
    ),
    "connected.map": Exercise(6, {"pool5": 12, "one": 5, "all": 36}, 0),
    "softmax.uniform": Exercise(math.log(4), {"probability": 1 / 4, "decimal": math.log10(4), "binary": math.log2(4)}),
    "softmax.shift": Exercise(
        _softmax(1002, 1001), {"overflow": math.nan, "share": 1002 / 2003, "other": _softmax(1001, 1002)}, 3e-4
    ),
    "softmax.temperature": Exercise(
        _softmax(2, 0), {"ignored": _softmax(4, 0), "multiplied": _softmax(8, 0), "other": _softmax(0, 2)}
    ),
    "training.step": Exercise(0.6, {"uphill": 1.4, "rate": -3, "alone": 0.4}),
    "training.momentum": Exercise(-0.29, {"plain": -0.2, "uphill": 0.29, "second": -0.19}),
    "training.accumulate": Exercise(6, {"replaced": 3, "product": 9, "mean": 1.5}),
    "photographs.leak": Exercise(830 / 900, {"denominator": 0.83, "unchanged": 0.93, "numerator": 930 / 900}),
    "photographs.weights": Exercise(5, {"ratio": 9, "share": 0.1, "other": 100 / (2 * 90)}),
    "judging.recall": Exercise(35 / 40, {"precision": 35 / 45, "accuracy": 85 / 100, "other": 50 / 60}),
    "judging.interval": Exercise(4, {"linear": 2, "root": math.sqrt(2), "twice": 16}),
    "shipping.bytes": Exercise(138.357544, {"float": 4 * 138.357544, "half": 2 * 138.357544, "bits": 138.357544 / 8}),
    "shipping.quantise": Exercise(13, {"rounded": 12.7, "truncated": 12, "multiplied": 0.127}, 0),
}


def check(name: str, answer: object, lang: str | None = None) -> Verdict:
    """Judge an answer to an exercise, "chapter.exercise". Raises UsageError for an exercise that does not exist."""
    if name not in EXERCISES:
        raise UsageError(f"exercise {name!r}", f"is none of {', '.join(EXERCISES)}", "name one of them")
    exercise, text = EXERCISES[name], words(language(lang), "exercises")
    said = text[name.replace(".", "_")]
    if answer is None or answer is ... or (isinstance(answer, (str, list, tuple)) and not len(answer)):
        return Verdict(False, f"{text['verdict']['empty']} {said['hint']}")
    try:
        given = np.asarray(answer, np.float64)
    except (TypeError, ValueError):
        given = np.array(())
    if given.shape != np.shape(exercise.answer):
        shape = "×".join(map(str, np.shape(exercise.answer)))
        kind = text["verdict"]["array"].format(shape=shape) if shape else text["verdict"]["number"]
        return Verdict(False, kind)
    if _alike(given, exercise.answer, exercise.tolerance):
        return Verdict(True, said["right"])
    slip = next((slip for slip, value in exercise.slips.items() if _alike(given, value, exercise.tolerance)), "hint")
    return Verdict(False, f"{text['verdict']['wrong']} {said[slip]}")


def _alike(given: Any, value: Any, tolerance: float) -> bool:
    return bool(np.allclose(given, value, rtol=tolerance, atol=1e-12, equal_nan=True))
