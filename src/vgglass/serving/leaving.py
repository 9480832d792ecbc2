"""Clients that leave before their answer: nothing is computed for them."""

import asyncio
from typing import Any

from starlette.requests import Request

from vgglass.serving.refusals import RefusedError


async def left(request: Request) -> None:
    """Returns when the client has gone; the body must have been read."""
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await request.receive()


def hear(task: asyncio.Task[Any]) -> None:
    """What becomes of work whose client has left; asyncio logs a traceback of an exception that nobody asked for."""
    if not task.cancelled():
        task.exception()


class LeftError(RefusedError):
    """What nobody will read; the log and the metrics count it."""

    def __init__(self, when: str) -> None:
        super().__init__(499, "client left", "the client", f"left {when}", "stay")
