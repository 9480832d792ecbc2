"""Which part of every batch is whose, where several processes train together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
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
