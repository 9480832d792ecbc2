"""The network against torchvision's and against computations of our own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import vgg as torchvision_vgg

from vgglass import modelfile
from vgglass.architecture import COLUMNS, LRN_ALPHA, LRN_BETA, LRN_K, LRN_SIZE, Architecture
from vgglass.errors import UsageError
from vgglass.model import INITIALISATIONS, VGG
from vgglass.modelfile import golden_images
from vgglass.preprocess import Preprocessing, normalise

EVERY_NETWORK = pytest.mark.parametrize("name", [*COLUMNS, *(f"{column}_bn" for column in COLUMNS)])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These networks are too small to share: on a busy machine several threads take four times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(name: str, **options: Any) -> VGG:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {"classes": 7, "image_size": 32, "width": 0.125, "hidden": 24}
    network = VGG(Architecture.named(name, **(defaults | options))).eval()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                random = torch.rand_like(tensor) + 0.5 if tensor.ndim == 1 else torch.randn_like(tensor) * 0.2
                tensor.copy_(random)
    return network


def close(found: Tensor, expected: Tensor, share: float = 1e-4) -> bool:
    return bool((found - expected).abs().max() <= share * expected.abs().max())


@EVERY_NETWORK
def test_parameters_and_walk(name: str) -> None:
    network = small(name)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items() if "num_batches" not in name}
    assert shapes == network.architecture.tensors()
    assert sum(parameter.numel() for parameter in network.parameters()) == network.architecture.parameters
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        steps = list(network.walk(images))
        logits = network(images)
    assert [step.name for step in steps] == [layer.name for layer in network.architecture.layers()]
    assert all(step.output.shape[1:].numel() == np.prod(step.layer.output_shape) for step in steps)
    assert steps[0].input is images
    for before, step in pairwise(steps):
        assert torch.equal(step.input, before.output.flatten(1) if step.name == "fc6" else before.output)
    assert torch.equal(steps[-2].output, logits)
    assert torch.equal(steps[-1].output, logits.softmax(1))
    torch.testing.assert_close(steps[-1].output.sum(1), torch.ones(2))
    assert steps[-1].kind == "softmax"


@EVERY_NETWORK
def test_relu_leaves_its_input_as_it_was(name: str) -> None:
    for step in list(small(name).walk(torch.randn(1, 3, 32, 32))):
        if step.kind == "relu":
            assert (step.input < 0).any(), step.name
            assert torch.equal(step.output, step.input.clamp(min=0))


def spelled_out(network: VGG) -> nn.Sequential:
    """The same network once more, from the column's table and the state's tensors alone."""
    state, column = network.state_dict(), network.architecture.column
    parts: list[nn.Module] = []

    def add(part: nn.Module, name: str) -> None:
        own = {key.removeprefix(f"{name}."): tensor for key, tensor in state.items() if key.startswith(f"{name}.")}
        part.load_state_dict(own)
        parts.append(part)

    for block, convolutions in enumerate(COLUMNS[column], start=1):
        for index, (kernel, _) in enumerate(convolutions, start=1):
            outputs, inputs = state[f"conv{block}_{index}.weight"].shape[:2]
            add(nn.Conv2d(inputs, outputs, kernel, padding={3: 1, 1: 0}[kernel]), f"conv{block}_{index}")
            if network.architecture.batch_norm:
                add(nn.BatchNorm2d(outputs), f"bn{block}_{index}")
            parts.append(nn.ReLU())
        if column == "A-LRN" and block == 1:
            parts.append(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2))
        parts.append(nn.MaxPool2d(2, 2))
    parts.append(nn.Flatten())
    for name in ("fc6", "fc7", "fc8"):
        outputs, inputs = state[f"{name}.weight"].shape
        add(nn.Linear(inputs, outputs), name)
        parts += [nn.ReLU(), nn.Dropout()] if name != "fc8" else []
    return nn.Sequential(*parts).eval()


@EVERY_NETWORK
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 70)])
@torch.inference_mode()
def test_forward_is_the_network_spelled_out(name: str, channels: int, size: int) -> None:
    network = small(name, channels=channels, image_size=size)
    images = torch.randn(2, channels, size, size)
    logits = network(images)
    assert not close(logits[:1], logits[1:], 1e-3)  # the image matters
    assert close(logits, spelled_out(network)(images))


@torch.inference_mode()
def test_a_network_by_hand() -> None:
    """Centre taps of 1 carry the largest pixel, 8, through every pooling; fc6 adds 1, fc7 doubles, fc8 takes +-."""
    network = small("A", classes=2, channels=1, width=1 / 512, hidden=1)
    for name, parameter in network.named_parameters():
        parameter.zero_()
        if name.startswith("conv") and name.endswith("weight"):
            parameter[..., 1, 1] = 1
    network.get_parameter("fc6.weight").fill_(1)
    network.get_parameter("fc6.bias").fill_(1)
    network.get_parameter("fc7.weight").fill_(2)
    network.get_parameter("fc8.weight").copy_(torch.tensor([[1.0], [-1.0]]))
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, 20, 11] = 8
    assert network(image).tolist() == [[18, -18]]
    assert network(-image).tolist() == [[2, -2]]


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"])
@pytest.mark.parametrize("size", [32, 96])
def test_convolutions_equal_torchvisions(name: str, size: int) -> None:
    network = small(name, image_size=size)
    letter = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}[name.removesuffix("_bn")]
    widths = [width if isinstance(width, str) else width // 8 for width in torchvision_vgg.cfgs[letter]]
    theirs = torchvision_vgg.make_layers(widths, batch_norm=name.endswith("_bn")).eval()
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


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (95, 97), (101, 170), (200, 64)])
@pytest.mark.parametrize(("name", "size"), [("B_bn", 64), ("A-LRN", 64), ("C", 70), ("D", 32)])
@torch.inference_mode()
def test_dense_equals_every_window_through_the_linear_layers(name: str, size: int, height: int, width: int) -> None:
    network = small(name, image_size=size)
    images = torch.randn(2, 3, height, width)
    parts = list(spelled_out(network))
    flatten = next(index for index, part in enumerate(parts) if isinstance(part, nn.Flatten))
    pool5, head = nn.Sequential(*parts[:flatten])(images), nn.Sequential(*parts[flatten:])
    k = size // 32
    rows, columns = height // 32 - k + 1, width // 32 - k + 1
    windows = [[pool5[:, :, y : y + k, x : x + k] for x in range(columns)] for y in range(rows)]
    expected = torch.stack([torch.stack([head(window) for window in row], dim=2) for row in windows], dim=2)
    found = network.dense(images)
    assert found.shape == (2, 7, rows, columns)
    assert close(found, expected)


@EVERY_NETWORK
@torch.inference_mode()
def test_dense_equals_forward_at_the_training_size(name: str) -> None:
    network = small(name, image_size=70)
    images = torch.randn(2, 3, 70, 70)
    assert close(network.dense(images), network(images)[..., None, None])


@pytest.mark.parametrize("size", [32, 64, 70, 96])
@torch.inference_mode()
def test_the_pooled_head_is_the_mean_of_a_map_of_scores(size: int) -> None:
    """Averaging and a linear layer commute (Zhou et al. 2016, section 2): so does dense, window by window."""
    network = small("B_bn", image_size=size, head="pooled")
    assert list(dict(network.named_children()))[-3:] == ["avgpool", "fc8", "prob"]
    fc8, k = network.get_submodule("fc8"), size // 32
    assert isinstance(fc8, nn.Linear)
    images = torch.randn(2, 3, size, size + 32)
    pool5 = nn.Sequential(*list(network.children())[:-3])
    scores = nn.functional.conv2d(pool5(images), fc8.weight[:, :, None, None], fc8.bias)  # N K k k+1
    expected = torch.stack([scores[..., x : x + k].mean((2, 3)) for x in range(2)], 2)
    assert close(network.dense(images), expected[:, :, None])
    square = images[..., :size]
    assert close(network(square), fc8(pool5(square).mean((2, 3))))


@pytest.mark.parametrize(("height", "width"), [(64, 63), (63, 64)])
def test_dense_names_its_least_size(height: int, width: int) -> None:
    with pytest.raises(
        UsageError, match=rf"an image of {height}x{width}: fc6 of this network spans 64 pixels .* 64x64"
    ):
        small("A", image_size=64).dense(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("shape", [(1, 3, 40, 40), (1, 3, 32, 40), (1, 1, 32, 32), (3, 32, 32)])
def test_forward_and_walk_name_the_shape_they_take(shape: tuple[int, ...]) -> None:
    network, message = small("A"), rf"{re.escape(str(shape))}: this network takes \(N, 3, 32, 32\); resize it"
    with pytest.raises(UsageError, match=message):
        network(torch.zeros(shape))
    with pytest.raises(UsageError, match=message):
        next(network.walk(torch.zeros(shape)))


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


@torch.inference_mode()
def test_batch_norm_by_hand() -> None:
    """(7 - 3) / sqrt(4 + 1e-5) * 5 + 1 = 10.99999; in training the batch's own 1 and 3 stand for -1 and 1."""
    norm = small("A_bn", width=1 / 64).get_submodule("bn1_1")
    for name, value in (("running_mean", 3.0), ("running_var", 4.0), ("weight", 5.0), ("bias", 1.0)):
        norm.state_dict()[name].fill_(value)
    assert norm(torch.full((1, 1, 1, 1), 7.0)).item() == pytest.approx(4 / 4.00001**0.5 * 5 + 1)
    in_training = norm.train()(torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)).flatten()
    torch.testing.assert_close(in_training, torch.tensor([-4.0, 6.0]), atol=1e-3, rtol=0)


