"""Data sets that are not image folders: scikit-learn's embedded digits, and idx archives such as MNIST.

Digits: 1,797 real handwritten digits (UCI, Alpaydin and Kaynak 1998). Idx: LeCun, Cortes and Burges, The MNIST
database: big-endian magic, dimensions, then unsigned bytes.
"""

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgglass.data.dataset import Dataset, Sample
from vgglass.errors import DataError, MissingExtraError

DIGITS = "the embedded digits"  # the name of that data set
TEST_IMAGES, VALIDATION_DIGITS = 360, 180


def digits() -> Dataset:
    """8x8 grey images in a fixed stratified split: 1,257 train, 180 validation, 360 test."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as error:
        raise MissingExtraError("scikit-learn", "torch", DIGITS) from error
    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]  # stored as 0..16
    samples = [
        Sample(f"digit-{index:04}", image, int(label), hashlib.sha256(image.tobytes()).digest())
        for index, (image, label) in enumerate(zip(pixels, digits.target, strict=True))
    ]

    def part(members: list[Sample], count: int) -> tuple[list[Sample], list[Sample]]:
        labels = [sample.label for sample in members]
        rest, taken = train_test_split(members, test_size=count, stratify=labels, random_state=0)
        return rest, taken

    rest, test = part(samples, TEST_IMAGES)
    train, validation = part(rest, VALIDATION_DIGITS)
    splits = {"train": tuple(train), "validation": tuple(validation), "test": tuple(test)}
    return Dataset(DIGITS, tuple(str(digit) for digit in range(10)), splits)


def write_images(split: str, folder: Path) -> Path:
    """Write one split as 8x8 PNG files, one folder per class; the folder."""
    dataset = digits()
    for sample in dataset.split(split):
        path = folder / dataset.classes[sample.label] / f"{sample.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(sample.source, np.ndarray)
        Image.fromarray(sample.source[..., 0]).save(path)
    return folder


# Idx archives: train-images-idx3-ubyte(.gz) and so on.

PARTS = {"train": "train", "test": "t10k"}
VALIDATION_IMAGES = 5000  # held out of the training part to choose the best epoch
FASHION_MNIST = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def holds_idx(folder: Path) -> bool:
    return any(folder.glob("train-images-idx3-ubyte*"))


def idx(folder: Path) -> Dataset:
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
