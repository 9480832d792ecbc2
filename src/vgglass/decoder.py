"""The decoder process, `python -m vgglass.decoder BYTES`, started by isolation.py and by the server.

BYTES is the memory limit per file; isolation.py documents the protocol.
"""

import math
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vgglass import images
from vgglass.data import examination
from vgglass.errors import ImageError
from vgglass.images import Pixels, limits
from vgglass.images.limits import CostError
from vgglass.inference.views import View, decoding, show
from vgglass.isolation import receive, send
from vgglass.preprocess import Preprocessing, fit, read, resize

SHOWN = 4_000_000  # maximum pixels of an image on the page
SPARE = 512 << 20  # bytes for later imports
_PAGES = Path("/proc/self/statm")

Answer = tuple[dict[str, Any], Sequence[bytes]]


def main() -> None:
    """Process jobs until the pipe is closed."""
    warnings.simplefilter("ignore")  # the cases that Pillow warns about are covered by limits and errors
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of a library would corrupt the protocol
    bound(SPARE)
    send(answers, {"bytes": 0})
    while (job := receive(sys.stdin.buffer)) is not None:
        send(answers, *answer(*job))


def answer(job: dict[str, Any], data: bytes) -> Answer:
    """Run a job: its result, or the arguments of an ImageError. A timeout kills this process (SIGPROF)."""
    os.environ[limits.VARIABLE] = str(job["max_pixels"])
    source: Any = data
    if "path" in job:
        source = Path(job["path"])
    elif "shape" in job:
        source = np.frombuffer(data, np.uint8).reshape(job["shape"])
    try:
        if job["work"] == "look":
            can_hash()
        signal.setitimer(signal.ITIMER_PROF, job["seconds"])
        return WORK[job["work"]](source, job)
    except ImageError as error:
        if isinstance(error.__cause__, MemoryError):
            return needs_memory()
        costly = isinstance(error, CostError)
        return {"error": [str(error.value), error.rule, error.remedy], "costly": costly, "bytes": 0}, ()
    except MemoryError:
        return needs_memory()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _decode(source: Any, job: dict[str, Any]) -> Answer:
    options = {name: job[name] for name in ("channels", "least")}
    return _pack([images.decode(source, background=tuple(job["background"]), **options)])


def _show(source: Any, job: dict[str, Any]) -> Answer:
    record, views = Preprocessing.from_json(job["preprocessing"]), tuple(View(*view) for view in job["views"])
    return _pack(show(read(source, decoding(record, views)), record, views))


def _fit(source: Any, job: dict[str, Any]) -> Answer:
    record = Preprocessing.from_json(job["preprocessing"])
    return _pack([fit(read(source, record), record)])


def _decode_whole(source: Any, job: dict[str, Any]) -> Answer:
    """The decoded image, the network's input, an empty array with the sides of the decoded input, and the stack of each
    view. The unscaled image comes first, so that excessive costs fail early."""
    record, views = Preprocessing.from_json(job["preprocessing"]), tuple(View(*view) for view in job["views"])
    decode = Once()
    shown = _shrink(read(source, replace(record, jpeg_scaled=False), decode), record)
    stacks = show(read(source, decoding(record, views), decode), record, views)
    fitted = read(source, record, decode)
    return _pack([shown, fit(fitted, record), np.empty((*fitted.shape[:2], 0), np.uint8), *stacks])


class Once:
    """`images.decode` with a cache; a JPEG is decoded again only for another scale."""

    def __init__(self) -> None:
        self._eighths, self._pixels = 0, np.empty(0, np.uint8)

    def __call__(self, source: bytes, *, least: int, **options: Any) -> Pixels:
        eighths = images.eighths(source, least)
        if eighths != self._eighths:
            self._pixels = np.empty(0, np.uint8)  # free the old array first
            self._pixels = images.decode(source, least=least, **options)
            self._eighths = eighths
        return self._pixels


def _shrink(original: Pixels, record: Preprocessing) -> Pixels:
    height, width = original.shape[:2]
    scale = min(1.0, math.sqrt(SHOWN / (height * width)))
    sides = max(1, round(height * scale)), max(1, round(width * scale))
    return resize(original, *sides, record.interpolation)


def _look(source: Any, job: dict[str, Any]) -> Answer:
    return {"facts": examination.look(source).as_json(), "bytes": 0}, ()


WORK: dict[str, Callable[[Any, dict[str, Any]], Answer]] = {
    "decode": _decode, "show": _show, "fit": _fit, "whole": _decode_whole, "look": _look,
}  # fmt: skip


def _pack(stacks: Sequence[Pixels]) -> Answer:
    parts = [stack.tobytes() for stack in stacks]
    return {"shapes": [stack.shape for stack in stacks], "bytes": sum(map(len, parts))}, parts


def needs_memory() -> Answer:
    rule = f"needs more than {int(sys.argv[1]) >> 20} MiB to decode"
    return {"error": ["image", rule, "make it smaller first"], "costly": False, "bytes": 0}, ()


def bound(spare: int = 0) -> None:
    """Limit memory to BYTES beyond the present use; the hard limit is `spare` bytes higher.

    Without effect on macOS, where only the limit on pixels applies.
    """
    if _PAGES.exists():
        now = int(_PAGES.read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        least, most = (now + int(sys.argv[1]) + more for more in (0, spare))
        if hard != resource.RLIM_INFINITY:
            least, most = min(least, hard), hard
        resource.setrlimit(resource.RLIMIT_AS, (least, most))


@cache
def can_hash() -> None:
    """Import the package for hashing, outside of a file's limits on time and memory."""
    examination.hashing()
    bound()


if __name__ == "__main__":
    main()
