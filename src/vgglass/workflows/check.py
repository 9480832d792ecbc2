"""Audit of a folder before training: its page, the quarantine of bad files, and the manifest of the others."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vgglass import names
from vgglass.errors import UsageError
from vgglass.workflows.data import reading_progress
from vgglass.workflows.models import recipe_of

if TYPE_CHECKING:
    from vgglass.data.audit import Audit
    from vgglass.data.dataset import Dataset
    from vgglass.training.recipe import Recipe


def check(
    folder: str | Path,
    *,
    recipe: "str | Recipe | None" = None,
    image_size: int | None = None,
    console: Console | None = None,
) -> "Audit":
    """Audit a folder of class folders, an idx folder or a manifest before training.

    recipe, image_size  determine the crop to check; default: the default recipe. Raises DataError, UsageError.

    >>> audit = vgglass.check("photos")
    >>> len(audit.readable), audit.serious
    (360, False)
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
    """Write the readable images of an audit to a .parquet manifest, split for training; return that data set.

    Images whose content is in an existing manifest at `path` keep their split. Raises DataError, MissingExtraError.
    """
    return keep_manifest(audit.survey.dataset(), Path(path))


def keep_manifest(dataset: "Dataset", path: Path) -> "Dataset":
    """Write a data set to a manifest as `write_manifest` does."""
    from vgglass.data import manifest
    from vgglass.data.folder import trainable

    if dataset.splits.keys() & {"train", "all"}:
        dataset = trainable(dataset, manifest.sides(path) if path.exists() else {})
    manifest.write(dataset, path)
    return dataset


def require_manifest_place(path: Path) -> None:
    """Check, before any work, that a manifest can be written. Raises UsageError, DataError."""
    from vgglass.data import manifest

    if path.suffix != ".parquet":
        raise UsageError(f"--manifest {path}", "is written as Parquet", "end it in .parquet")
    if path.exists():
        manifest.sides(path)


def between_splits(dataset: "Dataset") -> list[tuple[str, str]]:
    """Return the images excluded because they connect two splits, each with its reason."""
    from vgglass.data.split import BETWEEN

    return [(name, reason) for name, reason in dataset.left_out if reason.startswith(BETWEEN)]


def write_audit_page(audit: "Audit", path: Path) -> None:
    """Write one self-contained HTML file with the images concerned."""
    from vgglass.data import report

    report.write_page(audit, path)


def require_quarantine_place(folder: Path, destination: Path) -> None:
    """Raises UsageError if `destination` can't hold the files removed from `folder`."""
    from vgglass.data import report

    report.require_place(folder, destination)


def quarantine(audit: "Audit", destination: Path, *, moving: bool) -> tuple[Path, int]:
    """Write the list of files to remove, and move them if `moving`; return the list's path and their number."""
    from vgglass.data import report

    files = report.files_to_remove(audit)
    return report.write_quarantine(files, destination, moving=moving), len(files)
