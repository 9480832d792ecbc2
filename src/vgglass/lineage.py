"""A shrunk network and the one that it came from: which channel was which, by the record of a model file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vgglass.architecture import Architecture
from vgglass.errors import UsageError
from vgglass.modelfile import Record


@dataclass(frozen=True)
class Kin:
    """What the parent has beside a layer of its child.

    layer    its name there: fc6 beside fc6_2, the second factor
    kept     the parent's channel of each of the child's, in order
    removed  the parent's channels that went
    """

    layer: str
    kept: tuple[int, ...]
    removed: tuple[int, ...]


def origins(architecture: Architecture) -> dict[str, str]:
    """By layer, the convolution or fully connected layer that its channels come from: 'conv1_2' for 'pool1'."""
    found, origin = {}, ""
    for layer in architecture.layers():
        origin = layer.name if layer.kind in ("conv", "linear") else origin
        found[layer.name] = origin
    return found


def parent_of(child: Record) -> tuple[str, str | None]:
    """The digest of the network that this one was shrunk from, and the path where it lay, if that was recorded.

    Raises UsageError for a network that was not shrunk.
    """
    shrunk = child.recipe.get("shrunk")
    if not isinstance(shrunk, Mapping) or not isinstance(shrunk.get("from"), str):
        raise UsageError("--parent", "this model was not shrunk from another", "leave it out, or name a shrunk model")
    path = shrunk.get("parent")
    return shrunk["from"], path if isinstance(path, str) else None


def require_parent(child: Record, parent: Record, name: object) -> None:
    """Raises UsageError unless the child was shrunk from this network, called `name`, and says soundly what went."""
    digest, _ = parent_of(child)
    if _family(child) != _family(parent):
        remedy = "name the model that it was shrunk from"
        rule = f"is of another family: {_described(parent)}; the shrunk model is {_described(child)}"
        raise UsageError(f"--parent {name}", rule, remedy)
    if digest != parent.digest:
        rule = f"its weights have the digest {parent.digest[:12]}…, those of the parent {digest[:12]}…"
        raise UsageError(f"--parent {name}", rule, "name the model that it was shrunk from")
    kin(child, parent)


def kin(child: Record, parent: Record) -> dict[str, Kin]:
    """What the parent has beside each layer of its child; no entry for a layer that is the child's alone, as fc6_1.

    Raises UsageError for a record whose removed channels are not those that are missing.
    """
    theirs = {layer.name: layer.output_shape[0] for layer in parent.architecture.layers()}
    ours, removed, found = origins(child.architecture), _removed(child), {}
    for layer in child.architecture.layers():
        name, origin = (text if text in theirs else _whole(text) for text in (layer.name, ours[layer.name]))
        if name not in theirs:
            continue
        gone = removed.get(origin, ())
        kept = sorted(set(range(theirs[name])) - set(gone))
        if not set(gone) <= set(range(theirs[name])) or len(kept) != layer.output_shape[0]:
            rule = f"its record says of {layer.name} that channels went which are there, or never were"
            raise UsageError("the shrunk model", rule, "shrink its parent again")
        found[layer.name] = Kin(name, tuple(kept), tuple(sorted(set(gone))))
    return found


def _removed(child: Record) -> dict[str, Sequence[int]]:
    """The removed channels by layer of the parent, of what a record says; what is no list of numbers is left out."""
    removed = child.recipe["shrunk"].get("removed")
    return {
        name: numbers
        for name, numbers in (removed.items() if isinstance(removed, Mapping) else ())
        if isinstance(numbers, list) and all(type(number) is int for number in numbers)
    }


def _whole(name: str) -> str:
    """'fc6' of its second factor 'fc6_2', which has the same outputs."""
    return name.removesuffix("_2") if name.startswith("fc") else name


def _family(record: Record) -> tuple[Any, ...]:
    """What shrinking leaves as it is; it may change the head."""
    return record.architecture.name, record.classes, record.preprocessing


def _described(record: Record) -> str:
    return f"{record.architecture.name} of {len(record.classes)} classes, {record.preprocessing.size} pixels a side"
