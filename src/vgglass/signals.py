"""Ctrl-C, SIGTERM and a closed terminal's SIGHUP, heeded between two steps instead of in the middle of one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def at_once(interrupted: Callable[[signal.Signals], BaseException]) -> Iterator[None]:
    """Inside the block any of them raises what `interrupted` makes of it, in the middle of whatever runs.

    For work that waits long and whose every step is whole or not at all. In the main thread alone, as Interruption.
    """

    def came(number: int, frame: FrameType | None) -> NoReturn:
        raise interrupted(signal.Signals(number))

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _handled_by(came)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handled_by(came: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
    """What handled them before. A SIGHUP that nohup has this process ignore stays ignored."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return {number: signal.signal(number, came) for number in SIGNALS if not (nohup and number == signal.SIGHUP)}


class Interruption:
    """Inside the block `signal` is the first of them that came, or None; a second one acts as it always does.

    Signals reach the main thread alone: in any other the block changes nothing.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = _handled_by(self._came)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._restore()

    def _came(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