def test_head_of_a_32_pixel_input_is_one_pixel() -> None:
    assert small("A").get_parameter("fc6.weight").shape == (24, 64)


def initialised(initialisation: str) -> dict[str, Tensor]:
    """The weights of a 1x1, two 3x3 and all fully connected layers, after a look at the rest."""
    torch.manual_seed(0)
    options = {"classes": 100, "image_size": 64, "hidden": 256, "width": 0.25}
    state = VGG(Architecture.named("C_bn", **options), initialisation).state_dict()
    assert not any(state[name].any() for name in state if name.endswith("bias"))
    assert all((state[name] == 1).all() for name in state if name.startswith("bn") and name.endswith("weight"))
    return {name: state[f"{name}.weight"] for name in ("conv1_1", "conv3_3", "conv4_2", "fc6", "fc7", "fc8")}


def assert_normal(weight: Tensor, deviation: float) -> None:
    assert abs(weight.std().item() - deviation) < 5 * deviation / (2 * weight.numel()) ** 0.5
    assert abs(weight.mean().item()) < 5 * deviation / weight.numel() ** 0.5
    within = (weight.abs() < deviation).double().mean().item()
    assert within == pytest.approx(0.683, abs=0.05)  # 0.577 for a uniform


def test_the_papers_initialisation() -> None:
    for weight in initialised("paper").values():
        assert_normal(weight, 0.1)  # variance 0.01


