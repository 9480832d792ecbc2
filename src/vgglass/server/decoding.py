"""The server's processes that decode (see isolation.py), asked without a thread for each."""

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

SECONDS = 15.0  # of the clock, for one image: a busy machine makes this of isolation.SECONDS
CHEAP = 10_000_000  # pixels, as images.limits counts: what takes 0.4 s at most waits for nothing that takes longer
STARTING = 60.0  # seconds until a new process must have said that it is ready
PROCESSES = max(3, (os.cpu_count() or 2) // 2)  # one of them is kept for what is cheap


@dataclass(frozen=True, eq=False)
class DecodedUpload:
    """A picture for the glass, as `glass.subject.put` takes it.

    original  as decoded (H, W, C), made smaller where it is larger than decoder.SHOWN
    square    what is cut out for the network (S, S, C)
    fitted    height and width of what the square was fitted from
    """

    original: Pixels
    square: Pixels
    fitted: tuple[int, int]


class Decoders:
    """A few processes; each job has one to itself."""

    def __init__(
        self, metrics: Metrics, processes: int = PROCESSES, seconds: float = SECONDS, memory: int | None = None
    ) -> None:
        self.seconds, self.memory = seconds, memory or isolation.memory()
        self._costly = asyncio.Semaphore(max(1, processes - 1))
        self._metrics = metrics
        self._free: asyncio.LifoQueue[Process | None] = asyncio.LifoQueue()  # None: to be started when needed
        self._running: set[Process] = set()
        self._exchanges: set[asyncio.Task[list[Pixels]]] = set()
        for _ in range(processes):
            self._free.put_nowait(None)

    async def start(self) -> None:
        """Have them all ready before the first request."""
        count = self._free.qsize()
        processes = await asyncio.gather(*(self._started() for _ in range(count)))
        for _ in processes:
            self._free.get_nowait()
        for process in processes:
            self._free.put_nowait(process)

    async def decode(self, image: bytes | Pixels, record: Preprocessing, views: Sequence[View]) -> list[Pixels]:
        """The stack of each view of an encoded image, or of decoded pixels (H, W, C).

        Raises ImageError; RefusedError where a decoder can't be kept alive.
        """
        return await self._decoded("show", image, record, views)

    async def whole(
        self, image: bytes, record: Preprocessing, views: Sequence[View]
    ) -> tuple[list[Pixels], DecodedUpload]:
        """As `decode`, and the picture itself with what the network sees of it. Raises ImageError, RefusedError."""
        original, square, fitted, *stacks = await self._decoded("whole", image, record, views)
        return stacks, DecodedUpload(original, square, (fitted.shape[0], fitted.shape[1]))

    async def _decoded(
        self, asked: str, image: bytes | Pixels, record: Preprocessing, views: Sequence[View]
    ) -> list[Pixels]:
        shape, data = ({}, image) if isinstance(image, bytes) else ({"shape": image.shape}, image.tobytes())
        work = {"work": asked, "views": [astuple(view) for view in views]}
        about = {"preprocessing": record.as_json(), "bytes": len(data)} | isolation.bounds()
        begun = asyncio.Event()
        # Shielded: where nobody waits for the answer any more, a process that has begun has to be read to its end.
        exchange = asyncio.create_task(self._in_turn(work | about | shape, data, begun))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._exchanged)
        try:
            return await asyncio.shield(exchange)
        except asyncio.CancelledError:
            if not begun.is_set():
                exchange.cancel()
            raise

    async def _in_turn(self, job: dict[str, Any], data: bytes, begun: asyncio.Event) -> list[Pixels]:
        """What its header says is costly waits for others like it, and leaves one process to all the rest."""
        try:
            return await self._exchange(job | {"max_pixels": min(CHEAP, job["max_pixels"])}, data, begun)
        except CostError:
            async with self._costly:
                return await self._exchange(job, data, begun)

    def stop(self) -> None:
        for process in self._running:
            if process.returncode is None:
                process.kill()

    def _exchanged(self, exchange: asyncio.Task[list[Pixels]]) -> None:
        self._exchanges.discard(exchange)
        middleware.retrieve_exception(exchange)

    async def _exchange(self, job: dict[str, Any], data: bytes, begun: asyncio.Event) -> list[Pixels]:
        for last in (False, True):
            process = await self._free.get()
            begun.set()
            try:
                process = process or await self._started()
                async with asyncio.timeout(self.seconds):
                    header, answer = await _ask(process, job, data)
                isolation.require_answer(header)
                return isolation.stacks(header, answer)
            except ImageError:  # the decoder's own answer; a ValueError too
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
            except (ValueError, KeyError):  # its answer makes no sense
                self._kill(process)
                process = None
                raise ImageError("image", "its decoder broke down on it", "save it in another format") from None
            finally:
                begun.clear()
                self._free.put_nowait(process)
        raise AssertionError

    async def _started(self) -> Process:
        # A session of its own: Ctrl-C in a terminal goes to the server alone, which finishes what it accepted.
        process = await asyncio.create_subprocess_exec(
            *isolation.command(self.memory), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True,
            env=os.environ | isolation.ENVIRONMENT,
        )  # fmt: skip
        self._running.add(process)
        async with asyncio.timeout(STARTING):
            await _received(process)
        return process

    def _kill(self, process: Process | None) -> None:
        self._metrics.killed.inc()
        if process is not None:
            self._running.discard(process)
            if process.returncode is None:
                process.kill()


async def _ask(process: Process, header: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """Raises DeathError."""
    assert process.stdin is not None
    text = json.dumps(header).encode()
    process.stdin.write(isolation.LENGTH.pack(len(text)) + text)
    process.stdin.write(data)
    try:
        await process.stdin.drain()
        return await _received(process)
    except (asyncio.IncompleteReadError, ConnectionError):
        raise DeathError(await process.wait(), "") from None


async def _received(process: Process) -> tuple[dict[str, Any], bytes]:
    assert process.stdout is not None
    length = isolation.LENGTH.unpack(await process.stdout.readexactly(isolation.LENGTH.size))[0]
    header = json.loads(await process.stdout.readexactly(length))
    return header, await process.stdout.readexactly(header["bytes"])
