"""What the tests of prediction on Ray share: images, commands in processes of their own, and what befalls them."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from vgglass import modelfile
from vgglass.architecture import Architecture
from vgglass.cluster.predict import Worker, WorkerOptions
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed: pip install 'vgglass[ray]'")


def made(how: WorkerOptions, names: Sequence[bytes]) -> tuple[bytes, int]:
    """What a worker makes of a shard: its table, and how many images could not be read."""
    worker = Worker(how)
    return worker.table(worker.answers(names))


def network(folder: Path) -> Path:
    """A small network with random weights, which is slow enough to be killed at its work."""
    record = Preprocessing(32, 32, (120.0,), (60.0,), "L")
    small = VGG(Architecture.named("A", classes=10, channels=1, image_size=32, width=0.5, hidden=32))
    path = folder / "small.safetensors"
    modelfile.save(small.to_file(tuple("abcdefghij"), record), path)
    return path


def pictures(folder: Path, count: int) -> Path:
    """So many small images in a folder, all different."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for place in range(count):
        Image.fromarray(generator.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / f"{place:06}.png")
    return folder


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", "vgglass", "predict", *map(str, arguments)]


def said(*arguments: object, status: int) -> str:
    """All that a command prints, its lines joined."""
    result = subprocess.run(command(*arguments), capture_output=True, text=True, env=ENVIRONMENT)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout + result.stderr


Row = tuple[str, str | None, float | None, str | None]


def rows(*paths: Path) -> list[Row]:
    """Path, class, probability and error of every row of some Parquet files."""
    from pyarrow import parquet

    tables = [parquet.read_table(path, partitioning=None) for path in paths]
    names = ("path", "class", "probability", "error")
    return [row for table in tables for row in zip(*(table.column(name).to_pylist() for name in names), strict=True)]


def finished(
    arguments: Sequence[str], out: Path, parts: int, kills: int, chance: random.Random
) -> tuple[int, list[str]]:
    """Run a command again until it ends by itself; on the way a worker or the driver is killed so many times.

    Each time a random number of its `parts` is there. The exit status of the last run, and what was killed.
    """
    marks = sorted(chance.sample(range(parts * 2 // 3), kills))
    killed: list[str] = []
    while True:
        driver = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
        while driver.poll() is None:
            due = len(killed) < kills and len(list(out.glob("part-*.parquet"))) >= marks[len(killed)]
            victim = _victim(driver, chance) if due else None
            if victim:
                killed.append("driver" if victim.pid == driver.pid else "worker")
                victim.send_signal(signal.SIGKILL)
            time.sleep(0.02)
        if driver.returncode != -signal.SIGKILL:
            return driver.returncode, killed


def _victim(driver: "subprocess.Popen[bytes]", chance: random.Random) -> psutil.Process | None:
    """The driver or one of the workers that hold the model, once there are any."""
    workers = []
    for child in psutil.Process(driver.pid).children(recursive=True):
        try:
            if "MapWorker" in " ".join(child.cmdline()):
                workers.append(child)
        except psutil.Error:  # it has just gone
            continue
    if not workers:
        return None
    return psutil.Process(driver.pid) if chance.random() < 1 / 3 else chance.choice(workers)
