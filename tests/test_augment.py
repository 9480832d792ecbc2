"""What the training step sees: geometry, colours, mixtures, and that nothing is drawn twice the same or by accident."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vgglass.data.augment import AUGMENTATIONS, ColourShift, ScaleJitter, colour_components, drawn_square, mix, strong
from vgglass.data.sampling import drawn_from, key
from vgglass.images import Pixels
from vgglass.preprocess import Preprocessing, fit

RECORDS = {
    1: Preprocessing(32, 36, (90.0,), (60.0,), "L"),
    3: Preprocessing(32, 36, (90.0, 100.0, 110.0), (60.0,) * 3),
}


def augmented(pixels: Pixels, name: str, seeds: list[int], record: Preprocessing, colours: Any = None) -> Pixels:
    """The image once for each seed (N, S, S, C)."""
    augmentation = AUGMENTATIONS[name]
    if augmentation.square is None:
        squares = [fit(pixels, record)] * len(seeds)
    else:
        squares = [drawn_square(pixels, augmentation.square(record, colours), seed) for seed in seeds]
    return augmentation.finish(np.stack(squares), np.array([key(seed) for seed in seeds], np.uint64))


@given(st.integers(3, 90), st.integers(3, 90), st.sampled_from(sorted(AUGMENTATIONS)), st.sampled_from([1, 3]))
def test_augmentations_give_the_square(height: int, width: int, name: str, channels: int) -> None:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, channels), dtype=np.uint8)
    squares = augmented(pixels, name, [1, 2], RECORDS[channels])
    assert squares.shape == (2, 32, 32, channels)
    assert squares.dtype == np.uint8


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_draw_is_a_function_of_its_seed(name: str, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 48, channels), dtype=np.uint8)
    state = torch.get_rng_state()
    first, other = (augmented(pixels, name, seeds, RECORDS[channels]) for seeds in ([*range(12)], [*range(12, 24)]))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(augmented(pixels, name, [*range(12)], RECORDS[channels]), first)
    assert np.array_equal(first, other) == (name == "none")


@pytest.mark.parametrize("name", ["none", "flip", "shift", "shift-flip", "crop-flip", "paper"])
def test_geometry_leaves_one_colour_alone(name: str) -> None:
    pixels = np.full((40, 50, 3), 77, np.uint8)
    assert (augmented(pixels, name, [*range(9)], RECORDS[3]) == 77).all()


def test_shift_moves_and_repeats_the_edge() -> None:
    record = Preprocessing(32, 32, (0.0,), (1.0,), "L")
    ramp = np.arange(32, dtype=np.uint8)
    for pixels, line in (
        (np.tile(ramp[None, :, None], (32, 1, 1)), np.s_[:, 0, :, 0]),
        (np.tile(ramp[:, None, None], (1, 32, 1)), np.s_[:, :, 0, 0]),
    ):
        lines = {tuple(row) for row in augmented(pixels, "shift", [*range(60)], record)[line].tolist()}
        assert lines == {tuple(np.clip(np.arange(32) + offset, 0, 31).tolist()) for offset in (-1, 0, 1)}


def test_down_and_right_are_drawn_apart() -> None:
    pixels = np.arange(32 * 32, dtype=np.uint32).view(np.uint8).reshape(32, 32, 4)[..., :2]  # each place its own number
    record = Preprocessing(32, 32, (0.0,) * 3, (1.0,) * 3)
    squares = augmented(np.concatenate([pixels, pixels[..., :1]], 2), "shift", [*range(200)], record)
    assert len({tuple(square[5, 5].tolist()) for square in squares}) == 9


def test_half_of_the_images_are_mirrored() -> None:
    record = Preprocessing(32, 32, (0.0,), (1.0,), "L")
    pixels = np.tile(np.arange(32, dtype=np.uint8)[None, :, None], (32, 1, 1))
    squares = augmented(pixels, "flip", [*range(400)], record)
    mirrored = [bool(square[0, 0, 0] == 31) for square in squares]
    assert 160 < sum(mirrored) < 240  # four standard deviations either way
    for square, is_mirrored in zip(squares, mirrored, strict=True):
        assert np.array_equal(square, pixels[:, ::-1] if is_mirrored else pixels)


def test_the_papers_scales_are_drawn_from_256_to_512_of_a_crop_of_224() -> None:
    """The slopes of two ramps, one a side, tell how much the image was scaled, and the values where it was cut."""
    ramp = np.arange(0, 256, dtype=np.uint8)
    pixels = np.stack([*np.meshgrid(np.repeat(ramp, 2)[:400], ramp), np.zeros((256, 400))], 2).astype(np.uint8)
    jitter = ScaleJitter(32, "bilinear")
    scales, lefts = [], []
    for seed in range(300):
        with drawn_from(seed):
            square = np.asarray(jitter(Image.fromarray(pixels))).astype(float)
        across = (square[16, 27, 0] - square[16, 4, 0]) / 23 * 2  # the image's own pixels to one of the crop's
        down = (square[27, 16, 1] - square[4, 16, 1]) / 23
        assert across == pytest.approx(down, abs=0.12)  # isotropic
        scales.append(256 / down / 32)  # S over the crop's side
        lefts.append(square[16, 0, 0] * 2)
    assert 256 / 224 * 0.98 < min(scales) < 1.2
    assert 2.2 < max(scales) < 512 / 224 * 1.02
    assert np.mean(scales) == pytest.approx((256 + 512) / 2 / 224, abs=0.08)
    assert min(lefts) < 10
    assert max(lefts) > 200


@pytest.mark.parametrize(("name", "scale"), [("paper-256", 256 / 224), ("paper-384", 384 / 224)])
def test_a_fixed_scale_is_always_the_same(name: str, scale: float) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))[..., None]
    shown = augmented(ramp, name, list(range(30)), RECORDS[1]).astype(float)
    slopes = np.abs(shown[:, 16, 27, 0] - shown[:, 16, 4, 0]) / 23  # mirrored or not
    assert slopes == pytest.approx(np.full(30, 256 / (32 * scale)), rel=0.02)


def test_scale_jitter_is_resizing_then_cropping() -> None:
    """Where S and the corner fall on whole pixels, Pillow's two steps give the same numbers."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = np.asarray(image.resize((48, 48), Image.Resampling.BILINEAR)).astype(int)  # S = 48, for a crop of 32
    for seed in range(2000):
        with drawn_from(seed):
            torch.empty(()).uniform_()
            left, top = (float(torch.rand(())) * 16 for _ in range(2))  # in pixels of the scaled image
        if abs(left - round(left)) < 0.02 and abs(top - round(top)) < 0.02:
            break
    with drawn_from(seed):
        square = np.asarray(ScaleJitter(32, "bilinear", (1.5, 1.5))(image)).astype(int)
    left, top = round(left), round(top)
    assert np.abs(square - whole[top : top + 32, left : left + 32]).max() <= 5  # 2 % of a pixel off


