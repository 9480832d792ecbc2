"""Asyncio pool of isolated decoder processes (see isolation.py)."""

import asyncio
import json
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from vgglass import isolation
from vgglass.errors import ImageError
from vgglass.images import Pixels
from vgglass.images.limits import CostError
from vgglass.inference.views import View
from vgglass.isolation import DeathError
from vgglass.preprocess import Preprocessing
from vgglass.server import middleware
from vgglass.server.monitoring import Metrics
from vgglass.server.refusals import RefusedError

SECONDS = 15.0  # wall-clock limit for one image: what isolation.SECONDS of CPU time take on a busy machine
CHEAP = 10_000_000  # pixels, as images.limits counts: at most 0.4 s of work, which never queues behind slower images
STARTING = 60.0  # seconds for a new process to report that it is ready
PROCESSES = max(3, (os.cpu_count() or 2) // 2)  # one of them is reserved for cheap images


@dataclass(frozen=True, eq=False)
class DecodedUpload:
    """A decoded image, as `glass.subject.put` takes it.

    original  the decoded image (H, W, C), downscaled if it exceeds decoder.SHOWN
    square    the network's crop (S, S, C)
    fitted    height and width of the image that the square was resized and cropped from
    """

    original: Pixels
    square: Pixels
    fitted: tuple[int, int]


class Decoders:
    """A pool of decoder processes, each of which handles one job at a time."""

    def __init__(
        self, metrics: Metrics, processes: int = PROCESSES, seconds: float = SECONDS, memory: int | None = None
    ) -> None:
        self.seconds, self.memory = seconds, memory or isolation.memory()
        self._costly = asyncio.Semaphore(max(1, processes - 1))
        self._metrics = metrics
        self._free: asyncio.LifoQueue[Process | None] = asyncio.LifoQueue()  # None: started on demand
        self._running: set[Process] = set()
        self._exchanges: set[asyncio.Task[list[Pixels]]] = set()
        for _ in range(processes):
            self._free.put_nowait(None)

    async def start(self) -> None:
        """Start all processes, so that the first requests don't wait for them."""
        count = self._free.qsize()
        processes = await asyncio.gather(*(self._start_process() for _ in range(count)))
        for _ in processes:
            self._free.get_nowait()
        for process in processes:
            self._free.put_nowait(process)

    async def decode(self, image: bytes | Pixels, record: Preprocessing, views: Sequence[View]) -> list[Pixels]:
        """Return the stack of each view of an encoded image, or of decoded pixels (H, W, C).

        Raises ImageError; RefusedError if the decoder is killed twice from outside.
        """
        return await self._run("show", image, record, views)

    async def whole(
        self, image: bytes, record: Preprocessing, views: Sequence[View]
    ) -> tuple[list[Pixels], DecodedUpload]:
        """As `decode`, and also the decoded image with its crop. Raises ImageError, RefusedError."""
        original, square, fitted, *stacks = await self._run("whole", image, record, views)
        return stacks, DecodedUpload(original, square, (fitted.shape[0], fitted.shape[1]))

    async def _run(
        self, asked: str, image: bytes | Pixels, record: Preprocessing, views: Sequence[View]
    ) -> list[Pixels]:
        shape, data = ({}, image) if isinstance(image, bytes) else ({"shape": image.shape}, image.tobytes())
        work = {"work": asked, "views": [astuple(view) for view in views]}
        about = {"preprocessing": record.as_json(), "bytes": len(data)} | isolation.bounds()
        started = asyncio.Event()
        # Shielded: once a process has the job, its response must be read in full even if the request is cancelled.
        exchange = asyncio.create_task(self._exchange_by_cost(work | about | shape, data, started))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._finish_exchange)
        try:
            return await asyncio.shield(exchange)
        except asyncio.CancelledError:
            if not started.is_set():
                exchange.cancel()
            raise

    async def _exchange_by_cost(self, job: dict[str, Any], data: bytes, started: asyncio.Event) -> list[Pixels]:
        """Run a job; one whose image header shows it to be costly takes a semaphore that leaves a process free."""
        try:
            return await self._exchange(job | {"max_pixels": min(CHEAP, job["max_pixels"])}, data, started)
        except CostError:
            async with self._costly:
                return await self._exchange(job, data, started)

    def stop(self) -> None:
        for process in self._running:
            if process.returncode is None:
                process.kill()

    def _finish_exchange(self, exchange: asyncio.Task[list[Pixels]]) -> None:
        self._exchanges.discard(exchange)
        middleware.retrieve_exception(exchange)

    async def _exchange(self, job: dict[str, Any], data: bytes, started: asyncio.Event) -> list[Pixels]:
        for last in (False, True):
            process = await self._free.get()
            started.set()
            try:
                process = process or await self._start_process()
                async with asyncio.timeout(self.seconds):
                    header, answer = await _request(process, job, data)
                isolation.require_answer(header)
                return isolation.stacks(header, answer)
            except ImageError:  # reported by the decoder; a subclass of ValueError, so it must come first
                raise
            except TimeoutError:
                self._kill(process)
                process = None
                rule = f"took more than {self.seconds:g} s to decode"
                raise ImageError("image", rule, "make it smaller, or save it in another format") from None
            except DeathError as death:
                self._kill(process)
                process = None
                if not death.is_from_outside:
                    raise ImageError("image", death.rule(job["seconds"]), "save it in another format") from None
                if last:
                    value, rule = "the image's decoder", "was killed twice, as the system does where memory runs out"
                    raise RefusedError(
                        503, "decoder killed", value, rule, "try again in 1 s", {"Retry-After": "1"}
                    ) from None
            except (ValueError, KeyError):  # a malformed response
                self._kill(process)
                process = None
                raise ImageError("image", "its decoder broke down on it", "save it in another format") from None
            finally:
                started.clear()
                self._free.put_nowait(process)
        raise AssertionError

    async def _start_process(self) -> Process:
        # In a new session, Ctrl-C in a terminal reaches only the server, which first finishes the accepted requests.
        process = await asyncio.create_subprocess_exec(
            *isolation.command(self.memory), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True,
            env=os.environ | isolation.ENVIRONMENT,
        )  # fmt: skip
        self._running.add(process)
        async with asyncio.timeout(STARTING):
            await _read_response(process)
        return process

    def _kill(self, process: Process | None) -> None:
        self._metrics.killed.inc()
        if process is not None:
            self._running.discard(process)
            if process.returncode is None:
                process.kill()


async def _request(process: Process, header: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """Send a job and return its response. Raises DeathError if the process dies."""
    assert process.stdin is not None
    text = json.dumps(header).encode()
    process.stdin.write(isolation.LENGTH.pack(len(text)) + text)
    process.stdin.write(data)
    try:
        await process.stdin.drain()
        return await _read_response(process)
    except (asyncio.IncompleteReadError, ConnectionError):
        raise DeathError(await process.wait(), "") from None


async def _read_response(process: Process) -> tuple[dict[str, Any], bytes]:
    assert process.stdout is not None
    length = isolation.LENGTH.unpack(await process.stdout.readexactly(isolation.LENGTH.size))[0]
    header = json.loads(await process.stdout.readexactly(length))
    return header, await process.stdout.readexactly(header["bytes"])
