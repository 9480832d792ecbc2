"""Which channels go: groups of the least worth for what they cost, until the network is as quick as is wanted."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from vgglass.shrinking.channels import Indices
from vgglass.shrinking.importance import Importance

LEAST_SHARE = 1 / 16  # of a layer's channels, which it keeps
NARROW = 4  # groups: a layer of fewer loses an eighth of its channels at a time

CORRECTIONS = 6  # of the planned cost at most, until the measured one is what was wanted
TOLERANCE = 0.03  # by which a network may be quicker than that

TINY = 1e-300

Cost = Callable[[Mapping[str, int]], float]  # of a network with so many channels, by removable layer


def group_of(count: int, group: int) -> int:
    """How many channels of a layer go together."""
    return group if count >= NARROW * group else max(1, count // 8)


def groups_of(counts: Mapping[str, int], group: int) -> dict[str, int]:
    """How many channels go together, by layer, of a network with these widths and of all that are made from it."""
    return {name: group_of(count, group) for name, count in counts.items()}


def least_widths(counts: Mapping[str, int], group: int) -> dict[str, int]:
    """The narrowest network that can be reached."""
    return {name: min(count, max(group_of(count, group), round(LEAST_SHARE * count))) for name, count in counts.items()}


def select(
    importance: Importance, cost: Cost, target: float, groups: Mapping[str, int], least: Mapping[str, int]
) -> dict[str, Indices] | None:
    """The channels that stay, by layer, in a network that costs no more than `target`; None where none is so narrow.

    groups  channels of each layer that go together, and least, those that it keeps
    In turn, of all layers' least important groups that one goes which takes the smallest share of what its layer is
    still worth, for the cost that it saves. A share, as the last channels of a layer are needed most: by their own sum
    some layers shrink to a bottleneck.
    """
    order = {name: np.argsort(worth, kind="stable") for name, worth in importance.items()}  # the least first
    worth_of = {name: np.cumsum(importance[name][places]) for name, places in order.items()}  # of the first so many
    counts = {name: len(worth) for name, worth in importance.items()}
    now = cost(counts)
    while now > target:
        best: tuple[float, dict[str, int], float] | None = None
        for name, count in counts.items():
            going = min(count % groups[name] or groups[name], count - least[name])  # what is left is whole groups
            if going <= 0:
                continue
            narrower = {**counts, name: count - going}
            after = cost(narrower)
            loss = _share(worth_of[name], len(order[name]) - count, going) / max(now - after, TINY)
            if best is None or loss < best[0]:
                best = loss, narrower, after
        if best is None:
            return None
        _, counts, now = best
    return {name: np.sort(places[len(places) - counts[name] :]) for name, places in order.items()}


def select_as_quick(
    importance: Importance, cost: Cost, target: float, groups: Mapping[str, int], least: Mapping[str, int],
    quickness: Cost,
) -> dict[str, Indices] | None:  # fmt: skip
    """As `select`, in the widest network that measures as quick as is wanted.

    quickness  of a network: how many times as quick as is wanted, measured
    A whole network takes less than its layers do one by one, and not by the same share at every width. So the target is
    corrected by what was measured. Where none is just as quick, the nearest that is quick enough is taken, or else the
    nearest.
    """
    found: list[tuple[bool, float, dict[str, Indices]]] = []
    seen: list[dict[str, int]] = []
    for _ in range(CORRECTIONS):
        kept = select(importance, cost, target, groups, least)
        counts = {name: len(channels) for name, channels in (kept or {}).items()}
        if kept is None or counts in seen:
            break
        seen.append(counts)
        measured = quickness(counts)
        found.append((measured < 1, abs(measured - 1), kept))
        if 1 <= measured <= 1 + TOLERANCE:
            break
        target *= measured / (1 + TOLERANCE / 2)
    return min(found, key=lambda each: each[:2])[2] if found else None


def _share(worth: NDArray[np.float64], gone: int, going: int) -> float:
    """How much the logarithm of a layer's worth falls; worth: of its first channels, cumulated."""
    before = worth[gone - 1] if gone else 0.0
    rest = max(float(worth[-1] - before), TINY)
    after = max(float(worth[-1] - worth[gone + going - 1]), TINY)
    return float(np.log(rest / after))
