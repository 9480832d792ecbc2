"""What survives of a run: run.json, fixed at its start, and checkpoints of everything that the rest depends on.

`Checkpointer` saves when that is due, and before the run leaves on a signal.
"""

import json
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from rich.filesize import decimal
from torch import Tensor
from torch.optim import SGD

from vgglass import files
from vgglass.errors import InterruptedRunError, TrainingError, UsageError
from vgglass.files import discard, replacing, temporaries
from vgglass.signals import Interruption
from vgglass.training.distributed import ALONE, Ranks
from vgglass.training.precision import Weights

if TYPE_CHECKING:
    from vgglass.training.loop import Trainer


RUN, FOLDER, LOCK = "run.json", "checkpoints", "run.lock"
DAMAGED = ".damaged"
LIBRARY_LEFT = ".tmp??????"  # the names that safetensors gives its own temporary files
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Run:
    """What is fixed for the whole of a run.

    recipe         its fields
    folder         the data's, as given; None for the embedded digits
    digest         of the training and validation images, and classes: one that resumes it must share them
    source         path and digest of the model that it started from; empty where it started from chance
    preprocessing  of the images, and colours, their principal components (3, 3), or None where grey
    batch_size     images a step: the recipe's, or all where there are fewer
    precision      that the network multiplies in: 'float32' or 'bfloat16'
    threads        of torch on the CPU: sums depend on it in the last bit
    feature_engine, feature_precision  that compute the features of frozen convolutions
    convolution    'direct'; older runs may have had 'winograd', which `read_run` refuses
    scales         of the layers of a network that began with another's weights (see `transfer`), and factors, what its
                   fresh layers' weights were multiplied by
    extended       of each change of the epochs: how many were behind the run, and how many it was to have before
    """

    recipe: dict[str, Any]
    folder: str | None
    digest: str
    classes: list[str]
    source: dict[str, str]
    preprocessing: dict[str, Any]
    colours: list[list[float]] | None
    batch_size: int
    precision: str
    threads: int
    feature_engine: str = "torch"  # what older runs had, as the defaults that follow
    convolution: str = "direct"
    feature_precision: str = "float32"
    scales: dict[str, list[float]] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)
    extended: list[list[int]] = field(default_factory=list)

    @property
    def fits_head(self) -> bool:
        """As `Recipe.fits_head`; recipes of older runs had no such field."""
        return self.recipe["train"] == "head" and self.recipe.get("head") == "pooled"


@dataclass
class Progress:
    """Where a run stands between two steps.

    epoch, step    whole epochs behind it, and steps of the one under way
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
        """Whether so many epochs brought none better; 0 is patient for ever."""
        return 0 < patience <= self.epoch - self.best_epoch

    def is_finished(self, epochs: int, patience: int) -> bool:
        """Whether nothing is left to do for a run of so many epochs."""
        return self.epoch >= epochs or self.out_of_patience(patience)


class Cadence:
    """When a checkpoint is due: every so many steps ('200') or so much time ('30s', '5m', '1h'). Raises UsageError."""

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
    """Keep a run's folder to one process, and clear away what a killed one left half written. Raises TrainingError."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("w") as lock:
        try:
            files.lock(lock)
        except BlockingIOError as error:
            raise TrainingError(out, "another run is writing here", "wait for it, or choose another --out") from error
        for folder in (out, out / FOLDER):
            for path in (*temporaries(folder / "*"), *(path for path in folder.glob(LIBRARY_LEFT) if path.is_file())):
                discard(path)
        yield


def write_run(out: Path, run: Run) -> None:
    with replacing(out / RUN) as temporary:
        temporary.write_text(json.dumps(asdict(run), indent=2) + "\n", encoding="utf-8")


