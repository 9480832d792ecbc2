"""Times as figures: milliseconds an image, ratios, share of the machine's peak, agreement with float32.

N images, K classes. Times are seconds per call, one a round.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vgglass.benchmark.candidates import Logits
from vgglass.benchmark.machine import Machine
from vgglass.benchmark.timing import Times


@dataclass(frozen=True)
class Agreement:
    """Answers beside those of float32.

    top1        share of images with the same top class
    difference  largest absolute difference of a logit, in standard deviations of the float32 logits
    """

    top1: float
    difference: float


@dataclass(frozen=True)
class Speed:
    """Times of one call in several rounds, as figures of one image.

    milliseconds     an image: median, lowest and highest of the rounds
    """

    batch: int
    rounds: int
    milliseconds: float
    lowest: float
    highest: float

    @property
    def images_per_second(self) -> float:
        return 1000 / self.milliseconds


@dataclass(frozen=True)
class Row:
    """One network on one engine in one precision at one batch size.

    times_as_quick  as the reference at the same batch size: eager PyTorch, or for a peer the model on the same
                    engine in the same precision; None without a reference
    share_of_peak   multiply-adds a second (median) beside the peak in the same precision; None for a peer
    agreement       None where answers are not compared
    """

    network: str
    engine: str
    precision: str
    speed: Speed
    times_as_quick: float | None
    share_of_peak: float | None = None
    agreement: Agreement | None = None

    @property
    def is_eager(self) -> bool:
        return self.engine.endswith(" eager")

    def as_json(self) -> dict[str, Any]:
        speed = {
            "batch": self.speed.batch,
            "rounds": self.speed.rounds,
            "milliseconds_per_image": self.speed.milliseconds,
            "lowest": self.speed.lowest,
            "highest": self.speed.highest,
            "images_per_second": self.speed.images_per_second,
        }
        agreement = asdict(self.agreement) if self.agreement else None
        return {
            "network": self.network,
            "engine": self.engine,
            "precision": self.precision,
            **speed,
            "times_as_quick": self.times_as_quick,
            "share_of_peak": self.share_of_peak,
            "agreement": agreement,
        }


@dataclass(frozen=True)
class Table:
    """The rows of one model or artifact; `about`: what network it is. Rows of eager PyTorch come first."""

    model: str
    about: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Report:
    """All figures of one run.

    tables   one a model
    peers    rows of other networks, beside the first model
    peaks    multiply-adds a second of a matrix product in its quickest round, by device and precision
    skipped  batch sizes for which the time was too short
    notes    sentences for a person on what is missing and what the figures mean
    """

    machine: Machine
    tables: tuple[Table, ...]
    peers: tuple[Row, ...]
    peaks: dict[str, float]
    skipped: tuple[int, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "machine": asdict(self.machine),
            "models": [
                {"model": table.model, "about": table.about, "rows": [row.as_json() for row in table.rows]}
                for table in self.tables
            ],
            "peers": [row.as_json() for row in self.peers],
            "peak_multiply_adds_per_second": self.peaks,
            "skipped_batches": self.skipped,
            "notes": self.notes,
        }


def speed(times: Times, batch: int) -> Speed:
    each = 1000 * times / batch
    return Speed(batch, len(times), float(np.median(each)), float(each.min()), float(each.max()))


def agreement(found: Logits, expected: Logits) -> Agreement:
    """Logits (N, K) beside those of float32 on the same images."""
    spread = float(expected.std()) or 1.0  # zero for a network without a head
    top1 = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
    return Agreement(top1, float(np.abs(found - expected).max()) / spread)
