"""Geometry equal to torchvision's to the byte, arithmetic equal to its to 1e-5."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from vgglass import preprocess
from vgglass.errors import ImageError, UsageError
from vgglass.images import Pixels
from vgglass.preprocess import Preprocessing

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
IMAGENET = Preprocessing(size=224, resize=256, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def noise(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(height * 10_000 + width).integers(0, 256, (height, width, channels), dtype=np.uint8)


def record(size: int, resize: int, channels: int = 3, **options: Any) -> Preprocessing:
    order = {1: "L", 3: "RGB"}[channels]
    return Preprocessing(
        **{"channel_order": order} | options, size=size, resize=resize, mean=(0,) * channels, std=(1,) * channels
    )


@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    size=st.integers(1, 70),
    margin=st.integers(0, 20),
    channels=st.sampled_from([1, 3]),
)
def test_crop_is_torchvisions_to_the_byte(height: int, width: int, size: int, margin: int, channels: int) -> None:
    pixels = noise(height, width, channels)
    picture = Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels)
    reference = transforms.Compose([transforms.Resize(size + margin), transforms.CenterCrop(size)])
    expected = np.asarray(reference(picture)).reshape(size, size, channels)
    np.testing.assert_array_equal(preprocess.fit(pixels, record(size, size + margin, channels)), expected)


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
def test_every_interpolation_is_pillows(interpolation: str) -> None:
    pixels = noise(41, 67)
    expected = Image.fromarray(pixels).resize((20, 20), Image.Resampling[interpolation.upper()])
    fitted = preprocess.fit(pixels, record(20, 20, fit="squash", interpolation=interpolation))
    np.testing.assert_array_equal(fitted, expected)


def test_crop_by_hand() -> None:
    """2x4 at its own size: the middle two columns; the left one of an odd remainder stays (round half to even)."""
    pixels = np.arange(2 * 5, dtype=np.uint8).reshape(2, 5, 1)
    np.testing.assert_array_equal(preprocess.fit(pixels[:, :4], record(2, 2, 1))[..., 0], [[1, 2], [6, 7]])
    np.testing.assert_array_equal(preprocess.fit(pixels, record(2, 2, 1))[..., 0], [[2, 3], [7, 8]])


@pytest.mark.parametrize(("height", "width"), [(1, 20_000_000), (20_000_000, 1), (1, 151)])
def test_a_thread_of_an_image_is_refused_before_it_fills_the_memory(height: int, width: int) -> None:
    with pytest.raises(
        ImageError, match=f"image of {height}x{width}: too narrow to bring its shorter side to 256; crop"
    ):
        preprocess.fit(np.broadcast_to(np.uint8(0), (height, width, 3)), IMAGENET)


def test_pad_by_hand() -> None:
    """A 2x4 image in a 4x4 square: one row of background above, one below, the image untouched between them."""
    pixels = noise(2, 4)
    fitted = preprocess.fit(pixels, record(4, 4, fit="pad", background=(1, 2, 3)))
    np.testing.assert_array_equal(fitted[[0, 3]], np.broadcast_to([1, 2, 3], (2, 4, 3)))
    np.testing.assert_array_equal(fitted[1:3], pixels)


def test_pad_brings_the_longer_side_to_the_size() -> None:
    """A constant 6x3 image to 4: 4x2 of it, with one column of background on either side."""
    fitted = preprocess.fit(np.full((6, 3, 3), 9, np.uint8), record(4, 4, fit="pad", background=(0, 0, 0)))
    np.testing.assert_array_equal(fitted[..., 0], [[0, 9, 9, 0]] * 4)
    sliver = preprocess.fit(np.full((1000, 1, 3), 9, np.uint8), record(4, 4, fit="pad", background=(0, 0, 0)))
    np.testing.assert_array_equal(sliver[..., 0], [[0, 9, 0, 0]] * 4)


def test_pad_in_grey_uses_the_backgrounds_luminance() -> None:
    fitted = preprocess.fit(np.zeros((1, 2, 1), np.uint8), record(2, 2, 1, fit="pad", background=(255, 0, 0)))
    np.testing.assert_array_equal(fitted[..., 0], [[0, 0], [76, 76]])  # 0.299 * 255


def test_the_right_size_passes_untouched() -> None:
    pixels = noise(32, 32)
    for fit in ("crop", "pad", "squash"):
        np.testing.assert_array_equal(preprocess.fit(pixels, record(32, 32, fit=fit)), pixels)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12))
def test_normalise_is_torchvisions(batch_size: int, height: int, width: int) -> None:
    batch = np.stack([noise(height + number, width)[:height] for number in range(batch_size)])
    reference = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )
    expected = torch.stack([reference(pixels) for pixels in batch]).numpy()
    normalised = preprocess.normalise(batch, IMAGENET)
    assert normalised.dtype == np.float32
    assert normalised.transpose(0, 2, 3, 1).flags.c_contiguous  # channels last in memory
    np.testing.assert_allclose(normalised, expected, atol=1e-5)


def test_normalise_by_hand() -> None:
    """(pixel - mean) / std with the mean in the order of the channels; Caffe's BGR means for VGG."""
    pixel = np.array([[[[110, 120, 130]]]], np.uint8)
    rgb = Preprocessing(size=1, resize=1, mean=(100, 100, 100), std=(1, 2, 4))
    np.testing.assert_array_equal(preprocess.normalise(pixel, rgb).ravel(), [10, 10, 7.5])
    bgr = Preprocessing(size=1, resize=1, mean=(103.5, 116.5, 123.5), std=(1, 1, 1), channel_order="BGR")
    np.testing.assert_array_equal(preprocess.normalise(pixel, bgr).ravel(), [26.5, 3.5, -13.5])
    grey = Preprocessing(size=1, resize=1, mean=(127.5,), std=(127.5,), channel_order="L")
    np.testing.assert_array_equal(preprocess.normalise(np.array([[[[0]], [[255]]]], np.uint8), grey).ravel(), [-1, 1])


