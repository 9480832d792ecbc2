"""The page and its parts: plain files, sent as they are."""

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

from vgglass.serving.refusals import RefusedError

KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "json": "application/json"}


def router() -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    folder = files("vgglass.serving") / "static"
    found = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

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
