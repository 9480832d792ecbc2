"""Images in, rows out: what a model says of each file, in order."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.data import manifest
from vgglass.data.folder import image_files
from vgglass.data.loader import ahead
from vgglass.engines import Engine
from vgglass.errors import DataError, ImageError
from vgglass.images import Pixels
from vgglass.modelfile import Record
from vgglass.preprocess import Preprocessing, fit, read

BATCH = 16


@dataclass(frozen=True)
class Prediction:
    """One image's answer: (class name, probability), likeliest first; or the reason why there is none."""

    path: str
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        top = [{"class": name, "probability": share} for name, share in self.top]
        return {"path": self.path} | ({"error": self.error} if self.error else {"top": top})

    @property
    def label(self) -> str:
        return self.top[0][0] if self.top else ""

    @property
    def probability(self) -> float:
        return self.top[0][1] if self.top else 0.0


def expand(paths: Iterable[Path]) -> list[Path]:
    """Files as given, folders as the images below them, manifests as the files of their rows.

    Raises DataError for a path or images that are not there, or a manifest that can't be read; MissingExtraError.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(path, "does not exist", "check the path")
        found = image_files(path) if path.is_dir() else manifest.paths(path) if manifest.names_one(path) else [path]
        if not found:
            raise DataError(path, "holds no images", "name a folder that does, or files")
        files += found
    return files


def predict(files: Sequence[Path], record: Record, engine: Engine, top: int = 5) -> Iterator[Prediction]:
    """One row a file, in order; a file that can't be read is a row with its reason."""
    groups = iter([files[start : start + BATCH] for start in range(0, len(files), BATCH)])

    def prepare(group: Sequence[Path]) -> list[Pixels | str]:
        return [_square(path, record.preprocessing) for path in group]

    prepared = ahead(prepare, groups, depth=4)
    for start, squares in zip(range(0, len(files), BATCH), prepared, strict=True):
        images = [square for square in squares if not isinstance(square, str)]
        answers = iter(record.probabilities(engine(np.stack(images)))) if images else iter(())
        for path, square in zip(files[start : start + BATCH], squares, strict=True):
            if isinstance(square, str):
                yield Prediction(str(path), error=square)
            else:
                yield Prediction(str(path), _ranked(next(answers), record.classes, top))


def _square(path: Path, record: Preprocessing) -> Pixels | str:
    try:
        return fit(read(path, record), record)
    except ImageError as error:
        return error.rule


def _ranked(row: NDArray[np.float64], classes: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    return tuple((classes[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:top])
