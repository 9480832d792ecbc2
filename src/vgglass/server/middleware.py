"""ASGI middleware: metrics and the request log, limits on heads and bodies, detection of disconnected clients."""

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
BODY = 32 << 20  # bytes of one request body
BODIES = 256 << 20  # bytes of all bodies in memory
LINGERING = 2.0  # seconds to keep reading a body after an early refusal


class Bodies:
    """Reads request bodies within a limit on each and on all of them in memory."""

    def __init__(self, one: int = BODY, together: int = BODIES) -> None:
        self.one, self.together = one, together
        self._held = 0

    async def read(self, request: Request, deadline: float) -> bytes:
        """Read a request's whole body. Raises RefusedError.

        deadline  on the event loop's clock. The bytes count against the limit until `release`.
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
        except RefusedError:  # release the memory now, not after the rest of the body has been drained
            self.release(request.scope)
            raise
        except TimeoutError:
            rule, remedy = "did not arrive in time", "send it faster, or send less"
            raise RefusedError(408, "slow body", f"{size} bytes of a body", rule, remedy) from None
        except ClientDisconnect:
            raise ClientLeftError("while it sent") from None
        request.state.log_fields["bytes"] = size
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
    """Wrap `app`: refuse oversized heads, and POST requests while the queue is full.

    Early responses reach clients that are still sending: closing a socket with unread bytes resets it, and the client
    may lose the response. So the response is sent in full, and the body is drained for LINGERING before it ends.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        whole = not _has_body(scope)

        async def receive_tracked() -> Message:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False) and not whole:
                await send({**message, "more_body": True})
                await drain(receive_tracked)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        async def drain(receive: Receive) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGERING):
                    while not whole:
                        await receive()

        try:
            _check_head(scope)
            if scope["method"] == "POST":  # before any routing: a refusal must be cheap
                require_room()
        except RefusedError as refusal:
            scope["state"]["log_fields"]["reason"] = refusal.reason
            await refusal.response(scope)(scope, receive_tracked, sending)
            return
        try:
            await app(scope, receive_tracked, sending)
        finally:
            bodies.release(scope)

    return call


def _check_head(scope: Scope) -> None:
    if len(scope["raw_path"]) + sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD:
        value, rule = "the head of the request", f"more than {HEAD >> 10} KiB"
        raise RefusedError(431, "large head", value, rule, "send fewer or shorter headers")


def _has_body(scope: Scope) -> bool:
    names = dict(scope["headers"])
    expecting = names.get(b"expect", b"").lower() == b"100-continue"  # sends no body until asked to continue
    return not expecting and (names.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in names)


# Clients that disconnect before their response: their work is cancelled.


async def client_left(request: Request) -> None:
    """Return when the client disconnects. Its body must have been read."""
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await request.receive()


def retrieve_exception(task: asyncio.Task[Any]) -> None:
    """Done callback: mark the task's exception as retrieved, or asyncio logs a traceback for abandoned work."""
    if not task.cancelled():
        task.exception()


class ClientLeftError(RefusedError):
    """The client disconnected. Nobody reads this response; it serves the log and the metrics."""

    def __init__(self, when: str) -> None:
        super().__init__(499, "client left", "the client", f"left {when}", "stay")


# The outermost middleware: metrics and one log line for every request, however it ends.


def with_monitoring(app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> ASGIApp:
    """Wrap `app` with metrics and request logging; `scope['state']['began']` is the request's start (loop time).

    paths  of the routes; any other is counted as 'other'
    Inner layers add fields to the log line through scope['state']['log_fields'] (reason, images, bytes).
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        began = time.perf_counter()
        log_fields: dict[str, Any] = {}
        scope.setdefault("state", {}).update(log_fields=log_fields, began=asyncio.get_running_loop().time())
        status = 499  # nginx's status for a client that disconnected before its response started

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - began
            route = scope.get("route")  # None if refused before routing
            path = route.path if route else scope["path"] if scope["path"] in paths else "other"
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
            metrics.requests.labels(method, path, status).inc()
            metrics.seconds.labels(path).observe(seconds)
            if "reason" in log_fields:
                metrics.refused.labels(log_fields["reason"]).inc()
            client = scope["client"][0] if scope.get("client") else None
            monitoring.log(
                "request", method=method, path=scope["path"][:200], status=status, seconds=round(seconds, 4),
                client=client, **log_fields,
            )  # fmt: skip

    return call
