"""Data sets: labelled samples in splits, class names, and weights for imbalanced classes."""

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

    id      a path relative to the folder, or an index
    source  a path to decode, or the pixels themselves (H, W, C)
    label   index into the data set's classes
    digest  SHA-256 of the content
    facts   result of examining the file; None for pixels
    """

    id: str
    source: Path | Pixels
    label: int
    digest: bytes
    facts: Facts | None = None

    def described(self) -> Facts:
        """The facts of the file, or the equivalent for pixels in memory."""
        if self.facts is None:
            assert isinstance(self.source, np.ndarray)
            height, width, channels = self.source.shape
            mode = "L" if channels == 1 else "RGB"
            return Facts(self.source.nbytes, self.digest, mode=mode, height=height, width=width)
        return self.facts


class PassedOver(NamedTuple):
    """A skipped file or folder: the audit's kind of finding, its path, and the number of files."""

    kind: str
    path: Path
    detail: str = ""
    files: int = 1


@dataclass(frozen=True)
class Dataset:
    """Samples by split, in a fixed order. `splits` has 'train', 'validation', 'test' or, if undivided, 'all'.

    left_out     unreadable files, each with its reason
    understood   a sentence on how a list or layout was interpreted
    passed_over  skipped files and folders
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, tuple[Sample, ...]]
    left_out: tuple[tuple[str, str], ...] = field(default=())
    understood: str = ""
    passed_over: tuple[PassedOver, ...] = ()

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split, or of every split ('all'). Raises DataError if there are none."""
        if name == "all":
            return tuple(sample for samples in self.splits.values() for sample in samples)
        if not self.splits.get(name):
            raise DataError(self.name, f"has no {name} images", f"choose among {', '.join(self.splits)} and all")
        return self.splits[name]

    def sides(self) -> dict[bytes, str]:
        """The split of each content, by SHA-256."""
        return {sample.digest: name for name in SPLITS for sample in self.splits.get(name, ())}

    def digest(self, split: str) -> str:
        """SHA-256 over the contents and class names of a split, independent of the order of files."""
        lines = sorted(sample.digest + self.classes[sample.label].encode() for sample in self.split(split))
        return hashlib.sha256(b"\n".join(lines)).hexdigest()


def natural(name: str) -> list[tuple[int, int, str]]:
    """Natural sort key: 'class2' before 'class10'."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in re.split(r"(\d+)", name) if part
    ] + [(2, 0, name)]


# Class imbalance: effective numbers of images, and weights for the loss or the sampler.

BETA = 0.999  # one of the four values of Cui et al. (2019)
UNEVEN = 3.0  # ratio of largest to smallest class from which the figures are shown


def class_counts(samples: Sequence[Sample], classes: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.bincount([sample.label for sample in samples], minlength=classes)
    return found


def effective_numbers(images: NDArray[np.int64]) -> NDArray[np.float64]:
    """Effective number of samples of each class, (1 - beta^n) / (1 - beta): further images add less."""
    return (1 - np.power(BETA, images.astype(np.float64))) / (1 - BETA)


def class_weights(images: NDArray[np.int64]) -> NDArray[np.float64]:
    """Inverse effective numbers, scaled so that the mean over all images is 1."""
    weights = 1 / effective_numbers(images)
    scaled: NDArray[np.float64] = weights * images.sum() / (weights * images).sum()
    return scaled


def sample_weights(samples: Sequence[Sample], images: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities (N,) for a sampler that draws each class equally often."""
    shares: NDArray[np.float64] = 1 / images[[sample.label for sample in samples]].astype(np.float64)
    return np.asarray(shares / shares.sum())


def balance_line(images: NDArray[np.int64], classes: Sequence[str], balance: str) -> str:
    """A sentence on class imbalance; '' if the classes are balanced."""
    if images.max() < UNEVEN * images.min():
        return ""
    order = np.argsort(images, kind="stable")
    effective = effective_numbers(images)
    few = ", ".join(f"{classes[place]} {images[place]:,} (worth {effective[place]:.0f})" for place in order[:3])
    many = f"{classes[order[-1]]} {images[order[-1]]:,} (worth {effective[order[-1]]:.0f})"
    treatment = {
        "none": "nothing makes up for it; --set balance=weights or balance=sampler would",
        "weights": "the loss weighs them by the inverse of that worth",
        "sampler": "each class is drawn equally often",
    }
    return f"uneven classes: from {few} to {many} images; {treatment[balance]}"
