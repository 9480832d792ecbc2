"""The written record of a run: metrics.jsonl, the picture of its curves, and TensorBoard where it is installed."""

import json
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vgglass import plotting
from vgglass.errors import TrainingError
from vgglass.files import replacing

METRICS, CURVES, TENSORBOARD = "metrics.jsonl", "curves.png", "tensorboard"
TIMINGS = ("seconds", "images_per_second", "waited")  # of a row: what two runs of one seed do not share
REDRAW_SECONDS = 10.0


class Journal:
    """One row an epoch. A resumed run goes on after the bytes that its checkpoint knows of; what came later is cut.

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
                    self._tensorboard.add_scalar(f"{name}/{split}", row[f"{split}_{name}"], row["epoch"])
            self._tensorboard.flush()  # a resumed run does not write these again
            if last:
                self._tensorboard.close()
        return len(text.encode())
