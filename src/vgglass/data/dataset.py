"""What every kind of data becomes: samples with labels, in splits, under frozen class names."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vgglass.data.examination import Facts
from vgglass.errors import DataError
from vgglass.images import Pixels

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    id      where it comes from: a path below the folder, or an index
    source  a path to decode, or the pixels themselves (H, W, C)
    label   index into the data set's classes
    digest  SHA-256 of the content
    facts   what an examination of the file found; pixels have none
    """

    id: str
    source: Path | Pixels
    label: int
    digest: bytes
    facts: Facts | None = None

    def described(self) -> Facts:
        """The facts of the file, or what there is to say of pixels."""
        if self.facts is None:
            assert isinstance(self.source, np.ndarray)
            height, width, channels = self.source.shape
            mode = "L" if channels == 1 else "RGB"
            return Facts(self.source.nbytes, self.digest, mode=mode, height=height, width=width)
        return self.facts


class PassedOver(NamedTuple):
    """A file or folder that is no class's image: the audit's kind of finding, the path, how many files it is."""

    kind: str
    path: Path
    detail: str = ""
    files: int = 1


@dataclass(frozen=True)
class Dataset:
    """Samples by split, in a fixed order. `splits` holds 'train', 'validation', 'test' or, not split, 'all'.

    left_out     the files that could not be read, each with its reason
    understood   a sentence on what a list or layout was taken for
    passed_over  what else lies in the folder
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, tuple[Sample, ...]]
    left_out: tuple[tuple[str, str], ...] = field(default=())
    understood: str = ""
    passed_over: tuple[PassedOver, ...] = ()

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split ('all': of every split). Raises DataError where there are none."""
        if name == "all":
            return tuple(sample for samples in self.splits.values() for sample in samples)
        if not self.splits.get(name):
            raise DataError(self.name, f"has no {name} images", f"choose among {', '.join(self.splits)} and all")
        return self.splits[name]

    def sides(self) -> dict[bytes, str]:
        """The split of every content, where there are splits."""
        return {sample.digest: name for name in SPLITS for sample in self.splits.get(name, ())}

    def digest(self, split: str) -> str:
        """SHA-256 over the contents and class names of a split, in no particular order of files."""
        lines = sorted(sample.digest + self.classes[sample.label].encode() for sample in self.split(split))
        return hashlib.sha256(b"\n".join(lines)).hexdigest()


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that counts: 'class2' before 'class10'."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in re.split(r"(\d+)", name) if part
    ] + [(2, 0, name)]
