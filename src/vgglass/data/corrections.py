"""Labels that a person decided to correct: the list of them (labels.csv), and the data set that results."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vgglass.data import lists
from vgglass.data.dataset import Dataset, Sample
from vgglass.errors import DataError
from vgglass.files import replacing

COLUMNS = ("path", "label", "suggested", "score", "decision", "sha256")
DECISIONS = ("keep", "suggested", "remove")
AGAIN = "write the list again with vgglass check FOLDER --labels --out labels.csv"


@dataclass(frozen=True)
class Correction:
    """One decision that changes something.

    label  the class that the image is given, an index; None where the image is removed
    """

    sample: Sample
    label: int | None


def row_of(sample: Sample, label: str, suggested: str, score: float) -> tuple[str, ...]:
    """A line of a list, without a decision."""
    return sample.id, label, suggested, f"{score:.4f}", "", sample.digest.hex()


def write(rows: Iterable[Sequence[str]], path: Path) -> None:
    """Write a list. Raises OSError."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


def read(path: Path, dataset: Dataset) -> list[Correction]:
    """The decisions of a list on a data set's images that change something. Raises DataError.

    Every row must name an image and classes of the data set, under the label that it has there.
    """
    known = {sample.id: sample for sample in dataset.split("all")}
    found: list[Correction] = []
    seen: dict[str, int] = {}
    for line, row in _rows(path):
        place, name = f"{path}, line {line}", row["path"]
        sample = known.get(name)
        if sample is None:
            raise DataError(place, f"{name!r} is no image of {dataset.name}", f"name the folder it lies in, or {AGAIN}")
        if name in seen:
            raise DataError(place, f"names {name!r} again, after line {seen[name]}", "remove one of them")
        seen[name] = line
        for label in (row["label"], row["suggested"]):
            if label not in dataset.classes:
                listed = ", ".join(dataset.classes[:10]) + ", …" * (len(dataset.classes) > 10)
                raise DataError(place, f"{label!r} is no class of {dataset.name}", f"its classes are {listed}")
        if row["label"] != dataset.classes[sample.label]:
            rule = f"calls {name!r} {row['label']!r}, and it is {dataset.classes[sample.label]!r} by now"
            raise DataError(place, rule, f"remove the line, or {AGAIN}")
        decision = row["decision"].strip().lower()
        if decision not in ("", *DECISIONS):
            raise DataError(
                place, f"decision {row['decision']!r} is unknown", f"write {', '.join(DECISIONS)} or nothing"
            )
        if decision and row["sha256"] != sample.digest.hex():
            raise DataError(place, f"{name!r} has changed since its label was judged", f"look at it, and {AGAIN}")
        if decision == "remove":
            found.append(Correction(sample, None))
        elif decision == "suggested" and row["suggested"] != row["label"]:
            found.append(Correction(sample, dataset.classes.index(row["suggested"])))
    if not found:
        rule = "holds no decision that changes anything"
        raise DataError(path, rule, "tick the page's boxes, or write suggested or remove in its column decision")
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by column; spreadsheets may separate them by semicolons or tabs. Raises DataError."""
    text = lists.text(path)
    first = text.partition("\n")[0]
    separator = max(lists.SEPARATORS, key=first.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True, restval="")
    if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
        raise DataError(f"{path}, line 1", f"no column is called {missing[0]!r}", AGAIN)
    try:
        for row in rows:
            yield rows.line_num, {name: row[name] for name in COLUMNS}
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}", f"is not CSV ({error})", "mend the line") from error


def corrected(dataset: Dataset, corrections: Iterable[Correction]) -> Dataset:
    """The data set with the corrected labels and without the removed images."""
    labels = {correction.sample.id: correction.label for correction in corrections}

    def part(samples: Iterable[Sample]) -> Iterator[Sample]:
        for sample in samples:
            label = labels.get(sample.id, sample.label)
            if label is not None:
                yield replace(sample, label=label)

    return replace(dataset, splits={name: tuple(part(samples)) for name, samples in dataset.splits.items()})
