"""Whether the server lives, whether it answers, and its figures."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from vgglass.serving.documentation import ERRORS, FIGURES
from vgglass.serving.metrics import Metrics
from vgglass.serving.refusals import json_response


def router(metrics: Metrics) -> APIRouter:
    """The process is bound to its port only when its model has proved itself, so that to answer is to be ready."""
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
