"""The /watch routes: a small network trained before one's eyes, and its record point by point.

Paths name a run by its number, so that an answer is of the run that was asked for.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query
from starlette.responses import Response, StreamingResponse

from vgglass.errors import TrainingError
from vgglass.learning import PINNED, Learning
from vgglass.server.admission import Service
from vgglass.server.documentation import GLASS_ERRORS
from vgglass.server.refusals import RefusedError, json_response, plain
from vgglass.server.training import DATA, EXPERIMENTS, Training

Number = Annotated[int, Path(ge=1, le=1 << 30, description="Of the run, as /watch tells it.")]
Step = Annotated[int, Path(ge=0, le=1 << 40)]
BYTES = "application/octet-stream"
T = TypeVar("T")


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/watch", responses=GLASS_ERRORS, default_response_class=Response)
    _add_run(routes, service.training)
    _add_record(routes, service.training)
    _add_model(routes, service)
    return routes


def _add_run(routes: APIRouter, training: Training) -> None:
    @routes.post("/runs", summary="Train a small network, one at a time; it waits before its first step")
    async def start(
        data: Annotated[str, Query(pattern=f"^({'|'.join(DATA)})$")] = "digits",
        experiment: Annotated[
            str, Query(pattern=f"^({'|'.join(EXPERIMENTS)})$", description="What to break.")
        ] = "plain",
    ) -> Response:
        await training.start(data, experiment)
        return json_response(training.status())

    @routes.post("/commands/{command}", summary="Pause, go on, make one step, or stop")
    async def command(command: Annotated[str, Path(pattern="^(pause|go|step|stop)$")]) -> Response:
        await training.command(command)
        return json_response(training.status())

    @routes.get("/events", summary="The run's state, and whenever it changes, as JSON lines for some seconds")
    async def events() -> Response:
        async def lines() -> AsyncIterator[str]:
            async for status in training.events():
                yield json.dumps(plain(status)) + "\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")


def _add_record(routes: APIRouter, training: Training) -> None:
    """Add the routes of the record's files: points and pinned images as safetensors, losses as float32."""

    async def read(number: int, work: Callable[[Learning], T]) -> T:
        if training.lesson.number != number:
            raise RefusedError(404, "no run", f"run {number}", "is not the last one", "see /watch/events")
        try:
            return await asyncio.to_thread(work, Learning(training.run))
        except (OSError, TrainingError) as error:
            raise RefusedError(
                404, "no point", f"run {number}", f"has no such record ({error})", "see /watch/events"
            ) from None

    @routes.get("/runs/{number}/points/{step}", summary="What was recorded after so many steps")
    async def point(number: Number, step: Step) -> Response:
        return Response(await read(number, lambda place: place.path(step).read_bytes()), media_type=BYTES)

    @routes.get("/runs/{number}/pinned", summary="The images whose maps and answers are recorded")
    async def pinned(number: Number) -> Response:
        return Response(await read(number, lambda place: (place.folder / PINNED).read_bytes()), media_type=BYTES)

    @routes.get("/runs/{number}/losses", summary="Loss and accuracy of every step, as float32 (n, 2)")
    async def losses(number: Number, after: Annotated[int, Query(ge=0, le=1 << 40)] = 0) -> Response:
        data = await read(number, lambda place: place.losses()[after:].astype("<f4").tobytes())
        return Response(data, media_type=BYTES)


def _add_model(routes: APIRouter, service: Service) -> None:
    """Add the routes that change which model serves: the run's own best, or the one that the server began with."""

    @routes.post("/runs/{number}/open", summary="Serve the model of this run's best epoch in place of the current one")
    async def open_(number: Number) -> Response:
        training = service.training
        if training.lesson.number != number or training.lesson.goes_on:
            rule = "is not the last one, or goes on"
            raise RefusedError(409, "training", f"run {number}", rule, "wait for its end, or stop it")
        if (path := training.model) is None:
            rule = "has no model file: it was broken, or stopped before its first epoch's end"
            raise RefusedError(404, "no model", f"run {number}", rule, "open that of a whole run")
        await service.models.open(path, f"{training.lesson.data}-{number}")
        return json_response({"name": service.models.name})

    @routes.post("/close", summary="Serve the model again that the server began with")
    async def close() -> Response:
        await service.models.close()
        return json_response({"name": service.models.name})
