"""Two models on the same images: whether one is better, or only luckier. N images."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.evaluation.agreement import paired_interval

CHANCE = 0.05  # a difference is called larger than chance where chance gives its like more seldom


@dataclass(frozen=True)
class Comparison:
    """top1         of the first model and the second
    only_first, only_second  images that only the one or the other gets right: the discordant ones
    p            McNemar's exact test: how often chance alone divides the discordant images so unevenly, or more so
    difference   of the second's top-1 from the first's, with its 95 % interval (paired, Agresti and Min 2005)
    used_for     of either model: see `metrics.Evaluation`
    missing, unknown  see `metrics.Evaluation`; of the classes that both models tell
    """

    split: str
    images: int
    top1: tuple[float, float]
    only_first: int
    only_second: int
    p: float
    difference: tuple[float, float, float]
    used_for: tuple[str, str] = ("", "")
    missing: tuple[str, ...] = ()
    unknown: tuple[tuple[str, int], ...] = ()

    @property
    def is_larger_than_chance(self) -> bool:
        return self.p < CHANCE

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"larger_than_chance": self.is_larger_than_chance, "unknown": dict(self.unknown)}


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test (1947): with no difference each discordant image is a coin's toss."""
    from scipy import stats

    discordant = only_first + only_second
    return float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0


def compare(first: NDArray[np.bool_], second: NDArray[np.bool_], split: str, **about: Any) -> Comparison:
    """Compare which images (N,) either model gets right; `about` are the fields after `difference`."""
    lost, gained = int((first & ~second).sum()), int((second & ~first).sum())
    top1 = float(first.mean()), float(second.mean())
    difference = (top1[1] - top1[0], *paired_interval(gained, lost, len(first)))
    return Comparison(split, len(first), top1, lost, gained, mcnemar(lost, gained), difference, **about)
