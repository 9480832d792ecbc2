"""vgglass predict."""

import csv
import json as json_format
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from vgglass.atomic import replacing
from vgglass.cli import output
from vgglass.errors import UsageError

if TYPE_CHECKING:
    from vgglass.prediction import Prediction

SUFFIXES = (".csv", ".jsonl")


def predict(
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    model: Annotated[str, typer.Option(help="A model file, or a pretrained name.")] = "vgg16",
    top: Annotated[int, typer.Option(min=1, help="Answers an image.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Write the rows to a .csv or .jsonl file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Rows for a program.")] = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch pretrained weights without asking.")] = False,
) -> None:
    """Name what is in images."""
    if out and out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out}", "the rows go to a .csv or .jsonl file", "give it one of these endings")
    from vgglass import api
    from vgglass.cli.models import fetched

    rows = api.predict(fetched(model, download), paths, top=top)
    failed = [bool(row.error) for row in rows]
    if out:
        write(rows, out)
    if json:
        output.print_json([row.as_json() for row in rows])
    elif out:
        output.console().print(f"{len(rows)} rows: {out}", soft_wrap=True)
    else:
        cells = [[row.path, *_cells(row)] for row in rows]
        output.console().print(output.table("image|class|>probability|next likeliest", cells, failed))
    if any(failed):
        typer.secho(f"{sum(failed)} of {len(rows)} images could not be read", fg="red", err=True)
        raise typer.Exit(1)


def write(rows: "Sequence[Prediction]", path: Path) -> None:
    """Write rows to a .csv or .jsonl file, atomically."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json_format.dumps(row.as_json(), ensure_ascii=False) + "\n" for row in rows)
        else:
            _write_csv(rows, file)


def _write_csv(rows: "Sequence[Prediction]", file: TextIO) -> None:
    places = max(len(row.top) for row in rows)
    ends = ["", *(f"_{place}" for place in range(2, places + 1))][:places]
    names = [name + end for end in ends for name in ("class", "probability")]
    writer = csv.writer(file)
    writer.writerow(["path", *names, "error"])
    for row in rows:
        answers: list[Any] = [cell for name, share in row.top for cell in (name, f"{share:.6f}")]
        writer.writerow([row.path, *answers, *[""] * (len(names) - len(answers)), row.error])


def _cells(row: "Prediction") -> list[str]:
    if row.error:
        return [row.error, "", ""]
    others = ", ".join(f"{name} {share:.3f}" for name, share in row.top[1:3])
    return [row.label, f"{row.probability:.3f}", others]
