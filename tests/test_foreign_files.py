"""Weights as people have them: wrapped, prefixed, without a head or with one of their own, of any format."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from foreign_networks import (
    CLASSES,
    SMALL,
    assert_parity,
    assert_same,
    images,
    randomise,
    small_model,
    timm_network,
    torchvision_network,
)
from vgglass import api, conversion, modelfile
from vgglass.architecture import Architecture
from vgglass.conversion import from_foreign, read_foreign
from vgglass.errors import WeightsError
from vgglass.model import VGG
from vgglass.modelfile import ModelFile

REAL = Path(__file__).parents[2] / "shared" / "data" / "vgg16-imagenet-conv" / "vgg16_notop.weights.h5"


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
    assert_parity(conversion.model_of(foreign, CLASSES), network, 1)


def test_of_averaged_and_plain_weights_it_says_which(tmp_path: Path) -> None:
    network = torchvision_network("vgg11")
    averaged = {f"module.{key}": tensor for key, tensor in network.state_dict().items()}
    plain = {key: torch.zeros_like(tensor) for key, tensor in network.state_dict().items()}
    content = {"model": plain, "ema": averaged | {"n_averaged": torch.tensor(7)}}
    foreign = read_foreign(saved(content, tmp_path))
    assert "the averaged weights under 'ema', not those under 'model'" in foreign.lines()[0]
    assert_parity(conversion.model_of(foreign, CLASSES), network, 1)


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
    assert_parity(conversion.model_of(foreign, tuple("abcde")), network, 1)


def test_a_classifier_of_ones_own_is_left_out(tmp_path: Path) -> None:
    network: Any = torchvision_network("vgg11")
    network.classifier = nn.Sequential(nn.Linear(16 * 49, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 5))
    foreign = read_foreign(saved(network.state_dict(), tmp_path))
    said = foreign.lines()[1]
    assert said.startswith("taken: 8 convolutions; left out: classifier.0, classifier.3; fc8 is zero, so that every")
    model = conversion.model_of(foreign)
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
    model = conversion.model_of(foreign, CLASSES, 64)
    assert_parity(model, lambda batch: linear(network.features(batch).mean((2, 3))))


def test_timm_without_classes_keeps_fc6_and_fc7(tmp_path: Path) -> None:
    network: Any = timm_network("vgg11")
    network.reset_classifier(0)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "timm.safetensors")
    foreign = read_foreign(tmp_path / "timm.safetensors")
    assert foreign.family == "timm"
    assert "taken: 8 convolutions, fc6, fc7; nothing left out; fc8 is zero" in foreign.lines()[1]
    assert_same_convolutions(conversion.model_of(foreign), network.features)


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


# Keras


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"  # read once, when keras is imported
    return pytest.importorskip("keras")


KERAS_ARRAYS = pytest.mark.filterwarnings(  # Keras 3.15 saving an optimizer under NumPy 2
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras"
)


def keras_base(keras: Any, *before: Any) -> Any:
    """keras.applications' VGG16 without its top, narrow."""
    stack = [keras.Input((64, 64, 3)), *before]
    for layer in Architecture.named("vgg16", **SMALL).layers():
        if layer.kind == "conv":
            place = layer.name.removeprefix("conv").replace("_", "_conv")
            name = f"block{place}"
            stack.append(keras.layers.Conv2D(layer.output_shape[0], 3, padding="same", activation="relu", name=name))
        elif layer.kind == "maxpool":
            stack.append(keras.layers.MaxPooling2D(name=f"block{layer.name[-1]}_pool"))
    network = keras.Sequential(stack)
    return keras.Model(network.inputs[0], network.outputs[0], name="vgg16")


def with_random_weights(network: Any) -> Any:
    generator = np.random.default_rng(0)
    shapes = [weight.shape for weight in network.weights]
    network.set_weights(
        [generator.normal(0, (2 / int(np.prod(shape[:-1]))) ** 0.5, shape) if len(shape) > 1 else
         generator.normal(0, 0.1, shape) for shape in shapes]
    )  # fmt: skip
    return network


def keras_forward(network: Any) -> Callable[[Tensor], Tensor]:
    def forward(batch: Tensor) -> Tensor:
        found: Tensor = network(batch.permute(0, 2, 3, 1), training=False).detach()
        return found.permute(0, 3, 1, 2) if found.ndim == 4 else found

    return forward


