"""The ASGI application: all routes, wrapped in the middleware."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from vgglass import __version__
from vgglass.errors import MissingExtraError, UsageError
from vgglass.server import documentation, monitoring
from vgglass.server.access import Access, with_access_checks, with_root_path
from vgglass.server.admission import Service
from vgglass.server.middleware import with_body_limits, with_monitoring
from vgglass.server.refusals import RefusedError
from vgglass.server.routes import card, glass, inference_protocol, pages, predict, teach, watch


def create(service: Service, access: Access, root_path: str = "") -> ASGIApp:
    """Create the ASGI application. Another group of routes is one more router here.

    root_path  path prefix under which a proxy publishes the server
    """
    app = FastAPI(
        title="vgglass", version=__version__, description="VGG image classification that you can see through.",
        docs_url=None, redoc_url=None, lifespan=_lifespan(service), servers=[{"url": "."}], redirect_slashes=False,
    )  # fmt: skip
    for router in (
        predict.router(service),
        inference_protocol.router(service),
        pages.health_router(service.metrics),
        glass.router(service),
        watch.router(service),
        card.router(service.models),
        pages.page_router(),
    ):
        app.include_router(router)
    if service.lessons:
        app.include_router(teach.router(service, service.lessons))
    _add_documentation(app)
    _add_exception_handlers(app)
    paths = frozenset(app.openapi()["paths"])
    within = with_body_limits(_with_head_method(app), service.bodies, service.batcher.require_room)
    return with_monitoring(with_root_path(with_access_checks(within, access), root_path), service.metrics, paths)


def _lifespan(service: Service) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return the lifespan that runs decoders, the batcher and the model file's watcher."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.decoders.start()
        tasks = [asyncio.create_task(service.batcher.run()), asyncio.create_task(service.models.watch())]
        if service.lessons:
            tasks.append(asyncio.create_task(service.lessons.run(service.decoders)))
        for task in tasks:
            task.add_done_callback(_exit_on_failure)
        yield
        await service.training.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        service.batcher.stop()
        if service.lessons:
            service.lessons.stop()
        service.subjects.stop()
        service.decoders.stop()

    return lifespan


def _exit_on_failure(task: asyncio.Task[None]) -> None:
    """Exit if a background task fails, so that a supervisor (systemd, Docker) restarts a server that would hang."""
    error = None if task.cancelled() else task.exception()
    if error:
        monitoring.log("error", error=repr(error))
        os._exit(1)


def _add_documentation(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(documentation.page(app.openapi()))


def _with_head_method(app: ASGIApp) -> ASGIApp:
    """Wrap `app` to route HEAD as GET; the HTTP server omits the body."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await app(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}
        await app(asked, receive, send)
        scope["route"] = asked.get("route")

    return call


def _add_exception_handlers(app: FastAPI) -> None:
    """Register handlers that turn every exception into one form of error response."""

    def refuse(request: Request, error: Exception) -> Response:
        refusal = _refusal(request, error)
        request.state.log_fields["reason"] = refusal.reason
        return refusal.response(request.scope)

    for kind in (RefusedError, UsageError, MissingExtraError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, refuse)


def _refusal(request: Request, error: Exception) -> RefusedError:
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, UsageError):  # an unknown layer, channel or position
        return RefusedError(422, "bad parameter", error.value, error.rule, error.remedy)
    if isinstance(error, MissingExtraError):
        return RefusedError(501, "no glass", error.value, error.rule, error.remedy)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        value = f"{first['loc'][-1]} {str(first.get('input'))[:100]!r}"
        return RefusedError(422, "bad parameter", value, str(first["msg"]), "see /docs")
    if isinstance(error, HTTPException):  # raised by FastAPI: unknown route or wrong method
        value = f"{request.method} {request.url.path[:100]!r}"
        return RefusedError(error.status_code, "no route", value, error.detail, "see /docs", error.headers)
    monitoring.log_failure("error")
    return RefusedError(500, "our mistake", "the request", "met a mistake of ours", "report it with the server's log")
