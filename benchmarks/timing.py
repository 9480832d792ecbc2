"""What the benchmarks share."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turns(commands: Mapping[str, Sequence[Any]], turns: int) -> dict[str, list[float]]:
    """Seconds of whole processes by name, one after another in every turn; a first turn is not counted."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(turns + 1):
        for name, command in commands.items():
            taken = seconds(partial(subprocess.run, command, check=True, capture_output=True))
            if turn:
                found[name].append(taken)
    return found
