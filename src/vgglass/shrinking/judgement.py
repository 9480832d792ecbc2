"""A smaller model beside the one that it was made from: costs, time and accuracy on images that chose nothing.

N images, K classes.
"""

import io
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.benchmark.timing import rounds
from vgglass.data.dataset import Sample
from vgglass.data.loader import original, square
from vgglass.engines import Engine, Precision, openvino
from vgglass.engines.export import quantise
from vgglass.engines.selection import choose, open_engine
from vgglass.evaluation import metrics
from vgglass.evaluation.predictions import Comparison, agreement, compare_predictions
from vgglass.images import Pixels
from vgglass.inference.predictor import Predictor
from vgglass.inference.views import parse
from vgglass.modelfile import ModelFile
from vgglass.statistics import detectable, wilson

ROUNDS = 20  # of timing; in each, every model runs once in every precision
INT8_IMAGES = 32  # that the ranges of the int8 graphs are taken from, which are made for their time alone


@dataclass(frozen=True)
class Figures:
    """Costs and accuracy of one model.

    size          bytes of weights and golden inputs: the file without its record
    milliseconds  for one image, median, by precision: float32, the one that the engine chooses by itself, and int8
                  where NNCF is installed
    seconds       for all the images, from their files to their classes, in float32
    interval      95 % of top-1
    """

    multiply_adds: int
    parameters: int
    size: int
    milliseconds: dict[Precision, float]
    seconds: float
    top1: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Judgement:
    """Parent and child on the same images.

    between     the networks on the way from the one to the other
    engine      that ran them
    comparison  of their top-1 accuracies in float32, the parent first
    agreement   share of the images with the same top-1 class
    detectable  difference of top-1 that so many images are likely to show, with as many that only one of the two
                classifies correctly; None where they are too few for any
    """

    parent: Figures
    child: Figures
    between: tuple[Figures, ...]
    engine: str
    comparison: Comparison
    agreement: float
    detectable: float | None

    @property
    def speedup(self) -> dict[Precision, float]:
        """The parent's time over the child's, by precision."""
        return {name: taken / self.child.milliseconds[name] for name, taken in self.parent.milliseconds.items()}

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"comparison": self.comparison.as_json(), "speedup": self.speedup}


def judge(
    parent: ModelFile, child: ModelFile, samples: Sequence[Sample], split: str, used_for: str,
    between: Sequence[ModelFile] = (),
) -> Judgement:  # fmt: skip
    """Measure the models on `samples` (N), labelled by the classes that all have in the same order.

    split, used_for  of the samples: see `evaluation.predictions.Comparison`
    Raises ImageError, ModelFileError.
    """
    models = (parent, child, *between)
    assert all(model.record.classes == parent.record.classes for model in models)
    labels = np.array([sample.label for sample in samples])
    answers, seconds = zip(*(_answers(model, samples) for model in models), strict=True)
    right = [answer.argmax(axis=1) == labels for answer in answers]
    comparison = compare_predictions(right[0], right[1], split, used_for=(used_for, used_for))
    images = np.stack([square(sample, parent.record.preprocessing) for sample in samples[:INT8_IMAGES]])
    times = _alternately_timed(models, images)
    figures = [
        _figures(model, milliseconds, taken, found)
        for model, milliseconds, taken, found in zip(models, times, seconds, right, strict=True)
    ]
    same = agreement(answers[0], answers[1]).top1_agreement
    least = detectable(len(samples), float((right[0] != right[1]).mean()))
    return Judgement(figures[0], figures[1], tuple(figures[2:]), choose(parent).engine, comparison, same, least)


def _answers(model: ModelFile, samples: Sequence[Sample]) -> tuple[NDArray[np.float64], float]:
    """Log-probabilities (N, K), and the seconds that they took."""
    engine = open_engine(model, choose(model, precision="float32"))
    predictor = Predictor(model.record, parse("centre", model.record), {False: engine})
    began = time.perf_counter()
    found = metrics.collect(predictor.stream(map(original, samples)))
    return found, time.perf_counter() - began


def _alternately_timed(models: Sequence[ModelFile], images: Pixels) -> list[dict[Precision, float]]:
    """Milliseconds for one image, by model and precision; in turns, so that a busy machine slows all of them alike."""
    engines: dict[tuple[int, Precision], Engine] = {}
    image = images[:1]
    for number, model in enumerate(models):
        for choice in (choose(model, precision="float32"), choose(model)):
            engines[number, choice.precision] = open_engine(model, choice)
        if find_spec("nncf") and number < 2:  # not of the networks between
            with redirect_stdout(io.StringIO()):  # NNCF draws bars, and standard output is for figures
                graph = quantise(model, (one[None] for one in images), len(images))
            engines[number, "int8"] = openvino.engine_of(graph, "int8")
    taken = np.median(rounds([partial(engine.run, image) for engine in engines.values()], ROUNDS), axis=0)
    medians = {key: float(1000 * seconds) for key, seconds in zip(engines, taken, strict=True)}
    return [{key[1]: found for key, found in medians.items() if key[0] == number} for number in range(len(models))]


def _figures(
    model: ModelFile, milliseconds: dict[Precision, float], seconds: float, right: NDArray[np.bool_]
) -> Figures:
    architecture = model.record.architecture
    golden = model.golden_images.nbytes + model.golden_logits.nbytes
    size = golden + sum(array.nbytes for array in model.weights.values())
    return Figures(
        architecture.multiply_adds, architecture.parameters, size, milliseconds, seconds, float(right.mean()),
        wilson(int(right.sum()), len(right)),
    )  # fmt: skip
