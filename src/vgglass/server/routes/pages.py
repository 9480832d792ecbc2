"""The page with its static files, health checks and metrics."""

import json
from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from vgglass import locale
from vgglass.server.documentation import ERRORS, FIGURES
from vgglass.server.monitoring import Metrics
from vgglass.server.refusals import RefusedError, json_response

# Health checks and metrics.


def health_router(metrics: Metrics) -> APIRouter:
    """Health and metrics routes. The port is opened only once the model is verified, so responding means ready."""
    routes = APIRouter()

    @routes.get("/v2/health/live", summary="Whether the process lives", include_in_schema=False)
    @routes.get("/health/live", summary="Whether the process lives", responses=ERRORS)
    async def live() -> Response:
        return json_response({"live": True})

    @routes.get("/v2/health/ready", summary="Whether it answers", include_in_schema=False)
    @routes.get("/health/ready", summary="Whether it answers", responses=ERRORS)
    async def ready() -> Response:
        return json_response({"ready": True})

    @routes.get("/metrics", summary="Figures for Prometheus", response_class=Response, responses=FIGURES)
    async def figures() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return routes


VIEWS = ("course", "watch", "teach")  # with texts of their own
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "json": "application/json"}


def page_router() -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    folders = (files("vgglass.server") / "static", files("vgglass.web"))
    parts = [file for folder in folders for file in folder.iterdir() if file.name.rpartition(".")[2] in KINDS]
    found = {file.name: file.read_bytes() for file in parts}
    found["words.json"] = json.dumps(_words(), ensure_ascii=False).encode()

    def sent(name: str) -> Response:
        return Response(found[name], media_type=KINDS[name.rpartition(".")[2]])

    @routes.get("/")
    async def page() -> Response:
        return sent("index.html")

    @routes.get("/static/{name}")
    async def part(name: str) -> Response:
        if name not in found:
            raise RefusedError(404, "no route", f"/static/{name[:60]}", "is no part of the page", "see /")
        return sent(name)

    return routes


def _words() -> dict[str, Any]:
    """Return the page's texts by language, those of a view under its name."""
    return {
        lang: locale.words(lang, "page") | {view: locale.words(lang, view) for view in VIEWS}
        for lang in locale.LANGUAGES
    }
