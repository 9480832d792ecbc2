"""From encoded images to rows: admitted, decoded, batched; in time, and only while the client is there."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from vgglass.errors import ImageError
from vgglass.images import Pixels
from vgglass.predictor import Predictor
from vgglass.serving.batching import Answer, Batcher, Place
from vgglass.serving.decoding import Decoders
from vgglass.serving.limits import Bodies
from vgglass.serving.metrics import Metrics
from vgglass.serving.models import Models
from vgglass.serving.refusals import RefusedError
from vgglass.serving.subjects import Subjects


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

    async def body(self, request: Request) -> bytes:
        """Raises RefusedError."""
        return await self.bodies.read(request, self._deadline(request))

    async def answer(
        self, request: Request, predictor: Predictor, images: Sequence[bytes | Pixels]
    ) -> list[Row | ImageError]:
        """A row for each image of a request whose body was read, or why it can't be read. Raises RefusedError."""
        request.state.told["images"] = len(images)
        places = self.batcher.enter(len(images))
        rows = asyncio.gather(
            *(self._row(place, predictor, image) for place, image in zip(places, images, strict=True))
        )
        left = asyncio.create_task(_left(request))
        try:
            async with asyncio.timeout_at(self._deadline(request)):
                await asyncio.wait((rows, left), return_when=asyncio.FIRST_COMPLETED)
                if not rows.done():
                    raise RefusedError(499, "client left", "the client", "left before its answer", "stay")
                found = await rows
        except TimeoutError:
            rule = f"took longer than {self.timeout:g} s"
            raise RefusedError(
                504, "too slow", "the answer", rule, "send fewer images at a time, or try later"
            ) from None
        finally:
            left.cancel()
            rows.cancel()
            for place in places:  # also those whose turn to be decoded has not come
                self.batcher.leave(place)
        self.metrics.unreadable.inc(sum(isinstance(row, ImageError) for row in found))
        return found

    async def _row(self, place: Place, predictor: Predictor, image: bytes | Pixels) -> Row | ImageError:
        began = time.perf_counter()
        try:
            stacks = await self.decoders.decode(image, predictor.record.preprocessing, predictor.views)
            decoded = time.perf_counter() - began
            answer: Answer = await self.batcher.answer(place, predictor, stacks)
        except ImageError as error:
            return error
        finally:
            self.batcher.leave(place)
        return Row(np.exp(answer.log_probabilities), decoded, answer.waited, answer.computed)

    def _deadline(self, request: Request) -> float:
        began: float = request.state.began
        return began + self.timeout


async def _left(request: Request) -> None:
    """Returns when the client has gone; the body must have been read."""
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await request.receive()
