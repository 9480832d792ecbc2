"""What every kind of data becomes: samples with labels, in splits, under frozen class names; classes of few images."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


# Classes of few images: their effective number, and the weights that make up for it.

BETA = 0.999  # Cui et al. (2019), one of the four they try
UNEVEN = 3.0  # largest class over smallest, from which the figures are shown


def class_counts(samples: Sequence[Sample], classes: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.bincount([sample.label for sample in samples], minlength=classes)
    return found


def effective_numbers(images: NDArray[np.int64]) -> NDArray[np.float64]:
    """(1 - beta^n) / (1 - beta) for each class: what n images are worth, as more of a kind add less."""
    return (1 - np.power(BETA, images.astype(np.float64))) / (1 - BETA)


def class_weights(images: NDArray[np.int64]) -> NDArray[np.float64]:
    """Inverse effective numbers, scaled so that the mean over all images is 1."""
    weights = 1 / effective_numbers(images)
    scaled: NDArray[np.float64] = weights * images.sum() / (weights * images).sum()
    return scaled


def sample_weights(samples: Sequence[Sample], images: NDArray[np.int64]) -> NDArray[np.float64]:
    """For a sampler that draws every class equally often."""
    shares: NDArray[np.float64] = 1 / images[[sample.label for sample in samples]].astype(np.float64)
    return np.asarray(shares / shares.sum())


def balance_line(images: NDArray[np.int64], classes: Sequence[str], balance: str) -> str:
    """What a person should know of uneven classes; '' where they are even."""
    if images.max() < UNEVEN * images.min():
        return ""
    order = np.argsort(images, kind="stable")
    worth = effective_numbers(images)
    few = ", ".join(f"{classes[place]} {images[place]:,} (worth {worth[place]:.0f})" for place in order[:3])
    many = f"{classes[order[-1]]} {images[order[-1]]:,} (worth {worth[order[-1]]:.0f})"
    done = {
        "none": "nothing makes up for it; --set balance=weights or balance=sampler would",
        "weights": "the loss weighs them by the inverse of that worth",
        "sampler": "each class is drawn equally often",
    }
    return f"uneven classes: from {few} to {many} images; {done[balance]}"
