"""How much a request may be. A body's bytes are counted as they arrive, whatever the header said."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vgglass.serving import leaving
from vgglass.serving.refusals import RefusedError

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
            raise leaving.LeftError("while it sent") from None
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


def bounded(app: ASGIApp, bodies: Bodies, require_room: Callable[[], None]) -> ASGIApp:
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
