"""What a run is resumed from: run.json, fixed at its start, and checkpoints of everything that training changes.

`Checkpointer` saves when one is due, and before the run stops on a signal.
"""

import json
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from rich.filesize import decimal
from torch.optim import SGD

from vgglass import files
from vgglass.errors import InterruptedRunError, TrainingError, UsageError, UserError
from vgglass.files import discard, replacing, temporaries
from vgglass.signals import Interruption
from vgglass.training.distributed import ALONE, Ranks
from vgglass.training.precision import State, Weights
from vgglass.training.recipe import Recipe

RUN, FOLDER, LOCK = "run.json", "checkpoints", "run.lock"
DAMAGED = ".damaged"
SAFETENSORS_TEMPORARY = ".tmp??????"
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Run:
    """What is fixed for the whole of a run; written to run.json.

    folder         the data's, as given; None for the embedded digits
    digest         of the training and validation images, and classes: a run is resumed on the same ones only
    source         path and digest of the model that it started from; empty where it started from random weights
    preprocessing  of the images, and colours, their principal components (3, 3), or None where grey
    batch_size     images a step: the recipe's, or all where there are fewer
    precision      that the network multiplies in: 'float32' or 'bfloat16'
    threads        of torch on the CPU: sums depend on it in the last bit
    feature_engine, feature_precision  that compute the features of frozen convolutions
    convolution    'direct'; older runs may have had 'winograd', which `read_run` refuses
    scales         of the layers of a network that began with another's weights (see `transfer`), and factors, what its
                   fresh layers' weights were multiplied by
    adds           classes to those of the model that it started from, whose training features that keeps
    extended       for each change of the number of epochs: epochs done by then, and epochs planned before
    activation     'relu'; another one only in an experiment, of which no model file is written: none describes it
    """

    recipe: Recipe
    folder: str | None
    digest: str
    classes: list[str]
    source: dict[str, str]
    preprocessing: dict[str, Any]
    colours: list[list[float]] | None
    batch_size: int
    precision: str
    threads: int
    feature_engine: str = "torch"  # this default and those below are what older runs had
    convolution: str = "direct"
    feature_precision: str = "float32"
    scales: dict[str, list[float]] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)
    adds: bool = False
    extended: list[list[int]] = field(default_factory=list)
    activation: str = "relu"


@dataclass
class Progress:
    """How far a run has come, between two steps.

    epoch, step    whole epochs done, and steps done of the current one
    loss, correct, seen   summed over those steps
    best_accuracy  highest validation accuracy so far, and best_epoch, counted from 1, that reached it
    rate_drops     of the plateau schedule, and plateau_from, the last epoch that was better or brought a drop
    losses         of the last steps
    metrics_bytes  length of metrics.jsonl
    finished       nothing is left to do
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: int = 0
    seen: int = 0
    best_accuracy: float = -1.0
    best_epoch: int = 0
    rate_drops: int = 0
    plateau_from: int = 0
    losses: list[float] = field(default_factory=list)
    metrics_bytes: int = 0
    finished: bool = False

    def out_of_patience(self, patience: int) -> bool:
        """Whether the last `patience` epochs were no better than the best before them; never with 0."""
        return 0 < patience <= self.epoch - self.best_epoch

    def is_finished(self, epochs: int, patience: int) -> bool:
        """Whether nothing is left to do for a run of `epochs` epochs."""
        return self.epoch >= epochs or self.out_of_patience(patience)


@dataclass(frozen=True)
class TrainState:
    """What the steps of a run change."""

    weights: Weights
    optimizer: SGD
    progress: Progress


class Cadence:
    """When a checkpoint is due: after a number of steps ('200') or a time ('30s', '5m', '1h'). Raises UsageError."""

    def __init__(self, every: str) -> None:
        number, unit = (every[:-1], every[-1:]) if every[-1:] in UNITS else (every, "")
        if not number.isdecimal() or int(number) == 0:
            raise UsageError(f"--checkpoint-every {every}", "is neither steps nor a time", "write 500, 30s, 5m or 1h")
        self.every = every
        self._steps = 0 if unit else int(number)
        self._seconds = int(number) * UNITS[unit] if unit else 0.0
        self._counted, self._last = 0, time.monotonic()

    def __str__(self) -> str:
        return f"{self._steps:,} steps" if self._steps else self.every

    def due(self) -> bool:
        """Called after each step."""
        self._counted += 1
        late = self._counted >= self._steps if self._steps else time.monotonic() - self._last >= self._seconds
        if late:
            self._counted, self._last = 0, time.monotonic()
        return late


@contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """Lock a run's folder for this process, and remove a killed one's temporary files. Raises TrainingError."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("w") as lock:
        try:
            files.lock(lock)
        except BlockingIOError as error:
            raise TrainingError(out, "another run is writing here", "wait for it, or choose another --out") from error
        for folder in (out, out / FOLDER):
            left = filter(Path.is_file, folder.glob(SAFETENSORS_TEMPORARY))
            for path in (*temporaries(folder / "*"), *left):
                discard(path)
        yield


