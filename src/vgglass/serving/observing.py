"""The outermost layer: every request is counted, timed and logged, and none ends in silence."""

import asyncio
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vgglass.serving import logs
from vgglass.serving.metrics import Metrics


def observed(app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> ASGIApp:
    """`app` with figures, log lines, and a `scope['state']` that knows when the request came ('began', loop time).

    paths  of the routes: others are 'other' in the metrics
    What the layers below put into scope['state']['told'] (reason, images, bytes) becomes part of the line.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        began = time.perf_counter()
        told: dict[str, Any] = {}
        scope.setdefault("state", {}).update(told=told, began=asyncio.get_running_loop().time())
        status = 499  # nginx's number for a client that left before its answer began

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - began
            route = scope.get("route")  # none of what was refused before it was routed
            path = route.path if route else scope["path"] if scope["path"] in paths else "other"
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
            metrics.requests.labels(method, path, status).inc()
            metrics.seconds.labels(path).observe(seconds)
            if "reason" in told:
                metrics.refused.labels(told["reason"]).inc()
            client = scope["client"][0] if scope.get("client") else None
            logs.log(
                "request", method=method, path=scope["path"][:200], status=status, seconds=round(seconds, 4),
                client=client, **told,
            )  # fmt: skip

    return call
