"""Runs of the digits by several ranks: processes of this machine that meet at a free port, as torchrun starts them.

Run as a program it is one rank under torchrun: its argument is a JSON object of what `trained` takes.
"""

import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import vgglass
from vgglass.data.training_loader import _Batches
from vgglass.errors import UserError
from vgglass.training import checkpoint
from vgglass.training.loop import Trainer
from vgglass.training.metrics_log import TIMINGS

FORK = multiprocessing.get_context("fork")
# Equal to the last digits on any number of ranks: no batch norm, no dropout, and float64. 50 steps, uneven batches.
EXACT: dict[str, Any] = {
    "architecture": "vgg11", "width": 0.0625, "hidden": 16, "dropout": 0.0, "precision": "float64", "epochs": 5,
    "batch_size": 128, "learning_rate": 0.2, "warmup_epochs": 1,
}  # fmt: skip
STEPS = 10  # of an epoch: 1,257 digits in batches of 125 and 126


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def together(count: int, work: Callable[[], object], said: Path, **environment: str) -> list[int | None]:
    """Do `work` in so many ranks; their exit codes, negative for a signal, with what they print in `said`."""
    port = free_port()

    def rank(number: int) -> None:
        os.environ.update(
            RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count),
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), **environment,
        )  # fmt: skip
        sys.stdout = sys.stderr = said.open("a", buffering=1)
        try:
            work()
        except UserError as error:
            print(f"rank {number}: {error}")
            sys.exit(error.exit_status)

    processes = [FORK.Process(target=rank, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def trained(
    out: str, plan: dict[str, Any], log: str = "", send: str = "", to: int = -1, at: int = 0, **options: Any
) -> None:
    """Train in this rank. `log` gets a line a step: rank, epoch, step and the ids of its samples, and its restart.

    send, to, at   a signal's name, the rank that gets it when it is first started, and before which of its steps
    """
    torch.set_num_threads(1)
    me, restart = int(os.environ.get("RANK", 0)), int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
    whole_step, whole_batch = Trainer.step, _Batches.__getitem__
    taken, ids = 0, [""]

    def batch(batches: _Batches, task: Any) -> Any:
        ids[:] = [batches.samples[index].id for index in task[1]]
        return whole_batch(batches, task)

    def step(trainer: Trainer, *fed: Any) -> tuple[float, int]:
        nonlocal taken
        if send and (me, restart, taken) == (to, 0, at):
            os.kill(os.getpid(), signal.Signals[send])
        taken += 1
        found = whole_step(trainer, *fed)
        if log:
            line = {"rank": me, "at": [trainer.progress.epoch, trainer.progress.step], "ids": ids, "restart": restart}
            with Path(log).open("a") as file:
                file.write(json.dumps(line) + "\n")
        return found

    Trainer.step, _Batches.__getitem__ = step, batch  # type: ignore[method-assign, assignment]
    console = Console(width=300, quiet=me > 0, force_terminal=False)
    vgglass.train(out=out, console=console, workers=0, **plan, **options)


def samples_of(log: Path) -> dict[tuple[int, int], list[str]]:
    """The ids of each (epoch, step), over all ranks in turn, as each last took it."""
    shares: dict[tuple[int, int], dict[int, list[str]]] = {}
    for line in map(json.loads, log.read_text().splitlines()):
        shares.setdefault(tuple(line["at"]), {})[line["rank"]] = line["ids"]
    return {at: [name for _, ids in sorted(ranks.items()) for name in ids] for at, ranks in sorted(shares.items())}


def outcome(out: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]], list[float]]:
    """Tensors of a finished run's checkpoint, its rows without the timings, and the losses of its last 50 steps."""
    (path,) = (out / checkpoint.FOLDER).glob("*.safetensors")
    tensors, progress = checkpoint.load(path)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    figures = [{name: value for name, value in row.items() if name not in TIMINGS} for row in rows]
    return tensors, figures, progress.losses


if __name__ == "__main__":
    trained(**json.loads(sys.argv[1]))
