"""Folders, idx archives, the digits and splits."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vgglass.data import sources
from vgglass.data.dataset import natural
from vgglass.data.folder import image_files, open_data, scan, trainable
from vgglass.data.split import divide
from vgglass.errors import DataError


def write(path: Path, shade: int, size: tuple[int, int] = (40, 36)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(shade).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def flat(folder: Path, **counts: int) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        for index in range(count):
            write(folder / name / f"{index}.png", 1000 * number + index)
    return folder


def test_digits_are_split_for_good() -> None:
    data = sources.digits()
    assert {name: len(samples) for name, samples in data.splits.items()} == {
        "train": 1257, "validation": 180, "test": 360,
    }  # fmt: skip
    ids = [sample.id for sample in data.split("all")]
    assert len(set(ids)) == 1797
    assert data.split("test")[0].id == sources.digits().split("test")[0].id
    counts = np.bincount([sample.label for sample in data.split("test")])
    assert counts.min() >= 34  # stratified: about 36 of each


def test_flat_folder_is_split_by_content(tmp_path: Path) -> None:
    data = trainable(open_data(flat(tmp_path / "a", cat=20, dog=10)))
    assert {name: len(samples) for name, samples in data.splits.items()} == {
        "train": 20, "validation": 5, "test": 5,
    }  # fmt: skip
    moved = trainable(open_data((tmp_path / "a").rename(tmp_path / "b")))
    assert all(data.digest(split) == moved.digest(split) for split in data.splits)
    assert len({sample.id for sample in data.split("all")}) == 30


def test_split_folders_by_any_of_their_names(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("valid", 2), ("test", 3)):
        flat(tmp_path / part, cat=count, dog=count)
    data = trainable(open_data(tmp_path))
    assert {name: len(samples) for name, samples in data.splits.items()} == {"train": 8, "validation": 4, "test": 6}


def test_train_and_test_alone_give_up_validation_images(tmp_path: Path) -> None:
    flat(tmp_path / "train", cat=10, dog=10)
    flat(tmp_path / "test", cat=3, dog=3)
    data = trainable(open_data(tmp_path))
    assert {name: len(samples) for name, samples in data.splits.items()} == {"train": 16, "validation": 4, "test": 6}


def test_classes_in_natural_order_and_hidden_folders_ignored(tmp_path: Path) -> None:
    flat(tmp_path, **{"class10": 3, "class2": 3, ".cache": 3, "Class1": 3})
    write(tmp_path / "class2" / ".hidden.png", 1)
    data = open_data(tmp_path)
    assert data.classes == ("Class1", "class2", "class10")
    assert len(data.split("all")) == 9


@given(st.text(max_size=6), st.text(max_size=6))
def test_natural_order_tells_any_two_names_apart(one: str, two: str) -> None:
    assert (natural(one) == natural(two)) == (one == two)
    assert (natural(one) < natural(two)) == (not natural(two) <= natural(one))


def test_unreadable_files_are_named_and_left_out(tmp_path: Path) -> None:
    flat(tmp_path, cat=3, dog=3)
    (tmp_path / "cat" / "broken.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes()[:300])
    (tmp_path / "dog" / "text.jpg").write_text("this is text")
    data = open_data(tmp_path)
    assert len(data.split("all")) == 6
    reasons = dict(data.left_out)
    assert reasons[str(Path("cat", "broken.png"))].startswith("damaged")
    assert reasons[str(Path("dog", "text.jpg"))].startswith("not an image that vgglass reads")


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: is not a folder; name one with a subfolder for each class"):
        open_data(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no images in subfolders of it; put each class's images in a subfolder"):
        open_data(tmp_path)
    with pytest.raises(DataError, match="has one class, 'cat', and a classifier chooses among two or more"):
        trainable(open_data(flat(tmp_path / "one", cat=5)))
    divided = trainable(open_data(flat(tmp_path / "two", cat=5, dog=2))).splits
    assert [sum(sample.label == 1 for sample in divided[part]) for part in ("train", "validation", "test")] == [2, 0, 0]
    (tmp_path / "three" / "cat").mkdir(parents=True)
    (tmp_path / "three" / "cat" / "a.jpg").write_text("text")
    with pytest.raises(DataError, match="none of its 1 images could be read; the first: not an image"):
        scan(tmp_path / "three")


def idx(folder: Path, train: int = 24) -> Path:
    folder.mkdir(exist_ok=True)
    for stem, count in (("train", train), ("t10k", 6)):
        pixels = np.arange(count * 16, dtype=np.uint8)
        labels = (np.arange(count) % 3).astype(np.uint8)
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">4I", 0x803, count, 4, 4) + pixels.tobytes())
        )
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels.tobytes())
    return folder


def test_idx_archives(tmp_path: Path) -> None:
    data = open_data(idx(tmp_path))
    assert data.classes == ("0", "1", "2")
    assert (len(data.split("train")), len(data.split("validation")), len(data.split("test"))) == (12, 12, 6)
    second = data.split("test")[1]
    assert isinstance(second.source, np.ndarray)
    assert second.label == 1
    assert second.source[0, :, 0].tolist() == [16, 17, 18, 19]
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"short")
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte: not a whole idx file"):
        open_data(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"is missing \(with or without .gz\); put all four idx files"):
        open_data(tmp_path)


def test_divide_leaves_nobody_out() -> None:
    samples = sources.digits().split("all")
    parts, left_out = divide(samples, ("validation", "test"), {})
    assert left_out == ()
    assert sum(map(len, parts.values())) == len(samples)
    assert {sample.label for sample in parts["validation"]} == set(range(10))


def test_image_files_go_down_folders(tmp_path: Path) -> None:
    for name in ("b/10.png", "b/9.png", "a.jpg", "notes.txt", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in image_files(tmp_path)] == ["a.jpg", "b/9.png", "b/10.png"]
