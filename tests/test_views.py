"""Views against computations of their own, and the predictor that streams them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from glass_subjects import model, photograph
from vgglass import workflows
from vgglass.engines import Engine
from vgglass.errors import ImageError, UsageError
from vgglass.images import Pixels
from vgglass.inference import views
from vgglass.inference.predictor import Predictor
from vgglass.inference.views import View, parse
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import fit, normalise


def answers(predictor: Predictor, *images: Pixels) -> NDArray[np.float64]:
    return np.exp([answer for answer in predictor.stream(images) if not isinstance(answer, ImageError)])


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max())
    result: NDArray[np.float64] = exponentials / exponentials.sum()
    return result


def by_windows(file: ModelFile, image: Pixels) -> NDArray[np.float64]:
    """Mean class scores of a whole image (H, W, C): pool5 once, and every window of it through fc6, fc7 and fc8."""
    network, side = VGG.from_file(file), file.record.architecture.head_kernel
    x = torch.from_numpy(normalise(image[None], file.record.preprocessing))
    with torch.inference_mode():
        for name, layer in network.named_children():
            x = layer(x)
            if name == "pool5":
                break
        rows, columns = x.shape[2] - side + 1, x.shape[3] - side + 1
        windows = [x[:, :, i : i + side, j : j + side].flatten(1) for i in range(rows) for j in range(columns)]
        h = torch.cat(windows)
        for name in ("fc6", "fc7", "fc8"):
            h = F.linear(h, network.get_parameter(f"{name}.weight"), network.get_parameter(f"{name}.bias"))
            h = F.relu(h) if name != "fc8" else h
    return h.double().mean(dim=0).numpy()


@pytest.mark.parametrize("engine", ["openvino", "torch", "onnxruntime"])
@pytest.mark.parametrize(("height", "width", "scale"), [(80, 100, 64), (150, 90, 101), (70, 300, 97), (64, 64, 64)])
def test_dense_is_every_window_averaged(engine: str, height: int, width: int, scale: int) -> None:
    file, image = model("C_bn"), photograph(height, width)
    shorter, longer = scale, scale * max(height, width) // min(height, width)
    size = (longer, shorter) if width >= height else (shorter, longer)
    whole = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    expected = np.mean([softmax(by_windows(file, side)) for side in (whole, np.ascontiguousarray(whole[:, ::-1]))], 0)
    found = answers(workflows.predictor(file, views=f"dense@{scale}", engine=engine, precision="float32"), image)[0]
    assert np.abs(found - expected).max() <= 1e-4 * expected.max()


def test_crops_are_a_grid_and_its_mirror_images() -> None:
    rows, columns = np.mgrid[0:256, 0:512]
    image = np.stack([rows, columns // 2, columns % 2], axis=2).astype(np.uint8)  # a pixel says where it was
    record = replace(model("A").record.preprocessing, size=224, resize=256)
    squares = views.crops(image, record, 256)
    assert squares.shape == (50, 224, 224, 3)
    corners = [(int(square[0, 0, 0]), 2 * int(square[0, 0, 1]) + int(square[0, 0, 2])) for square in squares[:25]]
    assert corners == [(top, left) for top in (0, 8, 16, 24, 32) for left in (0, 72, 144, 216, 288)]
    assert (squares[25:] == squares[:25, :, ::-1]).all()
    assert (views.centre(image, record, 256)[0] == fit(image, record)).all()
    whole = views.dense(image, record, 256)
    assert (whole[0] == image).all()
    assert (whole[1] == image[:, ::-1]).all()


def test_words_become_views() -> None:
    record = model("A").record  # trained at 64, fc6 spans 64
    large = replace(record, preprocessing=replace(record.preprocessing, resize=73))
    assert parse("centre", large) == (View("centre", 73, 1.0),)
    assert parse("dense", large) == (View("dense", 73, 1.0),)
    assert parse("crops@80", large) == (View("crops", 80, 1.0),)
    assert parse("scales", large) == tuple(View("dense", scale, 1 / 3) for scale in (64, 73, 82))
    assert [(view.name, view.scale, view.share) for view in parse("dense@64,96 + crops", large)] == [
        ("dense", 64, 0.25), ("dense", 96, 0.25), ("crops", 73, 0.5)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("left", "--views left: is none of centre, dense, crops, scales, with sizes as in dense@256,384, joined by"),
        ("", "--views : is none of centre"),
        ("centre+", r"--views centre\+: is none of centre"),
        (f"dense@{10**7}", "is none of centre"),
        ("dense@", "is none of centre"),
        ("dense@64;96", "is none of centre"),
        ("scales@96", "--views scales@96: scales are three sizes by itself; name sizes"),
        ("dense@63", "--views dense@63: dense of this network takes sizes from 64 to 512; choose"),
        ("crops@20000", "--views crops@20000: crops of this network takes sizes from 64 to 512"),
    ],
)
def test_other_words_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text, model("A").record)


def test_a_network_that_sees_the_whole_has_one_centre() -> None:
    record = model("A").record
    squashed = replace(record, preprocessing=replace(record.preprocessing, fit="squash"))
    assert parse("centre", squashed) == (View("centre", 64, 1.0),)
    with pytest.raises(UsageError, match=r"this network is shown the whole image \(squash\); leave the size out"):
        parse("centre@80", squashed)


def test_what_plus_joins_is_averaged_at_the_softmax() -> None:
    file, image = model("A"), photograph()
    alone = {
        text: answers(workflows.predictor(file, views=text, precision="float32"), image)[0]
        for text in ("dense@64", "dense@96", "crops@70")
    }
    found = answers(workflows.predictor(file, views="dense@64,96+crops@70", precision="float32"), image)[0]
    expected = (alone["dense@64"] + alone["dense@96"]) / 4 + alone["crops@70"] / 2
    assert found == pytest.approx(expected, abs=1e-6)
    crops = views.crops(image, file.record.preprocessing, 70)
    each = [softmax(row.astype(np.float64)) for row in workflows.engine(file, "torch", "float32")(crops)]
    assert alone["crops@70"] == pytest.approx(np.mean(each, axis=0), abs=1e-6)


def test_the_temperature_is_heeded_before_the_average() -> None:
    file, image = model("A"), photograph()
    warm = replace(file, record=replace(file.record, temperature=3.0))
    engine = workflows.engine(file, "torch", "float32")
    crops = views.crops(image, file.record.preprocessing, 64)
    expected = np.mean([softmax(row.astype(np.float64) / 3) for row in engine(crops)], axis=0)
    assert answers(workflows.predictor(warm, views="crops", precision="float32"), image)[0] == pytest.approx(
        expected, abs=1e-6
    )


def test_a_strip_is_too_long_to_be_scored_whole() -> None:
    predictor = workflows.predictor(model("A"), views="dense")
    fits, strip = predictor.stream([np.zeros((10, 640, 3), np.uint8), np.zeros((10, 641, 3), np.uint8)])
    assert not isinstance(fits, ImageError)
    assert isinstance(strip, ImageError)
    assert str(strip).startswith("an image of 10x641: too long a strip to be scored whole with its shorter side at 64;")


class Counting:
    """An engine that remembers how many images each call had."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.sizes = engine, list[int]()

    def __call__(self, images: Pixels) -> NDArray[np.float32]:
        self.sizes.append(len(images))
        return self.engine(images)


