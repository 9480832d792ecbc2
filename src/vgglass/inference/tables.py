"""Write predictions as CSV, JSON lines or Parquet, streaming with bounded memory."""

import csv
import json
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from vgglass.errors import MissingExtraError, UsageError
from vgglass.files import replacing
from vgglass.inference.predictor import DOUBTS, Prediction

SUFFIXES = (".csv", ".jsonl", ".parquet")
Cell = str | float | bool | None
GROUP = 16_384  # rows per Parquet row group


def require(path: Path, sources: Iterable[Path] = ()) -> None:
    """Raises UsageError if `path` is no table or is one of the sources, MissingExtraError without pyarrow."""
    if path.suffix.lower() not in SUFFIXES:
        rule = f"the rows go to a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file"
        raise UsageError(f"--out {path}", rule, "give it one of these endings")
    if path.is_dir():
        raise UsageError(f"--out {path}", "is a folder", "name a file")
    if any(path.exists() and source.exists() and path.samefile(source) for source in sources):
        raise UsageError(f"--out {path}", "is what the images are read from", "name another file")
    if path.suffix.lower() == ".parquet" and not find_spec("pyarrow"):
        raise MissingExtraError("pyarrow", "data", "Parquet files")


def write(rows: Iterable[Prediction], path: Path, places: int) -> None:
    """Write rows atomically; CSV and Parquet have columns for `places` classes. Raises OSError."""
    suffix = path.suffix.lower()
    with replacing(path) as temporary:
        if suffix == ".parquet":
            with temporary.open("wb") as file:
                write_parquet(rows, file, places)
        elif suffix == ".jsonl":
            with _text(temporary) as text:
                text.writelines(json.dumps(row.as_json(), ensure_ascii=False) + "\n" for row in rows)
        else:
            with _text(temporary) as text:
                writer = csv.writer(text)
                writer.writerow(_columns(places))
                writer.writerows(_format_cells(_cells(row, places)) for row in rows)


def _text(path: Path) -> Any:
    """Open for writing; lone surrogates, which class names of a model file may contain, are escaped."""
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


def _columns(places: int) -> list[str]:
    ends = ["", *(f"_{place}" for place in range(2, places + 1))][:places]
    return ["path", *(name + end for end in ends for name in ("class", "probability")), *DOUBTS, "error"]


def _cells(row: Prediction, places: int) -> list[Cell]:
    answers = [cell for answer in row.top for cell in answer]
    doubts = [getattr(row, name) for name in DOUBTS]
    return [row.shown, *answers, *[None] * (2 * places - len(answers)), *doubts, row.error or None]


def _format_cells(cells: Iterable[Cell]) -> Iterator[str | None]:
    """Numbers with six decimals, booleans as in JSON."""
    for cell in cells:
        if isinstance(cell, bool):
            yield json.dumps(cell)
        else:
            yield f"{cell:.6f}" if isinstance(cell, float) else cell


def write_parquet(rows: Iterable[Prediction], file: BinaryIO, places: int) -> None:
    """Write rows as Parquet, with columns for `places` classes. Raises OSError."""
    import pyarrow
    from pyarrow import parquet

    types = dict.fromkeys(("probability", "distance", "brightness", "sharpness"), pyarrow.float64())
    types |= {"unsure": pyarrow.bool_(), "unfamiliar": pyarrow.bool_()}
    kinds = [(name, types.get(name.split("_")[0], pyarrow.string())) for name in _columns(places)]
    schema, left = pyarrow.schema(kinds), iter(rows)
    with parquet.ParquetWriter(file, schema) as writer:
        while group := list(islice(left, GROUP)):
            columns = zip(*(map(_encodable, _cells(row, places)) for row in group), strict=True)
            arrays = [pyarrow.array(column, kind) for column, (_, kind) in zip(columns, kinds, strict=True)]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


def _encodable(cell: Cell) -> Cell:
    return cell.encode(errors="backslashreplace").decode() if isinstance(cell, str) else cell
