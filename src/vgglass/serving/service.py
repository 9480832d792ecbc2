"""From encoded images to rows: admitted, decoded, batched; in time, and only while the client is there."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from vgglass.errors import ImageError
from vgglass.images import Pixels
from vgglass.inference.predictor import Predictor
from vgglass.serving import leaving
from vgglass.serving.batching import Answer, Batcher, Place
from vgglass.serving.decoding import Decoders, Whole
from vgglass.serving.limits import Bodies
from vgglass.serving.metrics import Metrics
from vgglass.serving.models import Models, Options
from vgglass.serving.refusals import RefusedError
from vgglass.serving.subjects import Subjects

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One image's probabilities (K,), and the seconds that it was decoded, waited, and was computed with its batch."""

    probabilities: NDArray[np.float64]
    decoded: float
    waited: float
    computed: float


@dataclass(frozen=True)
class Service:
    """What the routes share.

    timeout  seconds from a request's head to its answer
    """

    models: Models
    batcher: Batcher
    decoders: Decoders
    bodies: Bodies
    metrics: Metrics
    subjects: Subjects
    timeout: float

    @classmethod
    def of(cls, path: Path, options: Options, queue: int, timeout: float) -> "Service":
        """A model's file, served with the usual limits and a queue for so many images. Raises UserError."""
        metrics = Metrics()
        models = Models(path, options, metrics)
        return cls(models, Batcher(queue, metrics), Decoders(metrics), Bodies(), metrics, Subjects(models), timeout)

    async def body(self, request: Request) -> bytes:
        """Raises RefusedError."""
        return await self.bodies.read(request, self._deadline(request))

    async def answer(
        self, request: Request, predictor: Predictor, images: Sequence[bytes | Pixels]
    ) -> list[Row | ImageError]:
        """A row for each image of a request whose body was read, or why it can't be read. Raises RefusedError."""
        request.state.told["images"] = len(images)
        places = self.batcher.enter(len(images))
        try:
            found = await self._in_time(request, self._rows(places, predictor, images))
        finally:
            for place in places:  # also those whose turn to be decoded has not come
                self.batcher.leave(place)
        self.metrics.unreadable.inc(sum(isinstance(row, ImageError) for row in found))
        return found

    async def look(self, request: Request, predictor: Predictor, image: bytes) -> tuple[Row, Whole]:
        """As `answer` for one image, decoded once for its row and its picture. Raises ImageError or RefusedError."""
        request.state.told["images"] = 1
        (place,) = self.batcher.enter(1)
        try:
            return await self._in_time(request, self._looked(place, predictor, image))
        except ImageError:
            self.metrics.unreadable.inc()
            raise
        finally:
            self.batcher.leave(place)

    async def _in_time(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """Raises RefusedError where it takes too long or the client leaves: it goes no further then."""
        job, left = asyncio.create_task(work), asyncio.create_task(leaving.left(request))
        job.add_done_callback(leaving.hear)
        try:
            async with asyncio.timeout_at(self._deadline(request)):
                await asyncio.wait((job, left), return_when=asyncio.FIRST_COMPLETED)
                if not job.done():
                    raise leaving.LeftError("before its answer")
                return await job
        except TimeoutError:
            rule = f"took longer than {self.timeout:g} s"
            raise RefusedError(
                504, "too slow", "the answer", rule, "send fewer images at a time, or try later"
            ) from None
        finally:
            left.cancel()
            job.cancel()

    async def _rows(
        self, places: Sequence[Place], predictor: Predictor, images: Sequence[bytes | Pixels]
    ) -> list[Row | ImageError]:
        rows = (self._row(place, predictor, image) for place, image in zip(places, images, strict=True))
        return await asyncio.gather(*rows)

    async def _row(self, place: Place, predictor: Predictor, image: bytes | Pixels) -> Row | ImageError:
        began = time.perf_counter()
        try:
            stacks = await self.decoders.decode(image, predictor.record.preprocessing, predictor.views)
            return await self._computed(place, predictor, stacks, began)
        except ImageError as error:
            return error
        finally:
            self.batcher.leave(place)

    async def _looked(self, place: Place, predictor: Predictor, image: bytes) -> tuple[Row, Whole]:
        began = time.perf_counter()
        stacks, whole = await self.decoders.whole(image, predictor.record.preprocessing, predictor.views)
        return await self._computed(place, predictor, stacks, began), whole

    async def _computed(self, place: Place, predictor: Predictor, stacks: list[Pixels], began: float) -> Row:
        decoded = time.perf_counter() - began
        answer: Answer = await self.batcher.answer(place, predictor, stacks)
        return Row(np.exp(answer.log_probabilities), decoded, answer.waited, answer.computed)

    def _deadline(self, request: Request) -> float:
        began: float = request.state.began
        return began + self.timeout
