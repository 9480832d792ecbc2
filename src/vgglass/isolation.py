"""Images are decoded in processes of their own, which may die: of a fault in a decoder, of time, of memory.

A file that crashes its decoder, never ends or swells takes nothing with it but its own answer. A message is the length
of a JSON header (4 bytes, big-endian), the header, and as many bytes as it says in 'bytes'. Nothing is pickled: a
decoder that an image has taken over could otherwise take over this process by its answer.
"""

import atexit
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from queue import LifoQueue
from typing import IO, Any

import numpy as np

from vgglass.errors import ImageError
from vgglass.images import WHITE, File, Pixels, limits
from vgglass.images.limits import CostError
from vgglass.preprocess import Preprocessing

# For one file where the limit on pixels is the usual one, of a processor's time and of memory (what the process itself
# needs comes to it). Its header has promised half the time and less memory: processors differ.
SECONDS = 4.0
MEMORY = 512 << 20
LENGTH = struct.Struct(">I")
# One thread: the stacks of those of NumPy's library would count against the limit on memory.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Decoders:
    """A few processes, started when they are needed; each job has one to itself. For any number of threads."""

    def __init__(self, processes: int | None = None) -> None:
        self._count = processes or os.cpu_count() or 1
        self._all: list[Process] = []
        self._inherited: list[Process] = []
        self._free: LifoQueue[Process | None] = LifoQueue()
        for _ in range(self._count):
            self._free.put(None)

    def decode(
        self,
        source: File | bytes,
        *,
        channels: int = 3,
        background: tuple[int, int, int] = WHITE,
        least: int = 0,
    ) -> Pixels:
        """As `images.decode`."""
        about = {"channels": channels, "background": background, "least": least}
        return stacks(*self._asked("decode", source, about))[0]

    def show(self, source: File | bytes, record: Preprocessing, views: Sequence[Any]) -> list[Pixels]:
        """The stack of each of some `views.View` of a file. Raises ImageError."""
        about = {"preprocessing": record.as_json(), "views": [astuple(view) for view in views]}
        return stacks(*self._asked("show", source, about))

    def fit(self, source: File | bytes, record: Preprocessing) -> Pixels:
        """As `preprocess.fit` makes it of what `preprocess.read` decodes (S, S, C). Raises ImageError."""
        return stacks(*self._asked("fit", source, {"preprocessing": record.as_json()}))[0]

    def look(self, data: bytes) -> dict[str, Any]:
        """What `data.examination.look` finds in a file's bytes, as JSON. Raises ImageError."""
        header, _ = self._asked("look", data, {})
        facts: dict[str, Any] = header["facts"]
        return facts

    def start(self) -> None:
        """Begin to start one, to have it ready sooner; where it is not waited for, this costs next to nothing."""
        process = self._free.get()
        self._free.put(process or self._started())

    def stop(self) -> None:
        for process in self._all:
            process.end()

    def forget(self) -> None:
        """After a fork: these processes answer the parent."""
        self._inherited, self._all, self._free = self._all, [], LifoQueue()
        for _ in range(self._count):
            self._free.put(None)

    def _started(self) -> "Process":
        process = Process()
        self._all.append(process)
        return process

    def _asked(self, work: str, source: File | bytes, about: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        given, data = _as_bytes(source)
        name = "image" if isinstance(source, bytes) else str(source)
        header: dict[str, Any] = {"work": work, "bytes": len(data)} | bounds() | given | about
        for last in (False, True):
            process = self._free.get()
            try:
                process = process or self._started()
                return process.ask(header, data)
            except DeathError as death:
                if last or not death.is_from_outside:
                    rule = death.rule(header["seconds"])
                    raise ImageError(name, rule, "replace or remove it, or save it anew") from death
            except ImageError as error:
                own = error.value in (given.get("path"), "image")
                raise ImageError(name if own else f"{name}, {error.value}", error.rule, error.remedy) from None
            finally:
                self._give_back(process)
        raise AssertionError

    def _give_back(self, process: "Process | None") -> None:
        if process and not process.is_sound:
            self._all.remove(process)
            process.end()
            process = None
        self._free.put(process)


class Process:
    """One process and its pipes; `is_sound` between a job's answer and the next job."""

    def __init__(self) -> None:
        self.is_sound = False
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process lives)
        # A session of its own: Ctrl-C in a terminal goes to the command alone.
        self._process = subprocess.Popen(  # noqa: S603 (our own command)
            command(memory()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
            start_new_session=True, env=os.environ | ENVIRONMENT,
        )  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        self._jobs, self._answers = self._process.stdin, self._process.stdout
        self._ready = False
        if sys.platform == "linux":
            fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, 1 << 20)

    def ask(self, header: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """A job's answer. Raises DeathError, ImageError."""
        self.is_sound = False
        if not self._ready and receive(self._answers) is None:
            self._process.wait()
            raise RuntimeError(f"a process that decodes images did not start: {self._last_line()}")
        self._ready = True
        self._said.seek(0)  # the offset is the process's own, too
        self._said.truncate()
        try:
            send(self._jobs, header, [data])
            answer = receive(self._answers)
        except BrokenPipeError:
            answer = None
        if answer is None:
            raise DeathError(self._process.wait(), self._last_line())
        self.is_sound = True
        require_answer(answer[0])
        return answer

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()
        self._said.close()
        with suppress(BrokenPipeError):  # what it was sent and has not read
            self._jobs.close()

    def _last_line(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class DeathError(Exception):
    """A process that ended before its answer.

    status  as subprocess tells it: negative for a signal
    said    the last line on its standard error
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status, self.said = status, said

    @property
    def signal(self) -> int:
        return -self.status

    @property
    def is_from_outside(self) -> bool:
        """Whether it was killed, by the system where memory runs out: no file's fault, as far as one can tell."""
        return self.signal in (signal.SIGKILL, signal.SIGTERM)

    def rule(self, seconds: float) -> str:
        if self.signal == signal.SIGPROF:
            return f"took more than {seconds:g} s of a processor to decode"
        how = signal.Signals(self.signal).name if self.signal > 0 else self.said or f"status {self.status}"
        return f"its decoder broke down on it ({how})"


def bounds() -> dict[str, Any]:
    """A job's limits; where more pixels are allowed than usual, it has more time in proportion. Raises UsageError."""
    pixels = limits.max_pixels()
    return {"max_pixels": pixels, "seconds": SECONDS * max(1.0, pixels / limits.MAX_PIXELS)}


def memory() -> int:
    """A process's limit, in proportion as well."""
    return round(MEMORY * max(1.0, limits.max_pixels() / limits.MAX_PIXELS))


def command(memory: int) -> list[str]:
    """-P: a folder called vgglass where this was started is not our package."""
    return [sys.executable, "-P", "-m", "vgglass.decoder", str(memory)]


def stacks(header: Mapping[str, Any], data: bytes) -> list[Pixels]:
    """The arrays of an answer."""
    sizes = np.cumsum([int(np.prod(shape)) for shape in header["shapes"]])
    parts = np.split(np.frombuffer(data, np.uint8), sizes[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, header["shapes"], strict=True)]


def require_answer(header: Mapping[str, Any]) -> None:
    """Raises ImageError where a job's answer is one; CostError where the limit on pixels is the reason."""
    if "error" in header:
        raise (CostError if header["costly"] else ImageError)(*header["error"])


def send(pipe: IO[bytes], header: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
    text = json.dumps(header).encode()
    pipe.write(LENGTH.pack(len(text)) + text)
    for part in parts:
        pipe.write(part)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """None where the other side closed the pipe."""
    length = pipe.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    text = pipe.read(LENGTH.unpack(length)[0])
    if len(text) < LENGTH.unpack(length)[0]:
        return None
    header = json.loads(text)
    data = pipe.read(header["bytes"])
    return (header, data) if len(data) == header["bytes"] else None


def _as_bytes(source: File | bytes) -> tuple[dict[str, Any], bytes]:
    """How a source is handed over: a file by its name, an object in a bucket as its bytes."""
    if isinstance(source, Path):
        return {"path": os.path.abspath(source)}, b""  # noqa: PTH100 (a Path's absolute() keeps '..' as well)
    try:
        return {}, source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise ImageError(source, error.strerror or str(error), "check the path and its permissions") from error


DECODERS = Decoders()  # of this process
atexit.register(DECODERS.stop)
os.register_at_fork(after_in_child=DECODERS.forget)
