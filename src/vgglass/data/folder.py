"""A folder with one subfolder a class, flat or split into train, val and test, to a data set."""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vgglass import images
from vgglass.data import digits, idx
from vgglass.data.dataset import SPLITS, Dataset, Sample, divide
from vgglass.errors import DataError, ImageError

SPLIT_FOLDERS = {name: name for name in SPLITS} | {"val": "validation", "valid": "validation"}
Progress = Callable[[int, int], None]  # images read, images in all


def open_data(folder: Path | None, progress: Progress | None = None) -> Dataset:
    """The data set of a folder (classes, or idx files), or the embedded digits when none is given."""
    if folder is None:
        return digits.load()
    if not folder.is_dir():
        raise DataError(folder, "is not a folder", "name one with a subfolder for each class")
    if idx.holds_idx(folder):
        return idx.load(folder)
    return scan(folder, progress)


def scan(folder: Path, progress: Progress | None = None) -> Dataset:
    """Find, read and check every image. Raises DataError where there is nothing to train on or judge.

    A flat folder comes back with the single split 'all'; see `trainable`. Hidden folders are ignored; files that can't
    be read are left out and named.
    """
    tops = _subfolders(folder)
    named = {SPLIT_FOLDERS[top.name.lower()]: top for top in tops if top.name.lower() in SPLIT_FOLDERS}
    roots = named if "train" in named or len(named) == len(tops) > 0 else {"all": folder}
    classes = sorted({sub.name for root in roots.values() for sub in _subfolders(root)}, key=natural)
    found = [
        (split, path, label)
        for split, root in roots.items()
        for label, name in enumerate(classes)
        for path in image_files(root / name)
    ]
    if not found:
        raise DataError(folder, "no images in subfolders of it", "put each class's images in a subfolder of its name")
    samples, left_out = _read_all(folder, found, progress)
    splits = {split: tuple(sample for part, sample in samples if part == split) for split in sorted(roots)}
    return Dataset(str(folder), tuple(classes), splits, left_out)


def trainable(dataset: Dataset) -> Dataset:
    """The data set with at least a train and a validation split, every class in train. Raises DataError.

    A flat folder is split; of one that has no validation images, some of the training images become it.
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
    least = max(2, len(held_out) + 1)
    for label, name in enumerate(dataset.classes):
        count = sum(sample.label == label for sample in dataset.split(source))
        if count < least:
            raise DataError(
                f"class {name!r} of {dataset.name}",
                f"has {count} readable image{'s' * (count != 1)} to learn from, and {least} are needed",
                "add images or remove its folder",
            )
    splits = {**dataset.splits, **divide(dataset.split(source), held_out)} if held_out else dataset.splits
    ordered = {name: splits[name] for name in SPLITS if name in splits}
    return Dataset(dataset.name, dataset.classes, ordered, dataset.left_out)


def image_files(folder: Path) -> list[Path]:
    """Every file with an image's suffix below a folder, hidden ones apart, in natural order."""
    paths = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural)
        paths += [Path(root, name) for name in sorted(files, key=natural) if _is_image(name)]
    return paths


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that counts: 'class2' before 'class10'."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in re.split(r"(\d+)", name) if part
    ] + [(2, 0, name)]


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in images.SUFFIXES


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _read_all(
    folder: Path, found: Sequence[tuple[str, Path, int]], progress: Progress | None
) -> tuple[list[tuple[str, Sample]], tuple[tuple[str, str], ...]]:
    """Decode every image once, so that no bad file is met halfway through an epoch."""

    def check(path: Path) -> bytes | str:
        try:
            data = path.read_bytes()
            images.decode(data)
        except ImageError as error:
            return error.rule
        except OSError as error:
            return error.strerror or str(error)
        return hashlib.sha256(data).digest()

    samples: list[tuple[str, Sample]] = []
    left_out: list[tuple[str, str]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(check, (path for _, path, _ in found))
        for done, ((split, path, label), result) in enumerate(zip(found, results, strict=True), start=1):
            name = str(path.relative_to(folder))
            if isinstance(result, str):
                left_out.append((name, result))
            else:
                samples.append((split, Sample(name, path, label, result)))
            if progress:
                progress(done, len(found))
    if not samples:
        raise DataError(folder, f"none of its {len(found)} images could be read", f"the first: {left_out[0][1]}")
    return samples, tuple(left_out)
