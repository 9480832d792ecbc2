"""Sanity checks of attribution maps: weight randomisation, and deletion and insertion curves."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from vgglass.glass.attribution import Attribution, attribute
from vgglass.glass.subject import Subject, untouched
from vgglass.model import VGG

CURVE_STEPS = 20
BATCH = 8
SEED = 0


@dataclass(frozen=True, eq=False)
class Sanity:
    """The checks of one attribution map.

    randomised    the map of the same network with random weights (Adebayo et al., 2018)
    correlation   Spearman's between the two: near 0 if the map depends on the learned weights; None if either map is
                  constant
    deletion      the class's probability as pixels are replaced by the mean, highest attribution first, none to all
    insertion     the same as pixels are inserted into the mean image (Petsiuk et al., 2018)
    random_deletion, random_insertion  the same in random order, as a baseline
    """

    randomised: Attribution
    correlation: float | None
    deletion: NDArray[np.float64] = field(repr=False)
    insertion: NDArray[np.float64] = field(repr=False)
    random_deletion: NDArray[np.float64] = field(repr=False)
    random_insertion: NDArray[np.float64] = field(repr=False)

    def areas(self) -> dict[str, float]:
        """Return the area under each curve: lower is better for deletion, higher for insertion."""
        names = ("deletion", "random_deletion", "insertion", "random_insertion")
        return {name: float(getattr(self, name).mean()) for name in names}


def check(subject: Subject, found: Attribution) -> Sanity:
    """Compute the randomised map and the four curves of an attribution."""
    random = np.random.default_rng(SEED).permutation(found.map.size)
    order = np.argsort(-found.map.ravel(), kind="stable")
    randomised = attribute(_randomised(subject), found.method, found.target, found.layer)
    return Sanity(
        randomised,
        _spearman(found.map, randomised.map),
        _curve(subject, found.target, order, _delete_pixels),
        _curve(subject, found.target, order, _insert_pixels),
        _curve(subject, found.target, random, _delete_pixels),
        _curve(subject, found.target, random, _insert_pixels),
    )


def _randomised(subject: Subject) -> Subject:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return replace(subject, network=VGG(subject.network.architecture).eval())


def _delete_pixels(image: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return image * ~chosen  # the input is normalised: zero is the mean


def _insert_pixels(image: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return image * chosen


def _curve(
    subject: Subject,
    target: int,
    order: NDArray[np.intp],
    change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> NDArray[np.float64]:
    """Return the class's probability (CURVE_STEPS + 1,) with 0, 1/CURVE_STEPS, ..., all pixels of `order` changed."""
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    size = subject.input.shape[2]
    ranks = torch.from_numpy(places).reshape(1, size, size)
    counts = [len(order) * number // CURVE_STEPS for number in range(CURVE_STEPS + 1)]
    with untouched(subject.network), torch.inference_mode():
        images = (change(subject.input[0], ranks < count) for count in counts)
        batches = torch.split(torch.stack(list(images)), BATCH)
        logits = torch.cat([subject.network(batch) for batch in batches]).numpy()
    return subject.record.probabilities(logits)[:, target]


def _spearman(first: NDArray[np.float32], second: NDArray[np.float32]) -> float | None:
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first.ravel(), second.ravel()).statistic)
