"""From encoded images to predictions: admission, decoding, dynamic batching across requests, and deadlines."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from vgglass.errors import ImageError, ModelFileError
from vgglass.images import Pixels
from vgglass.inference.predictor import Answer, Predictor
from vgglass.server import middleware, monitoring
from vgglass.server.decoding import DecodedUpload, Decoders
from vgglass.server.lessons import Lessons
from vgglass.server.middleware import Bodies
from vgglass.server.model_store import ModelStore, Options
from vgglass.server.monitoring import Metrics
from vgglass.server.refusals import RefusedError
from vgglass.server.sessions import Sessions
from vgglass.server.training import Training
from vgglass.server.watch import Watch


@dataclass(eq=False)
class Slot:
    """The queue slot of an admitted image."""


@dataclass(frozen=True)
class Batched:
    """The answer to one image, and the seconds that it waited and was computed."""

    answer: Answer
    waited: float
    computed: float


@dataclass(eq=False)
class Ready:
    """A decoded image that waits for its batch."""

    place: Slot
    predictor: Predictor
    stacks: list[Pixels]
    answer: asyncio.Future[Batched]
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """The queue and the engine's single thread.

    An image holds a slot from its admission, through decoding and waiting, until its batch starts or its request ends.
    """

    def __init__(self, capacity: int, metrics: Metrics) -> None:
        self.capacity, self.peak = capacity, 0
        self._metrics = metrics
        self._places: set[Slot] = set()
        self._ready: deque[Ready] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "engine")
        self._seconds = 0.1  # exponential moving average of the time per image
        metrics.queue.set_function(lambda: len(self._places))
        metrics.queue_peak.set_function(lambda: self.peak)

    def enter(self, count: int) -> list[Slot]:
        """Reserve slots for `count` images, all or none. Raises RefusedError: 413 above capacity, 503 if full."""
        if count > self.capacity:
            remedy = f"send at most {self.capacity} images in a request"
            raise RefusedError(413, "too many images", f"{count} images", f"the queue holds {self.capacity}", remedy)
        self.require_room(count)
        places = [Slot() for _ in range(count)]
        self._places.update(places)
        self.peak = max(self.peak, len(self._places))
        return places

    def require_room(self, count: int = 1) -> None:
        """Raises RefusedError (503) if fewer than `count` slots are free."""
        if len(self._places) + count > self.capacity:
            wait = max(1, math.ceil(len(self._places) * self._seconds))
            rule = f"full: {len(self._places)} of {self.capacity} images wait"
            raise RefusedError(
                503, "queue full", "the queue", rule, f"try again in {wait} s", {"Retry-After": str(wait)}
            )

    def leave(self, place: Slot) -> None:
        self._places.discard(place)

    async def answer(self, place: Slot, predictor: Predictor, stacks: list[Pixels]) -> Batched:
        """Queue a decoded image and await its answer. Cancelled before its batch starts, it is never computed."""
        ready = Ready(place, predictor, stacks, asyncio.get_running_loop().create_future())
        self._ready.append(ready)
        self._wake.set()
        return await ready.answer

    async def run(self) -> None:
        """Compute batches until cancelled."""
        while True:
            await self._wake.wait()
            batch = self._next_batch()
            if batch:
                await self._compute(batch)
            else:
                self._wake.clear()

    def stop(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _next_batch(self) -> list[Ready]:
        """Take the next batch: the oldest images that share a model, at most a window of them, skipping cancelled."""
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
        work = batch[0].predictor.answers
        loop = asyncio.get_running_loop()
        try:
            rows = await loop.run_in_executor(self._thread, work, [ready.stacks for ready in batch])
        except (
            RuntimeError,
            MemoryError,
            ModelFileError,
        ) as error:  # raised by engines, mostly out of memory; the next batch may succeed
            monitoring.log_failure("engine failed")
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
                ready.answer.set_result(Batched(row, began - ready.since, seconds))


# Requests: every image admitted, decoded and batched, until the deadline or the client's disconnection.

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """The answer to one image, and the seconds spent on decoding, waiting, and computing its batch."""

    answer: Answer
    decoded: float
    waited: float
    computed: float

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(K,)."""
        return np.exp(self.answer.log_probabilities)


