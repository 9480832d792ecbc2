"""A window that slides over a few numbers: by hand, and as torch slides it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from glass_subjects import photograph
from vgglass.errors import UsageError
from vgglass.glass import Geometry
from vgglass.glass.operations import NUMBERS, Play, grey, numbers, play

SQUARE = np.arange(16, dtype=np.float64).reshape(4, 4)


def played(operation: str, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Play:
    return play(SQUARE, operation, Geometry((kernel, kernel), stride, padding, dilation))


@pytest.mark.parametrize(
    ("operation", "expected", "winner"),
    [
        ("max", [[5, 7], [13, 15]], (1, 1)),
        ("min", [[0, 2], [8, 10]], (0, 0)),
        ("avg", [[2.5, 4.5], [10.5, 12.5]], None),
    ],
)
def test_poolings_by_hand(operation: str, expected: list[list[float]], winner: tuple[int, int] | None) -> None:
    found = played(operation, 2, 2)
    assert found.outputs.tolist() == expected
    assert found.winner((0, 1)) == winner
    assert found.at((1, 0)).values.tolist() == [[[8, 9], [12, 13]]]
    assert (found.kernel, found.problem) == (None, None)


def test_a_dilated_window_by_hand() -> None:
    """Taps two apart: rows 0 and 2, columns 1 and 3."""
    found = played("max", 2, dilation=2)
    assert found.outputs.tolist() == [[10, 11], [14, 15]]
    assert found.at((0, 1)).values.tolist() == [[[1, 3], [9, 11]]]
    assert (found.span, found.room) == (3, 4)
    assert found.formula == "floor((4 + 2×0 − 2×(2 − 1) − 1) / 1) + 1 = 2"


def test_a_padded_convolution_by_hand() -> None:
    """The blur's weights 4, 2, 2, 1 (of 16) on 0, 1, 4, 5 in the corner."""
    found = played("conv", 3, padding=1)
    assert found.outputs[0, 0] == pytest.approx((4 * 0 + 2 * 1 + 2 * 4 + 1 * 5) / 16)
    seen = found.at((0, 0))
    assert seen.inside.tolist() == [[False] * 3, [False, True, True], [False, True, True]]
    assert (seen.top, seen.left) == (-1, -1)
    assert found.kernel is not None
    assert found.kernel.sum() == 1
    assert played("conv", 2).outputs[0, 0] == 2.5  # another side averages
    assert found.winner((0, 0)) is None


def test_the_notes_preset() -> None:
    found = play(numbers(12), "max", Geometry((6, 6), 2))
    assert found.outputs.shape == (4, 4)
    assert found.outputs[1, 3] == found.values[2:8, 6:12].max()
    assert found.formula.endswith("= 4")


@pytest.mark.parametrize(
    ("operation", "kernel", "padding", "dilation", "problem"),
    [
        ("max", 5, 0, 1, "window"),
        ("conv", 3, 0, 2, "window"),
        ("max", 3, 2, 1, "padding"),
        ("avg", 2, 2, 1, "padding"),
        ("max", 2, 1, 5, "padding"),  # taps at -1 and 4, on either side of the whole input
        ("min", 2, 1, 4, None),
        ("conv", 3, 2, 1, None),
        ("max", 9, 2, 1, "window"),
    ],
)
def test_what_leaves_no_output(operation: str, kernel: int, padding: int, dilation: int, problem: str | None) -> None:
    found = played(operation, kernel, 1, padding, dilation)
    assert found.problem == problem
    assert (found.outputs.size == 0) == (problem is not None)


def test_another_operation_is_refused() -> None:
    with pytest.raises(UsageError, match=r"operation 'sum': not one of max, min, avg, conv; choose one of them"):
        played("sum", 2)
    with pytest.raises(UsageError, match="position 2,0: the output has rows 0 to 1"):
        played("max", 2, 2).at((2, 0))


def test_numbers_are_the_same_each_time() -> None:
    assert numbers(5).tolist() == numbers(5).tolist()
    assert set(numbers(24).ravel()) <= set(range(NUMBERS))


def test_greys_are_the_means_of_a_pictures_cells() -> None:
    pixels = np.repeat(np.repeat(np.array([[10, 200], [30, 90]], np.uint8), 8, axis=0), 8, axis=1)
    assert grey(np.stack([pixels] * 3, axis=2), 2).tolist() == [[10, 200], [30, 90]]
    assert grey(photograph(64, 64, channels=1), 4).shape == (4, 4)


@given(
    st.integers(1, 9), st.integers(1, 5), st.integers(1, 3), st.integers(0, 3), st.integers(1, 10),
    st.sampled_from(["max", "min", "avg", "conv"]),
)  # fmt: skip
def test_every_output_is_torchs(n: int, k: int, stride: int, padding: int, dilation: int, operation: str) -> None:
    values = numbers(n)
    found = play(values, operation, Geometry((k, k), stride, padding, dilation))
    image = torch.from_numpy(values[None, None])
    kernel = np.full((k, k), 1 / k**2) if found.kernel is None else found.kernel
    sign = {"max": 1, "min": -1}.get(operation)

    def work() -> torch.Tensor:
        if sign is None:  # an average too: torch's own has no dilation
            return F.conv2d(image, torch.from_numpy(kernel)[None, None], None, stride, padding, dilation)
        return sign * F.max_pool2d(sign * image, k, stride, padding, dilation)

    if found.problem is None:
        expected = work()[0, 0].numpy()
        np.testing.assert_allclose(found.outputs, expected, rtol=1e-9, atol=1e-9)
        place = len(found.outputs) - 1, 0
        winner = found.winner(place)
        if winner:
            assert found.at(place).values[0][winner] == found.outputs[place]
        elif operation == "conv":
            assert (found.at(place).values[0] * kernel).sum() == pytest.approx(found.outputs[place])
    elif found.problem == "window":
        assert found.span > found.room
        with pytest.raises(RuntimeError):
            work()
    elif 2 * padding <= k:
        assert operation != "conv"
        assert dilation > n
        if operation != "avg":
            assert np.isinf(work().numpy()).any()