@KERAS_ARRAYS
@pytest.mark.parametrize("file", ["base.h5", "base.weights.h5", "base.keras"])
def test_keras_without_its_top(keras: Any, file: str, tmp_path: Path) -> None:
    network = with_random_weights(keras_base(keras))
    (network.save_weights if file.endswith("weights.h5") else network.save)(tmp_path / file)
    foreign = read_foreign(tmp_path / file)
    assert "Keras does (BGR, mean of ImageNet subtracted)" in foreign.lines()[0]
    assert "taken: 13 convolutions; nothing left out; fc8 is zero" in foreign.lines()[1]
    assert_same_convolutions(conversion.model_of(foreign, image_size=64), keras_forward(network))


@KERAS_ARRAYS
@pytest.mark.parametrize("file", ["mine.h5", "mine.weights.h5", "mine.keras"])
def test_keras_pooling_avg_and_dense(keras: Any, file: str, tmp_path: Path) -> None:
    """The base as a network within the network, as transfer learning in Keras has it."""
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(7)]
    network = with_random_weights(keras.Sequential([keras.Input((64, 64, 3)), keras_base(keras), *head]))
    (network.save_weights if file.endswith("weights.h5") else network.save)(tmp_path / file)
    model = from_foreign(tmp_path / file, CLASSES, 64)
    assert model.record.architecture.head == "pooled"
    assert_parity(model, keras_forward(network), 1)


@KERAS_ARRAYS
def test_keras_with_a_top_of_its_own(keras: Any, tmp_path: Path) -> None:
    head = [keras.layers.Flatten(), keras.layers.Dense(9, name="mine"), keras.layers.Dense(5, name="answers")]
    network = with_random_weights(keras.Sequential([keras.Input((64, 64, 3)), keras_base(keras), *head]))
    network.save_weights(tmp_path / "own.weights.h5")
    assert "left out: mine, answers; fc8 is zero" in read_foreign(tmp_path / "own.weights.h5").lines()[1]


@KERAS_ARRAYS
@pytest.mark.parametrize("file", ["mine.weights.h5", "mine.keras", "mine.h5"])
def test_keras_with_augmentation_dropout_and_scaling(keras: Any, file: str, tmp_path: Path) -> None:
    """A network that scales its images itself does not say how the convolutions are fed."""
    layers = keras.layers
    before = [layers.RandomFlip(), layers.Rescaling(1 / 255)]
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.5), layers.Dense(7)]
    network = keras.Sequential([keras.Input((64, 64, 3)), *before, keras_base(keras), *head])
    (network.save_weights if file.endswith("weights.h5") else network.save)(tmp_path / file)
    with pytest.raises(
        WeightsError, match=r"it has a layer [Rr]escaling of its own\); add --preprocessing torchvision"
    ):
        read_foreign(tmp_path / file)
    foreign = read_foreign(tmp_path / file, "torchvision")
    assert "one dense layer of 7 outputs, assumed to follow a global average; nothing left out" in foreign.lines()[1]


@KERAS_ARRAYS
def test_a_pooled_model_goes_to_keras_and_back(keras: Any, tmp_path: Path) -> None:
    model, path = small_model("vgg16", 64, head="pooled"), tmp_path / "pooled.weights.h5"
    conversion.to_foreign(model, path, "keras")
    base = keras_base(keras)
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    network = keras.Model(base.input, keras.layers.Dense(7)(pooled))
    network.load_weights(path)
    assert_parity(model, keras_forward(network), 1)
    again = from_foreign(path, CLASSES, 64)
    assert modelfile.weights_digest(again.weights) == modelfile.weights_digest(model.weights)


@KERAS_ARRAYS
def test_safetensors_of_keras(keras: Any, tmp_path: Path) -> None:
    import safetensors.numpy

    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(7)]
    network = with_random_weights(keras.Sequential([keras.Input((64, 64, 3)), keras_base(keras), *head]))
    arrays = {weight.path: np.ascontiguousarray(weight.numpy()) for weight in network.weights}
    safetensors.numpy.save_file(arrays, tmp_path / "keras.safetensors")
    foreign = read_foreign(tmp_path / "keras.safetensors")
    assert foreign.family == "keras"
    assert_parity(conversion.model_of(foreign, CLASSES, 64), keras_forward(network), 1)


# ONNX


@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn"])
@pytest.mark.parametrize("folded", [True, False])
def test_onnx_as_torch_exports_it(name: str, folded: bool, tmp_path: Path) -> None:
    network, path = torchvision_network(name), tmp_path / "vgg.onnx"
    export_onnx(network, path, folded)
    foreign = read_foreign(path, "torchvision")
    assert foreign.network.architecture.batch_norm == (name == "vgg16_bn" and not folded)
    assert foreign.family == "onnx"
    assert_parity(conversion.model_of(foreign, CLASSES), network, 1)


