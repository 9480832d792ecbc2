"""The network against torchvision's and against computations of our own."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import vgg as torchvision_vgg

from vgglass.architecture import COLUMNS, LRN_ALPHA, LRN_BETA, LRN_K, LRN_SIZE, Architecture
from vgglass.errors import UsageError
from vgglass.model import VGG
from vgglass.modelfile import golden_images
from vgglass.preprocess import Preprocessing, normalise


def small(name: str, **options: object) -> VGG:
    defaults = {"classes": 7, "image_size": 32, "width": 0.125, "hidden": 24}
    network = VGG(Architecture.named(name, **(defaults | options))).eval()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                random = torch.rand_like(tensor) + 0.5 if tensor.ndim == 1 else torch.randn_like(tensor) * 0.2
                tensor.copy_(random)
    return network


def close(found: Tensor, expected: Tensor, share: float = 1e-4) -> bool:
    return bool((found - expected).abs().max() <= share * expected.abs().max())


@pytest.mark.parametrize("name", [*COLUMNS, *(f"{column}_bn" for column in COLUMNS)])
def test_parameters_and_walk(name: str) -> None:
    network = small(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == network.architecture.parameters
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        steps = list(network.walk(images))
        logits = network(images)
    assert [step.name for step in steps] == [layer.name for layer in network.architecture.layers()]
    assert all(step.output.shape[1:].numel() == np.prod(step.layer.output_shape) for step in steps)
    assert torch.equal(steps[-2].output, logits)
    assert torch.equal(steps[-1].output, logits.softmax(1))
    assert steps[-1].kind == "softmax"


def test_a_captured_convolution_keeps_its_negative_values() -> None:
    steps = {step.name: step.output for step in small("A").walk(torch.randn(1, 3, 32, 32))}
    assert (steps["conv1_1"] < 0).any()
    assert torch.equal(steps["relu1_1"], steps["conv1_1"].clamp(min=0))


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"])
@pytest.mark.parametrize("size", [32, 96])
def test_convolutions_equal_torchvisions(name: str, size: int) -> None:
    network = VGG(Architecture.named(name, classes=5, image_size=size, hidden=16)).eval()
    letter = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}[name.removesuffix("_bn")]
    theirs = torchvision_vgg.make_layers(torchvision_vgg.cfgs[letter], batch_norm=name.endswith("_bn")).eval()
    ours = [network.get_submodule(layer.name) for layer in network.architecture.layers() if layer.tensors]
    owners = [module for module in theirs if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    for module, source in zip(owners, ours[:-3], strict=True):
        module.load_state_dict(source.state_dict())
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        x = theirs(images).flatten(1)
        for fully_connected in ours[-3:-1]:
            x = fully_connected(x).relu()
        assert close(network(images), ours[-1](x))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (101, 170), (200, 64)])
def test_dense_equals_every_window_through_the_linear_layers(height: int, width: int) -> None:
    network = small("B_bn", image_size=64)
    images = torch.randn(2, 3, height, width)
    k = network.architecture.fc6_kernel
    with torch.no_grad():
        found = network.dense(images)
        pool5 = images
        for layer in network.architecture.layers():
            pool5 = network.get_submodule(layer.name)(pool5)
            if layer.name == "pool5":
                break
        for row in range(pool5.shape[2] - k + 1):
            for column in range(pool5.shape[3] - k + 1):
                x = pool5[:, :, row : row + k, column : column + k].flatten(1)
                for name in ("fc6", "fc7", "fc8"):
                    x = network.get_submodule(name)(x if name == "fc6" else x.relu())
                assert close(found[:, :, row, column], x)
    assert found.shape[2:] == (pool5.shape[2] - k + 1, pool5.shape[3] - k + 1)


def test_dense_equals_forward_at_the_training_size() -> None:
    network = small("D", image_size=64)
    images = torch.randn(2, 3, 64, 64)
    assert close(network.dense(images)[:, :, 0, 0], network(images))


def test_dense_names_its_least_size() -> None:
    with pytest.raises(UsageError, match=r"an image of 64x63: fc6 of this network spans 64 pixels .* 64x64"):
        small("A", image_size=64).dense(torch.zeros(1, 3, 64, 63))


def test_forward_names_the_size_it_takes() -> None:
    with pytest.raises(UsageError, match=r"\(1, 3, 40, 40\): this network takes \(N, 3, 32, 32\)"):
        small("A")(torch.zeros(1, 3, 40, 40))


def test_lrn_is_krizhevskys() -> None:
    norm = small("A-LRN").get_submodule("norm1")
    x = torch.randn(1, 8, 2, 2) * 30
    padded = F.pad((x**2).permute(0, 2, 3, 1), (LRN_SIZE // 2,) * 2)
    squares = padded.unfold(-1, LRN_SIZE, 1).sum(-1).permute(0, 3, 1, 2)
    assert close(norm(x), x / (LRN_K + LRN_ALPHA * squares) ** LRN_BETA, 1e-6)
    # By hand: one channel of 100 between zeros gives 100 / (2 + 1e-4 * 10000)^0.75 = 100 / 3^0.75.
    one = torch.zeros(1, 5, 1, 1)
    one[0, 2] = 100
    assert norm(one)[0, 2].item() == pytest.approx(43.8691, abs=1e-3)


def test_head_of_a_32_pixel_input_is_one_pixel() -> None:
    assert small("A").get_parameter("fc6.weight").shape == (24, 64)


def test_initialisations() -> None:
    torch.manual_seed(0)
    options = {"classes": 10, "image_size": 32, "hidden": 256, "width": 0.5}
    networks = {name: VGG(Architecture.named("A", **options), name) for name in ("kaiming", "paper", "glorot")}
    for network in networks.values():
        assert all(bool((value == 0).all()) for name, value in network.named_parameters() if name.endswith("bias"))
    weight = {name: network.get_parameter("conv4_2.weight") for name, network in networks.items()}
    assert weight["kaiming"].std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)
    assert weight["paper"].var().item() == pytest.approx(0.01, rel=0.02)
    assert weight["glorot"].abs().max().item() == pytest.approx((6 / (2 * 256 * 9)) ** 0.5, rel=0.01)
    assert networks["kaiming"].get_parameter("fc6.weight").std().item() == pytest.approx(0.01, rel=0.02)


def test_unknown_initialisation() -> None:
    with pytest.raises(UsageError, match="initialisation 'xavier': not one of kaiming, paper, glorot"):
        VGG(Architecture.named("A", image_size=32), "xavier")


def test_to_file_and_back() -> None:
    network = small("C_bn", channels=1, image_size=64)
    record = Preprocessing(64, 64, (33.0,), (70.0,), "L")
    network.train()
    file = network.to_file(tuple("abcdefg"), record)
    assert network.training
    images = torch.from_numpy(normalise(golden_images(record), record))
    assert torch.equal(VGG.from_file(file)(images), torch.from_numpy(file.golden_logits))
