"""Load samples as uint8 batches (N, H, W, C) for evaluation and prediction, with prefetching; without torch."""

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
class _VerifiedFile:
    """A sample's file, verified against its digest, which identifies it in caches, splits and records."""

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
    """The source to read a sample from; reading a file that has changed since raises ImageError."""
    return _VerifiedFile(sample.source, sample.digest) if isinstance(sample.source, Path) else sample.source


def evaluation_batches(samples: Sequence[Sample], record: Preprocessing, size: int) -> Iterator[Batch]:
    """Batches of up to `size` samples, each sample once and in order. Raises ImageError."""

    def batch(start: int) -> Batch:
        chosen = samples[start : start + size]
        labels = np.array([sample.label for sample in chosen], np.int64)
        return Batch(np.stack([square(sample, record) for sample in chosen]), labels)

    return prefetch(batch, iter(range(0, len(samples), size)), depth=4)


def square(sample: Sample, record: Preprocessing) -> Pixels:
    """A sample preprocessed for the network (S, S, C); files are decoded in another process. Raises ImageError."""
    source = original(sample)
    return fit(source, record) if isinstance(source, np.ndarray) else DECODERS.fit(source, record)


def prefetch(work: Callable[[Item], Result], items: Iterator[Item], depth: int) -> Iterator[Result]:
    """Yield the results of `work` in the order of the items, with up to `depth` in flight."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(work, item) for item in islice(items, depth))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(items, 1))
            yield result
