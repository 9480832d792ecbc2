"""The process that decodes: `python -m vgglass.serving.worker`, started by decoding.py and talking over its pipes.

A message is the length of a JSON header (4 bytes, big-endian), the header, and as many bytes as it says in 'bytes'.
Nothing is pickled: a decoder that an image has taken over could otherwise take over the server by its answer.
"""

import json
import math
import os
import resource
import struct
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from vgglass.errors import ImageError
from vgglass.images import Pixels
from vgglass.preprocess import Preprocessing, fit, read, resize
from vgglass.views import View, decoding, show

LENGTH = struct.Struct(">I")
SHOWN = 4_000_000  # pixels of a picture on the page; a larger one is made smaller


def main() -> None:
    """Answer jobs until the pipe closes."""
    warnings.simplefilter("ignore")  # what Pillow warns of, our own limits and errors say
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints would break the protocol
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))  # macOS takes no notice; the pixel limit holds there too
    send(answers, {"bytes": 0})
    while (job := receive(sys.stdin.buffer)) is not None:
        send(answers, *answer(*job))


def answer(job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], Sequence[bytes]]:
    """The stack of each view as bytes, without views those of `whole`; or the three parts of an ImageError."""
    record = Preprocessing.from_json(job["preprocessing"])
    source = data if job["shape"] is None else np.frombuffer(data, np.uint8).reshape(job["shape"])
    try:
        if job["views"] is None:
            stacks = whole(source, record)
        else:
            views = tuple(View(*view) for view in job["views"])
            stacks = show(read(source, decoding(record, views)), record, views)
    except ImageError as error:
        if isinstance(error.__cause__, MemoryError):
            return needs_memory()
        return {"error": [str(error.value), error.rule, error.remedy], "bytes": 0}, ()
    except MemoryError:
        return needs_memory()
    parts = [stack.tobytes() for stack in stacks]
    return {"shapes": [stack.shape for stack in stacks], "bytes": sum(map(len, parts))}, parts


def whole(source: Any, record: Preprocessing) -> list[Pixels]:
    """The picture as decoded, what the network sees, and an array without bytes whose sides are the fitted image's."""
    fitted = read(source, record)
    square = fit(fitted, record)
    original = read(source, replace(record, jpeg_scaled=False)) if record.jpeg_scaled else fitted
    height, width = original.shape[:2]
    scale = min(1.0, math.sqrt(SHOWN / (height * width)))
    sides = max(1, round(height * scale)), max(1, round(width * scale))
    shown = resize(original, *sides, record.interpolation)
    return [shown, square, np.empty((*fitted.shape[:2], 0), np.uint8)]


def needs_memory() -> tuple[dict[str, Any], Sequence[bytes]]:
    rule = f"needs more than {int(sys.argv[1]) >> 20} MiB to decode"
    return {"error": ["image", rule, "make it smaller first"], "bytes": 0}, ()


def send(pipe: BinaryIO, header: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
    text = json.dumps(header).encode()
    pipe.write(LENGTH.pack(len(text)) + text)
    for part in parts:
        pipe.write(part)
    pipe.flush()


def receive(pipe: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """None where the server closed the pipe."""
    length = pipe.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    header = json.loads(pipe.read(LENGTH.unpack(length)[0]))
    data = pipe.read(header["bytes"])
    return (header, data) if len(data) == header["bytes"] else None


if __name__ == "__main__":
    main()