def test_colour_components_by_hand() -> None:
    """Red takes 0 and 255, green 100 and 151, blue never changes: the covariance is diagonal."""
    corners = [(red, green, 7) for red in (0, 255) for green in (100, 151)]
    pixels = np.array(corners, np.uint8).reshape(2, 1, 2, 3)
    found = colour_components(pixels)
    assert found is not None
    # Variances in 0..1: red (1/2)^2, green (0.2/2)^2; times 255.
    expected = np.array([[0, 0, 0.25 * 255], [0, 0.01 * 255, 0], [0, 0, 0]])
    assert np.abs(found) == pytest.approx(expected, abs=1e-9)
    assert colour_components(pixels[..., :1]) is None
    noise = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)
    values, vectors = np.linalg.eigh(np.cov(noise.reshape(-1, 3).T / 255, bias=True))
    assert np.abs(colour_components(noise)) == pytest.approx(np.abs(vectors * values * 255))  # type: ignore[arg-type]


def test_colours_shift_as_one_along_their_components() -> None:
    colours = np.array([[0, 0, 60.0], [0, 30.0, 0], [0, 0, 0]])
    pixels = torch.full((3, 4, 4), 128, dtype=torch.uint8)
    shifts = []
    for seed in range(400):
        with drawn_from(seed):
            shifted = ColourShift(colours)(pixels).int() - 128
        assert (shifted == shifted[:, :1, :1]).all()
        shifts.append(shifted[:, 0, 0].tolist())
    assert np.std(shifts, axis=0) == pytest.approx([6, 3, 0], rel=0.1)  # a tenth of 60 and of 30
    with drawn_from(0):
        clipped = ColourShift(colours * 1e3)(pixels)[:2]
    assert {*clipped.flatten().tolist()} <= {0, 255}  # not wrapped


