"""Images in, rows out: what a model says of each file, in order."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.data import manifest
from vgglass.data.folder import image_files
from vgglass.errors import DataError, ImageError
from vgglass.predictor import Predictor


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


def predict(files: Iterable[Path], predictor: Predictor, top: int = 5) -> Iterator[Prediction]:
    """One row a file, in order, as they come; a file that can't be read is a row with its reason."""
    asked, answered = tee(files)
    for path, answer in zip(answered, predictor.stream(asked), strict=True):
        if isinstance(answer, ImageError):
            yield Prediction(str(path), error=answer.rule)
        else:
            yield Prediction(str(path), _ranked(np.exp(answer), predictor.record.classes, top))


def _ranked(row: NDArray[np.float64], classes: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    return tuple((classes[index], float(row[index])) for index in np.argsort(-row, kind="stable")[:top])
