"""Pictures that the tests of data make: alike only where a test makes them so."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vgglass.images import Pixels


def scene(seed: int, height: int = 180, width: int = 240) -> Pixels:
    """Coarse shapes with finer ones on them, as photographs have (H, W, 3)."""
    generator = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((4, 1.0), (8, 0.5), (16, 0.25), (32, 0.12)):
        noise = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        octave = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        total += weight * np.asarray(octave)
    return (total / 1.87).astype(np.uint8)


def save(path: Path, pixels: Pixels, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def photographs(folder: Path, **counts: int) -> Path:
    """A folder of class folders with so many different JPEG files."""
    for number, (name, count) in enumerate(counts.items()):
        for index in range(count):
            save(folder / name / f"{index}.jpg", scene(1000 * number + index))
    return folder


def damaged(path: Path) -> Path:
    """A JPEG whose data simplejpeg refuses and Pillow decodes."""
    data = bytearray(save(path, scene(5), quality=90).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    path.write_bytes(data)
    return path
