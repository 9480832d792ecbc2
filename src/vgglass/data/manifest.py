"""Manifests: a data set as a Parquet table with one row per image, or as a list of paths and labels (see `lists`).

A Parquet manifest records the absolute folder that its paths are relative to; a list's paths are relative to its own
folder. Parquet columns: id, path, bytes, height, width, mode, label, split, sha256 (hexadecimal).
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgglass.data import lists, sources
from vgglass.data.dataset import SPLITS, Dataset, Sample, natural
from vgglass.data.examination import Progress, examined
from vgglass.errors import DataError, MissingExtraError
from vgglass.files import replacing

if TYPE_CHECKING:
    from types import ModuleType

SUFFIXES = (".parquet", *lists.SUFFIXES)
COLUMNS = ("id", "path", "bytes", "height", "width", "mode", "label", "split", "sha256")
OF_A_RUN = "manifest.parquet"  # what training writes beside its model files
KEY = b"vgglass"  # key in the Parquet metadata
AGAIN = "write the manifest again with vgglass check FOLDER --manifest"
REMOVE = "remove it and write another with vgglass check FOLDER --manifest"


def names_one(path: Path) -> bool:
    """Whether a path is a manifest, by its suffix."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def digest(dataset: Dataset) -> str:
    """SHA-256 over every image's content, class and split, independent of location and order."""
    lines = sorted(
        json.dumps([sample.digest.hex(), dataset.classes[sample.label], part])
        for part, samples in dataset.splits.items()
        for sample in samples
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write(dataset: Dataset, path: Path) -> None:
    """Write a data set's manifest atomically. Raises MissingExtraError, OSError."""
    arrow = _arrow()
    from pyarrow import parquet

    root = _root(dataset)
    rows = [_row(sample, part, dataset, root) for part, samples in dataset.splits.items() for sample in samples]
    about = {"root": str(root or ""), "classes": dataset.classes, "left_out": dataset.left_out, "version": 1}
    kinds = dict.fromkeys(COLUMNS, arrow.string()) | dict.fromkeys(("bytes", "height", "width"), arrow.int64())
    schema = arrow.schema(list(kinds.items()), metadata={KEY: json.dumps(about)})
    with replacing(path) as temporary:
        parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), temporary)


def read(path: Path, progress: Progress | None = None) -> Dataset:
    """Read a manifest and examine every file; Parquet manifests are verified by digest. Raises DataError."""
    if path.suffix.lower() in lists.SUFFIXES:
        return _read_list(path, progress)
    rows, about = _table(path)
    classes, root, name = tuple(about["classes"]), Path(about["root"]), str(path)
    if any(row["path"] for row in rows):
        samples = _file_samples(path, rows, root, classes, progress)
    else:
        archive = sources.idx(root) if about["root"] else sources.digits()
        samples, name = _archive_samples(path, rows, archive, classes), archive.name
    left_out = tuple((name, reason) for name, reason in about["left_out"])
    return Dataset(name, classes, _by_split([row["split"] for row in rows], samples), left_out)


def files(path: Path) -> dict[bytes, Path]:
    """By SHA-256, the files that a Parquet manifest names, unexamined. Raises DataError, MissingExtraError."""
    rows, about = _table(path)
    return {bytes.fromhex(row["sha256"]): Path(about["root"]) / row["path"] for row in rows if row["path"]}


def sides(path: Path) -> dict[bytes, str]:
    """The split of each SHA-256 in a Parquet manifest; the files need not exist. Raises DataError."""
    rows, _ = _table(path)
    return {bytes.fromhex(row["sha256"]): row["split"] for row in rows if row["split"] in SPLITS}


def paths(path: Path, say: Callable[[str], None] = lambda sentence: None) -> list[Path]:
    """The files that a manifest lists, in order.

    say  receives a sentence on how a list was interpreted
    Raises DataError, MissingExtraError.
    """
    if path.suffix.lower() in lists.SUFFIXES:
        found = lists.read(path, ("path",))
        say(found.understood)
        return [row.file for row in found.rows]
    rows, about = _table(path)
    if not all(row["path"] for row in rows):
        raise DataError(path, "holds rows without a path: its images lie in an archive", "name files or a folder")
    return [Path(about["root"], row["path"]) for row in rows]


def _arrow() -> "ModuleType":
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "data", "Parquet manifests") from error
    found: ModuleType = pyarrow
    return found


def _root(dataset: Dataset) -> Path | None:
    """The common folder of all files, or the archive of the pixels; None for the embedded digits."""
    sources = [sample.source for sample in dataset.split("all")]
    files = [str(source.parent.absolute()) for source in sources if isinstance(source, Path)]
    if files:
        return Path(os.path.commonpath(files))
    return Path(dataset.name).absolute() if Path(dataset.name).is_dir() else None