def export_onnx(network: nn.Module, path: Path, folded: bool = True) -> None:
    pytest.importorskip("onnx")
    from torch.onnx import TrainingMode

    mode = TrainingMode.EVAL if folded else TrainingMode.PRESERVE
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (images(224, 1),), path, dynamo=False, training=mode, do_constant_folding=folded)


def test_timm_as_onnx(tmp_path: Path) -> None:
    network, path = timm_network("vgg11"), tmp_path / "vgg.onnx"
    export_onnx(network, path)
    assert_parity(from_foreign(path, CLASSES, preprocessing="torchvision"), network, 1)


# Starting from them


def test_starting_model_says_what_it_took_and_has_a_digest(tmp_path: Path) -> None:
    from rich.console import Console

    path = saved(torchvision_network("vgg11").state_dict(), tmp_path)
    console = Console(record=True, width=400)
    model = api.starting_model(path, console=console)
    assert len(model.record.digest) == 64
    assert console.export_text().splitlines() == list(read_foreign(path).lines())
    modelfile.save(model, tmp_path / "model.safetensors")
    assert api.starting_model(tmp_path / "model.safetensors").record == model.record
    assert api.starting_model(model) is model


def test_the_real_convolutions() -> None:
    """Thirteen convolutions of ImageNet as Keras 3 wrote them."""
    if not REAL.exists():
        pytest.skip(f"{REAL} is not here")
    model = api.starting_model(REAL)
    assert model.record.architecture == Architecture.named("vgg16", classes=2, head="pooled")
    assert model.record.preprocessing.channel_order == "BGR"
    import h5py

    with h5py.File(REAL) as file:
        kernel = file["layers/conv2d_10/vars/0"][()]
    assert (model.weights["conv5_1.weight"][5, 3] == kernel[:, :, 3, 5]).all()
    assert not model.weights["fc8.weight"].any()


def test_a_keras_archive_needs_no_more_than_weights_and_config(tmp_path: Path) -> None:
    path = tmp_path / "vgg.weights.h5"
    model = small_model("vgg16", 32)
    conversion.to_foreign(model, path, "keras")
    with zipfile.ZipFile(tmp_path / "vgg.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "model.weights.h5")
        archive.writestr("config.json", "{}")
    again = from_foreign(tmp_path / "vgg.keras", CLASSES)
    assert modelfile.weights_digest(again.weights) == modelfile.weights_digest(model.weights)


def test_onnx_of_channels_last(tmp_path: Path) -> None:
    """A graph as converters write Keras's: MatMul and Add, fc6 after a transposition, kernels transposed on the way."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    nodes: list[Any] = []
    tensors: list[Any] = []
    model = small_model("vgg16", 64)

    def constant(name: str, array: Any) -> str:
        tensors.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(kind: str, *inputs: str, **options: Any) -> str:
        output = f"out{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **options))
        return output

    x = "image"
    for layer in model.record.architecture.layers():
        if layer.kind == "conv":
            kernel = constant(layer.name, model.weights[f"{layer.name}.weight"].transpose(2, 3, 1, 0))
            bias = constant(f"{layer.name}.b", model.weights[f"{layer.name}.bias"])
            x = node("Conv", x, node("Transpose", kernel, perm=[3, 2, 0, 1]), bias, pads=[1, 1, 1, 1])
        elif layer.kind == "relu":
            x = node("Relu", x)
        elif layer.kind == "maxpool":
            x = node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        elif layer.kind == "linear":
            matrix = model.weights[f"{layer.name}.weight"]
            if layer.name == "fc6":
                x = node("Flatten", node("Transpose", x, perm=[0, 2, 3, 1]))
                matrix = matrix.reshape(-1, 16, 2, 2).transpose(0, 2, 3, 1).reshape(len(matrix), -1)
            x = node("MatMul", x, constant(layer.name, matrix.T))
            x = node("Add", x, constant(f"{layer.name}.b", model.weights[f"{layer.name}.bias"]))
    shapes = ((name, onnx.TensorProto.FLOAT, shape) for name, shape in (("image", [1, 3, 64, 64]), (x, [1, 7])))
    given, found = (helper.make_tensor_value_info(*shape) for shape in shapes)
    graph = helper.make_graph(nodes, "vgg", [given], [found], tensors)
    onnx.save(helper.make_model(graph), tmp_path / "keras.onnx")
    again = from_foreign(tmp_path / "keras.onnx", CLASSES, preprocessing="keras")
    assert again.record.architecture == model.record.architecture
    assert modelfile.weights_digest(again.weights) == modelfile.weights_digest(model.weights)
