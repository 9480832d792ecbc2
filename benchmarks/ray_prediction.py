"""`vgglass predict --ray local` with two workers beside plain `vgglass predict`, whole processes on the same cores.

VGG-16 at 224 in float32 with random weights. Each is run on few and on many photographs: the difference of the times
is the work, what is left of them the start-up.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from prediction import gather
from timing import seconds
from vgglass import modelfile
from vgglass.architecture import Architecture
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=64)
    parser.add_argument("--many", type=int, default=448)
    parser.add_argument("--shard", type=int, default=32)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = Preprocessing(224, 256, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), jpeg_scaled=True)
        file = folder / "vgg16.safetensors"
        modelfile.save(VGG(Architecture.named("vgg16")).to_file(tuple(map(str, range(1000))), record), file)
        few, many = (gather(folder / str(count), count) for count in (chosen.few, chosen.many))
        predict = [sys.executable, "-m", "vgglass", "predict", "--model", file, "--precision", "float32"]
        spread = ["--ray", "local", "--actors", chosen.actors, "--shard", chosen.shard]
        ratios = []
        for turn in range(chosen.runs):
            plain, ray = (
                [
                    timed([*predict, images, *more, "--out", folder / f"{kind}-{turn}-{images.name}{suffix}"])
                    for images in (few, many)
                ]
                for kind, more, suffix in (("plain", [], ".parquet"), ("ray", spread, ""))
            )
            rates = [(chosen.many - chosen.few) / (long - short) for short, long in (plain, ray)]
            starts = [short - chosen.few / rate for (short, _), rate in zip((plain, ray), rates, strict=True)]
            ratios.append(rates[1] / rates[0])
            print(
                f"plain {rates[0]:6.1f} images/s after {starts[0]:5.1f} s    "
                f"ray {rates[1]:6.1f} images/s after {starts[1]:5.1f} s    ratio {ratios[-1]:.2f}",
                flush=True,
            )
    print(f"ratio, median of {chosen.runs}: {statistics.median(ratios):.2f}")


def timed(command: list[object]) -> float:
    return seconds(partial(subprocess.run, [*map(str, command)], check=True, capture_output=True))


if __name__ == "__main__":
    main()
