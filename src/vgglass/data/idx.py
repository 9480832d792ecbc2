"""Folders of idx archives as MNIST and its kin are published: train-images-idx3-ubyte(.gz) and so on.

Format: LeCun, Cortes and Burges, The MNIST database: big-endian magic, dimensions, then unsigned bytes.
"""

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgglass.data.dataset import Dataset, Sample
from vgglass.errors import DataError

PARTS = {"train": "train", "test": "t10k"}
VALIDATION_IMAGES = 5000  # held out of the training part to choose the best epoch
FASHION_MNIST = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def holds_idx(folder: Path) -> bool:
    return any(folder.glob("train-images-idx3-ubyte*"))


def load(folder: Path) -> Dataset:
    """Train, validation (every twelfth of MNIST's 60,000) and test, as 28x28 grey arrays. Raises DataError."""
    parts = {split: _part(folder, stem) for split, stem in PARTS.items()}
    count = max(sample.label for samples in parts.values() for sample in samples) + 1
    fashion = "fashion" in folder.resolve().name.lower() and count == len(FASHION_MNIST)
    classes = FASHION_MNIST if fashion else tuple(str(label) for label in range(count))
    every = max(2, len(parts["train"]) // VALIDATION_IMAGES)
    splits = {
        "train": tuple(sample for index, sample in enumerate(parts["train"]) if index % every),
        "validation": parts["train"][::every],
        "test": parts["test"],
    }
    return Dataset(str(folder), classes, splits)


def _part(folder: Path, stem: str) -> tuple[Sample, ...]:
    images = _read(folder, f"{stem}-images-idx3-ubyte", 3)
    labels = _read(folder, f"{stem}-labels-idx1-ubyte", 1)
    if len(images) != len(labels):
        raise DataError(folder, f"{len(images)} {stem} images and {len(labels)} labels", "fetch both files again")
    return tuple(
        Sample(f"{stem}-{index:05}", image[..., None], int(label), hashlib.sha256(image.tobytes()).digest())
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    )


def _read(folder: Path, name: str, dimensions: int) -> NDArray[np.uint8]:
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise DataError(folder / name, "is missing (with or without .gz)", "put all four idx files in the folder")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        shape = struct.unpack_from(f">{dimensions}I", data, 4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DataError(path, f"not a whole idx file ({error})", "fetch it again") from error
