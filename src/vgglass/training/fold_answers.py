"""What networks answered of the images that they were trained without: a file a fold, in the folder of the run.

    folds/repeat-0001-fold-0002/             the run of one network, removed when it has answered
    folds/repeat-0001-fold-0002.safetensors  log-probabilities (m, K) of the fold's m images, and their SHA-256 (m, 32)

R repeats, n images, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from vgglass.data.dataset import Sample
from vgglass.errors import DataError, TrainingError
from vgglass.files import replacing
from vgglass.training.folds import Folds
from vgglass.training.probe import Integers

FOLDER = "folds"


@dataclass(frozen=True)
class Fold:
    """One of the folds of a run; both numbers are counted from 0."""

    out: Path
    repeat: int
    number: int

    @property
    def work(self) -> Path:
        """The folder of its network's run."""
        return self.out / FOLDER / f"repeat-{self.repeat + 1:04}-fold-{self.number + 1:04}"

    @property
    def answers(self) -> Path:
        return self.work.with_suffix(".safetensors")

    def write(self, log_probabilities: NDArray[np.float64], samples: Sequence[Sample]) -> None:
        arrays: dict[str, NDArray[Any]] = {
            "log_probabilities": log_probabilities,
            "digests": np.stack([np.frombuffer(sample.digest, np.uint8) for sample in samples]),
        }
        with replacing(self.answers) as temporary:
            safetensors.numpy.save_file(arrays, temporary)

    def read(self) -> dict[bytes, NDArray[np.float64]]:
        """Log-probabilities (K,) by the image's SHA-256. Raises TrainingError."""
        try:
            found = safetensors.numpy.load_file(self.answers)
            rows = zip(found["digests"], found["log_probabilities"], strict=True)
            return {digest.tobytes(): row for digest, row in rows}
        except FileNotFoundError as error:
            raise TrainingError(self.answers, "is not there", "train again with --folds") from error
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise TrainingError(self.answers, f"is damaged ({error})", "remove it, then --resume the run") from error


def begun(out: Path) -> bool:
    """Whether anything of a fold is kept there: its answers, or a checkpoint of its network."""
    return any((out / FOLDER).rglob("*.safetensors"))


def gathered(
    out: Path, samples: Sequence[Sample], groups: NDArray[np.intp], classes: int, folds: int, repeats: int
) -> Folds:
    """The answers of all folds of a run, in the order of its images.

    groups  (n,): near duplicates share one
    Raises TrainingError for answers that are not whole, DataError for an image that no fold has answered.
    """
    logits = np.empty((repeats, len(samples), classes))
    numbers = np.empty((repeats, len(samples)), np.intp)
    for repeat in range(repeats):
        rows = {
            digest: (number, row) for number in range(folds) for digest, row in Fold(out, repeat, number).read().items()
        }
        for place, sample in enumerate(samples):
            if sample.digest not in rows:
                rule = f"was in no fold of the run in {out}: the images have changed since"
                raise DataError(
                    sample.id, rule, "give it the images that it was trained on (--split train), as they were"
                )
            numbers[repeat, place], logits[repeat, place] = rows[sample.digest]
    labels: Integers = np.array([sample.label for sample in samples], np.int64)
    return Folds(logits, numbers, labels, groups, networks=True)
