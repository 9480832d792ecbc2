"""A folder with one subfolder a class, flat or split into train, val and test, to a data set."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from vgglass import images
from vgglass.data import digits, idx, manifest, split
from vgglass.data.cache import Progress, examined
from vgglass.data.dataset import SPLIT_FOLDERS, SPLITS, Dataset, Sample, natural
from vgglass.data.examination import Facts
from vgglass.errors import DataError
from vgglass.images import Pixels

NO_CLASS = -1  # label of an unreadable file that a manifest names without its class


@dataclass(frozen=True)
class Entry:
    """One image file of a class, readable or not, or one image of an archive; see `Sample`."""

    id: str
    source: Path | Pixels
    split: str
    label: int
    facts: Facts


@dataclass(frozen=True)
class Survey:
    """Everything that a folder holds under its classes: what `scan` makes a data set of.

    roots  by split ('all': not split), the folder that holds the class folders
    """

    name: str
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    roots: Mapping[str, Path]

    @classmethod
    def of(cls, dataset: Dataset) -> "Survey":
        """What a data set without a folder of its own holds: a manifest, an archive."""
        entries = [
            Entry(sample.id, sample.source, part, sample.label, sample.described())
            for part, samples in dataset.splits.items()
            for sample in samples
        ]
        lost = [
            Entry(name, Path(name), "all", NO_CLASS, Facts(0, b"", error=reason)) for name, reason in dataset.left_out
        ]
        return cls(dataset.name, dataset.classes, (*entries, *lost), {})

    def dataset(self) -> Dataset:
        """What can be read of it. Raises DataError where that is nothing."""
        left_out = tuple((entry.id, entry.facts.error) for entry in self.entries if entry.facts.error)
        if len(left_out) == len(self.entries):
            raise DataError(
                self.name, f"none of its {len(self.entries)} images could be read", f"the first: {left_out[0][1]}"
            )
        readable = [entry for entry in self.entries if not entry.facts.error]
        splits: dict[str, list[Sample]] = {name: [] for name in sorted({*self.roots, *(e.split for e in readable)})}
        for entry in readable:
            sample = Sample(entry.id, entry.source, entry.label, entry.facts.sha256, entry.facts)
            splits[entry.split].append(sample)
        return Dataset(self.name, self.classes, {name: tuple(samples) for name, samples in splits.items()}, left_out)


def open_data(path: Path | None, progress: Progress | None = None) -> Dataset:
    """The data set of a folder (classes, or idx files) or a manifest, or the embedded digits when none is given."""
    if path is None:
        return digits.load()
    if manifest.names_one(path):
        return manifest.read(path, progress)
    if not path.is_dir():
        raise DataError(path, "is not a folder", "name one with a subfolder for each class, or a manifest")
    if idx.holds_idx(path):
        return idx.load(path)
    return scan(path, progress)


def scan(folder: Path, progress: Progress | None = None) -> Dataset:
    """Find, read and check every image. Raises DataError where there is nothing to train on or judge.

    A flat folder comes back with the single split 'all'; see `trainable`. Hidden folders are ignored; files that can't
    be read are left out and named.
    """
    return survey(folder, progress).dataset()


def survey(folder: Path, progress: Progress | None = None) -> Survey:
    """Find and examine every image, so that no bad file is met halfway through an epoch. Raises DataError."""
    tops = subfolders(folder)
    named = {SPLIT_FOLDERS[top.name.lower()]: top for top in tops if top.name.lower() in SPLIT_FOLDERS}
    split_up = "train" in named or len(named) == len(tops) > 0
    roots = {name: named[name] for name in SPLITS if name in named} if split_up else {"all": folder}
    classes = sorted({sub.name for root in roots.values() for sub in subfolders(root)}, key=natural)
    found = [
        (part, path, label)
        for part, root in roots.items()
        for label, name in enumerate(classes)
        if (root / name).is_dir()
        for path in image_files(root / name)
    ]
    if not found:
        raise DataError(folder, "no images in subfolders of it", "put each class's images in a subfolder of its name")
    facts = examined([path for _, path, _ in found], progress)
    entries = (
        Entry(shown(path.relative_to(folder)), path, part, label, fact)
        for (part, path, label), fact in zip(found, facts, strict=True)
    )
    return Survey(str(folder), tuple(classes), tuple(entries), roots)


def trainable(dataset: Dataset, earlier: Mapping[bytes, str] | None = None) -> Dataset:
    """The data set with at least a train and a validation split, every class in train. Raises DataError.

    A flat folder is split; of one that has no validation images, some of the training images become it. A class of too
    few images to hold any out gives them all to training.
    earlier  the split that contents (SHA-256) had before, where there is a manifest: see `split.divide`
    """
    if len(dataset.classes) < 2:
        raise DataError(
            dataset.name,
            f"has one class, {dataset.classes[0]!r}, and a classifier chooses among two or more",
            "put each class's images in a subfolder of its name",
        )
    source = "all" if "all" in dataset.splits else "train"
    missing = {"all": ("validation", "test"), "train": ("validation",)}[source]
    held_out = [name for name in missing if name not in dataset.splits]
    for label, name in enumerate(dataset.classes):
        if all(sample.label != label for sample in dataset.split(source)):
            raise DataError(
                f"class {name!r} of {dataset.name}",
                "has no readable image to learn from",
                "add images or remove its folder",
            )
    if not held_out:
        return replace(dataset, splits=_ordered(dataset.splits))
    parts, torn = split.divide(dataset.split(source), held_out, earlier or {})
    for label, name in enumerate(dataset.classes):
        if all(sample.label != label for sample in parts["train"]):
            raise DataError(
                f"class {name!r} of {dataset.name}",
                "has no training image: its images and their near duplicates were all held out",
                "add other images of it, or divide the folder into train, val and test yourself",
            )
    if not parts["validation"]:
        raise DataError(
            dataset.name,
            "leaves no validation images: near duplicates stay together, and each class is one group of them",
            "add other images, or divide the folder into train, val and test yourself",
        )
    splits = {name: samples for name, samples in dataset.splits.items() if name != source} | parts
    return replace(dataset, splits=_ordered(splits), left_out=dataset.left_out + torn)


def _ordered(splits: dict[str, tuple[Sample, ...]]) -> dict[str, tuple[Sample, ...]]:
    return {name: splits[name] for name in SPLITS if name in splits}


def image_files(folder: Path) -> list[Path]:
    """Every file with an image's suffix below a folder, hidden ones apart, in natural order. Raises DataError."""
    paths = []
    for root, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural)
        paths += [Path(root, name) for name in sorted(files, key=natural) if _is_image(name)]
    return paths


def subfolders(folder: Path) -> list[Path]:
    """Folders that may be classes: all but hidden ones. Raises DataError."""
    try:
        found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        _refuse(error)
    for path in found:
        if shown(path) != str(path):
            raise DataError(shown(path), "its name is not UTF-8", "rename the folder")
    return found


def shown(path: Path | str) -> str:
    """The path as text that can be printed and stored, even where its bytes are not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _refuse(error: OSError) -> NoReturn:
    raise DataError(error.filename, error.strerror or str(error), "check its permissions") from error


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in images.SUFFIXES
