"""How commands print: tables for a person, JSON for a program."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 160  # of a table that goes to a file or another program


def console() -> Console:
    """Standard output."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def table(columns: str, rows: Sequence[Sequence[str]], failed: Sequence[bool] | None = None) -> Table:
    """A plain table; a column whose name starts with '>' is aligned to the right, a failed row is red.

    Cells are shown as they are: nothing in a file's or class's name is markup.
    """
    result = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    for column in columns.split("|"):
        result.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row, bad in zip(rows, failed or [False] * len(rows), strict=True):
        result.add_row(*map(Text, row), style="red" if bad else None)
    return result