def test_read_takes_the_record_to_the_decoder(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (8, 6), (0, 0, 0, 0)).save(path)
    red = preprocess.read(path, record(4, 4, background=(255, 0, 0)))
    np.testing.assert_array_equal(red, np.broadcast_to([255, 0, 0], (6, 8, 3)))
    assert preprocess.read(path.read_bytes(), record(4, 4, 1)).shape == (6, 8, 1)
    pixels = noise(3, 3)
    assert preprocess.read(pixels, record(2, 2)) is pixels


def test_jpeg_scaled_stays_within_rounding_of_the_full_decode(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    height, width = np.mgrid[:1200, :1600]
    Image.fromarray(np.stack([height // 5, width // 7, (height + width) // 12], axis=2).astype(np.uint8)).save(path)
    full, scaled = (record(64, 80, jpeg_scaled=jpeg_scaled) for jpeg_scaled in (False, True))
    assert preprocess.read(path, full).shape == (1200, 1600, 3)
    assert preprocess.read(path, scaled).shape == (300, 400, 3)  # 2/8: twice 80 is more than the 150 of 1/8
    fits = [preprocess.fit(preprocess.read(path, each), each).astype(int) for each in (full, scaled)]
    assert np.abs(fits[0] - fits[1]).max() <= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channel_order": "RBG"}, "channel_order='RBG': must be one of L, RGB, BGR; mend the record"),
        ({"fit": "zoom"}, "fit='zoom': must be crop, pad or squash"),
        ({"interpolation": "cubic"}, "interpolation='cubic': must be nearest, box, bilinear, bicubic, lanczos"),
        ({"mean": (1.0,)}, r"mean=\(1.0,\): must be 3 finite numbers, one a channel"),
        ({"mean": (1.0, float("inf"), 1.0)}, "mean=.*: must be 3 finite numbers"),
        ({"std": (1.0, 1.0)}, "std=.*: must be 3 finite numbers, one a channel"),
        ({"std": (1.0, 1.0, float("nan"))}, "std=.*: must be 3 finite numbers"),
        ({"std": (1.0, 0.0, 1.0)}, "std=.*: must be positive numbers"),
        ({"size": 0}, "size=0: must be positive"),
        ({"resize": 223}, "resize=223: must be at least the size"),
        ({"resize": 223, "fit": "pad"}, "resize=223: must be at least the size"),
        ({"background": (0, 0, 256)}, r"background=\(0, 0, 256\): must be three numbers from 0 to 255"),
        ({"background": (0, 0, -1)}, "background=.*: must be three numbers from 0 to 255"),
        ({"background": (0, 0)}, r"background=\(0, 0\): must be three numbers"),
    ],
)
def test_every_rules_message(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"preprocessing {message}"):
        Preprocessing.from_json(IMAGENET.as_json() | options)


def test_json_round_trip() -> None:
    odd = record(32, 40, 1, fit="pad", interpolation="lanczos", background=(1, 2, 3), jpeg_scaled=True)
    for each in (IMAGENET, odd):
        assert Preprocessing.from_json(json.loads(json.dumps(each.as_json()))) == each
    with pytest.raises(KeyError, match="std"):
        Preprocessing.from_json({name: value for name, value in IMAGENET.as_json().items() if name != "std"})
