"""Load a data set from a folder with one subfolder per class, flat or divided into train, val and test."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from vgglass import names
from vgglass.data import manifest, sources, split
from vgglass.data.dataset import SPLITS, Dataset, PassedOver, Sample
from vgglass.data.examination import Facts, Progress, examined
from vgglass.data.layout import detect_layout
from vgglass.data.listing import Folder
from vgglass.errors import DataError
from vgglass.images import Pixels
from vgglass.names import printable

NO_CLASS = -1  # label of an unreadable file whose class a manifest does not record


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
    """All image files of a folder, by class and split, readable or not; `scan` makes a data set of it.

    parts        the splits, or 'all' if undivided
    understood   a sentence on how the layout was interpreted; '' if there is no layout
    passed_over  skipped files and folders, and class folders without images
    """

    name: str
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    parts: tuple[str, ...] = ()
    understood: str = ""
    passed_over: tuple[PassedOver, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset) -> "Survey":
        """The survey of a data set that has no folder: a manifest or an archive."""
        entries = [
            Entry(sample.id, sample.source, part, sample.label, sample.described())
            for part, samples in dataset.splits.items()
            for sample in samples
        ]
        lost = [
            Entry(name, Path(name), "all", NO_CLASS, Facts(0, b"", error=reason)) for name, reason in dataset.left_out
        ]
        return cls(dataset.name, dataset.classes, (*entries, *lost), understood=dataset.understood)

    def dataset(self) -> Dataset:
        """The data set of the readable files. Raises DataError if there are none."""
        left_out = tuple((entry.id, entry.facts.error) for entry in self.entries if entry.facts.error)
        if len(left_out) == len(self.entries):
            raise DataError(
                self.name, f"none of its {len(self.entries)} images could be read", f"the first: {left_out[0][1]}"
            )
        readable = [entry for entry in self.entries if not entry.facts.error]
        splits: dict[str, list[Sample]] = {name: [] for name in sorted({*self.parts, *(e.split for e in readable)})}
        for entry in readable:
            sample = Sample(entry.id, entry.source, entry.label, entry.facts.sha256, entry.facts)
            splits[entry.split].append(sample)
        divided = {name: tuple(samples) for name, samples in splits.items()}
        return Dataset(self.name, self.classes, divided, left_out, self.understood, self.passed_over)


def open_data(path: Path | None, progress: Progress | None = None) -> Dataset:
    """Load a folder (classes, or idx files), a manifest, or the embedded digits if `path` is None. Raises DataError."""
    if path is None:
        return sources.digits()
    path = names.existing(path)
    if manifest.names_one(path):
        return manifest.read(path, progress)
    if not path.is_dir():
        raise DataError(
            path,
            f"is not a folder{names.same_but_for_case(path)}",
            "name one with a subfolder for each class, or a manifest",
        )
    if sources.holds_idx(path):
        return sources.idx(path)
    return scan(path, progress)


def scan(folder: Path, progress: Progress | None = None) -> Dataset:
    """Find, read and check every image. Raises DataError if no image can be read.

    A flat folder has the single split 'all'; see `trainable`. Unreadable and skipped files are listed in `left_out`
    and `passed_over`.
    """
    return survey(folder, progress).dataset()


def survey(folder: Path, progress: Progress | None = None) -> Survey:
    """Find and examine every image, so that no bad file fails in the middle of an epoch. Raises DataError."""
    layout = detect_layout(folder)
    found: list[tuple[str, Path, int]] = []
    passed_over = list(layout.passed_over)
    for part, (label, name) in product(layout.roots, enumerate(layout.classes)):
        for member in layout.folders.get((part, name), ()):
            listed = member.listing()
            found += [(part, path, label) for path in listed.images]
            passed_over += listed.passed_over
            if not listed.images:
                passed_over.append(PassedOver("empty-class", member.path, files=0))
    facts = examined([path for _, path, _ in found], progress)
    entries = (
        Entry(printable(path.relative_to(folder)), path, part, label, fact)
        for (part, path, label), fact in zip(found, facts, strict=True)
    )
    return Survey(
        str(folder),
        layout.classes,
        tuple(entries),
        tuple(layout.roots),
        layout.sentence(Counter(part for part, _, _ in found)),
        tuple(one._replace(path=one.path.relative_to(folder)) for one in passed_over),
    )


def trainable(
    dataset: Dataset, earlier: Mapping[bytes, str] | None = None, *, hold_out: bool = True, least: int = 2
) -> Dataset:
    """The data set with at least a train and a validation split, every class in train. Raises DataError.

    A flat folder is split; a missing validation split is taken from train. A class with too few images to hold any
    out keeps them all in train.
    hold_out  False: nothing is taken from train, which a flat folder is as a whole; there may be no validation split
    earlier  previous split by SHA-256, from a manifest: see `split.divide`
    least    classes; one is enough beside those of another data set
    """
    if len(dataset.classes) < least:
        raise DataError(
            dataset.name,
            f"has one class, {dataset.classes[0]!r}, and a classifier chooses among two or more",
            "put each class's images in a subfolder of its name",
        )
    source = "all" if "all" in dataset.splits else "train"
    missing = {"all": ("validation", "test"), "train": ("validation",)}[source]
    held_out = [name for name in missing if name not in dataset.splits and hold_out]
    for label, name in enumerate(dataset.classes):
        if all(sample.label != label for sample in dataset.split(source)):
            raise DataError(
                f"class {name!r} of {dataset.name}",
                "has no readable image to learn from",
                "add images or remove its folder",
            )
    if not held_out:
        return replace(dataset, splits=_ordered(dataset.splits | {"train": dataset.split(source)}))
    parts, excluded = split.divide(dataset.split(source), held_out, earlier or {})
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
    return replace(dataset, splits=_ordered(splits), left_out=dataset.left_out + excluded)


def _ordered(splits: dict[str, tuple[Sample, ...]]) -> dict[str, tuple[Sample, ...]]:
    return {name: splits[name] for name in SPLITS if name in splits}


def image_files(folder: Path) -> list[Path]:
    """Every image in a folder, recursively, in natural order, without system files. Raises DataError."""
    return Folder.at(folder).listing().images