def test_kaiming_initialisation() -> None:
    for name, weight in initialised("kaiming").items():
        fan_out = weight.shape[0] * weight[0, 0].numel()
        assert_normal(weight, 0.01 if name.startswith("fc") else (2 / fan_out) ** 0.5)


def test_glorot_initialisation() -> None:
    for weight in initialised("glorot").values():
        fans = (weight.shape[0] + weight.shape[1]) * weight[0, 0].numel()
        bound = (6 / fans) ** 0.5
        assert 0.98 * bound < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_he_initialisation_keeps_a_signals_size() -> None:
    for weight in initialised("he").values():
        assert_normal(weight, (2 / weight[0].numel()) ** 0.5)


@pytest.mark.parametrize("shared", [True, False])
def test_a_network_of_given_weights_imports_no_compiler(shared: bool, tmp_path: Path) -> None:
    """torch._dynamo, which some initialisations import, takes two seconds and 160 MB in every process."""
    network = VGG(Architecture.named("vgg11_bn", image_size=32, width=1 / 64))
    preprocessing = Preprocessing(32, 32, (0.0,) * 3, (255.0,) * 3)
    modelfile.save(network.to_file(tuple(map(str, range(1000))), preprocessing), tmp_path / "m.safetensors")
    script = f"""
import sys
from pathlib import Path
from vgglass import modelfile
from vgglass.model import VGG
VGG.from_file(modelfile.load(Path(sys.argv[1])), shared={shared})
print(sorted({{"torch", "torch._dynamo", "triton", "sympy"}} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "m.safetensors"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['torch']\n"


def test_kaiming_is_the_default() -> None:
    assert list(INITIALISATIONS) == ["kaiming", "paper", "glorot", "he"]
    architecture, weights = Architecture.named("A", image_size=32, width=1 / 64, hidden=4), []
    for options in ((), ("kaiming",), ("glorot",)):
        torch.manual_seed(3)
        weights.append(VGG(architecture, *options).get_parameter("conv4_1.weight"))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_unknown_initialisation() -> None:
    with pytest.raises(UsageError, match="initialisation 'xavier': not one of kaiming, paper, glorot, he"):
        VGG(Architecture.named("A", image_size=32), "xavier")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["A-LRN", "C_bn"])
def test_to_file_and_back(name: str, training: bool, tmp_path: Path) -> None:
    network = small(name, channels=1, image_size=64)
    record = Preprocessing(64, 64, (33.0,), (70.0,), "L")
    network.train(training)
    modelfile.save(network.to_file(tuple("abcdefg"), record, temperature=2.0), tmp_path / "model")
    assert all(module.training is training for module in network.modules())
    file = modelfile.load(tmp_path / "model")
    assert (file.record.classes, file.record.temperature) == (tuple("abcdefg"), 2.0)
    again = VGG.from_file(file)
    assert not any(module.training for module in again.modules())
    images = torch.from_numpy(normalise(golden_images(record), record))
    with torch.inference_mode():
        assert torch.equal(again(images), torch.from_numpy(file.golden_logits))
        assert torch.equal(again(images), network.eval()(images))


def test_files_and_networks_share_no_memory() -> None:
    network = small("A", channels=1)
    file = network.to_file(tuple("abcdefg"), Preprocessing(32, 32, (33.0,), (70.0,), "L"))
    loaded = VGG.from_file(file)
    file.weights["fc8.bias"][:] = 7
    assert not (network.get_parameter("fc8.bias") == 7).any()
    assert not (loaded.get_parameter("fc8.bias") == 7).any()
