"""A folder of photographs to a CSV, whole processes: vgglass beside a typical torchvision script, in one run.

VGG-16 at 224 with random weights, which cost what trained ones do. Photographs of ../shared/data/hymenoptera, repeated
to the number wanted; made-up ones where it is absent. Also: one photograph; the pipeline beside the bare engine; peak
memory of many small images beside few.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from timing import in_turns, seconds
from vgglass import modelfile, workflows
from vgglass.architecture import Architecture
from vgglass.data.folder import image_files
from vgglass.engines import Engine, selection
from vgglass.images import Pixels
from vgglass.inference.predictor import Predictor
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing, fit, read
from vgglass.weights import to_foreign

HYMENOPTERA = Path(__file__).parents[2] / "shared" / "data" / "hymenoptera"
SCRIPT = Path(__file__).with_name("torchvision_script.py")
MAXIMUM = """
import re, sys
from pathlib import Path
from vgglass.cli import main
try:
    main()
finally:  # not ru_maxrss: a process inherits that of the one that started it
    print(re.search("VmHWM: *([0-9]+)", Path("/proc/self/status").read_text().replace("\\t", " "))[1], file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=192)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs = gather(folder / "photographs", chosen.photographs)
        file, weights, small = models(folder, photographs)
        processes(folder, photographs, file, weights, small, chosen.runs)
        pipeline(photographs, file, small, chosen.runs)
        memory(folder)


def gather(folder: Path, count: int) -> Path:
    folder.mkdir()
    found = image_files(HYMENOPTERA / "val") if HYMENOPTERA.exists() else made_up(folder.with_name("made up"))
    for place in range(count):
        source = found[place % len(found)]
        (folder / f"{place:04}{source.suffix}").symlink_to(source)
    return folder


def made_up(folder: Path) -> list[Path]:
    folder.mkdir()
    generator = np.random.default_rng(0)
    for place in range(40):
        rough = Image.fromarray(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        rough.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{place}.jpg", quality=90)
    return sorted(folder.iterdir())


def models(folder: Path, photographs: Path) -> tuple[Path, Path, Path]:
    """The same random VGG-16 as a model file, as torchvision's weights, and in int8."""
    record = Preprocessing(224, 256, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), jpeg_scaled=True)
    file, weights, small = folder / "vgg16.safetensors", folder / "vgg16.pth", folder / "int8.xml"
    network = VGG(Architecture.named("vgg16"))
    modelfile.save(network.to_file(tuple(map(str, range(1000))), record), file)
    to_foreign(modelfile.load(file), weights, "torchvision")
    calibration = folder / "calibration" / "0"
    calibration.mkdir(parents=True)
    for path in list(photographs.iterdir())[:40]:
        shutil.copy(path, calibration / path.name)
    workflows.export(file, small, int8_images=calibration.parent, force=True)
    return file, weights, small


def processes(folder: Path, photographs: Path, file: Path, weights: Path, small: Path, runs: int) -> None:
    one = folder / "one"
    one.mkdir()
    shutil.copy(next(iter(sorted(photographs.iterdir()))), one)
    out = folder / "rows.csv"
    predict = [sys.executable, "-m", "vgglass", "predict", "--out", out, "--model"]
    ways = {"float32": [*predict, file, "--precision", "float32"], "int8": [*predict, small]}
    if selection.cpu()[1]:
        ways["bfloat16"] = [*predict, file, "--precision", "bfloat16"]
    script = [sys.executable, SCRIPT, weights]
    for images, turns in ((photographs, runs), (one, 2 * runs)):
        commands = {"torchvision": [*script, images, out]} | {name: [*way, images] for name, way in ways.items()}
        figures = in_turns(commands, turns)
        count = len(list(images.iterdir()))
        print(f"\n{count} photograph(s) to a CSV, whole process (medians of {turns} turns)")
        for name, own in figures.items():
            ratio = statistics.median(a / b for a, b in zip(figures["torchvision"], own, strict=True))
            print(f"  {name:<12} {statistics.median(own):>8.2f} s {ratio:>7.2f} x")


def pipeline(photographs: Path, file: Path, small: Path, runs: int) -> None:
    print("\npipeline (decode, fit, infer) beside the bare engine on arrays in memory, images a second")
    for name, model, precision in (("float32", file, "float32"), ("int8", small, "auto")):
        predictor, paths = workflows.predictor(model, precision=precision), sorted(photographs.iterdir())[:96]
        record = predictor.record.preprocessing
        batches = np.split(np.stack([fit(read(path, record), record) for path in paths]), len(paths) // 16)
        works = partial(bare, predictor.engines[False], batches), partial(through, predictor, paths)
        works[0]()
        pairs = [(seconds(works[0]), seconds(works[1])) for _ in range(runs)]
        plain, whole = (len(paths) / statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(one / two for one, two in pairs)
        print(f"  {name:<12} bare {plain:>7.1f}   pipeline {whole:>7.1f}   ratio {ratio:.2f}")


def bare(engine: Engine, batches: list[Pixels]) -> None:
    for batch in batches:
        engine(batch)


def through(predictor: Predictor, paths: list[Path]) -> None:
    for _ in predictor.stream(paths):
        pass


def memory(folder: Path) -> None:
    """Peak of predicting 500 and 10,000 small images, with a small network."""
    record = Preprocessing(32, 32, (120.0,), (60.0,), "L")
    network = VGG(Architecture.named("A", classes=10, channels=1, image_size=32, width=0.125, hidden=32))
    modelfile.save(network.to_file(tuple("abcdefghij"), record), folder / "small.safetensors")
    images = folder / "images"
    images.mkdir()
    generator = np.random.default_rng(0)
    for place in range(10_000):
        Image.fromarray(generator.integers(0, 256, (28, 28), dtype=np.uint8)).save(images / f"{place:05}.png")
    few = folder / "few"
    few.mkdir()
    for path in sorted(images.iterdir())[:500]:
        (few / path.name).symlink_to(path)
    print("\npeak memory of predict --out rows.csv")
    for name, source in (("500", few), ("10,000", images)):
        command = [
            sys.executable, "-c", MAXIMUM, "predict", str(source), "--out", str(folder / f"{name}.csv"),
            "--model", str(folder / "small.safetensors"),
        ]  # fmt: skip
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        print(f"  {name:>7} small images: {int(said.split()[-1]) / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
