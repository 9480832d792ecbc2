"""Photographs to batches on one core: a bare simplejpeg loop beside vgglass's way in, and every augmentation."""

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from timing import seconds
from vgglass.data.augment import AUGMENTATIONS
from vgglass.data.dataset import Sample
from vgglass.data.training_loader import TrainingLoader
from vgglass.preprocess import Preprocessing

SIZE, RESIZE, BATCH = 224, 256, 32
RECORD = Preprocessing(SIZE, RESIZE, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), jpeg_scaled=True)


def bare(paths: list[Path]) -> None:
    """Read, decode at the same size as vgglass does, resize, cut out the centre, batch."""
    squares = []
    for path in paths:
        pixels = simplejpeg.decode_jpeg(path.read_bytes(), "RGB", min_height=2 * RESIZE, min_width=2 * RESIZE)
        scale = RESIZE / min(pixels.shape[:2])
        width, height = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
        resized = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
        top, left = (height - SIZE) // 2, (width - SIZE) // 2
        squares.append(resized[top : top + SIZE, left : left + SIZE])
        if len(squares) == BATCH:
            np.stack(squares)
            squares = []


def ours(paths: list[Path], augmentation: str) -> None:
    samples = [Sample(path.name, path, 0, b"") for path in paths]
    with TrainingLoader(samples, RECORD, BATCH, augmentation, seed=0, colours=np.eye(3), workers=0) as loader:
        for _ in loader.epoch(0):
            pass


def photographs(folder: Path) -> list[Path]:
    """64 pictures of blobs at 500x375."""
    paths = [folder / f"{number}.jpg" for number in range(64)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data/hymenoptera"))
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        paths = sorted(arguments.folder.rglob("*.jpg"))
        if not paths:
            print(f"{arguments.folder} holds no .jpg: pictures made on the spot instead")
            paths = photographs(Path(temporary))
        paths = paths[: len(paths) // BATCH * BATCH]  # whole batches, for both
        works = {"bare loop": partial(bare, paths)} | {name: partial(ours, paths, name) for name in AUGMENTATIONS}
        rounds = [[seconds(work) for work in works.values()] for _ in range(arguments.runs + 1)][1:]
    print(f"{'':<11} {'images/s':>9} {'ratio':>6}   ({len(paths)} photographs, medians of {arguments.runs} turns)")
    for name, column in zip(works, zip(*rounds, strict=True), strict=True):
        ratio = statistics.median(turn[0] / one for turn, one in zip(rounds, column, strict=True))
        print(f"{name:<11} {len(paths) / statistics.median(column):>9.1f} {ratio:>6.2f}")


if __name__ == "__main__":
    main()
