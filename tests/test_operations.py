"""Single operations on an image: numbers that a person can check on paper, parity with torch, and the study note."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional as F

from vgglass import images
from vgglass.errors import ImageError, UsageError
from vgglass.glass import operations
from vgglass.glass.operations import Geometry

FOUR = torch.arange(1.0, 17).reshape(1, 1, 4, 4)  # rows 1 2 3 4 / 5 6 7 8 / 9 10 11 12 / 13 14 15 16


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("max", [[6, 8], [14, 16]]), ("min", [[1, 3], [9, 11]]), ("avg", [[3.5, 5.5], [11.5, 13.5]])],
)
def test_pooling_by_hand(kind: str, expected: list[list[float]]) -> None:
    assert operations.pool(FOUR, kind, Geometry((2, 2), 2))[0, 0].tolist() == expected


def test_padding_never_wins_and_counts_as_zero_in_an_average() -> None:
    corner = Geometry((2, 2), 2, 1)
    assert operations.pool(-FOUR, "max", corner)[0, 0, 0, 0] == -1
    assert operations.pool(FOUR, "min", corner)[0, 0, 0, 0] == 1
    assert operations.pool(FOUR, "avg", corner)[0, 0, 0, 0] == 0.25


def test_convolution_by_hand() -> None:
    # (2-1) + 2(6-5) + ... is the same everywhere on a ramp: each row gives 2 a pixel pair, weights 1 2 1 add to 4
    sobel = operations.kernel("sobel-x")
    geometry = Geometry((3, 3))
    for way in (operations.gather, operations.scatter):
        assert way(FOUR, sobel, geometry)[0, 0].tolist() == [[8, 8], [8, 8]]
    corner = Geometry((2, 2), padding=1)
    # the window of 0,0 holds only the pixel 1, under the kernel's last weight
    for way in (operations.gather, operations.scatter):
        assert way(FOUR, np.array([[10.0, 20], [30, 40]]), corner)[0, 0, 0, 0] == 40


def test_a_unit_response_is_the_kernel_turned() -> None:
    dot = torch.zeros(1, 1, 5, 5)
    dot[0, 0, 2, 2] = 1
    kernel = np.arange(9.0).reshape(3, 3)
    for way in (operations.gather, operations.scatter):
        assert way(dot, kernel, Geometry((3, 3)))[0, 0].tolist() == kernel[::-1, ::-1].tolist()


def test_channels_are_summed_or_kept() -> None:
    three = torch.cat([FOUR, 10 * FOUR, 100 * FOUR], dim=1)
    identity, geometry = operations.kernel("identity"), Geometry((3, 3))
    for way in (operations.gather, operations.scatter):
        assert way(three, identity, geometry)[0, 0].tolist() == [[666, 777], [1110, 1221]]
        assert way(three, identity, geometry, per_channel=True)[0, :, 0, 0].tolist() == [6, 60, 600]


def test_kernels_do_what_their_names_say() -> None:
    flat = torch.full((1, 1, 5, 5), 7.0)
    for name, value in {"sobel-x": 0, "sobel-y": 0, "blur": 7, "sharpen": 7, "emboss": 7, "identity": 7}.items():
        assert operations.gather(flat, operations.kernel(name), Geometry((3, 3)))[0, 0, 1, 1].item() == value


GEOMETRIES = st.builds(
    Geometry,
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(1, 2),
)


@given(GEOMETRIES, st.integers(7, 11), st.integers(7, 11), st.integers(0, 2**16))
def test_convolution_is_torchs(geometry: Geometry, height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(1, 3, height, width, generator=generator, dtype=torch.float64)
    kernel = torch.randn(*geometry.kernel, generator=generator, dtype=torch.float64)
    options = (None, geometry.stride, geometry.padding, geometry.dilation)
    expected = F.conv2d(image, kernel.expand(1, 3, *kernel.shape), *options)
    each = F.conv2d(image, kernel.expand(3, 1, *kernel.shape), *options, 3)
    for way in (operations.gather, operations.scatter):
        torch.testing.assert_close(way(image, kernel.numpy(), geometry), expected)
        torch.testing.assert_close(way(image, kernel.numpy(), geometry, per_channel=True), each)
    assert expected.shape[2:] == (geometry.output(height, 0), geometry.output(width, 1))
    for place in {(0, 0), (expected.shape[2] - 1, expected.shape[3] - 1), (expected.shape[2] // 2, 0)}:
        seen = operations.window(image, geometry, place)
        assert (seen.values * kernel.numpy()).sum() == pytest.approx(float(expected[0, 0, *place]))
        assert not seen.values[:, ~seen.inside].any()


@given(st.integers(1, 4), st.integers(1, 3), st.integers(4, 9), st.integers(4, 9), st.data())
def test_pooling_is_torchs(kernel: int, stride: int, height: int, width: int, data: st.DataObject) -> None:
    padding = data.draw(st.integers(0, kernel // 2))
    image = torch.randn(1, 2, height, width, generator=torch.Generator().manual_seed(kernel + 9 * stride))
    geometry = Geometry((kernel, kernel), stride, padding)
    modules = {
        "max": nn.MaxPool2d(kernel, stride, padding)(image),
        "min": -nn.MaxPool2d(kernel, stride, padding)(-image),
        "avg": nn.AvgPool2d(kernel, stride, padding)(image),
    }
    for kind, expected in modules.items():
        assert torch.equal(operations.pool(image, kind, geometry), expected)
        for place in {(0, 0), (expected.shape[2] - 1, expected.shape[3] - 1)}:
            seen = operations.window(image, geometry, place)
            assert operations.pooled(seen, kind) == pytest.approx(expected[0, :, *place].numpy(), abs=1e-6)
            if kind != "avg":
                won = [seen.values[channel, *spot] for channel, spot in enumerate(operations.winners(seen, kind))]
                assert won == operations.pooled(seen, kind).tolist()


def test_softmax_by_hand() -> None:
    found = operations.softmax([2.0, 1.0, 0.1])
    # e^0 = 1, e^-1 = 0.3679, e^-1.9 = 0.1496; sum 1.5174
    assert found.exponentials == pytest.approx([1, 0.36787944, 0.14956862])
    assert found.total == pytest.approx(1.51744806)
    assert found.probabilities == pytest.approx([0.65900114, 0.24243297, 0.09856589])
    warm = operations.softmax([2.0, 1.0, 0.1], 2.0)
    assert warm.scaled.tolist() == [1.0, 0.5, 0.05]
    torch.testing.assert_close(torch.from_numpy(warm.probabilities), torch.softmax(torch.tensor(warm.scaled), 0))
    assert operations.softmax([1000.0, 0.0]).probabilities.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: operations.pool(FOUR, "median", Geometry((2, 2))), "pooling 'median': not one of max, min, avg"),
        (
            lambda: operations.pool(FOUR, "max", Geometry((5, 5), 2)),
            r"kernel of 5×5 on an image of 4×4: .*height floor\(\(4 \+ 2×0 − 1×\(5 − 1\) − 1\) / 2\) \+ 1 = 0",
        ),
        (lambda: operations.pool(FOUR, "max", Geometry((3, 3), 1, 2)), "padding 2: is more than half of the kernel 3"),
        (lambda: operations.gather(FOUR, np.ones((2, 3)), Geometry((2, 3), dilation=2)), "width floor"),
        (lambda: operations.scatter(FOUR, np.ones((9, 9)), Geometry((9, 9))), "leaves no output"),
        (lambda: Geometry((3, 3), 0), "stride 0: must be at least 1"),
        (lambda: Geometry((0, 3)), "kernel 0: must be at least 1"),
        (lambda: Geometry((3, 3), 1, -1), "padding -1: must be at least 0"),
        (lambda: operations.window(FOUR, Geometry((2, 2), 2), (2, 0)), "position 2,0: the output has rows 0 to 1"),
        (lambda: operations.kernel("laplace"), "kernel 'laplace': is neither a name nor"),
        (lambda: operations.kernel("[[1,2],[3]]"), "equally long rows"),
        (lambda: operations.kernel("[1,2]"), "must be rows of finite numbers"),
        (lambda: operations.kernel("[[1e999]]"), "must be rows of finite numbers"),
        (lambda: operations.softmax([1.0, float("nan")]), "must be finite, divided by the temperature too"),
        (lambda: operations.softmax([1e308], 0.5), "must be finite, divided by the temperature too"),
        (
            lambda: operations.gather(FOUR, np.ones((3, 3)), Geometry((3, 3), 1, 10**7)),
            "padding 10000000: makes an output",
        ),
        (lambda: operations.softmax([1.0], 0), "temperature 0: must be a positive number"),
    ],
)
def test_impossible_operations_are_explained(call: "object", message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]


def _png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def test_plain_reading_says_how_it_differs(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(_png(Image.new("RGBA", (4, 3), (10, 20, 30, 0))))
    pixels, differences = images.plain(path)
    assert differences == ["alpha"]
    assert pixels[0, 0].tolist() == [10, 20, 30]
    exif = Image.Exif()
    exif[0x0112] = 6
    path.write_bytes(_png(Image.new("RGB", (4, 3)), exif=exif))
    pixels, differences = images.plain(path)
    assert differences == ["orientation"]
    assert pixels.shape == (3, 4, 3)
    path.write_bytes(_png(Image.fromarray(np.full((3, 4), 300, np.uint16))))
    pixels, differences = images.plain(path)
    assert differences == ["depth"]
    assert pixels[0, 0].tolist() == [255, 255, 255]
    for sound in (Image.new("RGB", (4, 3)), Image.new("RGBA", (4, 3), (1, 2, 3, 255))):
        path.write_bytes(_png(sound))
        assert images.plain(path)[1] == []
        assert np.array_equal(images.plain(path)[0], images.decode(path))
    Image.new("F", (4, 3)).save(tmp_path / "x.tif")
    assert images.plain(tmp_path / "x.tif")[1] == ["depth"]
    path.write_bytes(b"nonsense")
    with pytest.raises(ImageError, match="not an image"):
        images.plain(path)
