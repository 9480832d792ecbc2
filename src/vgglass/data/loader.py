"""Samples to uint8 batches (N, H, W, C) as evaluation and prediction see them, decoded ahead; no torch."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vgglass.data.dataset import Sample
from vgglass.errors import ImageError
from vgglass.images import File, Pixels, files, limits
from vgglass.isolation import DECODERS
from vgglass.preprocess import Preprocessing, fit

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Batch:
    """images (N, H, W, C) uint8, labels (N,)."""

    images: Pixels
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class _Original:
    """A sample's file, which must hold what was examined: its digest stands for it in caches, splits and records."""

    path: Path
    digest: bytes

    def __str__(self) -> str:
        return str(self.path)

    def read_bytes(self) -> bytes:
        """Raises ImageError."""
        data = files.read(self.path, limits.max_pixels())
        if hashlib.sha256(data).digest() != self.digest:
            raise ImageError(self.path, "has changed since the images were first read", "bring it back as it was")
        return data


def original(sample: Sample) -> File | Pixels:
    """What to read a sample from: reading a file whose content is not the sample's any more raises ImageError."""
    return _Original(sample.source, sample.digest) if isinstance(sample.source, Path) else sample.source


def evaluation_batches(samples: Sequence[Sample], record: Preprocessing, size: int) -> Iterator[Batch]:
    """Every sample once, in order."""

    def batch(start: int) -> Batch:
        chosen = samples[start : start + size]
        labels = np.array([sample.label for sample in chosen], np.int64)
        return Batch(np.stack([square(sample, record) for sample in chosen]), labels)

    return prefetch(batch, iter(range(0, len(samples), size)), depth=4)


def square(sample: Sample, record: Preprocessing) -> Pixels:
    """A sample as the network sees it (S, S, C), a file decoded in a process of its own. Raises ImageError."""
    source = original(sample)
    return fit(source, record) if isinstance(source, np.ndarray) else DECODERS.fit(source, record)


def prefetch(work: Callable[[Item], Result], items: Iterator[Item], depth: int) -> Iterator[Result]:
    """Results of `work` in the order of the items, `depth` of them under way at once."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(work, item) for item in islice(items, depth))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(items, 1))
            yield result
