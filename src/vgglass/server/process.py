"""The server process: socket, uvicorn and signals. SIGHUP reloads the model; SIGTERM and SIGINT stop gracefully."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from vgglass.errors import UsageError
from vgglass.server import monitoring

HEAD = 10.0  # seconds for the head of a request to arrive
GRACE = 2.0  # seconds that a graceful stop may take beyond a request's own time limit


class Connection(H11Protocol):
    """uvicorn's connection with a timeout for incomplete request heads, for which uvicorn waits forever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_head_timeout()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and self.cycle.response_complete:  # the start of another request's head
            self._start_head_timeout()

    def _start_head_timeout(self) -> None:
        self.loop.call_later(HEAD, self._close_unless_advanced, self.cycle)

    def _close_unless_advanced(self, cycle: object) -> None:
        if self.cycle is cycle and not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server with our signal handlers, and a pause on shutdown to read requests already sent."""

    reload: Callable[[], Any]
    closing: Callable[[], Any]  # ends streams that would else last as long as their readers

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():  # in tests; handlers need the main thread
            yield
            return
        reloads: set[asyncio.Task[Any]] = set()  # the event loop keeps only weak references to tasks

        def reload() -> None:
            task = loop.create_task(self.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, reload)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        monitoring.log("serving", addresses=[address(each) for each in sockets or []])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self.closing()
        await asyncio.sleep(0.2)  # for requests in flight on accepted connections
        await super().shutdown(sockets)
        monitoring.log("stopped")

    def _stop(self, number: int) -> None:
        if self.should_exit:  # the second signal
            self.force_exit = True
            return
        monitoring.log("stopping", signal=signal.Signals(number).name)
        self.should_exit = True
        grace = self.config.timeout_graceful_shutdown or 0
        # Threads can't be cancelled: exit even if one still hangs by then.
        watchdog = threading.Timer(grace + GRACE, os._exit, [1])
        watchdog.daemon = True
        watchdog.start()


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket without listening on it. Raises UsageError."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(place)
        except (OSError, OverflowError):
            bound.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--host {host} --port {port}", reason, "choose another place") from error
    bound.set_inheritable(False)
    return bound


def address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def run(
    app: ASGIApp, bound: socket.socket, timeout: float, reload: Callable[[], Any],
    closing: Callable[[], Any] = lambda: None,
) -> None:  # fmt: skip
    """Serve until a signal stops the process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a connection takes a descriptor; the soft limit is often 1,024
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(config(app, timeout))
    server.reload, server.closing = reload, closing
    server.run([bound])


def config(app: ASGIApp, timeout: float) -> uvicorn.Config:
    return uvicorn.Config(
        app, http=Connection, loop="asyncio", ws="none", lifespan="on", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=int(timeout + GRACE) + 1,
    )  # fmt: skip
