"""Reading folders, manifests and the embedded digits for training and evaluation, with messages on the console."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vgglass.locale.messages import translated

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset

SHOWN_FILES = 10


def read_training_data(
    folder: str | Path | None, console: Console, *, hold_out: bool = True, least: int = 2
) -> "Dataset":
    """Read a folder's data set, split for training as `trainable` does; print what was excluded. Raises DataError."""
    from vgglass.data.folder import trainable

    return trainable(open_data_set(folder, console), hold_out=hold_out, least=least)


@contextmanager
def reading_progress(console: Console, doing: str = "reading images") -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yields its update function (done, total)."""
    from rich.progress import Progress

    with Progress(
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # print above the bar only what goes to the same terminal
    ) as progress:
        task = progress.add_task(translated(doing), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def report_line(sentence: str, console: Console | None) -> None:
    """Print a message about a choice or an interpretation, if there is a console."""
    if console and sentence:
        console.print(sentence, style="dim", markup=False, highlight=False, soft_wrap=True)


def open_data_set(folder: str | Path | None, console: Console) -> "Dataset":
    from vgglass.data.folder import open_data
    from vgglass.data.listing import summary

    with reading_progress(console) as progress:
        dataset = open_data(Path(folder) if folder else None, progress)
    report_line(dataset.understood, console)
    report_line(summary(dataset.passed_over), console)
    if dataset.left_out:
        console.print(f"left out {len(dataset.left_out)} files that can't be read:", style="yellow")
        for name, reason in dataset.left_out[:SHOWN_FILES]:
            console.print(f"  {name}: {reason}", markup=False, highlight=False)
        if len(dataset.left_out) > SHOWN_FILES:
            console.print(f"  and {len(dataset.left_out) - SHOWN_FILES} more")
    return dataset


def limit_pixels(pixels: int) -> None:
    """Set the maximum image size for decoding, in this process and its decoder processes."""
    from vgglass.images import limits

    os.environ[limits.VARIABLE] = str(pixels)
