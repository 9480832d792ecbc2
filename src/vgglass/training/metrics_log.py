"""The metrics of a run: metrics.jsonl, curves, TensorBoard where installed; and the live display."""

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from vgglass import plotting
from vgglass.errors import TrainingError
from vgglass.files import replacing
from vgglass.locale.messages import translated

METRICS, CURVES, TENSORBOARD = "metrics.jsonl", "curves.png", "tensorboard"
TIMINGS = ("seconds", "images_per_second", "waited")  # fields of a row that differ between two runs of one seed
REDRAW_SECONDS = 10.0
TIMED = 20  # steps that tell how long one takes


class MetricsLog:
    """One row an epoch. A resumed run continues after the bytes that its checkpoint counts; later rows are dropped.

    Raises TrainingError where metrics.jsonl is shorter than that, or damaged.
    """

    def __init__(self, out: Path, known_bytes: int) -> None:
        self.out = out
        text = (out / METRICS).read_bytes()[:known_bytes] if known_bytes and (out / METRICS).exists() else b""
        if len(text) < known_bytes:
            raise TrainingError(
                out / METRICS, f"is shorter than the {known_bytes:,} bytes of the checkpoint", "put it back as it was"
            )
        try:
            self.rows: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
        except ValueError as error:
            raise TrainingError(out / METRICS, f"is damaged ({error})", "put it back as it was") from error
        self._drawn = 0.0
        self._tensorboard: Any = None
        if find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(out / TENSORBOARD, purge_step=len(self.rows) + 1)

    def write(self, row: dict[str, Any], last: bool) -> int:
        """Add a row; the length of metrics.jsonl in bytes."""
        self.rows.append(row)
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        with replacing(self.out / METRICS) as temporary:
            temporary.write_text(text, encoding="utf-8")
        if last or time.monotonic() - self._drawn > REDRAW_SECONDS:
            plotting.curves(self.rows, self.out / CURVES)
            self._drawn = time.monotonic()
        if self._tensorboard:
            for name in ("loss", "accuracy"):
                for split in ("train", "validation"):
                    if f"{split}_{name}" in row:
                        self._tensorboard.add_scalar(f"{name}/{split}", row[f"{split}_{name}"], row["epoch"])
            self._tensorboard.flush()  # a resumed run does not write these again
            if last:
                self._tensorboard.close()
        return len(text.encode())


class Display:
    """A progress bar with loss, accuracy, speed and time left, and a line an epoch.

    Inside `run`: `step` after each step, `epoch` after each epoch. `print` and `warn` at any time.
    part   of several runs, that stands before the bar
    later  steps of the runs after this one: a few steps tell, once, about how long all of them will take
    """

    def __init__(self, console: Console, part: str = "", later: int | None = None) -> None:
        self.console, self._part, self._later = console, part, later
        self._progress = Progress(
            TextColumn("{task.fields[part]}"),
            TextColumn(translated("epoch {task.fields[epoch]}")),
            BarColumn(),
            TextColumn(translated("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.3f}")),
            TextColumn(translated("{task.fields[speed]:,.0f} images/s  {task.fields[waited]:.0%} waiting for data")),
            TimeRemainingColumn(),
            TextColumn(translated("left")),
            console=console,
            transient=True,
            disable=console.is_jupyter,  # rich would warn at each refresh without ipywidgets; lines are enough
        )
        self._warned: set[str] = set()
        self._recent: deque[tuple[float, int, float, float]] = deque(maxlen=TIMED)

    @contextmanager
    def run(self, steps: int, done: int) -> Iterator[None]:
        """Show the bar for a run of `steps` steps, of which `done` are done."""
        self._ahead = steps - done
        self._task = self._progress.add_task(
            "",
            total=steps,
            completed=done,
            part=translated(self._part),
            epoch="",
            loss=math.nan,
            accuracy=math.nan,
            speed=0.0,
            waited=0.0,
            visible=False,
        )
        with self._progress:
            yield

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar for `total` items; it gives a function that counts more of them as done."""
        quiet = not self.console.is_terminal
        with Progress(*Progress.get_default_columns(), console=self.console, transient=True, disable=quiet) as progress:
            task = progress.add_task(translated(what), total=total)
            yield lambda more: progress.update(task, advance=more)

    def step(self, epoch: str, images: int, loss: float, accuracy: float, waited: float) -> None:
        """Loss and accuracy of one batch; the bar shows their mean over the last twenty.

        waited  share of the epoch's time so far that was spent waiting for data
        """
        self._recent.append((time.perf_counter(), images, loss, accuracy))
        if self._later is not None and 1 < len(self._recent) == min(TIMED, self._ahead):
            self.print(self._forecast(self._later + self._ahead - len(self._recent)))
            self._later = None
        first, last = self._recent[0], self._recent[-1]
        seen = sum(row[1] for row in list(self._recent)[1:])
        speed = seen / (last[0] - first[0]) if len(self._recent) > 1 else 0.0
        mean_loss, mean_accuracy = (sum(row[index] for row in self._recent) / len(self._recent) for index in (2, 3))
        self._progress.update(
            self._task, advance=1, epoch=epoch, loss=mean_loss, accuracy=mean_accuracy, speed=speed, waited=waited,
            visible=True,
        )  # fmt: skip

    def _forecast(self, steps: int) -> str:
        seconds = (self._recent[-1][0] - self._recent[0][0]) / (len(self._recent) - 1)
        minutes = round(steps * seconds / 60)
        if not minutes:
            return f"less than a minute to go, at {seconds:.2g} s a step"
        return f"about {minutes // 60} h {minutes % 60:02} min to go, at {seconds:.2g} s a step"

    def epoch(self, row: dict[str, Any], epochs: int, best: bool) -> None:
        """The figures of one epoch, those of validation where there are such images."""
        if "validation_loss" not in row:
            line = (
                f"epoch {row['epoch']:>3}/{epochs}"
                f"   train loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.3f}"
                f"   {row['images_per_second']:,.0f} images/s"
            )
        else:
            line = (
                f"epoch {row['epoch']:>3}/{epochs}"
                f"   train loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.3f}"
                f"   validation loss {row['validation_loss']:.3f} accuracy {row['validation_accuracy']:.4f}"
                f"   {row['images_per_second']:,.0f} images/s{'   best' if best else ''}"
            )
        self.console.print(line, highlight=False)

    def print(self, text: str) -> None:
        """A line; nothing where the text is empty."""
        if text:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """A sentence, once; nothing where it is empty."""
        if not text or text in self._warned:
            return
        self._warned.add(text)
        self.console.print(f"warning: {text}", style="yellow", highlight=False, markup=False)
