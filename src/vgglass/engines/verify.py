"""Verify a network on its golden inputs with every supported and installed engine."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vgglass import notebook
from vgglass.engines import NAMES, Engine, Precision
from vgglass.engines.artifact import Artifact
from vgglass.engines.selection import Choice, Source, missing, open_engine, runs, supported_precisions

# Relative to the largest golden logit. An int8 graph is compared with its own golden logits: CPUs round differently.
TOLERANCES: dict[Precision, float] = {"float32": 1e-3, "bfloat16": 0.1, "int8": 0.1}
TURNS = 3


@dataclass(frozen=True)
class Check:
    """Result of one engine on a network's golden inputs.

    difference  maximum absolute difference of logits, relative to the largest golden logit
    agreement   share of golden inputs with the same top class
    speed       images per second, in batches of the golden inputs
    """

    path: Path | None
    engine: str
    precision: Precision
    difference: float
    agreement: float
    speed: float

    def _repr_html_(self) -> str:
        rows = {
            "engine": f"{self.engine}, {self.precision}",
            "difference": self.difference,
            "bound": self.tolerance,
            "speed": self.speed,
            "passed": self.passed,
        }
        return notebook.panel("check", rows)

    @property
    def tolerance(self) -> float:
        return TOLERANCES[self.precision]

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance; False if it is NaN."""
        return self.difference <= self.tolerance

    def __str__(self) -> str:
        return f"{self.engine} {self.precision} differs by {self.difference:.2g} of the largest logit"


def verify(source: Source) -> Iterator[Check]:
    """Run a model file or an artifact on each installed engine, in each precision supported on this machine."""
    path = source.path if isinstance(source, Artifact) else None
    dense = isinstance(source, Artifact) and source.dense
    for name in NAMES:
        if missing(name) or not runs(source, name):
            continue
        for precision in supported_precisions(source, name):
            engine = open_engine(source, Choice(name, precision, ""), dense=dense)
            yield check(source, engine, path, dense=dense)


def check(source: Source, engine: Engine, path: Path | None = None, *, dense: bool = False) -> Check:
    """Run an engine on the golden inputs of its network."""
    images, golden = source.golden_images, source.golden_logits
    found = engine.run(images)[:, : golden.shape[1]]  # not engine(): NaN must count as a difference
    if dense:
        found = found[:, :, 0, 0]  # at the training size the map is 1x1
    largest = np.abs(golden).max() or 1.0  # zero for a network without a head
    difference = float(np.abs(found - golden).max() / largest)
    agreement = float((found.argmax(axis=1) == golden.argmax(axis=1)).mean())
    return Check(path, engine.name, engine.precision, difference, agreement, _speed(engine, images))


def _speed(engine: Engine, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    seconds = []
    for _ in range(TURNS):
        start = time.perf_counter()
        engine.run(images)
        seconds.append(time.perf_counter() - start)
    return len(images) / statistics.median(seconds)
