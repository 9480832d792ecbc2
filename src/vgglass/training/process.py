"""Settings of the training command's process, made before torch is loaded."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
SPINS = "10000"


def first() -> bool:
    """Whether this process prints and writes: not where torchrun started it as one of the others."""
    return os.environ.get("RANK", "0") == "0"


def prepare(*, keep_memory: bool = True) -> None:
    """On Linux, keep freed memory and let idle threads sleep soon. For commands alone: it changes the whole process.

    Each step frees and asks for the same gigabytes: glibc gives them back and has the kernel clear new pages, a tenth
    of a step at VGG-16, 224 pixels, batch 16. Torch's threads (libgomp) wait for one another in a loop of 300,000
    turns: with another program on the same cores steps of small networks then took 3 to 20 times as long, with 10,000
    turns 2 to 4 times; on idle cores both are equal.
    keep_memory  not where the sizes that are asked for differ from one stage to the next: what was freed then fits
                 nothing that follows, and lies beside it
    """
    if sys.platform != "linux":
        return
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if keep_memory and mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
