"""Winograd's convolution against the direct one in float64, its transforms by hand, and in a run."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training_runs import QUICK, one_epoch, trainer
from vgglass.architecture import Architecture
from vgglass.model import VGG
from vgglass.training import winograd, winograd_tiles
from vgglass.training.winograd import Convolution, Workspace

# Lavin and Gray, 2016, section 4.3, typed anew: B' and A' of F(4x4, 3x3).
B = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
     [0, 4, 0, -5, 0, 1]], np.float32,
).T  # fmt: skip
A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32).T
LARGEST_ERROR = 2e-5  # of the largest number
WORKSPACE = Workspace()


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return winograd.convolve(x, weight, bias, WORKSPACE)  # as layers of a network do, which find in it what others left


def both_ways(function: Callable[..., Tensor], *inputs: Tensor, by: Tensor) -> list[Tensor]:
    """The output, and the gradient of (output * by).sum() for each input."""
    leaves = [value.detach().to(by.dtype).requires_grad_() for value in inputs]
    output = function(*leaves)
    output.backward(by)  # type: ignore[no-untyped-call]
    return [output.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def expect_as_direct(x: Tensor, weight: Tensor, bias: Tensor) -> None:
    by = torch.randn(len(x), len(weight), *x.shape[2:])
    found = both_ways(convolve, x, weight, bias, by=by)
    expected = both_ways(lambda x, weight, bias: F.conv2d(x, weight, bias, padding=1), x, weight, bias, by=by.double())
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= LARGEST_ERROR * other.abs().max()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (4, 4), (7, 14), (8, 9), (14, 14), (17, 2)])
@pytest.mark.parametrize("images", [1, 3])
def test_the_same_as_direct(height: int, width: int, images: int) -> None:
    torch.manual_seed(0)
    expect_as_direct(torch.randn(images, 5, height, width), torch.randn(7, 5, 3, 3), torch.randn(7))


@pytest.mark.parametrize(("channels", "kernels"), [(1, 1), (1, 64), (63, 3), (65, 130), (128, 64)])
def test_any_number_of_channels(channels: int, kernels: int) -> None:
    """They are transformed 64 at a time: one fewer, one more and whole blocks."""
    torch.manual_seed(0)
    expect_as_direct(torch.randn(2, channels, 6, 6), torch.randn(kernels, channels, 3, 3), torch.randn(kernels))


def test_any_layout() -> None:
    torch.manual_seed(0)
    large, weight, bias = torch.randn(4, 6, 9, 20), torch.randn(8, 6, 3, 3), torch.randn(8)
    for x in (large.to(memory_format=torch.channels_last), large[::2, :, 1:, ::3], large.transpose(2, 3)):
        expect_as_direct(x, weight, bias)
    expect_as_direct(large, weight.to(memory_format=torch.channels_last), bias)


def test_without_a_bias() -> None:
    x, weight = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    assert torch.allclose(convolve(x, weight, None), F.conv2d(x, weight, padding=1), atol=1e-4)


def test_only_what_is_wanted_has_a_gradient() -> None:
    x, weight, bias = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3), torch.randn(4)
    for wanted in itertools.product((False, True), repeat=3):
        leaves = [value.clone().requires_grad_(want) for value, want in zip((x, weight, bias), wanted, strict=True)]
        output = convolve(*leaves)
        assert output.requires_grad == any(wanted)
        if any(wanted):
            output.sum().backward()  # type: ignore[no-untyped-call]
        assert tuple(leaf.grad is not None for leaf in leaves) == wanted


def test_one_tile_by_hand() -> None:
    """Of the input one pixel is not zero: the output is the weights turned around it, and the bias."""
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 2] = 1
    weight = torch.arange(1.0, 10).view(1, 1, 3, 3)
    around = [[0.0, 9, 8, 7], [0, 6, 5, 4], [0, 3, 2, 1], [0, 0, 0, 0]]
    assert torch.allclose(convolve(x, weight, torch.ones(1))[0, 0], 1 + torch.tensor(around), atol=1e-5)


def transformed(transform: Callable[..., None], source: Any, target: tuple[int, ...], pieces: int) -> Any:
    found = np.full(target, np.nan, np.float32)
    transform(source.astype(np.float32), found, 0, pieces)
    return found


def test_the_transforms_are_the_papers_matrices() -> None:
    """A map of 4x4 is one tile; whole numbers, so that float32 is exact. B has 6 rows, the outermost on the border."""
    draw = np.random.default_rng(0)
    maps, planes = draw.integers(-9, 9, (4, 4)), draw.integers(-9, 9, (6, 6))
    image, plane = maps.reshape(1, 4, 4, 1), planes.reshape(36, 1, 1)
    v = transformed(winograd_tiles.transform_input, image, (36, 1, 1), 1)
    assert (v.reshape(6, 6) == B.T @ np.pad(maps, 1) @ B).all()
    d = transformed(winograd_tiles.transform_output_gradient, image, (36, 1, 1), 1)
    assert (d.reshape(6, 6) == A @ maps @ A.T).all()
    y = transformed(winograd_tiles.transform_output, plane, (1, 4, 4, 1), 1)
    assert (y.reshape(4, 4) == A.T @ planes @ A).all()
    dx = transformed(winograd_tiles.transform_input_gradient, plane, (1, 4, 4, 1), 1)
    assert (dx.reshape(4, 4) == (B @ planes @ B.T)[1:5, 1:5]).all()


def test_f_of_4_and_3_in_one_dimension() -> None:
    """[1 2 3 4 5 6] with weights [1 0 -1] is -2 everywhere, with [1 1 1] 6, 9, 12 and 15."""
    row, g = np.arange(1, 7), winograd.G.numpy()
    assert A.T @ ((g @ [1, 0, -1]) * (B.T @ row)) == pytest.approx([-2, -2, -2, -2])
    assert A.T @ ((g @ [1, 1, 1]) * (B.T @ row)) == pytest.approx([6, 9, 12, 15])


@pytest.mark.parametrize("threads", [2, 3])
def test_the_bits_are_the_same_whatever_shares_the_tiles(threads: int) -> None:
    draw, before = np.random.default_rng(0), torch.get_num_threads()
    maps = draw.standard_normal((3, 10, 7, 70), np.float32)
    planes = draw.standard_normal((36, 3 * 3 * 2, 70), np.float32)
    found = []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            found.append([np.empty_like(planes), np.empty_like(planes), np.empty_like(maps), np.empty_like(maps)])
            winograd._share_out(winograd_tiles.transform_input, maps, found[-1][0], 9)
            winograd._share_out(winograd_tiles.transform_output_gradient, maps, found[-1][1], 9)
            winograd._share_out(winograd_tiles.transform_output, planes, found[-1][2], 9)
            winograd._share_out(winograd_tiles.transform_input_gradient, planes, found[-1][3], 3)
    finally:
        torch.set_num_threads(before)
    assert all(one.tobytes() == other.tobytes() for one, other in zip(*found, strict=True))


def names(network: Architecture, images: int) -> list[str]:
    return [layer.name for layer in winograd.paying(network, images)]


def test_small_layers_stay_direct() -> None:
    assert winograd.pays(64, 64, 16 * 56 * 56)
    assert not winograd.pays(3, 64, 16 * 56 * 56)
    assert not winograd.pays(512, 512, 16)
    assert not winograd.pays(64, 64, 512)
    layer, x = Convolution(4, 4, WORKSPACE), torch.randn(1, 4, 8, 8)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1))
    photographs = Architecture.named("vgg11", classes=2, image_size=64)
    assert names(photographs, 16) == ["conv2_1", "conv3_1", "conv3_2", "conv4_1", "conv4_2"]
    assert names(photographs, 4) == ["conv3_2"]  # 16 tiles an image, 256 channels: just 2^22
    assert names(Architecture.named("C", classes=2, image_size=64), 32)[-1] == "conv5_2"  # the third is 1x1


def test_a_network_keeps_its_parameters_names_and_mode() -> None:
    torch.manual_seed(0)
    network = VGG(Architecture.named("vgg16_bn", classes=2, image_size=32, hidden=8)).eval()
    parameters, state = list(network.named_parameters()), network.state_dict()
    images = torch.randn(32, 3, 32, 32)
    before, layers = network(images), [name for name, _ in network.named_children()]
    winograd.use_in(network)
    assert sum(isinstance(module, Convolution) for module in network.modules()) == 13
    assert [name for name, _ in network.named_children()] == layers
    assert all(one is other for (_, one), (_, other) in zip(network.named_parameters(), parameters, strict=True))
    assert list(network.state_dict()) == list(state)
    assert not any(module.training for module in network.modules())
    after = network(images)
    assert 0 < (after - before).abs().max() < 1e-4 * before.abs().max()


def test_only_3_by_3_is_replaced() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, padding=1))
    winograd.use_in(network)
    assert [isinstance(layer, Convolution) for layer in network] == [False, False, True]


def test_a_run_learns_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer by tiles, 64 channels or not: the same losses as the direct run's but for rounding."""
    monkeypatch.setattr(winograd, "pays", lambda *_: True)
    plan = QUICK | {"width": 0.125, "dropout": 0, "learning_rate": 0.01}
    rows = []
    for convolution in ("direct", "winograd"):
        one, _ = trainer(**plan, convolution=convolution)
        assert any(isinstance(layer, Convolution) for layer in one.network.modules()) == (convolution == "winograd")
        rows.append(one_epoch(one) | one.validate())
    assert rows[1]["train_loss"] == pytest.approx(rows[0]["train_loss"], rel=0.05)
    assert rows[1]["train_accuracy"] == pytest.approx(rows[0]["train_accuracy"], abs=0.05)
    assert rows[0]["train_accuracy"] > 0.2  # chance: 0.1
