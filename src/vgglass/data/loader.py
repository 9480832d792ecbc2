"""Samples to uint8 batches (N, H, W, C), decoded ahead in threads, in a fixed order.

The order of an epoch is a function of (seed, epoch) and the randomness of a sample of (seed, epoch, sample),
whatever the number of threads.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vgglass.data.augment import Augmentation
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
    """Every sample once, in order, as evaluation and prediction see it."""
    return _batches(samples, range(len(samples)), size, lambda index: fit(read(samples[index].source, record), record))


def training_batches(
    samples: Sequence[Sample], record: Preprocessing, size: int, augmentation: Augmentation, seed: int, epoch: int
) -> Iterator[Batch]:
    """One epoch of shuffled, augmented whole batches; the few samples left over differ from epoch to epoch."""

    def prepare(index: int) -> Pixels:
        generator = np.random.Generator(np.random.Philox(key=[seed, (epoch << 40) + index]))
        return augmentation(read(samples[index].source, record), record, generator)

    order = np.random.default_rng((seed, epoch)).permutation(len(samples))
    whole = len(samples) // size * size or len(samples)
    return _batches(samples, order[:whole].tolist(), size, prepare)


def ahead(work: Callable[[Item], Result], items: Iterator[Item], depth: int) -> Iterator[Result]:
    """Results of `work` in the order of the items, `depth` of them under way at once."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(work, item) for item in islice(items, depth))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(items, 1))
            yield result


def _batches(
    samples: Sequence[Sample], order: Sequence[int], size: int, prepare: Callable[[int], Pixels]
) -> Iterator[Batch]:
    def batch(start: int) -> Batch:
        indices = order[start : start + size]
        labels = np.array([samples[index].label for index in indices], np.int64)
        return Batch(np.stack([prepare(index) for index in indices]), labels)

    return ahead(batch, iter(range(0, len(order), size)), depth=4)
