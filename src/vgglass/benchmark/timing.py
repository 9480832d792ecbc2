"""Times of several works, taken in turns, so that what else the machine does meets all of them alike."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Work = Callable[[], object]
Prepare = Callable[[int], Work]  # a batch size to the work of one call
Times = NDArray[np.float64]

VISIT = 0.02  # seconds for which a work is repeated in its turn, at least
MOST_ROUNDS = 15


def seconds_per_call(work: Work) -> float:
    """The time of one call, the mean of as many as fill a visit."""
    calls, start = 0, time.perf_counter()
    while True:
        work()
        calls += 1
        taken = time.perf_counter() - start
        if taken >= VISIT:
            return taken / calls


def rounds(works: Sequence[Work], count: int, end: float = math.inf) -> Times:
    """Seconds per call (rounds, works), each work in its turn, after one round that warms up and does not count.

    end  of `time.perf_counter`, after which no second round begins
    """
    found: list[list[float]] = []
    while len(found) <= count and not (len(found) > 1 and time.perf_counter() > end):
        found.append([seconds_per_call(work) for work in works])
    return np.array(found[1:])


def plan(batches: Sequence[int], costs: Sequence[float], seconds: float) -> dict[int, int]:
    """The rounds of each batch size that fit into a time; 0 where not even one does.

    costs  seconds per image of each work
    Smaller batches come first, and none gets another round before all others had theirs, where it fits.
    """
    planned, left = dict.fromkeys(sorted(batches), 0), seconds
    while True:
        prices = {
            batch: sum(max(batch * cost, VISIT) for cost in costs) * (1 if count else 2)  # the first is warmed up
            for batch, count in planned.items()
            if count < MOST_ROUNDS
        }
        affordable = [batch for batch, price in prices.items() if price <= left]
        if not affordable:
            return planned
        batch = min(affordable, key=lambda batch: planned[batch])
        planned[batch] += 1
        left -= prices[batch]


def measure(
    prepares: Sequence[Prepare], batches: Sequence[int], seconds: float, say: Callable[[str], None]
) -> dict[int, Times]:
    """Seconds per call (rounds, works) of each batch size that fits into a time, smaller ones first.

    What a round costs is known from the batch before, at first from one image: on a machine that slows down meanwhile
    there are fewer of them.
    """
    end = time.perf_counter() + seconds
    costs = rounds([prepare(1) for prepare in prepares], 1)[0]
    found: dict[int, Times] = {}
    left = sorted(set(batches))
    while left:
        batch = left[0]
        count = plan(left, list(costs), end - time.perf_counter())[batch]
        if count:
            say(f"batch {batch}: {count} rounds, about {batch * costs.sum():.2g} s each")
            found[batch] = rounds([prepare(batch) for prepare in prepares], count, end)
            costs = np.median(found[batch], axis=0) / batch
        left = left[1:]
    return found


def ratio(one: Times, other: Times) -> float:
    """How many times as long `one` took as `other`: the median of the rounds' own ratios."""
    return float(np.median(one / other))
