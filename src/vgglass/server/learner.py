"""The process that trains for the page: `python -m vgglass.server.learner`.

Its first line on standard input is the job as JSON, each later one a command: pause, go, step. Standard input ends with
the server: then the server's folder is removed, and this process leaves. It prints one line of JSON: how it ended.
"""

import json
import math
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from rich.console import Console

from vgglass import workflows
from vgglass.errors import InterruptedRunError, UserError
from vgglass.training.recording import Watching

POINTS = 90  # more than a run of one's own records: here to be looked at is all that it is for
NICE = 5  # the server's own answers come first
CHECKPOINTS = "10m"


class Valve:
    """A gate that commands open and shut; it begins shut, so that the first point can be looked at.

    A command may come at any moment of a step: 'step' lets one more through after those begun or asked for.
    """

    def __init__(self) -> None:
        self._until: float = 0
        self._begun = 0
        self._lock = threading.Lock()

    def opens(self, done: int) -> bool:
        with self._lock:
            opens = done < self._until
            self._begun = done + opens
            return opens

    def wants(self, done: int) -> bool:
        return done >= self._until

    def obey(self, command: str) -> None:
        with self._lock:
            asked = self._begun if math.isinf(self._until) else max(self._begun, self._until)
            self._until = {"pause": 0, "go": math.inf, "step": asked + 1}[command]


def main() -> None:
    lines = _lines()
    job = json.loads(next(lines))
    os.nice(NICE)
    valve = Valve()
    threading.Thread(target=_listen, args=(lines, valve, job["out"]), daemon=True).start()
    print(json.dumps(_train(job, valve)), flush=True)


def _train(job: dict[str, Any], valve: Valve) -> dict[str, str]:
    """How it ended: 'finished', 'stopped', or 'failed' with the sentence that says why."""
    workflows.prepare_process()
    try:
        workflows.train(
            job["folder"], out=job["out"], recipe=job["recipe"], activation=job["activation"],
            watch=Watching(valve, POINTS), checkpoint_every=CHECKPOINTS, console=Console(quiet=True), **job["fields"],
        )  # fmt: skip
    except InterruptedRunError:
        return {"state": "stopped", "error": ""}
    except (UserError, OSError, RuntimeError, MemoryError) as error:
        return {"state": "failed", "error": str(error)}
    return {"state": "finished", "error": ""}


def _lines() -> Iterator[str]:
    """The lines of standard input, read past sys.stdin: a thread that waits in it holds its lock, and a forked worker,
    which closes it, would wait for that for ever.
    """
    rest = b""
    while data := os.read(0, 4096):
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode() for line in whole)


def _listen(lines: Iterator[str], valve: Valve, out: str) -> None:
    """Obey until standard input ends; then end with all workers, whose group this process leads.

    A process of another group removes the folder when they are gone: beside them, files would be written anew.
    """
    for line in lines:
        valve.obey(line)
    removal = ["sh", "-c", 'sleep 1; exec rm -rf -- "$0"', str(Path(out).parent)]
    subprocess.Popen(removal, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True)  # noqa: S603
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
