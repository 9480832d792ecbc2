"""What every request passes: counted, timed and logged; its bytes bounded; and dropped when its client has left."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vgglass.server import monitoring
from vgglass.server.monitoring import Metrics
from vgglass.server.refusals import RefusedError

HEAD = 16 << 10  # bytes of a request's path and headers
BODY = 32 << 20  # bytes of one request
BODIES = 256 << 20  # of all that are being received or answered
LINGERING = 2.0  # seconds that an early refusal goes on reading


class Bodies:
    """The bytes of all bodies that are in memory."""

    def __init__(self, one: int = BODY, together: int = BODIES) -> None:
        self.one, self.together = one, together
        self._held = 0

    async def read(self, request: Request, deadline: float) -> bytes:
        """A request's whole body. Raises RefusedError.

        deadline  of the loop's clock. The bytes count as held until `request.state.release` is called.
        """
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.lower() not in ("identity", ""):
            value, headers = f"Content-Encoding {encoding[:100]!r}", {"Accept-Encoding": "identity"}
            raise RefusedError(415, "wrong type", value, "is not read", "send the body as it is", headers)
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > self.one:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout_at(deadline):
                async for part in request.stream():
                    size += len(part)
                    self._hold(request, len(part))
                    parts.append(part)
                    if size > self.one:
                        raise self._too_large()
        except RefusedError:  # its room is free at once, not when the client has been heard out
            self.release(request.scope)
            raise
        except TimeoutError:
            rule, remedy = "did not arrive in time", "send it faster, or send less"
            raise RefusedError(408, "slow body", f"{size} bytes of a body", rule, remedy) from None
        except ClientDisconnect:
            raise ClientLeftError("while it sent") from None
        request.state.told["bytes"] = size
        return b"".join(parts)

    def _hold(self, request: Request, count: int) -> None:
        self._held += count
        request.scope["state"]["held"] = request.scope["state"].get("held", 0) + count
        if self._held > self.together:
            value, rule = "the memory for bodies", f"holds {self.together >> 20} MiB, and they are taken"
            raise RefusedError(503, "memory full", value, rule, "try again in 1 s", {"Retry-After": "1"})

    def release(self, scope: Scope) -> None:
        self._held -= scope["state"].pop("held", 0)

    def _too_large(self) -> RefusedError:
        rule = f"more than {self.one >> 10:,} KiB, which is all that this server takes"
        return RefusedError(413, "body too large", "the body", rule, "send fewer or smaller images")


def with_body_limits(app: ASGIApp, bodies: Bodies, require_room: Callable[[], None]) -> ASGIApp:
    """`app` for heads of a bearable size, and for what is posted as long as there is room.

    Early answers reach clients that are still sending.

    A socket that is closed with bytes unread is reset, and the client may never see the answer that it was sent. So the
    answer goes out whole, and what still comes is read and thrown away for a moment before the response ends.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        whole = not _has_body(scope)

        async def receiving() -> Message:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False) and not whole:
                await send({**message, "more_body": True})
                await _drained(receiving)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        async def _drained(receive: Receive) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGERING):
                    while not whole:
                        await receive()

        try:
            _check_head(scope)
            if scope["method"] == "POST":  # here, before any routing: to refuse must cost next to nothing
                require_room()
        except RefusedError as refusal:
            scope["state"]["told"]["reason"] = refusal.reason
            await refusal.response()(scope, receiving, sending)
            return
        try:
            await app(scope, receiving, sending)
        finally:
            bodies.release(scope)

    return call


def _check_head(scope: Scope) -> None:
    if len(scope["raw_path"]) + sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD:
        value, rule = "the head of the request", f"more than {HEAD >> 10} KiB"
        raise RefusedError(431, "large head", value, rule, "send fewer or shorter headers")


def _has_body(scope: Scope) -> bool:
    names = dict(scope["headers"])
    expecting = names.get(b"expect", b"").lower() == b"100-continue"  # sends nothing until it is told to
    return not expecting and (names.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in names)


# Clients that leave before their answer: nothing is computed for them.


async def client_left(request: Request) -> None:
    """Returns when the client has gone; the body must have been read."""
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await request.receive()


def retrieve_exception(task: asyncio.Task[Any]) -> None:
    """What becomes of work whose client has left; asyncio logs a traceback of an exception that nobody asked for."""
    if not task.cancelled():
        task.exception()


class ClientLeftError(RefusedError):
    """What nobody will read; the log and the metrics count it."""

    def __init__(self, when: str) -> None:
        super().__init__(499, "client left", "the client", f"left {when}", "stay")


# The outermost layer: every request is counted, timed and logged, and none ends in silence.


def with_monitoring(app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> ASGIApp:
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
            monitoring.log(
                "request", method=method, path=scope["path"][:200], status=status, seconds=round(seconds, 4),
                client=client, **told,
            )  # fmt: skip

    return call