def read_run(out: Path) -> Run:
    """Raises TrainingError where no run was started, it can't go on, or its record is damaged."""
    try:
        run = Run(**json.loads((out / RUN).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        remedy = "start it without --resume, with --overwrite where files are left of one"
        raise TrainingError(out, "holds no run to resume", remedy) from error
    except (TypeError, ValueError) as error:
        raise TrainingError(out / RUN, f"damaged ({error})", "start again with --overwrite") from error
    if "winograd" in (run.convolution, run.recipe.get("convolution")):
        rule = "is computed with Winograd's convolution, which vgglass no longer has"
        raise TrainingError(out, rule, "start again with --overwrite, or go on from its best model with --from")
    return run


def require_space(out: Path, weights: Weights, keep: int) -> str:
    """A line on the disk that checkpoints will take. Raises TrainingError where one and the models would not fit."""
    state = sum(value.nbytes for value in weights.state().values())
    momentum = sum(master.nbytes for master in weights.masters.values() if master.requires_grad)
    size = state + momentum + sum(value.nbytes for value in weights.average.values())
    free = shutil.disk_usage(out).free
    models = 2 * state  # the best and the last
    need = f"disk: checkpoints of {decimal(size)} each, the last {keep} kept, and two models of {decimal(state)}"
    need += f"; {decimal(free)} are free"
    if free < size + models:
        raise TrainingError(out, need, "free space or choose another --out")
    return need


def save(out: Path, weights: Weights, optimizer: SGD, progress: Progress, keep: int) -> Path:
    """Write a checkpoint, then remove all but the newest `keep`; its path.

    Raises TrainingError on a full disk; the checkpoints before it are then as they were.
    """
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


def restore(out: Path, weights: Weights, optimizer: SGD, warn: Callable[[str], None]) -> Progress:
    """Put the newest whole checkpoint in place; where there is none, the run begins anew.

    A damaged one is named by `warn` and put aside.
    """
    for path in newest_first(out):
        try:
            tensors, progress = load(path)
        except TrainingError as error:
            warn(f"{error} It is put aside.")
            path.rename(path.with_suffix(DAMAGED))
            continue
        _put(tensors, weights, optimizer)
        return progress
    return Progress()


def load(path: Path) -> tuple[dict[str, Tensor], Progress]:
    """Tensors and progress of one checkpoint. Raises TrainingError where a byte of it is not as it was written."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        tensors = safetensors.torch.load_file(path)
        progress = Progress(**json.loads(metadata["progress"]))
        if int(metadata["checksum"]) != _checksum(tensors):
            raise ValueError("its checksum differs")
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(path, f"damaged ({error})", "it is left out") from error
    return tensors, progress


def read_progress(out: Path) -> Progress:
    """Where a run's newest whole checkpoint stands."""
    for path in newest_first(out):
        try:
            return load(path)[1]  # all of it: what is told here must be what `restore` will find
        except TrainingError:
            continue  # `restore` names it
    return Progress()


def newest_first(out: Path) -> list[Path]:
    """The checkpoints under `out`."""
    found = (out / FOLDER).glob("epoch-*.safetensors")
    return sorted(found, key=lambda path: [int(part) for part in path.stem.split("-")[1::2]], reverse=True)


def _put(tensors: dict[str, Tensor], weights: Weights, optimizer: SGD) -> None:
    def part(kind: str) -> dict[str, Tensor]:
        return {name.removeprefix(kind): value for name, value in tensors.items() if name.startswith(kind)}

    weights.load(part("weights."))
    for name, value in part("average.").items():
        weights.average[name].copy_(value)
    for name, value in part("momentum.").items():
        master = weights.masters[name]
        buffer = torch.empty_like(master)
        optimizer.state[master]["momentum_buffer"] = buffer.copy_(value)


def _checksum(tensors: dict[str, Tensor]) -> int:
    """CRC-32 over names and bytes, in the order of the names."""
    found = 0
    for name in sorted(tensors):
        found = zlib.crc32(np.ascontiguousarray(tensors[name].numpy()).reshape(-1).view(np.uint8).data, found)
        found = zlib.crc32(name.encode(), found)
    return found


# Who sees to it that a run can go on: saves its state when that is due, and before it leaves on a signal.


class Checkpointer:
    """Checkpoints of a run under `out`: the newest `keep` of those that `cadence` calls for. Rank 0 writes them.

    latest  the newest one that is known to be whole
    """

    def __init__(
        self, out: Path, cadence: Cadence, keep: int, interruption: Interruption, ranks: Ranks = ALONE
    ) -> None:
        self.out, self.cadence, self.keep, self.interruption, self.ranks = out, cadence, keep, interruption, ranks
        self.latest = next(iter(newest_first(out)), None)

    def after_step(self, trainer: "Trainer") -> None:
        """Save where it is due. Raises InterruptedRunError, after saving, where a signal came."""
        self.stop_if_requested(trainer)
        if self.cadence.due():
            self.save(trainer, self.keep)

    @property
    def stop_requested(self) -> bool:
        return self.interruption.signal is not None

    def stop_if_requested(self, trainer: "Trainer") -> None:
        """Save and leave where a signal came to any rank. Raises InterruptedRunError on all."""
        signal = self.ranks.any_signal(self.interruption.signal)
        if signal:
            self.save(trainer, self.keep)
            self.ranks.barrier()  # torchrun ends the rest when the first rank leaves
            progress = trainer.progress
            raise InterruptedRunError(
                signal.name,
                signal,
                f"saved in epoch {progress.epoch + 1} after {progress.step} of its {trainer.steps} steps",
                "go on with the same command"
                if self.ranks.launched
                else f"go on with: vgglass train --out {self.out} --resume",
            )

    def save(self, trainer: "Trainer", keep: int) -> None:
        """Raises TrainingError for weights that are not finite, which nobody could go on from, and on a full disk."""
        for name, value in trainer.weights.state().items():
            if not value.isfinite().all():
                raise TrainingError(
                    f"{name} after epoch {trainer.progress.epoch}, step {trainer.progress.step}",
                    "is not finite; training diverged",
                    f"lower the learning rate; the last good checkpoint: {self.latest or 'none yet'}",
                )
        if self.ranks.first:
            self.latest = save(self.out, trainer.weights, trainer.optimizer, trainer.progress, keep)
