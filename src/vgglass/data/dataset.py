"""What every kind of data becomes: samples with labels, in splits, under frozen class names."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vgglass.errors import DataError
from vgglass.images import Pixels

SPLITS = ("train", "validation", "test")
HELD_OUT_SHARE = 0.15  # of each class, for each of validation and test, where a folder is not split


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    id      where it comes from: a path below the folder, or an index
    source  a path to decode, or the pixels themselves (H, W, C)
    label   index into the data set's classes
    digest  SHA-256 of the content
    """

    id: str
    source: Path | Pixels
    label: int
    digest: bytes


@dataclass(frozen=True)
class Dataset:
    """Samples by split, in a fixed order. `splits` holds 'train', 'validation', 'test' or, not split, 'all'.

    left_out names the files that could not be read, each with its reason.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, tuple[Sample, ...]]
    left_out: tuple[tuple[str, str], ...] = field(default=())

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split ('all': of every split). Raises DataError where there are none."""
        if name == "all":
            return tuple(sample for samples in self.splits.values() for sample in samples)
        if not self.splits.get(name):
            raise DataError(self.name, f"has no {name} images", f"choose among {', '.join(self.splits)} and all")
        return self.splits[name]

    def digest(self, split: str) -> str:
        """SHA-256 over the contents and class names of a split, in no particular order of files."""
        lines = sorted(sample.digest + self.classes[sample.label].encode() for sample in self.split(split))
        return hashlib.sha256(b"\n".join(lines)).hexdigest()


def divide(samples: Sequence[Sample], held_out: Sequence[str]) -> dict[str, tuple[Sample, ...]]:
    """Give each held-out split its share of every class, and 'train' the rest.

    In the order of the samples' digests: the same images always fall the same way, wherever the folder lies.
    """
    splits: dict[str, list[Sample]] = {name: [] for name in ("train", *held_out)}
    for label in sorted({sample.label for sample in samples}):
        members = sorted((sample for sample in samples if sample.label == label), key=lambda sample: sample.digest)
        count = max(1, round(len(members) * HELD_OUT_SHARE))
        for name in held_out:
            splits[name] += members[:count]
            members = members[count:]
        splits["train"] += members
    return {name: tuple(members) for name, members in splits.items()}
