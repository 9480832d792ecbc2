"""The process: a socket, uvicorn, and signals. SIGHUP reloads; SIGTERM and Ctrl-C stop once all is answered."""

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
GRACE = 2.0  # seconds beyond a request's own time limit that a stop may take


class Connection(H11Protocol):
    """uvicorn's, closed where the head of a request begins and does not end: uvicorn itself waits for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and self.cycle.response_complete:  # bytes of a next request, not yet its whole head
            self._expect_head()

    def _expect_head(self) -> None:
        self.loop.call_later(HEAD, self._require_other_than, self.cycle)

    def _require_other_than(self, cycle: object) -> None:
        if self.cycle is cycle and not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's, with our signals, and a pause at the end in which what has been sent is read."""

    reload: Callable[[], Any]

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():  # in tests: nobody sends signals there
            yield
            return
        reloads: set[asyncio.Task[Any]] = set()  # the loop itself holds tasks weakly

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
        await asyncio.sleep(0.2)  # requests whose connection was accepted and whose bytes are on their way
        await super().shutdown(sockets)
        monitoring.log("stopped")

    def _stop(self, number: int) -> None:
        if self.should_exit:  # a second one
            self.force_exit = True
            return
        monitoring.log("stopping", signal=signal.Signals(number).name)
        self.should_exit = True
        grace = self.config.timeout_graceful_shutdown or 0
        # Whatever still hangs then, in a thread that no one can cancel, does not keep the process.
        watchdog = threading.Timer(grace + GRACE, os._exit, [1])
        watchdog.daemon = True
        watchdog.start()


def bind(host: str, port: int) -> socket.socket:
    """A socket that nobody can connect to yet. Raises UsageError."""
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


def run(app: ASGIApp, bound: socket.socket, timeout: float, reload: Callable[[], Any]) -> None:
    """Serve until a signal comes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a connection is a file, and 1,024 of them are soon there
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(config(app, timeout))
    server.reload = reload
    server.run([bound])


def config(app: ASGIApp, timeout: float) -> uvicorn.Config:
    return uvicorn.Config(
        app, http=Connection, loop="asyncio", ws="none", lifespan="on", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=int(timeout + GRACE) + 1,
    )  # fmt: skip
