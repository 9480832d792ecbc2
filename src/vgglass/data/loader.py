"""Samples to uint8 batches (N, H, W, C) as evaluation and prediction see them, decoded ahead in threads; no torch."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vgglass.data.dataset import Sample
from vgglass.images import Pixels
from vgglass.preprocess import Preprocessing, fit, read

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Batch:
    """images (N, H, W, C) uint8, labels (N,)."""

    images: Pixels
    labels: NDArray[np.int64]


def evaluation_batches(samples: Sequence[Sample], record: Preprocessing, size: int) -> Iterator[Batch]:
    """Every sample once, in order."""

    def batch(start: int) -> Batch:
        chosen = samples[start : start + size]
        labels = np.array([sample.label for sample in chosen], np.int64)
        return Batch(np.stack([fit(read(sample.source, record), record) for sample in chosen]), labels)

    return ahead(batch, iter(range(0, len(samples), size)), depth=4)


def ahead(work: Callable[[Item], Result], items: Iterator[Item], depth: int) -> Iterator[Result]:
    """Results of `work` in the order of the items, `depth` of them under way at once."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(work, item) for item in islice(items, depth))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(items, 1))
            yield result
