"""Shares of a batch among ranks, and random seeds derived from their purpose."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Items = TypeVar("Items", bound=Sequence[Any] | NDArray[Any])


@dataclass(frozen=True)
class Share:
    """The part of the data that one rank processes.

    rank, ranks  index of this rank, and the number of ranks
    neighbours   number of ranks on this machine, which share its cores
    """

    rank: int = 0
    ranks: int = 1
    neighbours: int = 1

    def of(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """This rank's consecutive slice of the batch; lengths differ by at most 1 among ranks."""
        return np.array_split(batch, self.ranks)[self.rank]

    def every(self, items: Items) -> Items:
        """Every `ranks`-th item, starting at index `rank`."""
        return items[self.rank :: self.ranks]  # type: ignore[return-value]


WHOLE = Share()


# Seeds are derived from the purpose of the random numbers, so that these do not depend on process or order.


def key(*parts: int | str) -> int:
    """A 64-bit seed for the given parts, such as (seed, epoch, sample id, turn) or (seed, epoch, batch)."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest())


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator inside the block, and restore its state afterwards.

    torchvision uses only this generator. `torch.manual_seed` would also seed the GPU's, which dropout uses.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