def stream_of(
    file: ModelFile, sources: Sequence[Path | Pixels]
) -> tuple[list[NDArray[np.float64] | ImageError], list[int]]:
    plain = workflows.predictor(file, engine="openvino", precision="float32")
    counting = Counting(plain.engines[False])
    predictor = replace(plain, engines={False: replace(plain.engines[False], run=counting)})
    return list(predictor.stream(sources)), counting.sizes


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_order_is_kept_and_batches_are_filled(data: st.DataObject) -> None:
    file = model("A", image_size=224)  # 16 of these fill a batch
    readable = data.draw(st.lists(st.booleans(), max_size=60))
    images = [photograph(40, 50, seed=seed) for seed in range(3)]
    sources = [images[place % 3] if good else Path("/nowhere") for place, good in enumerate(readable)]
    found, sizes = stream_of(file, sources)
    expected = workflows.predictor(file, engine="openvino", precision="float32").log_probabilities(
        [[fit(image, file.record.preprocessing)[None]] for image in images]
    )
    assert len(found) == len(sources)
    for place, (answer, good) in enumerate(zip(found, readable, strict=True)):
        if good:
            assert not isinstance(answer, ImageError)
            assert answer == pytest.approx(expected[place % 3], abs=1e-4)
        else:
            assert isinstance(answer, ImageError)
    full, rest = divmod(sum(readable), 16)
    assert sizes == [16] * full + [rest] * (rest > 0)


def test_views_decode_finely_enough_for_the_largest() -> None:
    file = model("A")
    record = replace(file.record.preprocessing, jpeg_scaled=True)
    chosen = parse("dense@64,200", replace(file.record, preprocessing=record))
    assert views.decoding(record, chosen).resize == 200
