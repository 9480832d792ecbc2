"""The glass on a full VGG-16 (random weights) and a 500x375 photograph: wall time and peak memory of whole commands."""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from vgglass import modelfile
from vgglass.architecture import Architecture
from vgglass.preprocess import Preprocessing


def write_files(model: str, image: str) -> None:
    """A VGG-16 with random weights, and a picture of blobs."""
    from vgglass.model import VGG

    record = Preprocessing(224, 256, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    modelfile.save(VGG(Architecture.named("vgg16")).to_file(tuple(map(str, range(1000))), record), Path(model))
    noise = np.random.default_rng(0).integers(0, 256, (15, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(image)


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds and peak MiB of a command; its output is dropped."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    assert status == 0, command
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux KiB
    return seconds, usage.ru_maxrss / unit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        model, image, out = (str(Path(folder, name)) for name in ("vgg16.safetensors", "photo.png", "look"))
        # In a process of its own: a child's peak counts what its parent held when it was forked.
        prepare = multiprocessing.get_context("spawn").Process(target=write_files, args=(model, image))
        prepare.start()
        prepare.join()
        vgglass = [sys.executable, "-m", "vgglass"]
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            "vgglass look": [*vgglass, "look", "--model", model, image, "--out", out],
            "vgglass step": [*vgglass, "step", "--model", model, image, "--layer", "conv5_3"],
        }
        print(f"{'command':<14} {'seconds':>8} {'peak MiB':>9}   (medians of {runs} runs, whole processes)")
        for name, command in commands.items():
            rows = [measured(command) for _ in range(runs)]
            seconds, memory = (statistics.median(column) for column in zip(*rows, strict=True))
            print(f"{name:<14} {seconds:>8.1f} {memory:>9,.0f}")


if __name__ == "__main__":
    main()
