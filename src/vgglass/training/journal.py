"""The written record of a run: metrics.jsonl, the picture of its curves, and TensorBoard where it is installed."""

import json
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vgglass import figures
from vgglass.atomic import replacing

METRICS, CURVES, TENSORBOARD = "metrics.jsonl", "curves.png", "tensorboard"
REDRAW_SECONDS = 10.0


class Journal:
    """One row an epoch. A resumed run keeps the rows of its whole epochs and goes on after them."""

    def __init__(self, out: Path, epochs_done: int) -> None:
        self.out = out
        lines = (out / METRICS).read_text(encoding="utf-8").splitlines() if epochs_done else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines[:epochs_done]]
        self._drawn = 0.0
        self._tensorboard: Any = None
        if find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(out / TENSORBOARD, purge_step=epochs_done + 1)

    def write(self, row: dict[str, Any], last: bool) -> None:
        self.rows.append(row)
        with replacing(self.out / METRICS) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        if last or time.monotonic() - self._drawn > REDRAW_SECONDS:
            figures.curves(self.rows, self.out / CURVES)
            self._drawn = time.monotonic()
        if self._tensorboard:
            for name in ("loss", "accuracy"):
                for split in ("train", "validation"):
                    self._tensorboard.add_scalar(f"{name}/{split}", row[f"{split}_{name}"], row["epoch"])
            if last:
                self._tensorboard.close()
