"""Randomness by name: what is drawn is a function of what it is drawn for, in whichever process and order."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def key(*parts: int | str) -> int:
    """64 bits for what the parts name: (seed, epoch, sample id, turn) or (seed, epoch, batch)."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest())


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """torch's generator on the CPU starts from `seed` inside the block, and afterwards goes on where it was.

    torchvision draws from no other. `torch.manual_seed` would seed the GPU's too, from which dropout draws.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
