"""The embedded digits: scikit-learn's `load_digits`, 1,797 real handwritten digits (UCI, Alpaydin and Kaynak 1998)."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from vgglass.data.dataset import Dataset, Sample
from vgglass.errors import MissingExtraError

TEST_IMAGES, VALIDATION_IMAGES = 360, 180


def load() -> Dataset:
    """8x8 grey images in a fixed stratified split: 1,257 train, 180 validation, 360 test."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as error:
        raise MissingExtraError("scikit-learn", "torch", "the embedded digits") from error
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
    train, validation = part(rest, VALIDATION_IMAGES)
    splits = {"train": tuple(train), "validation": tuple(validation), "test": tuple(test)}
    return Dataset("the embedded digits", tuple(str(digit) for digit in range(10)), splits)


def write_images(split: str, folder: Path) -> Path:
    """Write one split as PNG files, a folder a class, 8x8 as they are; the folder."""
    dataset = load()
    for sample in dataset.split(split):
        path = folder / dataset.classes[sample.label] / f"{sample.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(sample.source, np.ndarray)
        Image.fromarray(sample.source[..., 0]).save(path)
    return folder
