"""Images of many requests meet here: a bounded queue, and batches of whatever has gathered when the engine is free.

No timer: while one batch is computed the next one gathers, so that a lone image never waits for company.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import ModelFileError
from vgglass.images import Pixels
from vgglass.inference.predictor import Predictor
from vgglass.serving import logs
from vgglass.serving.metrics import Metrics
from vgglass.serving.refusals import RefusedError


@dataclass(eq=False)
class Place:
    """An admitted image's place in the queue."""


@dataclass(frozen=True)
class Answer:
    """One image's row (K,), and where its time went, in seconds."""

    log_probabilities: NDArray[np.float64]
    waited: float
    computed: float


@dataclass(eq=False)
class Ready:
    """An image that is decoded and waits for its batch."""

    place: Place
    predictor: Predictor
    stacks: list[Pixels]
    answer: asyncio.Future[Answer]
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """The queue and the engine's one thread.

    An image has a place from its admission, while it is decoded and while it waits, until its batch begins or nobody
    waits for it any more.
    """

    def __init__(self, capacity: int, metrics: Metrics) -> None:
        self.capacity, self.peak = capacity, 0
        self._metrics = metrics
        self._places: set[Place] = set()
        self._ready: deque[Ready] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "engine")
        self._seconds = 0.1  # that an image takes, of late
        metrics.queue.set_function(lambda: len(self._places))
        metrics.queue_peak.set_function(lambda: self.peak)

    def enter(self, count: int) -> list[Place]:
        """Places for so many images, all or none. Raises RefusedError (503) at once where they are taken."""
        if count > self.capacity:
            remedy = f"send at most {self.capacity} images in a request"
            raise RefusedError(413, "too many images", f"{count} images", f"the queue holds {self.capacity}", remedy)
        self.require_room(count)
        places = [Place() for _ in range(count)]
        self._places.update(places)
        self.peak = max(self.peak, len(self._places))
        return places

    def require_room(self, count: int = 1) -> None:
        """Raises RefusedError (503) where fewer places are free."""
        if len(self._places) + count > self.capacity:
            wait = max(1, math.ceil(len(self._places) * self._seconds))
            rule = f"full: {len(self._places)} of {self.capacity} images wait"
            raise RefusedError(
                503, "queue full", "the queue", rule, f"try again in {wait} s", {"Retry-After": str(wait)}
            )

    def leave(self, place: Place) -> None:
        self._places.discard(place)

    async def answer(self, place: Place, predictor: Predictor, stacks: list[Pixels]) -> Answer:
        """What the network makes of an image; cancelled before its batch began, it is never computed."""
        ready = Ready(place, predictor, stacks, asyncio.get_running_loop().create_future())
        self._ready.append(ready)
        self._wake.set()
        return await ready.answer

    async def run(self) -> None:
        """Compute batch after batch, until cancelled."""
        while True:
            await self._wake.wait()
            batch = self._next()
            if batch:
                await self._compute(batch)
            else:
                self._wake.clear()

    def stop(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> list[Ready]:
        """The images that came first and share a model, as many as fill a batch; those nobody waits for drop out."""
        batch: list[Ready] = []
        later: deque[Ready] = deque()
        while self._ready and (not batch or len(batch) < batch[0].predictor.window):
            ready = self._ready.popleft()
            if ready.answer.done():
                continue
            if batch and ready.predictor is not batch[0].predictor:  # admitted before or after a reload
                later.append(ready)
            else:
                batch.append(ready)
        self._ready.extendleft(reversed(later))
        return batch

    async def _compute(self, batch: Sequence[Ready]) -> None:
        for ready in batch:
            self.leave(ready.place)
        began = time.perf_counter()
        work = batch[0].predictor.log_probabilities
        loop = asyncio.get_running_loop()
        try:
            rows = await loop.run_in_executor(self._thread, work, [ready.stacks for ready in batch])
        except (
            RuntimeError,
            MemoryError,
            ModelFileError,
        ) as error:  # what engines raise, out of memory above all: the next has its turn
            logs.log_failure("engine failed")
            for ready in batch:
                if not ready.answer.done():
                    ready.answer.set_exception(
                        RefusedError(
                            503,
                            "engine failed",
                            "the engine",
                            f"failed ({str(error).rstrip('.')})",
                            "try again, or tell who runs it",
                        )
                    )
            return
        seconds = time.perf_counter() - began
        self._seconds += (seconds / len(batch) - self._seconds) / 8
        self._metrics.batch.observe(len(batch))
        for ready, row in zip(batch, rows, strict=True):
            if not ready.answer.done():
                ready.answer.set_result(Answer(row, began - ready.since, seconds))
