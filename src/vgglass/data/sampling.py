"""What is drawn is a function of what it is drawn for; and which part of a batch is whose, with several processes."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Items = TypeVar("Items", bound=Sequence[Any] | NDArray[Any])


@dataclass(frozen=True)
class Share:
    """The part of one rank; without ranks, everything.

    rank, ranks  which of how many
    neighbours   ranks on this machine, among which its cores are divided
    """

    rank: int = 0
    ranks: int = 1
    neighbours: int = 1

    def of(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """A run of entries in a row; the shares of all ranks in turn are the batch, equal but for one entry."""
        return np.array_split(batch, self.ranks)[self.rank]

    def every(self, items: Items) -> Items:
        """Every so manieth item, from the rank's own number on."""
        return items[self.rank :: self.ranks]  # type: ignore[return-value]


WHOLE = Share()


# Randomness by name: what is drawn is a function of what it is drawn for, in whichever process and order.


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
