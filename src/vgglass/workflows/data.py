"""Folders, manifests and the embedded digits: audited, written down, read for training."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vgglass import names
from vgglass.workflows.models import recipe_of

if TYPE_CHECKING:
    from vgglass.data.audit import Audit
    from vgglass.data.dataset import Dataset
    from vgglass.training.recipe import Recipe

SHOWN_FILES = 10


def check(
    folder: str | Path,
    *,
    recipe: "str | Recipe | None" = None,
    image_size: int | None = None,
    console: Console | None = None,
) -> "Audit":
    """Audit a folder of class folders, an idx folder or a manifest before training.

    recipe, image_size  whose crop is judged; the default recipe's without. Raises DataError, UsageError.
    """
    from vgglass.data import sources
    from vgglass.data.audit import audit
    from vgglass.data.folder import Survey, open_data, survey
    from vgglass.preprocess import Preprocessing

    chosen = recipe_of(recipe, {} if image_size is None else {"image_size": image_size}, None)
    record = Preprocessing(chosen.image_size, chosen.resize, (0.0,) * 3, (1.0,) * 3, fit=chosen.fit)
    path = names.existing(Path(folder))
    with reading_progress(console or Console(stderr=True)) as progress:
        of_files = path.is_dir() and not sources.holds_idx(path)
        found = survey(path, progress) if of_files else Survey.of(open_data(path, progress))
    return audit(found, record)


def write_manifest(audit: "Audit", path: str | Path) -> "Dataset":
    """Write what an audit found readable to a .parquet manifest, divided for training; that data set.

    Images whose content a manifest at `path` has already keep their split. Raises DataError, MissingExtraError.
    """
    from vgglass.data import manifest
    from vgglass.data.folder import trainable

    path, dataset = Path(path), audit.survey.dataset()
    if dataset.splits.keys() & {"train", "all"}:
        dataset = trainable(dataset, manifest.sides(path) if path.exists() else {})
    manifest.write(dataset, path)
    return dataset


def read_training_data(folder: str | Path | None, console: Console) -> "Dataset":
    """A folder's data set, split for training; what was left out is said. Raises DataError."""
    from vgglass.data.folder import trainable

    return trainable(open_data_set(folder, console))


@contextmanager
def reading_progress(console: Console, doing: str = "reading images") -> Iterator[Callable[[int, int], None]]:
    """A bar that shows how many images have been read of how many."""
    from rich.progress import Progress

    with Progress(
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # above the bar goes what is for the same screen, and nothing else
    ) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def report_line(sentence: str, console: Console | None) -> None:
    """What was chosen or understood, and why: for a person at a terminal, who gave a console."""
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
