"""Handle SIGINT, SIGTERM and SIGHUP between two steps of work instead of in the middle of one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def at_once(interrupted: Callable[[signal.Signals], BaseException]) -> Iterator[None]:
    """Inside the block, raise `interrupted(signal)` immediately when a signal arrives.

    For long waits and atomic steps. Without effect outside of the main thread, like Interruption.
    """

    def on_signal(number: int, frame: FrameType | None) -> NoReturn:
        raise interrupted(signal.Signals(number))

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _install(on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _install(on_signal: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
    """Install a handler for SIGNALS and return the previous ones. A SIGHUP ignored by nohup stays ignored."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return {number: signal.signal(number, on_signal) for number in SIGNALS if not (nohup and number == signal.SIGHUP)}


class Interruption:
    """Inside the block, `signal` is the first signal received, or None; a second one is handled as before the block.

    Python delivers signals to the main thread only: in other threads the block has no effect.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._previous = _install(self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._restore()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
