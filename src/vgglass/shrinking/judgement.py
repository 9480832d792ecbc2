"""A smaller model beside the one that it was made from: costs, time and accuracy on images that chose nothing.

N images, K classes.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.data.dataset import Sample
from vgglass.data.loader import original, square
from vgglass.engines import Engine, Precision
from vgglass.engines.selection import choose, open_engine
from vgglass.evaluation import metrics
from vgglass.evaluation.predictions import Comparison, agreement, compare_predictions
from vgglass.inference.predictor import Predictor
from vgglass.inference.views import parse
from vgglass.modelfile import ModelFile

ROUNDS = 20  # of timing; in each, every model runs once in every precision


@dataclass(frozen=True)
class Figures:
    """Costs of one model.

    size          bytes of weights and golden inputs: the file without its record
    milliseconds  for one image, median, by precision: float32, and the one that the engine chooses by itself
    """

    multiply_adds: int
    parameters: int
    size: int
    milliseconds: dict[Precision, float]


@dataclass(frozen=True)
class Judgement:
    """Parent and child on the same images.

    engine      that ran both
    comparison  of their top-1 accuracies in float32, the parent first
    agreement   share of the images with the same top-1 class
    """

    parent: Figures
    child: Figures
    engine: str
    comparison: Comparison
    agreement: float

    @property
    def speedup(self) -> dict[Precision, float]:
        """The parent's time over the child's, by precision."""
        return {name: taken / self.child.milliseconds[name] for name, taken in self.parent.milliseconds.items()}

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"comparison": self.comparison.as_json(), "speedup": self.speedup}


def judge(parent: ModelFile, child: ModelFile, samples: Sequence[Sample], split: str, used_for: str) -> Judgement:
    """Measure both models on `samples` (N), labelled by the classes that both have in the same order.

    split, used_for  of the samples: see `evaluation.predictions.Comparison`
    Raises ImageError, ModelFileError.
    """
    assert parent.record.classes == child.record.classes
    labels = np.array([sample.label for sample in samples])
    first, second = (_log_probabilities(model, samples) for model in (parent, child))
    comparison = compare_predictions(
        first.argmax(axis=1) == labels, second.argmax(axis=1) == labels, split, used_for=(used_for, used_for)
    )
    image = square(samples[0], parent.record.preprocessing)[None]
    times = _alternately_timed((parent, child), image)
    return Judgement(
        _figures(parent, times[0]), _figures(child, times[1]), choose(parent).engine, comparison,
        agreement(first, second).top1_agreement,
    )  # fmt: skip


def _log_probabilities(model: ModelFile, samples: Sequence[Sample]) -> NDArray[np.float64]:
    engine = open_engine(model, choose(model, precision="float32"))
    predictor = Predictor(model.record, parse("centre", model.record), {False: engine})
    return metrics.collect(predictor.stream(map(original, samples)))


def _alternately_timed(models: Sequence[ModelFile], image: NDArray[np.uint8]) -> list[dict[Precision, float]]:
    """Milliseconds for one image, by model and precision; in turns, so that a busy machine slows all of them alike."""
    engines: dict[tuple[int, Precision], Engine] = {}
    for number, model in enumerate(models):
        for choice in (choose(model, precision="float32"), choose(model)):
            engines[number, choice.precision] = open_engine(model, choice)
    seconds: dict[tuple[int, Precision], list[float]] = {key: [] for key in engines}
    for _ in range(ROUNDS + 1):
        for key, engine in engines.items():
            start = time.perf_counter()
            engine.run(image)
            seconds[key].append(time.perf_counter() - start)
    medians = {key: 1000 * statistics.median(taken[1:]) for key, taken in seconds.items()}  # the first warms up
    return [{key[1]: taken for key, taken in medians.items() if key[0] == number} for number in range(len(models))]


def _figures(model: ModelFile, milliseconds: dict[Precision, float]) -> Figures:
    architecture = model.record.architecture
    golden = model.golden_images.nbytes + model.golden_logits.nbytes
    size = golden + sum(array.nbytes for array in model.weights.values())
    return Figures(architecture.multiply_adds, architecture.parameters, size, milliseconds)
