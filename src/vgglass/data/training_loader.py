"""Samples to augmented uint8 batches (N, S, S, C), made ahead by worker processes that live as long as the run.

The order of an epoch is a function of (seed, epoch) and the randomness of a sample of (seed, epoch, sample id),
whatever the number of workers, of ranks that share its batches, and wherever in the epoch one starts.
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

_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)
TINY = 64  # up to this side images that lie in memory are made sooner than a process hands them over

Task = tuple[int, list[int], list[int]]  # epoch; of each image of a batch its sample, and how often it came before
Unreadable = tuple[object, str, str]  # an ImageError's arguments: an exception would arrive without its type


class TrainingLoader:
    """Shuffled, augmented batches, epoch after epoch; a context, entered once, that leaves no process behind.

    augmentation  a key of AUGMENTATIONS
    colours       of `colour_components`, for the augmentations that shift colours
    weights       one a sample: it is drawn with replacement, in proportion
    workers       processes; without it none for small images in memory, else one a core; 0 for none
    share         of each batch that is made here
    Raises ImageError for a file that can't be read any more, TrainingError for a worker that the system ended.
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
            collate_fn=_as_it_is,
            worker_init_fn=_leave_signals_to_the_run,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # else it would draw from the caller's
        )
        self._batches: Iterator[Batch | Unreadable] | None = None

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(batch_sizes(self.samples, self.size))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on."""
        yield from self._make(epoch, epoch_batches(self.samples, self.size, self.seed, epoch, self.weights), start)

    def in_order(self, epoch: int) -> Iterator[Batch]:
        """Every sample once, in the order of the data set, augmented as in this epoch."""
        yield from self._make(epoch, np.array_split(np.arange(self.samples), len(self)), 0)

    def _make(self, epoch: int, chosen: Sequence[NDArray[np.int64]], start: int) -> Iterator[Batch]:
        before = np.split(times_before(np.concatenate(chosen)), np.cumsum([len(part) for part in chosen])[:-1])
        self._tasks[:] = [
            (epoch, self.share.of(indices).tolist(), self.share.of(times).tolist())
            for indices, times in list(zip(chosen, before, strict=True))[start:]
        ]
        self._batches = self._started()
        for batch in self._batches:
            if isinstance(batch, tuple):
                raise ImageError(*batch)
            yield batch

    def _started(self) -> "Iterator[Batch | Unreadable]":
        """Raises TrainingError where /dev/shm has no room: torch would print a traceback from its own end."""
        workers = self._loader.num_workers
        try:  # a queue each and one back, of three semaphores, and an event's five
            tried = [multiprocessing.Semaphore() for _ in range(3 * (workers + 1) + 5)] if workers else []
        except OSError as error:
            rule = f"could not be started: /dev/shm: {error.strerror}"
            remedy = "make room there (docker run --shm-size=1g), or add --workers 0; then --resume"
            raise TrainingError(f"{workers} processes that decode", rule, remedy) from error
        del tried
        return iter(self._loader)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        crashed_on = self._crashed_on()
        if self._batches is not None and self._loader.num_workers:
            # Not left to the garbage collector: an exception's traceback would keep the processes alive.
            self._batches._shutdown_workers()  # type: ignore[attr-defined]
        # torch raises this from a signal handler: it may come up in the caller's step as well as in here.
        if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
            raise TrainingError(str(error).strip(" ."), *self._reason(crashed_on)) from error

    def _crashed_on(self) -> int:
        """The sample that a worker died of; -1 where none did, or was killed from outside."""
        for worker, sample in zip(getattr(self._batches, "_workers", ()), self._reading.tolist(), strict=False):
            if worker.exitcode and worker.exitcode not in _FROM_OUTSIDE:
                return int(sample)
        return -1

    def _reason(self, sample: int) -> tuple[str, str]:
        """What to think of a worker's end, and what to do."""
        if sample >= 0:
            return f"as it read {self._sources[sample]}", "remove that file or save it anew, then --resume"
        rule = "the system ends processes when memory runs out"
        return rule, "use fewer workers or smaller batches, then --resume"


def epoch_batches(
    samples: int, size: int, seed: int, epoch: int, weights: NDArray[np.float64] | None
) -> list[NDArray[np.int64]]:
    """Every sample once, shuffled; with weights as many, drawn with replacement in proportion to them.

    As few batches as hold them, of equal sizes but for one: a last batch of a few images would upset batch norm.
    """
    generator = np.random.default_rng((seed, epoch))
    if weights is None:
        order = generator.permutation(samples)
    else:
        order = generator.choice(samples, samples, p=weights / weights.sum())
    return np.array_split(order, len(batch_sizes(samples, size)))


def batch_sizes(samples: int, size: int) -> list[int]:
    """Images in each batch of an epoch: the larger ones come first."""
    batches = -(-samples // size)
    return [samples // batches + (number < samples % batches) for number in range(batches)]


def times_before(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each entry occurs before its place: a sample drawn again in an epoch is augmented anew."""
    places = np.argsort(order, kind="stable")
    ranked = order[places]
    before = np.empty_like(order)
    before[places] = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return before


class _Batches(data.Dataset[Batch | Unreadable]):
    """What a worker holds: a task in, its batch out."""

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
        # Where every epoch starts from the same small squares they are made once.
        made = small and not self.square
        self.squares = np.stack([square(sample, record) for sample in samples]) if made else None

    def __getitem__(self, task: Task) -> Batch | Unreadable:
        epoch, indices, before = task
        chosen = [self.samples[index] for index in indices]
        keys = [key(self.seed, epoch, sample.id, times) for sample, times in zip(chosen, before, strict=True)]
        try:
            if self.squares is None:
                squares = np.stack([self._drawn(index, seed) for index, seed in zip(indices, keys, strict=True)])
            else:
                squares = self.squares[indices]
        except ImageError as error:
            return error.value, error.rule, f"{error.remedy}, then --resume"
        labels = np.array([sample.label for sample in chosen], np.int64)
        return Batch(self.augmentation.finish(squares, np.array(keys, np.uint64)), labels)

    def _drawn(self, index: int, seed: int) -> Pixels:
        source, worker = original(self.samples[index]), data.get_worker_info()
        if worker:
            self.reading[worker.id] = index  # whoever finds this process dead can tell of what
            pixels = read(source, self.record)
            self.reading[worker.id] = -1
        else:
            pixels = read(source, self.record, DECODERS.decode)
        try:
            return fit(pixels, self.record) if self.square is None else drawn_square(pixels, self.square, seed)
        except ImageError as error:  # which knows of the pixels alone
            raise ImageError(f"{self.samples[index].id}, {error.value}", error.rule, error.remedy) from None


def _leave_signals_to_the_run(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach the whole process group: the run saves, then it ends its workers."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _as_it_is(batch: Any) -> Any:
    return batch
