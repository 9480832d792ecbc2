"""Training for the page: one process at a time, in a folder of the server's own; its record is what the page shows."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vgglass.learning import Learning
from vgglass.server import monitoring
from vgglass.server.refusals import RefusedError
from vgglass.training import recipe

EXPERIMENTS = ("plain", "rate", "relu", "norm", "sigmoid")
DATA = ("digits", "folder")
FASTER = 30  # times the learning rate, to break it
# A network of seconds a pass on a few hundred photographs, in place of the recipe's minutes.
SMALL: dict[str, Any] = {"image_size": 64, "width": 0.25, "hidden": 64, "epochs": 15, "learning_rate": 0.02}
DIGITS_EPOCHS = 10
LONGEST = 3600.0  # seconds of a run, pauses included
ENDING = 10.0  # seconds to end after SIGTERM
LOOKING, TELLING = 0.2, 4.0  # seconds between two looks at the record, and of one answer's stream
BEST = "best.safetensors"
LATE, KILLED = "late", "killed"  # the page has sentences for these


@dataclass(frozen=True)
class Lesson:
    """One run as the page knows it.

    number  of the run, from 1; 0 before the first
    state   none, running, paused, finished, stopped or failed; recorded: trained elsewhere with --watch
    error   why it failed: 'late', 'killed', or training's own sentence
    """

    number: int = 0
    experiment: str = "plain"
    data: str = "digits"
    state: str = "none"
    error: str = ""

    @property
    def goes_on(self) -> bool:
        return self.state in ("running", "paused")


class Training:
    """The run that the page started last, and its process while there is one.

    folder   whose images the page may train on, beside the digits; None for none
    allowed  whether clients may train at all: who listens to everybody without a token may not
    served   the folder of the model that serves: its own run's record is shown first, if there is one
    """

    def __init__(self, folder: Path | None, allowed: bool = True, served: Path | None = None) -> None:
        self.folder, self._allowed = folder, allowed
        recorded = served is not None and Learning(served).exists()
        self.lesson = Lesson(1, state="recorded") if recorded else Lesson()
        self._run = served if recorded else None
        self._home: Path | None = None
        self._process: Process | None = None
        self._end: asyncio.Task[None] | None = None
        self._told: dict[int, dict[str, Any]] = {}  # a point does not change

    @property
    def available(self) -> bool:
        return self._allowed and find_spec("torch") is not None and find_spec("sklearn") is not None

    @property
    def run(self) -> Path:
        """The run's folder. Raises RefusedError (404) before the first."""
        if self._run is None:
            raise RefusedError(404, "no run", "the server", "has trained nothing yet", "start a run first")
        return self._run

    @property
    def model(self) -> Path | None:
        """The file of the best epoch so far, where a run of the server's own has one."""
        path = self.run / BEST
        return path if self.lesson.state != "recorded" and path.exists() else None

    async def start(self, data: str, experiment: str) -> None:
        """Start a run, shut before its first step. Raises RefusedError: 409 while another goes on."""
        self._require_available()
        if self.lesson.goes_on:
            rule = "goes on, and this server trains one network at a time"
            raise RefusedError(409, "training", "another run", rule, "stop it first, or wait for its end")
        if data == "folder" and self.folder is None:
            raise RefusedError(422, "bad parameter", "data folder", "none was given", "start serve with --data FOLDER")
        if self._home is None:
            self._home = Path(tempfile.mkdtemp(prefix="vgglass-learning-"))
        else:  # the run before is the server's own too
            shutil.rmtree(self.run, ignore_errors=True)
        self._told = {}
        self.lesson = Lesson(self.lesson.number + 1, experiment, data, "paused")
        self._run = self._home / f"run-{self.lesson.number}"
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "vgglass.server.learner", stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self.lesson = replace(self.lesson, state="failed", error=str(error))
            raise RefusedError(503, "no process", "the run", f"could not start ({error})", "try again later") from error
        self._end = asyncio.create_task(self._follow(process))
        await self._say(json.dumps(job(self.folder if data == "folder" else None, experiment) | {"out": str(self.run)}))
        monitoring.log("training", data=data, experiment=experiment, process=process.pid)

    async def command(self, command: str) -> None:
        """Pause, go on, make one step, or stop. Raises RefusedError (409) where nothing is trained."""
        self._require_available()
        if not self.lesson.goes_on or self._process is None:
            raise RefusedError(409, "training", f"command {command!r}", "no run goes on", "start one first")
        if command == "stop":
            await self._stop(self._process)
            return
        await self._say(command)
        self.lesson = replace(self.lesson, state="running" if command == "go" else "paused")

    def status(self) -> dict[str, Any]:
        """What the page shows of the run; its record as far as it has come."""
        found: dict[str, Any] = vars(self.lesson) | {"folder": self.folder and self.folder.name}
        if not self.lesson.number:
            return found | {"about": None, "points": [], "done": 0, "model": False}
        place = Learning(self.run)
        about = place.about() if place.exists() else None
        return found | {
            "about": about, "points": self._points(place), "done": len(place.losses()), "model": self.model is not None
        }  # fmt: skip

    def _points(self, place: Learning) -> list[dict[str, Any]]:
        """Of each point what the curves show, and the largest share of dead channels of any layer."""
        told = self._told
        for step in place.steps():
            if step not in told:
                numbers = place.point(step).numbers
                told[step] = {"step": step, **numbers["validation"], "dead": max(numbers["dead"].values(), default=0.0)}
        return [told[step] for step in sorted(told)]

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The status now, and again whenever it has changed; for a few seconds, as a stop waits for open answers."""
        before: dict[str, Any] | None = None
        until = asyncio.get_running_loop().time() + TELLING
        while asyncio.get_running_loop().time() < until:
            now = await asyncio.to_thread(self.status)
            if now != before:
                yield now
            before = now
            await asyncio.sleep(LOOKING)

    async def close(self) -> None:
        """End the process and remove the folder."""
        if self._process and self._process.returncode is None:
            _signal(self._process, signal.SIGKILL)
        if self._end:
            await self._end
        if self._home:
            shutil.rmtree(self._home, ignore_errors=True)

    def _require_available(self) -> None:
        if not self.available:
            rule = "does not train: it asks for no token, or torch and scikit-learn are missing"
            raise RefusedError(501, "no training", "this server", rule, "start it with --token-file, or install them")

    async def _say(self, line: str) -> None:
        assert self._process
        assert self._process.stdin
        with contextlib.suppress(ConnectionError):  # it has just ended, and `_follow` says how
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()

    async def _follow(self, process: Process) -> None:
        """Wait for a run's end and note it."""
        assert process.stdout
        try:
            async with asyncio.timeout(LONGEST):
                told = await process.stdout.read()
        except TimeoutError:
            _signal(process, signal.SIGKILL)
            told = json.dumps({"state": "failed", "error": LATE}).encode()
        status = await process.wait()
        if not told:
            monitoring.log("training killed", status=status)
            told = json.dumps({"state": "failed", "error": KILLED}).encode()
        _signal(process, signal.SIGKILL)  # what it may have left in its group
        self.lesson = replace(self.lesson, **json.loads(told))
        monitoring.log("trained", state=self.lesson.state, error=self.lesson.error)

    async def _stop(self, process: Process) -> None:
        _signal(process, signal.SIGTERM)
        assert self._end
        try:
            async with asyncio.timeout(ENDING):
                await asyncio.shield(self._end)
        except TimeoutError:
            _signal(process, signal.SIGKILL)
            await self._end
            self.lesson = replace(self.lesson, state="stopped", error="")  # as asked, if not as gently


def job(folder: Path | None, experiment: str) -> dict[str, Any]:
    """What the process is asked for: a small network, whole or with one thing broken."""
    name = None if folder else "digits"
    fields = SMALL if folder else {"epochs": DIGITS_EPOCHS}
    usual = recipe.Recipe().override(**(recipe.values(name) if name else {}) | fields)
    broken: dict[str, Any] = {}
    if experiment == "rate":
        broken = {"learning_rate": FASTER * usual.learning_rate}
    if experiment == "norm":
        broken = {"architecture": usual.architecture.removesuffix("_bn")}
    activation = {"relu": "none", "sigmoid": "sigmoid"}.get(experiment, "relu")
    return {
        "folder": str(folder) if folder else None, "recipe": name, "fields": fields | broken, "activation": activation
    }  # fmt: skip


def _signal(process: Process, number: signal.Signals) -> None:
    """To the process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
