"""The process that decodes: `python -m vgglass.serving.worker`, started by decoding.py and talking over its pipes.

A message is the length of a JSON header (4 bytes, big-endian), the header, and as many bytes as it says in 'bytes'.
Nothing is pickled: a decoder that an image has taken over could otherwise take over the server by its answer.
"""

import json
import os
import resource
import struct
import sys
import warnings
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from vgglass.errors import ImageError
from vgglass.preprocess import Preprocessing, read
from vgglass.views import View, decoding, show

LENGTH = struct.Struct(">I")


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
    """The stack of each view as bytes, or the three parts of an ImageError."""
    record = Preprocessing.from_json(job["preprocessing"])
    views = tuple(View(*view) for view in job["views"])
    source = data if job["shape"] is None else np.frombuffer(data, np.uint8).reshape(job["shape"])
    try:
        stacks = show(read(source, decoding(record, views)), record, views)
    except ImageError as error:
        if isinstance(error.__cause__, MemoryError):
            return needs_memory()
        return {"error": [str(error.value), error.rule, error.remedy], "bytes": 0}, ()
    except MemoryError:
        return needs_memory()
    parts = [stack.tobytes() for stack in stacks]
    return {"shapes": [stack.shape for stack in stacks], "bytes": sum(map(len, parts))}, parts


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
