"""Whether past answers are of other images than a model's training record."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from vgglass import drift as bets
from vgglass import plotting
from vgglass.errors import DataError, MissingExtraError, ModelFileError, UsageError
from vgglass.inference import ROW_FORMATS
from vgglass.workflows.models import Model, load

GROUP = 16_384  # rows of Parquet held at once
AGAIN = "predict the images again with this model, calibrated"


@dataclass(frozen=True)
class Quantity:
    """One quantity of the training record and of the rows.

    evidence      natural logarithm of what bets against 'unchanged' have won, from a wealth of 1
    before, now   medians; for 'answer' the share of the class that changed most
    about         that class; '' for numbers
    """

    name: str
    moved: bool
    evidence: float
    before: float
    now: float
    about: str = ""


@dataclass(frozen=True)
class Drift:
    """What has changed between a training record and rows of answers.

    evidence  of all quantities together; from -log(rate) the images have changed
    left_out  rows of images that could not be read
    """

    images: int
    left_out: int
    record: int
    rate: float
    moved: bool
    evidence: float
    quantities: tuple[Quantity, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def drift(
    rows: str | Path, model: Model, *, rate: float = bets.FALSE_ALARMS, picture: str | Path | None = None
) -> Drift:
    """Compare the rows that `predict` wrote with the model's training record.

    rows     a .csv, .jsonl or .parquet file
    rate     probability that unchanged images are called changed
    picture  a .png file to draw what moved
    Raises DataError, ModelFileError, UsageError or MissingExtraError.
    """
    if not 0 < rate < 1:
        raise UsageError(f"--rate {rate:g}", "is a probability between 0 and 1", "write, say, 0.05")
    file, path = load(model), Path(rows)
    record = bets.attached(file)
    if record is None:
        place = "the model" if file.mapped is None else file.mapped.path
        raise ModelFileError(place, "has no training record to compare with", "run vgglass calibrate on its folder")
    monitor, classes = bets.Monitor(record, rate), {name: index for index, name in enumerate(file.record.classes)}
    seen: dict[str, list[float]] = {name: [] for name in record.values}
    answers, left_out = [], 0
    for number, row in enumerate(_rows(path), 1):
        if row.get("error"):
            left_out += 1
            continue
        values, answer = _read(row, record, classes, f"{path}, row {number}")
        monitor.add(values, answer)
        answers.append(answer)
        for name, value in values.items():
            seen[name].append(value)
    if not answers:
        raise DataError(path, "has no answers", AGAIN)
    counts = np.bincount(answers, minlength=len(classes))
    if picture:
        shares = np.stack([record.answers / record.images, counts / counts.sum()])
        plotting.drift(dict(record.values), seen, shares, file.record.classes, monitor.moved, Path(picture))
    moved = set(monitor.moved)
    found = [
        Quantity(name, name in moved, monitor.evidence[name], float(np.median(known)), float(np.median(seen[name])))
        for name, known in record.values.items()
    ]
    found.append(_answers(monitor, counts, file.record.classes))
    return Drift(
        len(answers), left_out, record.images, rate, monitor.has_moved, monitor.total,
        tuple(sorted(found, key=lambda each: -each.evidence)),
    )  # fmt: skip


def _answers(monitor: bets.Monitor, counts: Any, classes: tuple[str, ...]) -> Quantity:
    evidence, moved = monitor.evidence[bets.ANSWER], bets.ANSWER in monitor.moved
    label = monitor.likeliest_class
    before = monitor.record.answers[label] / monitor.record.images
    return Quantity(bets.ANSWER, moved, evidence, float(before), float(counts[label] / counts.sum()), classes[label])


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a table, with the likeliest class and its probability under 'class' and 'probability'.

    Raises DataError, UsageError, MissingExtraError.
    """
    kind = path.suffix.lower()
    if kind not in ROW_FORMATS:
        rule = f"rows are read from {', '.join(ROW_FORMATS[:-1])} or {ROW_FORMATS[-1]}"
        raise UsageError(path, rule, "name what vgglass predict --out wrote")
    if not path.is_file():
        raise DataError(path, "is no file", "name what vgglass predict --out wrote")
    try:
        if kind == ".parquet":
            yield from _parquet(path)
        elif kind == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                yield from csv.DictReader(file)
        else:
            with path.open(encoding="utf-8") as file:
                for line in file:
                    row = json.loads(line)
                    yield row if row.get("error") else {**row, **row["top"][0]}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, csv.Error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(path, f"is damaged ({error})", AGAIN) from error


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    if not find_spec("pyarrow"):
        raise MissingExtraError("pyarrow", "data", "Parquet files")
    from pyarrow import parquet

    for batch in parquet.ParquetFile(path).iter_batches(GROUP):
        yield from batch.to_pylist()


def _read(
    row: Mapping[str, Any], record: bets.TrainingRecord, classes: Mapping[str, int], place: str
) -> tuple[dict[str, float], int]:
    """The quantities and the answer of a row. Raises DataError for one that another model wrote."""
    missing = [name for name in record.values if row.get(name) in (None, "")]
    if missing:
        raise DataError(place, f"has no {missing[0]}", AGAIN)
    if row.get("class") not in classes:
        raise DataError(place, f"has the class {row.get('class')!r}, which the model does not tell", AGAIN)
    values = {name: float(row[name]) for name in record.values}
    if not np.isfinite(list(values.values())).all():
        raise DataError(place, "has a number that is infinite or not a number (NaN)", AGAIN)
    return values, classes[row["class"]]
