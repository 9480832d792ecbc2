"""Small networks of torchvision and timm, saved and exported, and assertions that a model file answers as they do."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import ClassifierHead
from timm.models import vgg as timm_vgg
from torch import Tensor, nn
from torch.onnx import TrainingMode
from torchvision.models import vgg as torchvision_vgg

from vgglass import weights
from vgglass.architecture import Architecture
from vgglass.model import VGG
from vgglass.modelfile import ModelFile

CLASSES = tuple("abcdefg")
SMALL = {"classes": 7, "width": 1 / 32, "hidden": 32}
NAMES = weights.PUBLISHED["torchvision"]


def randomise(network: nn.Module) -> nn.Module:
    """Weights that keep the signal's size, and biases and running statistics that are not the neutral ones."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if tensor.ndim > 1:
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
            elif key.endswith("num_batches_tracked"):
                tensor.fill_(5)
            elif key.endswith(("running_var", "weight")):
                tensor.uniform_(0.5, 1.5, generator=generator)
            else:
                tensor.normal_(0, 0.1, generator=generator)
    return network.eval()


def torchvision_network(name: str, width: float = 1 / 32, hidden: int = 32, classes: int = 7) -> nn.Module:
    """torchvision's own class, narrow, with a small classifier."""
    column = Architecture.named(name).column
    narrow = [size if size == "M" else round(int(size) * width) for size in torchvision_vgg.cfgs[column]]
    with torch.device("meta"):  # its 500 MB classifier is replaced before it is made
        network = torchvision_vgg.VGG(torchvision_vgg.make_layers(narrow, name.endswith("_bn")), classes)
        inputs = round(512 * width) * 49
        network.classifier = nn.Sequential(
            *(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()),
            nn.Linear(hidden, classes),
        )
    return randomise(network.to_empty(device="cpu"))


def timm_network(name: str, width: float = 1 / 32, hidden: int = 32, classes: int = 7, channels: int = 3) -> nn.Module:
    """timm's own class, narrow, with a small head."""
    column = Architecture.named(name).column
    narrow = [size if size == "M" else round(int(size) * width) for size in torchvision_vgg.cfgs[column]]
    with torch.device("meta"):
        norm = nn.BatchNorm2d if name.endswith("_bn") else None
        network = timm_vgg.VGG(narrow, classes, channels, norm_layer=norm)
        network.pre_logits = timm_vgg.ConvMlp(round(512 * width), hidden)
        network.head = ClassifierHead(hidden, classes)
    return randomise(network.to_empty(device="cpu"))


def images(size: int, number: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(number, channels, size, size, generator=torch.Generator().manual_seed(1))


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float(expected.std()) > 1e-3, "a network that answers nothing proves nothing"
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def assert_parity(model: ModelFile, network: Callable[[Tensor], Tensor], number: int = 2) -> None:
    architecture = model.record.architecture
    batch = images(architecture.image_size, number, architecture.channels)
    with torch.inference_mode():
        assert_same(VGG.from_file(model)(batch), network(batch))


def small_model(name: str, image_size: int = 224, **options: Any) -> ModelFile:
    network = VGG(Architecture.named(name, image_size=image_size, **SMALL | options))
    randomise(network)
    return network.to_file(CLASSES, weights.preprocessing("torchvision", network.architecture))


def saved(content: object, folder: Path, name: str = "weights.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def assert_same_convolutions(model: ModelFile, features: Callable[[Tensor], Tensor]) -> None:
    """The map after pool5 is the network's own."""
    architecture = model.record.architecture
    batch = images(architecture.image_size, 1, architecture.channels)
    with torch.inference_mode():
        pool5 = next(step.output for step in VGG.from_file(model).walk(batch) if step.layer.name == "pool5")
        assert_same(pool5, features(batch))


def export_onnx(network: nn.Module, path: Path, folded: bool = True) -> None:
    pytest.importorskip("onnx")
    mode = TrainingMode.EVAL if folded else TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (images(224, 1),), path, dynamo=False, training=mode, do_constant_folding=folded)