def write_run(out: Path, run: Run) -> None:
    with replacing(out / RUN) as temporary:
        temporary.write_text(json.dumps(asdict(run), indent=2) + "\n", encoding="utf-8")


def read_run(out: Path) -> Run:
    """Raises TrainingError where no run was started, it can't go on, or its record is damaged."""
    try:
        fields = json.loads((out / RUN).read_text(encoding="utf-8"))
        recipe = fields["recipe"]
        if "winograd" in (fields.get("convolution"), recipe.get("convolution")):
            rule = "is computed with Winograd's convolution, which vgglass no longer has"
            raise TrainingError(out, rule, "start again with --overwrite, or go on from its best model with --from")
        return Run(**fields | {"recipe": Recipe(**recipe)})
    except FileNotFoundError as error:
        remedy = "start it without --resume, with --overwrite where files are left of one"
        raise TrainingError(out, "holds no run to resume", remedy) from error
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(out / RUN, f"damaged ({error})", "start again with --overwrite") from error


def require_space(out: Path, weights: Weights, keep: int) -> str:
    """A line on the disk that checkpoints will take. Raises TrainingError where one and the models would not fit."""
    state = sum(value.nbytes for value in weights.state().values())
    momentum = sum(master.nbytes for master in weights.masters.values() if master.requires_grad)
    size = state + momentum + sum(value.nbytes for value in weights.average.values())
    free = shutil.disk_usage(out).free
    models = 2 * state  # the best and the last
    need = f"disk: checkpoints of {decimal(size)} each, the last {keep} kept, and two models of {decimal(state)}"
    need = "; ".join((need, f"{decimal(free)} are free"))
    if free < size + models:
        raise TrainingError(out, need, "free space or choose another --out")
    return need


def save(out: Path, state: TrainState, keep: int) -> Path:
    """Write a checkpoint, then remove all but the newest `keep`; its path.

    Raises TrainingError on a full disk; the checkpoints before it are then as they were.
    """
    weights, optimizer, progress = state.weights, state.optimizer, state.progress
    tensors = {f"weights.{name}": value for name, value in weights.state().items()}
    tensors |= {f"average.{name}": value for name, value in weights.average.items()}
    for name, master in weights.masters.items():
        if optimizer.state.get(master):
            tensors[f"momentum.{name}"] = optimizer.state[master]["momentum_buffer"]
    tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
    path = out / FOLDER / f"epoch-{progress.epoch:04}-step-{progress.step:07}.safetensors"
    metadata = {"progress": json.dumps(vars(progress)), "checksum": str(_checksum(tensors))}
    try:
        with replacing(path) as temporary:
            safetensors.torch.save_file(tensors, temporary, metadata)
    except (OSError, safetensors.SafetensorError) as error:
        raise TrainingError(path, f"could not be written ({error})", "free space, then --resume") from error
    for old in newest_first(out)[keep:]:
        old.unlink()
    return path