def test_the_paper_shifts_the_colours_it_is_given() -> None:
    pixels = np.full((40, 50, 3), 128, np.uint8)
    squares = augmented(pixels, "paper", [*range(20)], RECORDS[3], np.diag([100.0, 0, 0]))
    assert len(np.unique(squares[..., 0])) > 8
    assert (squares[..., 1:] == 128).all()


def test_colour_jitter_leaves_grey_grey() -> None:
    pixels = np.random.default_rng(0).integers(60, 200, (40, 40, 1), dtype=np.uint8)
    means = augmented(pixels, "standard", [*range(30)], RECORDS[1]).mean((1, 2, 3))
    assert means.max() / means.min() > 1.5  # brightness alone goes from 0.6 to 1.4


def test_what_strong_cuts_out_is_the_mean_colour() -> None:
    """Of a white picture some lose a rectangle to it, and what is moved in has that colour too."""
    erasing = strong(RECORDS[3], None).transforms[-1]
    white = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    left = set()
    for seed in range(60):
        with drawn_from(seed):
            left |= {tuple(colour) for colour in erasing(white).flatten(1).T.tolist()}
    assert left == {(255, 255, 255), (90, 100, 110)}
    pixels = np.full((40, 40, 3), 255, np.uint8)
    squares = augmented(pixels, "strong", [*range(300)], RECORDS[3])
    bare = (squares == (90, 100, 110)).all(-1).any((1, 2))
    assert 60 < bare.sum() < 200  # more than the tenth that is erased: TrivialAugment's turns and shifts
    bgr = Preprocessing(32, 36, (110.0, 100.0, 90.0), (60.0,) * 3, "BGR")  # the same, in the order of the record
    assert np.array_equal(augmented(pixels, "strong", [*range(300)], bgr), squares)


@pytest.mark.parametrize("channels", [1, 3])
def test_mixtures_are_what_their_targets_say(channels: int) -> None:
    """Image n is the constant n, so the mean of a mixture is the same share of it and of its neighbour."""
    labels = torch.arange(6)
    images = labels[:, None, None, None].expand(6, channels, 16, 16).float()
    kinds = set()
    state = torch.get_rng_state()
    for batch in range(40):
        mixed, targets = mix(images.clone(), labels, 6, seed=1, epoch=2, batch=batch)
        again, same = mix(images.clone(), labels, 6, seed=1, epoch=2, batch=batch)
        assert torch.equal(mixed, again)
        assert torch.equal(targets, same)
        assert targets.sum(1) == pytest.approx(torch.ones(6))
        assert mixed.mean((1, 2, 3)) == pytest.approx(targets @ labels.float(), abs=1e-5)
        kinds.add("MixUp" if mixed[2].min() == mixed[2].max() else "CutMix")
    assert kinds == {"MixUp", "CutMix"}
    assert torch.equal(torch.get_rng_state(), state)
    first, second, third = (mix(images, labels, 6, *keys)[1] for keys in ((1, 2, 3), (1, 2, 4), (1, 3, 3)))
    assert not torch.equal(first, second)
    assert not torch.equal(first, third)


def test_keys() -> None:
    assert key(3, 1, "a") == int(hashlib.blake2b(b"(3, 1, 'a')", digest_size=8).hexdigest(), 16)
    assert len({key(0, 1, "1"), key(0, 1, 1), key(0, 11), key(1, 0, 1), key(0, 1, "a", 0)}) == 5


def test_drawing_leaves_the_generator_where_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    before = torch.rand(2)
    with pytest.raises(RuntimeError, match="negative dimension"), drawn_from(9):
        torch.rand(100), torch.rand(-1)
    assert torch.equal(torch.cat([before, torch.rand(2)]), expected)
    with drawn_from(2**64 - 1):
        drawn = torch.rand(1)
    with drawn_from(2**64 - 1):
        assert torch.equal(torch.rand(1), drawn)
