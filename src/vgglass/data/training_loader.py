"""Load samples as augmented uint8 batches (N, S, S, C), prefetched by persistent worker processes.

The order of an epoch depends on (seed, epoch) and the augmentation of a sample on (seed, epoch, sample id), whatever
the number of workers and ranks, and the batch at which the epoch is resumed.
N batch, S side, C channels.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils import data

from vgglass.data.augment import AUGMENTATIONS, Colours, drawn_square
from vgglass.data.dataset import Sample
from vgglass.data.loader import Batch, original, square
from vgglass.data.sampling import WHOLE, Share, key
from vgglass.errors import ImageError, TrainingError
from vgglass.images import Pixels
from vgglass.isolation import DECODERS
from vgglass.preprocess import Preprocessing, fit, read
from vgglass.signals import SIGNALS

_KILLED = (-signal.SIGKILL, -signal.SIGTERM)
TINY = 64  # up to this side, images in memory are augmented faster than a process can transfer them

Task = tuple[int, list[int], list[int]]  # epoch; sample indices of a batch; previous occurrences of each in the epoch
Unreadable = tuple[object, str, str]  # arguments of an ImageError, since torch would not preserve the exception


class TrainingLoader:
    """Shuffled, augmented batches of each epoch; a context manager that shuts its workers down.

    augmentation  a key of AUGMENTATIONS
    colours       of `colour_components`, for the augmentations that shift colours
    weights       (N,) sampling weights: samples are drawn with replacement, in proportion
    workers       processes; None: 0 for small images in memory, else one per core
    share         part of each batch that this rank loads
    Raises ImageError for a file that can't be read any more, TrainingError for a worker that was killed.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        record: Preprocessing,
        size: int,
        augmentation: str,
        seed: int,
        *,
        colours: Colours | None = None,
        weights: NDArray[np.float64] | None = None,
        workers: int | None = None,
        share: Share = WHOLE,
    ) -> None:
        self.samples, self.size, self.seed, self.weights, self.share = len(samples), size, seed, weights, share
        self._sources = [sample.source for sample in samples]
        small = record.size <= TINY and all(isinstance(sample.source, np.ndarray) for sample in samples)
        if workers is None:
            workers = 0 if small else min(max(1, (os.cpu_count() or 1) // share.neighbours), len(self))
        self._tasks: list[Task] = []
        self._reading = torch.full((max(1, workers),), -1).share_memory_()  # type: ignore[no-untyped-call]
        self._loader = data.DataLoader(
            _Batches(samples, record, augmentation, seed, colours, small, self._reading),
            batch_size=None,
            sampler=self._tasks,
            num_workers=workers,
            collate_fn=_identity,
            worker_init_fn=_ignore_signals,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # otherwise it would advance the caller's
        )
        self._batches: Iterator[Batch | Unreadable] | None = None

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return len(batch_sizes(self.samples, self.size))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, starting at index `start`."""
        yield from self._iterate(epoch, epoch_batches(self.samples, self.size, self.seed, epoch, self.weights), start)

    def in_order(self, epoch: int) -> Iterator[Batch]:
        """Every sample once, unshuffled, with the augmentation of this epoch."""
        yield from self._iterate(epoch, np.array_split(np.arange(self.samples), len(self)), 0)

    def _iterate(self, epoch: int, chosen: Sequence[NDArray[np.int64]], start: int) -> Iterator[Batch]:
        before = np.split(times_before(np.concatenate(chosen)), np.cumsum([len(part) for part in chosen])[:-1])
        self._tasks[:] = [
            (epoch, self.share.of(indices).tolist(), self.share.of(times).tolist())
            for indices, times in list(zip(chosen, before, strict=True))[start:]
        ]
        self._batches = self._start()
        for batch in self._batches:
            if isinstance(batch, tuple):
                raise ImageError(*batch)
            yield batch

    def _start(self) -> "Iterator[Batch | Unreadable]":
        """Start the loader. Raises TrainingError if /dev/shm is full, for which torch would print a traceback."""
        workers = self._loader.num_workers
        try:  # three semaphores for each worker's queue and the result queue, five for an event
            semaphores = [multiprocessing.Semaphore() for _ in range(3 * (workers + 1) + 5)] if workers else []
        except OSError as error:
            rule = f"could not be started: /dev/shm: {error.strerror}"
            remedy = "make room there (docker run --shm-size=1g), or add --workers 0; then --resume"
            raise TrainingError(f"{workers} processes that decode", rule, remedy) from error
        del semaphores
        return iter(self._loader)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        crashed_sample = self._crashed_sample()
        if self._batches is not None and self._loader.num_workers:
            # Not left to the garbage collector: an exception's traceback would keep the processes alive.
            self._batches._shutdown_workers()  # type: ignore[attr-defined]
        # torch raises this from a signal handler: it may surface in the caller's code as well.
        if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
            raise TrainingError(str(error).strip(" ."), *self._worker_error(crashed_sample)) from error

    def _crashed_sample(self) -> int:
        """Index of the sample that crashed a worker; -1 if none crashed, or if it was killed from outside."""
        for worker, sample in zip(getattr(self._batches, "_workers", ()), self._reading.tolist(), strict=False):
            if worker.exitcode and worker.exitcode not in _KILLED:
                return int(sample)
        return -1

    def _worker_error(self, sample: int) -> tuple[str, str]:
        """Rule and remedy of the error about a dead worker."""
        if sample >= 0:
            return f"as it read {self._sources[sample]}", "remove that file or save it anew, then --resume"
        rule = "the system ends processes when memory runs out"
        return rule, "use fewer workers or smaller batches, then --resume"


def epoch_batches(
    samples: int, size: int, seed: int, epoch: int, weights: NDArray[np.float64] | None
) -> list[NDArray[np.int64]]:
    """Sample indices of each batch: a permutation, or with weights as many draws with replacement.

    Batch sizes differ by at most one, because a last batch of a few images would disturb batch norm.
    """
    generator = np.random.default_rng((seed, epoch))
    if weights is None:
        order = generator.permutation(samples)
    else:
        order = generator.choice(samples, samples, p=weights / weights.sum())
    return np.array_split(order, len(batch_sizes(samples, size)))


def batch_sizes(samples: int, size: int) -> list[int]:
    """Number of images in each batch of an epoch, larger batches first."""
    batches = -(-samples // size)
    return [samples // batches + (number < samples % batches) for number in range(batches)]


def times_before(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of earlier occurrences of each entry, so that a sample drawn again is augmented differently."""
    places = np.argsort(order, kind="stable")
    ranked = order[places]
    before = np.empty_like(order)
    before[places] = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return before


class _Batches(data.Dataset[Batch | Unreadable]):
    """The data set of a worker: maps a task to its batch."""

    def __init__(
        self,
        samples: Sequence[Sample],
        record: Preprocessing,
        augmentation: str,
        seed: int,
        colours: Colours | None,
        small: bool,
        reading: torch.Tensor,
    ) -> None:
        self.samples, self.record, self.seed, self.reading = samples, record, seed, reading
        self.augmentation = AUGMENTATIONS[augmentation]
        self.square = self.augmentation.square and self.augmentation.square(record, colours)
        # Without a random square, small images are preprocessed once for all epochs.
        made = small and not self.square
        self.squares = np.stack([square(sample, record) for sample in samples]) if made else None

    def __getitem__(self, task: Task) -> Batch | Unreadable:
        epoch, indices, before = task
        chosen = [self.samples[index] for index in indices]
        keys = [key(self.seed, epoch, sample.id, times) for sample, times in zip(chosen, before, strict=True)]
        try:
            if self.squares is None:
                squares = np.stack([self._load(index, seed) for index, seed in zip(indices, keys, strict=True)])
            else:
                squares = self.squares[indices]
        except ImageError as error:
            return error.value, error.rule, f"{error.remedy}, then --resume"
        labels = np.array([sample.label for sample in chosen], np.int64)
        return Batch(self.augmentation.finish(squares, np.array(keys, np.uint64)), labels)

    def _load(self, index: int, seed: int) -> Pixels:
        source, worker = original(self.samples[index]), data.get_worker_info()
        if worker:
            self.reading[worker.id] = index  # for the error message if this process crashes
            pixels = read(source, self.record)
            self.reading[worker.id] = -1
        else:
            pixels = read(source, self.record, DECODERS.decode)
        try:
            return fit(pixels, self.record) if self.square is None else drawn_square(pixels, self.square, seed)
        except ImageError as error:  # it lacks the name of the file
            raise ImageError(f"{self.samples[index].id}, {error.value}", error.rule, error.remedy) from None


def _ignore_signals(worker: int) -> None:
    """Ignore Ctrl-C and a scheduler's SIGTERM, which reach the whole group: the run saves, then stops its workers."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _identity(batch: Any) -> Any:
    return batch