def _row(sample: Sample, part: str, dataset: Dataset, root: Path | None) -> dict[str, Any]:
    facts, source = sample.described(), sample.source
    place = source.absolute().relative_to(root) if isinstance(source, Path) and root else ""
    return {
        "id": sample.id, "path": str(place), "bytes": facts.size, "height": facts.height, "width": facts.width,
        "mode": facts.mode, "label": dataset.classes[sample.label], "split": part, "sha256": sample.digest.hex(),
    }  # fmt: skip


def _table(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and metadata of a Parquet manifest. Raises DataError, MissingExtraError."""
    arrow = _arrow()
    from pyarrow import parquet

    if not path.exists():
        raise DataError(path, "does not exist", "check the path")
    try:
        table = parquet.read_table(path, partitioning=None).select(list(COLUMNS))
        about = json.loads(table.schema.metadata[KEY])
        rows: list[dict[str, Any]] = table.to_pylist()
        for row in rows:
            if row["label"] not in about["classes"] or row["split"] not in (*SPLITS, "all"):
                raise ValueError(f"label {row['label']!r} or split {row['split']!r} of {row['id']!r}")
            bytes.fromhex(row["sha256"])
        about = {"root": str(about["root"]), "classes": list(about["classes"]), "left_out": list(about["left_out"])}
    except (OSError, KeyError, TypeError, ValueError, arrow.ArrowException) as error:
        raise DataError(path, f"not a manifest of vgglass ({' '.join(str(error).split())})", REMOVE) from error
    if not rows:
        raise DataError(path, "holds no images", REMOVE)
    return rows, about


def _file_samples(
    path: Path, rows: Sequence[dict[str, Any]], root: Path, classes: tuple[str, ...], progress: Progress | None
) -> list[Sample]:
    found = examined([root / row["path"] for row in rows], progress)
    missing = [row["path"] for row, facts in zip(rows, found, strict=True) if not facts.sha256]
    if missing:
        raise DataError(
            path, f"{_fault(missing, len(rows), 'can not be read')} in {root}", f"bring the files back, or {AGAIN}"
        )
    changed = [row["path"] for row, facts in zip(rows, found, strict=True) if facts.sha256.hex() != row["sha256"]]
    if changed:
        raise DataError(
            path, f"{_fault(changed, len(rows), 'changed since')} in {root}", f"bring them back, or {AGAIN}"
        )
    return [
        Sample(row["id"], root / row["path"], classes.index(row["label"]), facts.sha256, facts)
        for row, facts in zip(rows, found, strict=True)
    ]


def _fault(names: Sequence[str], count: int, fault: str) -> str:
    return f"{len(names)} of its {count} files {fault}, the first {names[0]!r}"


def _archive_samples(
    path: Path, rows: Sequence[dict[str, Any]], archive: Dataset, classes: tuple[str, ...]
) -> list[Sample]:
    known = {sample.id: sample for sample in archive.split("all")}
    changed = [row["id"] for row in rows if row["id"] not in known or known[row["id"]].digest.hex() != row["sha256"]]
    if changed:
        raise DataError(path, _fault(changed, len(rows), f"are not those of {archive.name}"), AGAIN)
    return [replace(known[row["id"]], label=classes.index(row["label"])) for row in rows]


def _by_split(parts: Sequence[str], samples: Sequence[Sample]) -> dict[str, tuple[Sample, ...]]:
    present = [name for name in (*SPLITS, "all") if name in parts]
    return {
        name: tuple(sample for part, sample in zip(parts, samples, strict=True) if part == name) for name in present
    }


def _read_list(path: Path, progress: Progress | None) -> Dataset:
    found = lists.read(path)
    rows = found.rows
    classes = tuple(sorted({row.label for row in rows}, key=natural))
    facts = examined([row.file for row in rows], progress)
    missing = [row for row, fact in zip(rows, facts, strict=True) if not fact.sha256]
    if missing:
        similar = lists.looks_like(missing[0])
        names = [f"{row.path} (line {row.line})" for row in missing]
        remedy = f"it may mean {similar}" if similar else "mend the paths: they start at its folder"
        raise DataError(path, _fault(names, len(rows), "can not be read"), remedy)
    parts, samples, left_out = [], [], []
    for row, fact in zip(rows, facts, strict=True):
        if fact.error:
            left_out.append((row.path, fact.error))
            continue
        parts.append(row.split)
        samples.append(Sample(row.path, row.file, classes.index(row.label), fact.sha256, fact))
    if not samples:
        raise DataError(path, f"none of its {len(rows)} images could be read", f"the first: {left_out[0][1]}")
    return Dataset(str(path), classes, _by_split(parts, samples), tuple(left_out), found.understood)
