"""What ranks cost: bytes that they add up against the time of a step, and what bfloat16 on the way does to accuracy.

--accuracy trains Fashion-MNIST by two ranks of this machine, with gradients sent as computed and in bfloat16.
Without it: a projection for VGG-16 at 224 from the step time of one device (measured here, or --step-seconds).
"""

import argparse
import gzip
import math
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import training
from vgglass.architecture import Architecture

GIGABITS = (10, 25, 100)
BOX_GIGABYTES = 300  # a second: an assumption for 8 GPUs joined by NVLink, not a measurement


def all_reduce_seconds(size: float, ranks: int, bytes_a_second: float) -> float:
    """A ring's: each rank sends 2 (N - 1) / N of the bytes, and the slowest link sets the pace."""
    return 2 * (ranks - 1) / ranks * size / bytes_a_second


def efficiency(compute: float, reduce: float, overlap: float) -> float:
    """Share of N times one device's speed, where `overlap` of the all-reduce hides behind the backward pass."""
    return compute / (compute + reduce * (1 - overlap))


def project(step: float, images: int) -> None:
    parameters = Architecture.named("vgg16").parameters
    sizes = {"float32": 4 * parameters, "bfloat16": 2 * parameters}
    print(f"VGG-16, {parameters:,} parameters; one device: {step:.3f} s a step of {images} images")
    for name, size in sizes.items():
        for ranks, where, speed in (
            (8, "8 GPUs in one box", BOX_GIGABYTES * 1e9),
            *((4, f"4 machines at {gigabits} Gb/s", gigabits / 8 * 1e9) for gigabits in GIGABITS),
        ):
            seconds = all_reduce_seconds(size, ranks, speed)
            least, most = (efficiency(step, seconds, overlap) for overlap in (0, 0.5))
            print(
                f"{name:9} {size / 1e6:6.1f} MB  {where:24} all-reduce {seconds:6.3f} s"
                f"  {least:5.1%} of {ranks} devices, {most:5.1%} with half of it hidden"
            )


def trained(folder: Path, out: Path, way: str, seed: int, epochs: int, width: float) -> float:
    """Test accuracy of a short run by two ranks."""
    from vgglass import workflows

    options = [f"all_reduce={way}", f"width={width}", "hidden=64", "precision=float32"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vgglass"]
    command += ["train", str(folder), "--recipe", "fashion-mnist", "--out", str(out), "--seed", str(seed)]
    command += ["--epochs", str(epochs), *(word for option in options for word in ("--set", option))]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return workflows.evaluate(out / "best.safetensors", folder).top1


def shortened(folder: Path, images: int, out: Path) -> Path:
    """The same idx files with only so many training images."""
    out.mkdir()
    for name, dimensions in (("images-idx3", 3), ("labels-idx1", 1)):
        for part, count in (("train", images), ("t10k", None)):
            whole = gzip.decompress((folder / f"{part}-{name}-ubyte.gz").read_bytes())
            shape = list(struct.unpack_from(f">{dimensions + 1}I", whole))
            shape[1] = min(count or shape[1], shape[1])
            head = struct.pack(f">{dimensions + 1}I", *shape)
            (out / f"{part}-{name}-ubyte").write_bytes(head + whole[len(head) : len(head) + math.prod(shape[1:])])
    return out


def accuracy(folder: Path, images: int, epochs: int, width: float) -> None:
    found: dict[str, list[float]] = {"plain": [], "bfloat16": []}
    with tempfile.TemporaryDirectory() as runs:
        folder = shortened(folder, images, Path(runs) / "fashion-mnist")
        for seed in range(3):
            for way, figures in found.items():
                figures.append(trained(folder, Path(runs) / f"{way}-{seed}", way, seed, epochs, width))
                print(f"seed {seed}, gradients {way}: test accuracy {figures[-1]:.4f}", flush=True)
    means = {way: statistics.mean(figures) for way, figures in found.items()}
    print(f"means of three seeds: {means}; difference {100 * (means['bfloat16'] - means['plain']):+.2f} points")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step-seconds", type=float, help="of one device, instead of measuring this one")
    parser.add_argument("--images", type=int, default=training.BATCH, help="of such a step")
    parser.add_argument("--accuracy", type=Path, metavar="FOLDER", help="Fashion-MNIST's idx files")
    parser.add_argument("--training-images", type=int, default=60000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--width", type=float, default=0.125)
    options = parser.parse_args()
    if options.accuracy:
        accuracy(options.accuracy, options.training_images, options.epochs, options.width)
        return
    step = options.step_seconds or training.measured("vgglass")
    project(step, options.images)


if __name__ == "__main__":
    main()
