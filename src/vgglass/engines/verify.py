"""Golden inputs through every runtime that can hold a network and is installed."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vgglass.engines import NAMES, Engine, Precision, selection
from vgglass.engines.artifact import Artifact
from vgglass.engines.selection import Choice, Source, missing, open_engine, runs

# Of the largest golden logit. Golden logits of an int8 graph are its own: another CPU may round otherwise.
TOLERANCES: dict[Precision, float] = {"float32": 1e-3, "bfloat16": 0.1, "int8": 0.1}
TURNS = 3


@dataclass(frozen=True)
class Check:
    """What one runtime made of a network's golden inputs.

    difference  the largest of the logits, as a share of the largest golden logit
    agreement   share of the golden inputs with the same likeliest class
    speed       images a second, in batches of the golden inputs
    """

    path: Path | None
    engine: str
    precision: Precision
    difference: float
    agreement: float
    speed: float

    @property
    def tolerance(self) -> float:
        return TOLERANCES[self.precision]

    @property
    def passed(self) -> bool:
        """False also where a difference is not a number."""
        return self.difference <= self.tolerance

    def __str__(self) -> str:
        return f"{self.engine} {self.precision} differs by {self.difference:.2g} of the largest logit"


def verify(source: Source) -> Iterator[Check]:
    """Run a model file or an artifact on each runtime that is installed, in each precision that it has here."""
    path = source.path if isinstance(source, Artifact) else None
    dense = isinstance(source, Artifact) and source.dense
    for name in NAMES:
        if missing(name) or not runs(source, name):
            continue
        for precision in _precisions(source, name):
            engine = open_engine(source, Choice(name, precision, ""), dense=dense)
            yield check(source, engine, path, dense=dense)


def _precisions(source: Source, engine: str) -> list[Precision]:
    if isinstance(source, Artifact):
        return [source.precision]
    capable = (engine == "openvino" and selection.cpu()[1]) or (engine == "torch" and selection.has_gpu())
    return ["float32", "bfloat16"] if capable else ["float32"]


def check(source: Source, engine: Engine, path: Path | None = None, *, dense: bool = False) -> Check:
    """Run one engine on the golden inputs of the network that it was opened for."""
    images, golden = source.golden_images, source.golden_logits
    found = engine.run(images)  # what is no number is a difference too
    if dense:
        found = found[:, :, 0, 0]  # at the training size the map has one place
    largest = np.abs(golden).max() or 1.0  # zero for convolutions without a head
    difference = float(np.abs(found - golden).max() / largest)
    agreement = float((found.argmax(axis=1) == golden.argmax(axis=1)).mean())
    return Check(path, engine.name, engine.precision, difference, agreement, _speed(engine, images))


def _speed(engine: Engine, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    seconds = []
    for _ in range(TURNS):
        began = time.perf_counter()
        engine.run(images)
        seconds.append(time.perf_counter() - began)
    return len(images) / statistics.median(seconds)
