"""The record of how a network learned, in a run's folder: written by `train --watch`, read by the page and `clip`.

    learning/record.json                what is the same for all points
    learning/pinned.safetensors         pixels (P, S, S, C) uint8 and labels (P,) of the pinned images
    learning/point-0000012.safetensors  after 12 steps: arrays, and in its metadata the numbers as JSON
    learning/losses.f32                 loss and accuracy of every step's batch, (n, 2) float32, little-endian

Each file appears whole or not at all; losses.f32 grows, and what is past the last whole pair does not count.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from vgglass.errors import TrainingError
from vgglass.files import beside, replacing

FOLDER, RECORD, PINNED, LOSSES = "learning", "record.json", "pinned.safetensors", "losses.f32"
LARGEST = 20_000_000  # bytes of a whole record
PAIR = 8  # bytes of a step's loss and accuracy

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Point:
    """What was recorded after some steps: see `training.recording` for the names."""

    step: int
    numbers: dict[str, Any]
    arrays: Arrays


class Learning:
    """The record of one run; reading needs neither torch nor the run's data."""

    def __init__(self, run: Path) -> None:
        self.run, self.folder = run, run / FOLDER

    def exists(self) -> bool:
        return (self.folder / RECORD).exists()

    def about(self) -> dict[str, Any]:
        """What is the same for all points. Raises TrainingError where there is no record, or it is damaged."""
        try:
            found: dict[str, Any] = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise TrainingError(self.run, "holds no record of its learning", "train it with --watch") from error
        except ValueError as error:
            raise TrainingError(self.folder / RECORD, f"is damaged ({error})", "train again with --watch") from error
        return found

    def pinned(self) -> Arrays:
        found: Arrays = safetensors.numpy.load_file(self.folder / PINNED)
        return found

    def steps(self) -> list[int]:
        """Steps done at each point, in order."""
        return sorted(int(path.stem.removeprefix("point-")) for path in self.folder.glob("point-*.safetensors"))

    def path(self, step: int) -> Path:
        return self.folder / f"point-{step:07}.safetensors"

    def point(self, step: int) -> Point:
        """Raises TrainingError where it is not there or not whole."""
        path = self.path(step)
        try:
            with safe_open(path, framework="np") as file:
                numbers = json.loads(file.metadata()["numbers"])
                return Point(step, numbers, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(path, f"can't be read ({error})", "train again with --watch") from error

    def losses(self) -> NDArray[np.float32]:
        """Loss and accuracy of every step's batch, (n, 2)."""
        path = self.folder / LOSSES
        data = path.read_bytes() if path.exists() else b""
        return np.frombuffer(data[: len(data) // PAIR * PAIR], "<f4").reshape(-1, 2)

    # What follows is for the process that trains.

    def begin(self, about: Mapping[str, Any], pinned: Arrays) -> None:
        """Start a record, in place of an earlier one."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        with replacing(self.folder / PINNED) as temporary:
            temporary.write_bytes(safetensors.numpy.save(pinned))
        self.describe(about)

    def describe(self, about: Mapping[str, Any]) -> None:
        with replacing(self.folder / RECORD) as temporary:
            temporary.write_text(json.dumps(about) + "\n", encoding="utf-8")

    def cut(self, step: int) -> None:
        """Drop what is past a checkpoint after `step` steps, from which the run goes on."""
        for later in self.steps():
            if later > step:
                self.path(later).unlink()
        path = self.folder / LOSSES
        if path.exists() and path.stat().st_size > step * PAIR:
            with path.open("rb+") as file:
                file.truncate(step * PAIR)

    def size(self) -> int:
        """Bytes."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def write(self, point: Point) -> None:
        """Renamed into place when whole; not synced to the disk, which would cost more than the network's pass."""
        path = self.path(point.step)
        temporary = beside(path)
        temporary.write_bytes(safetensors.numpy.save(point.arrays, {"numbers": json.dumps(point.numbers)}))
        temporary.replace(path)