@dataclass(frozen=True)
class Checkpoint:
    """The newest whole checkpoint of a run as it was read; of a run without one no tensors, and Progress().

    damaged  newer ones that are not whole, and what is wrong with each
    """

    tensors: State
    progress: Progress
    damaged: dict[Path, str]

    def restore(self, weights: Weights, optimizer: SGD, warn: Callable[[str], None]) -> Progress:
        """Copy the tensors into a run's and let go of them. Damaged checkpoints are reported to `warn` and renamed."""
        for path, error in self.damaged.items():
            warn(f"{error} It is put aside.")
            path.rename(path.with_suffix(DAMAGED))
        if self.tensors:
            weights.load(self._part("weights."))
        for name, value in self._part("average.").items():
            weights.average[name].copy_(value)
        for name, value in self._part("momentum.").items():
            master = weights.masters[name]
            buffer = torch.empty_like(master)
            optimizer.state[master]["momentum_buffer"] = buffer.copy_(value)
        self.tensors.clear()  # they are gigabytes, and hold the disk space of their file when it is removed
        return self.progress

    def _part(self, kind: str) -> State:
        return {name.removeprefix(kind): value for name, value in self.tensors.items() if name.startswith(kind)}


def read_newest(out: Path) -> Checkpoint:
    """The newest whole checkpoint under `out`, read once and changed nowhere."""
    damaged: dict[Path, str] = {}
    for path in newest_first(out):
        try:
            return Checkpoint(*load(path), damaged)
        except TrainingError as error:
            damaged[path] = str(error)
    return Checkpoint({}, Progress(), damaged)


def load(path: Path) -> tuple[State, Progress]:
    """Tensors and progress of one checkpoint. Raises TrainingError where a byte of it is not as it was written."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        progress = Progress(**json.loads(metadata["progress"]))
        if int(metadata["checksum"]) != _checksum(tensors):
            raise ValueError("its checksum differs")
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(path, f"damaged ({error})", "it is left out") from error
    return tensors, progress


def newest_first(out: Path) -> list[Path]:
    """The checkpoints under `out`."""
    found = (out / FOLDER).glob("epoch-*.safetensors")
    return sorted(found, key=lambda path: [int(part) for part in path.stem.split("-")[1::2]], reverse=True)


def _checksum(tensors: State) -> int:
    """CRC-32 over names and bytes, in the order of the names."""
    found = 0
    for name in sorted(tensors):
        found = zlib.crc32(np.ascontiguousarray(tensors[name].numpy()).reshape(-1).view(np.uint8).data, found)
        found = zlib.crc32(name.encode(), found)
    return found


class Checkpointer:
    """Saves the state of a run under `out`: the newest `keep` of the checkpoints that `cadence` calls for.

    Called on all ranks; rank 0 writes.
    go_on   the command that goes on after an interruption
    latest  the newest checkpoint that is known to be whole
    """

    def __init__(
        self, out: Path, state: TrainState, cadence: Cadence, keep: int, interruption: Interruption,
        ranks: Ranks = ALONE, go_on: str = "",
    ) -> None:  # fmt: skip
        self.out, self.state, self.cadence, self.keep = out, state, cadence, keep
        self.interruption, self.ranks = interruption, ranks
        self.go_on = go_on or f"vgglass train --out {out} --resume"
        self.latest = next(iter(newest_first(out)), None)

    def after_step(self, steps: int) -> None:
        """Save where a checkpoint is due; `steps` of an epoch. Raises InterruptedRunError after a signal."""
        self.stop_if_requested(steps)
        if self.cadence.due():
            self.save(self.keep)

    @property
    def stop_requested(self) -> bool:
        """Whether this rank received a signal."""
        return self.interruption.signal is not None

    def stop_if_requested(self, steps: int) -> None:
        """Save and raise InterruptedRunError, on all ranks, where any of them received a signal."""
        signal = self.ranks.any_signal(self.interruption.signal)
        if signal:
            self.save(self.keep)
            self.ranks.barrier()  # torchrun ends the rest when the first rank leaves
            progress = self.state.progress
            raise InterruptedRunError(
                signal.name,
                signal,
                f"saved in epoch {progress.epoch + 1} after {progress.step} of its {steps} steps",
                "go on with the same command" if self.ranks.launched else f"go on with: {self.go_on}",
            )

    def save(self, keep: int) -> None:
        """Raises TrainingError for weights that are not finite, from which no run could go on, and on a full disk."""
        progress = self.state.progress
        for name, value in self.state.weights.state().items():
            if not value.isfinite().all():
                raise TrainingError(
                    f"{name} after epoch {progress.epoch}, step {progress.step}",
                    "is not finite; training diverged",
                    f"lower the learning rate; the last good checkpoint: {self.latest or 'none yet'}",
                )
        if self.ranks.first:
            self.latest = save(self.out, self.state, keep)
