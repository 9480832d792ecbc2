"""Weights as people have them: wrapped, prefixed, without a head or with one of their own, of any format."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from foreign_networks import (
    CLASSES,
    assert_parity,
    assert_same_convolutions,
    randomise,
    saved,
    timm_network,
    torchvision_network,
)
from vgglass import modelfile, weights, workflows
from vgglass.architecture import Architecture
from vgglass.weights import from_foreign, read_foreign

REAL = Path(__file__).parents[2] / "shared" / "data" / "vgg16-imagenet-conv" / "vgg16_notop.weights.h5"


# Checkpoints and prefixes

PREFIXES = ("", "module.", "model.", "net.", "backbone.", "_orig_mod.", "module.model.", "_orig_mod.module.backbone.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_whatever_stands_before_the_keys(prefix: str, tmp_path: Path) -> None:
    network = torchvision_network("vgg11_bn")
    state = {prefix + key: tensor for key, tensor in network.state_dict().items()}
    assert_parity(from_foreign(saved(state, tmp_path), CLASSES), network, 1)


@pytest.mark.parametrize(
    "wrappers", [("state_dict",), ("model",), ("model_state_dict",), ("weights",), ("ema",), ("model", "state_dict")]
)
def test_dictionaries_around_the_weights(wrappers: tuple[str, ...], tmp_path: Path) -> None:
    network = torchvision_network("vgg11")
    content: dict[str, Any] = {f"module.{key}": tensor for key, tensor in network.state_dict().items()}
    for wrapper in reversed(wrappers):
        content = {"epoch": 3, "optimizer": {"state": {}}, wrapper: content}
    foreign = read_foreign(saved(content, tmp_path))
    assert not foreign.contents.chosen
    assert_parity(weights.model_of(foreign, CLASSES), network, 1)


def test_of_averaged_and_plain_weights_it_says_which(tmp_path: Path) -> None:
    network = torchvision_network("vgg11")
    averaged = {f"module.{key}": tensor for key, tensor in network.state_dict().items()}
    plain = {key: torch.zeros_like(tensor) for key, tensor in network.state_dict().items()}
    content = {"model": plain, "ema": averaged | {"n_averaged": torch.tensor(7)}}
    foreign = read_foreign(saved(content, tmp_path))
    assert "the averaged weights under 'ema', not those under 'model'" in foreign.lines()[0]
    assert_parity(weights.model_of(foreign, CLASSES), network, 1)


@pytest.mark.parametrize(
    ("layout", "taken", "said"),
    [
        ("params, params_ema", "averaged", "the averaged weights under 'params_ema', not those under 'params'"),
        ("model, swa_model", "averaged", "the averaged weights under 'swa_model', not those under 'model'"),
        (
            "weights, averaged_model",
            "averaged",
            "the averaged weights under 'averaged_model', not those under 'weights'",
        ),
        ("model., ema.module.", "averaged", "the averaged weights under 'ema', not those beside them"),
        ("net., net_ema.", "averaged", "the averaged weights under 'net_ema', not those beside them"),
        (", ema.", "averaged", "the averaged weights under 'ema', not those beside them"),
        (
            "state_dict, callbacks/EMA/ema_state_dict",
            "plain",
            "the weights under 'state_dict', not the averaged ones under",
        ),
        ("model, ema/shadow_params/list", "plain", "the weights under 'model', not the averaged ones under 'ema'"),
        ("model, ema_decay/numbers", "plain", ""),
    ],
)
def test_where_an_average_stands_and_which_was_taken(layout: str, taken: str, said: str, tmp_path: Path) -> None:
    plain = torchvision_network("vgg11").state_dict()
    averaged = {key: tensor * 0.5 for key, tensor in plain.items()}
    content: dict[str, Any] = {}
    for place, state in zip(layout.split(", "), (plain, averaged), strict=True):
        if place.endswith(".") or not place:
            content |= {place + key: tensor for key, tensor in state.items()}
            continue
        value: Any = state
        for key in reversed(place.split("/")[1:]):
            kinds = {"list": list(state.values()), "numbers": {"decay": 0.9}}
            value = kinds.get(key) or {key: value}
        content[place.partition("/")[0]] = value
    foreign = read_foreign(saved(content, tmp_path))
    expected = {"plain": plain, "averaged": averaged}[taken]["features.0.weight"].numpy()
    assert np.array_equal(foreign.network.weights["conv1_1.weight"], expected)
    assert said in foreign.lines()[0]
    assert ("averaged" in foreign.lines()[0]) == bool(said)


@pytest.mark.parametrize("name", ["best.ckpt", "pytorch_model.bin", "model_best.pth.tar"])
def test_other_endings_of_pickles(name: str, tmp_path: Path) -> None:
    network = torchvision_network("vgg11")
    assert_parity(from_foreign(saved(network.state_dict(), tmp_path, name), CLASSES), network, 1)


# Heads


def test_five_classes(tmp_path: Path) -> None:
    network = torchvision_network("vgg11", classes=5)
    foreign = read_foreign(saved(network.state_dict(), tmp_path))
    assert foreign.lines() == (
        "weights.pth: torchvision weights of vgg11; preprocessing as torchvision does (RGB, mean and deviation of"
        " ImageNet)",
        "taken: 8 convolutions, fc6, fc7, fc8 of 5 outputs; nothing left out",
    )
    assert_parity(weights.model_of(foreign, tuple("abcde")), network, 1)


def test_a_classifier_of_ones_own_is_left_out(tmp_path: Path) -> None:
    network: Any = torchvision_network("vgg11")
    network.classifier = nn.Sequential(nn.Linear(16 * 49, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 5))
    foreign = read_foreign(saved(network.state_dict(), tmp_path))
    said = foreign.lines()[1]
    assert said.startswith("taken: 8 convolutions; left out: classifier.0, classifier.3; fc8 is zero, so that every")
    model = weights.model_of(foreign)
    assert model.record.classes == ("unnamed 1", "unnamed 2")
    assert (model.record.architecture.head, model.record.architecture.image_size) == ("pooled", 224)
    assert not model.golden_logits.any()
    assert_same_convolutions(model, network.features)


def test_a_last_layer_of_ones_own_leaves_fc6_and_fc7(tmp_path: Path) -> None:
    network: Any = torchvision_network("vgg11")
    network.classifier[6] = nn.Sequential(nn.Linear(32, 9), nn.ReLU(), nn.Linear(9, 3))
    foreign = read_foreign(saved(network.state_dict(), tmp_path))
    assert "convolutions, fc6, fc7; left out: classifier.6.0, classifier.6.2; fc8 is zero" in foreign.lines()[1]


def test_a_head_with_a_stranger_in_it_is_left_out(tmp_path: Path) -> None:
    network: Any = torchvision_network("vgg11")
    network.classifier[1] = randomise(nn.BatchNorm1d(32))
    assert read_foreign(saved(network.state_dict(), tmp_path)).network.architecture.head == "pooled"


@pytest.mark.parametrize("prefix", ["features.", "", "module.", "encoder."])
def test_features_alone(prefix: str, tmp_path: Path) -> None:
    network: Any = torchvision_network("vgg13_bn")
    state = {prefix + key: tensor for key, tensor in network.features.state_dict().items()}
    model = from_foreign(saved(state, tmp_path), ("cat", "dog", "cow"))
    assert model.record.architecture.classes == 3
    assert_same_convolutions(model, network.features)


@pytest.mark.parametrize("key", ["classifier", "fc", "head.fc"])
def test_one_dense_layer_is_the_pooled_head(key: str, tmp_path: Path) -> None:
    network: Any = torchvision_network("vgg11")
    linear = randomise(nn.Linear(16, 7))
    state = network.features.state_dict()
    state = {f"features.{name}": tensor for name, tensor in state.items()}
    state |= {f"{key}.{name}": tensor for name, tensor in linear.state_dict().items()}
    foreign = read_foreign(saved(state, tmp_path))
    assert "one dense layer of 7 outputs, assumed to follow a global average; nothing left out" in foreign.lines()[1]
    model = weights.model_of(foreign, CLASSES, 64)
    assert_parity(model, lambda batch: linear(network.features(batch).mean((2, 3))))


def test_timm_without_classes_keeps_fc6_and_fc7(tmp_path: Path) -> None:
    network: Any = timm_network("vgg11")
    network.reset_classifier(0)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "timm.safetensors")
    foreign = read_foreign(tmp_path / "timm.safetensors")
    assert foreign.family == "timm"
    assert "taken: 8 convolutions, fc6, fc7; nothing left out; fc8 is zero" in foreign.lines()[1]
    assert_same_convolutions(weights.model_of(foreign), network.features)


def test_convolutions_without_biases(tmp_path: Path) -> None:
    network = torchvision_network("vgg11_bn")
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.bias = None
    assert_parity(from_foreign(saved(network.state_dict(), tmp_path), CLASSES), network, 1)


def test_pruned_widths(tmp_path: Path) -> None:
    widths = (3, 4, 5, 6, 7, 8, 9, 10)
    state: dict[str, Tensor] = {}
    layers = Architecture.named("vgg11", widths=widths).layers()
    for number, layer in enumerate(layers):
        if layer.kind == "conv":
            state |= {f"features.{number}.{name}": torch.ones(shape) for name, shape in layer.tensors.items()}
    assert read_foreign(saved(state, tmp_path)).network.architecture.widths == widths


# Starting from them


def test_starting_model_says_what_it_took_and_has_a_digest(tmp_path: Path) -> None:
    from rich.console import Console

    path = saved(torchvision_network("vgg11").state_dict(), tmp_path)
    console = Console(record=True, width=400)
    model = workflows.starting_model(path, console=console)
    assert len(model.record.digest) == 64
    assert console.export_text().splitlines() == list(read_foreign(path).lines())
    modelfile.save(model, tmp_path / "model.safetensors")
    assert workflows.starting_model(tmp_path / "model.safetensors").record == model.record
    assert workflows.starting_model(model) is model


def test_the_real_convolutions() -> None:
    """Thirteen convolutions of ImageNet as Keras 3 wrote them."""
    if not REAL.exists():
        pytest.skip(f"{REAL} is not here")
    model = workflows.starting_model(REAL)
    assert model.record.architecture == Architecture.named("vgg16", classes=2, head="pooled")
    assert model.record.preprocessing.channel_order == "BGR"
    import h5py

    with h5py.File(REAL) as file:
        kernel = file["layers/conv2d_10/vars/0"][()]
    assert (model.weights["conv5_1.weight"][5, 3] == kernel[:, :, 3, 5]).all()
    assert not model.weights["fc8.weight"].any()
