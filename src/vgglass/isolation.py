"""Decode images in sandboxed worker processes with limits on CPU time and memory.

A file that crashes its decoder or exceeds a limit fails alone. A message is the length of a JSON header (4 bytes,
big-endian), the header, and as many bytes as its field 'bytes' says. Nothing is pickled: a decoder compromised by an
image could otherwise take over this process.
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

# Limits per file at the default limit on pixels: CPU time, and memory beyond that of the process itself. The estimate
# from the header allows half the time and less memory, as CPUs differ.
SECONDS = 4.0
MEMORY = 512 << 20
LENGTH = struct.Struct(">I")
# One thread: the stacks of BLAS threads would count against the memory limit.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Decoders:
    """A pool of decoder processes, started lazily; thread-safe. Each process runs one job at a time."""

    def __init__(self, processes: int | None = None) -> None:
        self._count = processes or os.cpu_count() or 1
        self._processes: list[Process] = []
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
        """Like `images.decode`."""
        about = {"channels": channels, "background": background, "least": least}
        return stacks(*self._run("decode", source, about))[0]

    def show(self, source: File | bytes, record: Preprocessing, views: Sequence[Any]) -> list[Pixels]:
        """The stack of each of several `views.View` of a file (N, H, W, C). Raises ImageError."""
        about = {"preprocessing": record.as_json(), "views": [astuple(view) for view in views]}
        return stacks(*self._run("show", source, about))

    def fit(self, source: File | bytes, record: Preprocessing) -> Pixels:
        """`preprocess.fit` applied to `preprocess.read` of a file (S, S, C). Raises ImageError."""
        return stacks(*self._run("fit", source, {"preprocessing": record.as_json()}))[0]

    def look(self, data: bytes) -> dict[str, Any]:
        """The facts of a file's bytes by `data.examination.look`, as JSON. Raises ImageError."""
        header, _ = self._run("look", data, {})
        facts: dict[str, Any] = header["facts"]
        return facts

    def start(self) -> None:
        """Start one process in the background, so that the first job finds it ready."""
        process = self._free.get()
        self._free.put(process or self._start_process())

    def stop(self) -> None:
        for process in self._processes:
            process.end()

    def forget(self) -> None:
        """Reset the pool in a forked child: the processes belong to the parent."""
        self._inherited, self._processes, self._free = self._processes, [], LifoQueue()
        for _ in range(self._count):
            self._free.put(None)

    def _start_process(self) -> "Process":
        process = Process()
        self._processes.append(process)
        return process

    def _run(self, work: str, source: File | bytes, about: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        given, data = _to_message(source)
        name = "image" if isinstance(source, bytes) else str(source)
        header: dict[str, Any] = {"work": work, "bytes": len(data)} | bounds() | given | about
        for last in (False, True):
            process = self._free.get()
            try:
                process = process or self._start_process()
                return process.ask(header, data)
            except DeathError as death:
                if last or not death.is_from_outside:
                    rule = death.rule(header["seconds"])
                    raise ImageError(name, rule, "replace or remove it, or save it anew") from death
            except ImageError as error:
                own = error.value in (given.get("path"), "image")
                raise ImageError(name if own else f"{name}, {error.value}", error.rule, error.remedy) from None
            finally:
                self._release(process)
        raise AssertionError

    def _release(self, process: "Process | None") -> None:
        if process and not process.is_sound:
            self._processes.remove(process)
            process.end()
            process = None
        self._free.put(process)


class Process:
    """A decoder process and its pipes; `is_sound`: it has answered its last job and can take another."""

    def __init__(self) -> None:
        self.is_sound = False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process lives)
        # In a new session, so that Ctrl-C in a terminal reaches only the command.
        self._process = subprocess.Popen(  # noqa: S603 (our own command)
            command(memory()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr,
            start_new_session=True, env=os.environ | ENVIRONMENT,
        )  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        self._jobs, self._answers = self._process.stdin, self._process.stdout
        self._ready = False
        if sys.platform == "linux":
            fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, 1 << 20)

    def ask(self, header: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Run a job: header and data of its answer. Raises DeathError, ImageError."""
        self.is_sound = False
        if not self._ready and receive(self._answers) is None:
            self._process.wait()
            raise RuntimeError(f"a process that decodes images did not start: {self._last_line()}")
        self._ready = True
        self._stderr.seek(0)  # the file offset is shared with the process
        self._stderr.truncate()
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
        self._stderr.close()
        with suppress(BrokenPipeError):  # data that the process did not read
            self._jobs.close()

    def _last_line(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class DeathError(Exception):
    """A process that exited before its answer.

    status  return code as in subprocess: negative for a signal
    said    last line of its standard error
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status, self.said = status, said

    @property
    def signal(self) -> int:
        return -self.status

    @property
    def is_from_outside(self) -> bool:
        """Whether it was killed from outside, as by the OOM killer, which need not be the file's fault."""
        return self.signal in (signal.SIGKILL, signal.SIGTERM)

    def rule(self, seconds: float) -> str:
        if self.signal == signal.SIGPROF:
            return f"took more than {seconds:g} s of a processor to decode"
        reason = signal.Signals(self.signal).name if self.signal > 0 else self.said or f"status {self.status}"
        return f"its decoder broke down on it ({reason})"


def bounds() -> dict[str, Any]:
    """Limits of a job; the time scales with a limit on pixels above the default. Raises UsageError."""
    pixels = limits.max_pixels()
    return {"max_pixels": pixels, "seconds": SECONDS * max(1.0, pixels / limits.MAX_PIXELS)}


def memory() -> int:
    """Memory limit of a process in bytes, scaled likewise."""
    return round(MEMORY * max(1.0, limits.max_pixels() / limits.MAX_PIXELS))


def command(memory: int) -> list[str]:
    """Command line of a decoder. -P: a folder called vgglass in the working directory must not shadow the package."""
    return [sys.executable, "-P", "-m", "vgglass.decoder", str(memory)]


def stacks(header: Mapping[str, Any], data: bytes) -> list[Pixels]:
    """Decode the arrays of an answer."""
    sizes = np.cumsum([int(np.prod(shape)) for shape in header["shapes"]])
    parts = np.split(np.frombuffer(data, np.uint8), sizes[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, header["shapes"], strict=True)]


def require_answer(header: Mapping[str, Any]) -> None:
    """Raises ImageError if the answer is an error, CostError if the limit on pixels was exceeded."""
    if "error" in header:
        raise (CostError if header["costly"] else ImageError)(*header["error"])


def send(pipe: IO[bytes], header: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
    text = json.dumps(header).encode()
    pipe.write(LENGTH.pack(len(text)) + text)
    for part in parts:
        pipe.write(part)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Header and data of a message; None if the pipe was closed."""
    length = pipe.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    text = pipe.read(LENGTH.unpack(length)[0])
    if len(text) < LENGTH.unpack(length)[0]:
        return None
    header = json.loads(text)
    data = pipe.read(header["bytes"])
    return (header, data) if len(data) == header["bytes"] else None


def _to_message(source: File | bytes) -> tuple[dict[str, Any], bytes]:
    """Header fields and data that transfer a source: a file by its path, an object in a bucket as bytes."""
    if isinstance(source, Path):
        return {"path": os.path.abspath(source)}, b""  # noqa: PTH100 (a Path's absolute() keeps '..' as well)
    try:
        return {}, source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise ImageError(source, error.strerror or str(error), "check the path and its permissions") from error


DECODERS = Decoders()  # of this process
atexit.register(DECODERS.stop)
os.register_at_fork(after_in_child=DECODERS.forget)
