"""Output of commands, tables and JSON, and the options that many commands share."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vgglass.errors import UsageError
from vgglass.locale import LANGUAGES, speak
from vgglass.locale.messages import translated

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIPE_WIDTH = 160  # columns of output to a file or pipe


def _speak(lang: str | None) -> str | None:
    if lang in LANGUAGES:
        speak(lang)
    return lang


Language = Annotated[str | None, typer.Option(callback=_speak, help="en or zh; by the locale without.")]


class SpokenConsole(Console):
    """A console that prints sentences in the language of the command."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(translated(each) if isinstance(each, str) else each for each in objects), **options)


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return a console on standard output or error without markup, as file and class names may contain brackets."""
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else PIPE_WIDTH
    return SpokenConsole(width=width, highlight=False, markup=False, stderr=stderr, quiet=quiet)


def visible(name: str) -> str:
    """Escape line breaks and terminal control sequences in a file name."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)


def counted(counts: dict[str, Any]) -> str:
    return "   ".join(f"{name} {count:,}" for name, count in counts.items())


def print_json(value: Any) -> None:
    sys.stdout.write(_as_json(value) + "\n")


def print_json_list(values: Iterable[Any]) -> None:
    """Print a list as print_json does, but incrementally."""
    before = "["
    for value in values:
        text = _as_json(value).replace("\n", "\n  ")
        sys.stdout.write(f"{before}\n  {text}")
        before = ","
    sys.stdout.write("[]\n" if before == "[" else "\n]\n")


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=not sys.stdout.encoding.lower().startswith("utf"), indent=2)


def warn(sentence: str, colour: str = "yellow") -> None:
    """Print a non-empty message on standard error."""
    if sentence:
        typer.secho(translated(sentence), fg=colour, err=True)


def matrix(values: "NDArray[np.float64]", inside: "NDArray[np.bool_] | None" = None) -> str:
    """Format aligned numbers (rows, columns), with those outside `inside` (padding) in brackets."""
    cells = [[f"{value + 0.0:.5g}" for value in row] for row in values]
    if inside is not None:
        cells = [
            [cell if within else f"({cell})" for cell, within in zip(row, places, strict=True)]
            for row, places in zip(cells, inside, strict=True)
        ]
    width = max(len(cell) for row in cells for cell in row)
    return "\n".join("  " + "  ".join(cell.rjust(width) for cell in row) for row in cells)


def position(text: str | None) -> tuple[int, int] | None:
    """Parse 'Y,X' to (row, column). Raises UsageError."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(-?[0-9]+)\s*,\s*(-?[0-9]+)\s*", text)
    if not found:
        raise UsageError(f"--at {text}", "is not a position", "write it as Y,X, such as 10,12")
    return int(found[1]), int(found[2])


def require_png(option: str, path: Path | None) -> None:
    """Raises UsageError unless `path` has the suffix .png."""
    if path is not None and path.suffix.lower() != ".png":
        raise UsageError(f"{option} {path}", "pictures are written as PNG files", "end it in .png")


def table(columns: str, rows: Sequence[Sequence[str]], failed: Sequence[bool] | None = None) -> Table:
    """Build a plain table; columns with a leading '>' are right-aligned, failed rows are red."""
    result = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    for column in translated(columns).split("|"):
        result.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row, bad in zip(rows, failed or [False] * len(rows), strict=True):
        result.add_row(*map(Text, row), style="red" if bad else None)
    return result


def _set_limit(pixels: int | None) -> None:
    if pixels is not None:
        from vgglass import workflows

        workflows.limit_pixels(pixels)


MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        callback=_set_limit,
        expose_value=False,
        help="The largest image that is decoded: 50 million pixels take up to 500 MB and 2 s.",
    ),
]
