"""Foreign weights in Keras's files and in ONNX graphs: with and without a top, nested, transposed."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from foreign_networks import (
    CLASSES,
    SMALL,
    assert_parity,
    assert_same_convolutions,
    export_onnx,
    small_model,
    timm_network,
    torchvision_network,
)
from vgglass import modelfile, weights
from vgglass.architecture import Architecture
from vgglass.errors import WeightsError
from vgglass.weights import from_foreign, read_foreign

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
    assert_same_convolutions(weights.model_of(foreign, image_size=64), keras_forward(network))


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
    weights.to_foreign(model, path, "keras")
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
    assert_parity(weights.model_of(foreign, CLASSES, 64), keras_forward(network), 1)


# ONNX


@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn"])
@pytest.mark.parametrize("folded", [True, False])
def test_onnx_as_torch_exports_it(name: str, folded: bool, tmp_path: Path) -> None:
    network, path = torchvision_network(name), tmp_path / "vgg.onnx"
    export_onnx(network, path, folded)
    foreign = read_foreign(path, "torchvision")
    assert foreign.network.architecture.batch_norm == (name == "vgg16_bn" and not folded)
    assert foreign.family == "onnx"
    assert_parity(weights.model_of(foreign, CLASSES), network, 1)


def test_timm_as_onnx(tmp_path: Path) -> None:
    network, path = timm_network("vgg11"), tmp_path / "vgg.onnx"
    export_onnx(network, path)
    assert_parity(from_foreign(path, CLASSES, preprocessing="torchvision"), network, 1)


def test_a_keras_archive_needs_no_more_than_weights_and_config(tmp_path: Path) -> None:
    path = tmp_path / "vgg.weights.h5"
    model = small_model("vgg16", 32)
    weights.to_foreign(model, path, "keras")
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


def test_the_file_that_keras_has_published_since_2016(tmp_path: Path) -> None:
    """vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5: weights alone, named 'block1_conv1_W_1:0'."""
    import h5py

    model = small_model("vgg16", head="pooled")
    with h5py.File(tmp_path / "notop.h5", "w") as file:
        layers = [layer for layer in model.record.architecture.layers() if layer.kind in ("conv", "maxpool")]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_{letter}_1:0".encode() for letter in "Wb"] if layer.kind == "conv" else []
            group.attrs["weight_names"] = np.array(names)
            for name, tensor in zip(names, ("weight", "bias"), strict=False):
                array = model.weights[f"{layer.name}.{tensor}"]
                group[name.decode()] = array.transpose(2, 3, 1, 0) if tensor == "weight" else array
    foreign = read_foreign(tmp_path / "notop.h5")
    assert foreign.lines()[1].startswith("taken: 13 convolutions; nothing left out")
    found = weights.model_of(foreign).weights
    assert all((found[name] == model.weights[name]).all() for name in found if name.startswith("conv"))