@dataclass(frozen=True)
class Service:
    """State shared by the routes.

    timeout  seconds from a request's head to its response
    lessons  of the folder that is taught by; None on a server that was started without one
    """

    models: ModelStore
    batcher: Batcher
    decoders: Decoders
    bodies: Bodies
    metrics: Metrics
    subjects: Sessions
    watch: Watch
    training: Training
    timeout: float
    lessons: Lessons | None = None

    @classmethod
    def of(
        cls, path: Path, options: Options, queue: int, timeout: float, training: Training | None = None,
        lessons: Lessons | None = None,
    ) -> "Service":  # fmt: skip
        """Create the service of a model file with default limits and a queue of `queue` images. Raises UserError.

        training  what clients may train; without, nothing
        lessons   the folder that clients may teach; without, none
        """
        metrics = Metrics()
        models = ModelStore(path, options, metrics)
        batcher, decoders, subjects = Batcher(queue, metrics), Decoders(metrics), Sessions(models)
        training = training or Training(None, allowed=False)
        return cls(models, batcher, decoders, Bodies(), metrics, subjects, Watch(metrics), training, timeout, lessons)

    async def body(self, request: Request) -> bytes:
        """Read the request's body within its deadline. Raises RefusedError."""
        return await self.bodies.read(request, self._deadline(request))

    async def answer(
        self, request: Request, predictor: Predictor, images: Sequence[bytes | Pixels]
    ) -> list[Row | ImageError]:
        """Predict each image of a request whose body was read: a Row, or the ImageError. Raises RefusedError."""
        request.state.log_fields["images"] = len(images)
        places = self.batcher.enter(len(images))
        try:
            found = await self._before_deadline(request, self._predict_all(places, predictor, images))
        finally:
            for place in places:  # also of images not yet decoded
                self.batcher.leave(place)
        self.metrics.unreadable.inc(sum(isinstance(row, ImageError) for row in found))
        return found

    async def answer_with_picture(
        self, request: Request, predictor: Predictor, image: bytes
    ) -> tuple[Row, DecodedUpload]:
        """As `answer` for one image, and also return the decoded image. Raises ImageError or RefusedError."""
        request.state.log_fields["images"] = 1
        (place,) = self.batcher.enter(1)
        try:
            return await self._before_deadline(request, self._predict_with_picture(place, predictor, image))
        except ImageError:
            self.metrics.unreadable.inc()
            raise
        finally:
            self.batcher.leave(place)

    async def _before_deadline(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`; cancel it at the deadline or when the client disconnects. Raises RefusedError."""
        job, left = asyncio.create_task(work), asyncio.create_task(middleware.client_left(request))
        job.add_done_callback(middleware.retrieve_exception)
        try:
            async with asyncio.timeout_at(self._deadline(request)):
                await asyncio.wait((job, left), return_when=asyncio.FIRST_COMPLETED)
                if not job.done():
                    raise middleware.ClientLeftError("before its answer")
                return await job
        except TimeoutError:
            rule = f"took longer than {self.timeout:g} s"
            raise RefusedError(
                504, "too slow", "the answer", rule, "send fewer images at a time, or try later"
            ) from None
        finally:
            left.cancel()
            job.cancel()

    async def _predict_all(
        self, places: Sequence[Slot], predictor: Predictor, images: Sequence[bytes | Pixels]
    ) -> list[Row | ImageError]:
        rows = (self._predict_one(place, predictor, image) for place, image in zip(places, images, strict=True))
        return await asyncio.gather(*rows)

    async def _predict_one(self, place: Slot, predictor: Predictor, image: bytes | Pixels) -> Row | ImageError:
        began = time.perf_counter()
        try:
            stacks = await self.decoders.decode(image, predictor.record.preprocessing, predictor.views)
            return await self._batched(place, predictor, stacks, began)
        except ImageError as error:
            return error
        finally:
            self.batcher.leave(place)

    async def _predict_with_picture(self, place: Slot, predictor: Predictor, image: bytes) -> tuple[Row, DecodedUpload]:
        began = time.perf_counter()
        stacks, whole = await self.decoders.whole(image, predictor.record.preprocessing, predictor.views)
        return await self._batched(place, predictor, stacks, began), whole

    async def _batched(self, place: Slot, predictor: Predictor, stacks: list[Pixels], began: float) -> Row:
        decoded = time.perf_counter() - began
        batched = await self.batcher.answer(place, predictor, stacks)
        self.watch.see(predictor, batched.answer)
        return Row(batched.answer, decoded, batched.waited, batched.computed)

    def _deadline(self, request: Request) -> float:
        began: float = request.state.began
        return began + self.timeout
