"""Weights of the real torchvision, timm and Keras networks give the same logits here, and the other way round."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from foreign_networks import (
    CLASSES,
    NAMES,
    SMALL,
    assert_parity,
    randomise,
    small_model,
    timm_network,
    torchvision_network,
)
from sizes import FULL
from vgglass import modelfile, weights
from vgglass.architecture import Architecture
from vgglass.cli import app
from vgglass.errors import UsageError
from vgglass.weights import recognition
from vgglass.weights.formats import Part

# torchvision and timm


@pytest.mark.parametrize("name", NAMES)
def test_torchvision_small(name: str, tmp_path: Path) -> None:
    network = torchvision_network(name)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = weights.from_foreign(tmp_path / "weights.pth", CLASSES)
    assert model.record.architecture == Architecture.named(name, **SMALL)
    assert model.record.recipe == {"converted_from": "torchvision"}
    assert_parity(model, network)

    weights.to_foreign(model, tmp_path / "back.pth", "torchvision")
    network.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True), strict=True)
    assert_parity(model, network)


def test_class_names_of_a_file_with_a_mark(tmp_path: Path) -> None:
    """Windows' Notepad and Excel begin a file with one; a class of their list must not."""
    torch.save(torchvision_network("vgg11").state_dict(), tmp_path / "weights.pth")
    names = ["\ufeffa", "cafe\u0301", "Cat", "cat", "d", "e", "f"]
    (tmp_path / "names.txt").write_text("\r\n".join(names), encoding="utf-8")
    command = ["convert", tmp_path / "weights.pth", tmp_path / "model.safetensors", "--classes", tmp_path / "names.txt"]
    found = CliRunner().invoke(app, list(map(str, command)))
    assert found.exit_code == 0, found.output
    assert "'Cat' and 'cat' differ in case alone" in found.output
    classes = modelfile.load_record(tmp_path / "model.safetensors").classes
    assert classes == ("a", "caf\u00e9", "Cat", "cat", "d", "e", "f")


def test_class_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    torch.save(torchvision_network("vgg11").state_dict(), tmp_path / "weights.pth")
    (tmp_path / "names.txt").write_bytes("é\n".encode("latin-1"))
    for name, rule in (("names.txt", "names.txt, line 1: is not UTF-8"), ("none.txt", "none.txt: No such file or dir")):
        command = ["convert", tmp_path / "weights.pth", tmp_path / "x.safetensors", "--classes", tmp_path / name]
        with pytest.raises(
            UsageError, match=rf"--classes .*{name}: can't be read \(.*{rule}.*; name a text file in UTF-8"
        ):
            CliRunner().invoke(app, list(map(str, command)), catch_exceptions=False)


@pytest.mark.parametrize("size", [32, 64, 96, 127, 256, 448])
def test_torchvision_at_another_size(size: int, tmp_path: Path) -> None:
    network = torchvision_network("vgg11")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = weights.from_foreign(tmp_path / "weights.pth", CLASSES, size)
    assert model.record.architecture.image_size == size
    assert model.record.preprocessing.resize == round(size * 256 / 224)
    assert_parity(model, network)


@pytest.mark.parametrize(("name", "size"), [("vgg11", 224), ("vgg11", 96), ("vgg16_bn", 224), ("vgg16_bn", 64)])
def test_timm_small(name: str, size: int, tmp_path: Path) -> None:
    network = timm_network(name)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    model = weights.from_foreign(tmp_path / "weights.safetensors", CLASSES, size)
    assert model.record.architecture == Architecture.named(name, image_size=size, **SMALL)
    assert_parity(model, network)


@pytest.mark.parametrize("family", ["torchvision", "timm"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_to_torch_family(family: str, suffix: str, tmp_path: Path) -> None:
    model = small_model("vgg11_bn")
    path = tmp_path / f"weights{suffix}"
    weights.to_foreign(model, path, family)
    state = safetensors.torch.load_file(path) if suffix == ".safetensors" else torch.load(path, weights_only=True)
    network = {"torchvision": torchvision_network, "timm": timm_network}[family]("vgg11_bn")
    network.load_state_dict(state, strict=True)
    assert state["features.1.num_batches_tracked"] == 0
    assert_parity(model, network)
    again = weights.from_foreign(path, CLASSES)
    assert modelfile.weights_digest(again.weights) == modelfile.weights_digest(model.weights)


def test_grey_network(tmp_path: Path) -> None:
    network = timm_network("vgg11", channels=1)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    model = weights.from_foreign(tmp_path / "weights.pt", CLASSES)
    assert model.record.preprocessing.channel_order == "L"
    assert_parity(model, network)


@pytest.mark.parametrize("width", [1.0, 0.5, 0.1, 53.4 / 512, 51.4 / 512, 2.0])
def test_width_is_read_from_the_shapes(width: float) -> None:
    architecture = Architecture.named("vgg16", width=width, head="pooled", classes=2)
    body: dict[str, Part] = {}
    for entry in weights.key_table(Architecture.named("vgg16", width=width), "torchvision").values():
        if entry.layer.kind == "conv":
            zeros = np.broadcast_to(np.float32(0), entry.shape)
            earlier = body.get(entry.layer.name, Part(entry.key, {}))
            body[entry.layer.name] = Part(entry.key, earlier.tensors | {entry.tensor: zeros})
    assert recognition._infer_widths("vgg16", body, Path("w.pth")) == architecture


@pytest.mark.parametrize("inputs", range(1, 15))
def test_pooling_matrix(inputs: int) -> None:
    line = torch.randn(1, 1, inputs)
    expected = nn.functional.adaptive_avg_pool1d(line, 7)[0, 0]
    found = weights.pooling_matrix(7, inputs) @ line[0, 0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_pooling_matrix_by_hand() -> None:
    assert weights.pooling_matrix(2, 3).tolist() == [[0.5, 0.5, 0], [0, 0.5, 0.5]]


@pytest.mark.parametrize("wrapper", ["state_dict", "model", None])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_wrapped_parallel_and_half(wrapper: str | None, dtype: torch.dtype, tmp_path: Path) -> None:
    network = torchvision_network("vgg11_bn").to(dtype)
    state: dict[str, Any] = {f"module.{key}": tensor for key, tensor in network.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "weights.pt")
    model = weights.from_foreign(tmp_path / "weights.pt", CLASSES)
    assert {array.dtype for array in model.weights.values()} == {np.dtype(np.float32)}
    assert_parity(model, network.float())


def test_bfloat16_safetensors(tmp_path: Path) -> None:
    network = timm_network("vgg11").to(torch.bfloat16)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    model = weights.from_foreign(tmp_path / "weights.safetensors", CLASSES)
    assert_parity(model, network.float())


def test_preprocessing_is_torchvisions_own() -> None:
    from torchvision.models import get_model_weights

    for name in NAMES:
        transforms = get_model_weights(name).IMAGENET1K_V1.transforms()
        record = weights.preprocessing("torchvision", Architecture.named(name))
        assert (record.size, record.resize) == (*transforms.crop_size, *transforms.resize_size)
        assert record.mean == tuple(255 * value for value in transforms.mean)
        assert record.std == tuple(255 * value for value in transforms.std)
        assert (record.interpolation, record.fit) == (transforms.interpolation.value, "crop")


def test_preprocessing_is_timms_own() -> None:
    import timm
    from timm.data import resolve_data_config

    for name in weights.PUBLISHED["timm"]:
        config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        record = weights.preprocessing("timm", Architecture.named(name))
        assert (3, record.size, record.size) == config["input_size"]
        assert record.resize == round(record.size / config["crop_pct"])
        assert record.mean == tuple(255 * value for value in config["mean"])
        assert record.std == tuple(255 * value for value in config["std"])
        assert (record.interpolation, config["crop_mode"]) == (config["interpolation"], "center")


# Keras

KERAS_ARRAYS = pytest.mark.filterwarnings(  # Keras 3.15 saving an optimizer under NumPy 2
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras"
)


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"  # read once, when keras is imported
    return pytest.importorskip("keras")


def keras_network(keras: Any, name: str, size: int = 64, named: bool = True, channels: int = 3) -> Any:
    """keras.applications' layers under its names (or Keras's automatic ones in a Sequential), narrow."""
    layers = keras.layers
    stack = [keras.Input((size, size, channels))]
    column = Architecture.named(name, **SMALL)
    for layer in column.layers():
        block, _, index = layer.name.removeprefix("conv").partition("_")
        label = {"name": f"block{block}_conv{index}"} if named else {}
        if layer.kind == "conv":
            stack.append(layers.Conv2D(layer.output_shape[0], 3, padding="same", activation="relu", **label))
        elif layer.kind == "maxpool":
            stack.append(layers.MaxPooling2D())
    stack.append(layers.Flatten())
    for name_, units, activation in (("fc1", 32, "relu"), ("fc2", 32, "relu"), ("predictions", 7, None)):
        stack.append(layers.Dense(units, activation=activation, **({"name": name_} if named else {})))
        if not named:
            stack.append(layers.Dropout(0.5))
    network = keras.Sequential(stack)
    generator = np.random.default_rng(0)
    network.set_weights([fill(generator, weight.shape) for weight in network.weights])
    if not named:
        return network
    return keras.Model(network.inputs, network.outputs, name=name)


def fill(generator: np.random.Generator, shape: tuple[int, ...]) -> Any:
    fan_in = int(np.prod(shape[:-1]))
    return generator.normal(0, (2 / fan_in) ** 0.5 if len(shape) > 1 else 0.1, shape).astype(np.float32)


def keras_forward(network: Any) -> Callable[[Tensor], Tensor]:
    return lambda batch: network(batch.permute(0, 2, 3, 1), training=False).detach()


@KERAS_ARRAYS
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("file", ["model.h5", "model.weights.h5", "legacy_weights.h5"])
def test_keras_formats(keras: Any, file: str, named: bool, tmp_path: Path) -> None:
    from keras.src.legacy.saving import legacy_h5_format

    network = keras_network(keras, "vgg16", named=named)
    path = tmp_path / file
    if file == "model.h5":
        network.compile(optimizer="sgd", loss="mse")
        network.save(path)
    elif file == "model.weights.h5":
        network.save_weights(path)
    else:
        import h5py

        with h5py.File(path, "w") as group:
            legacy_h5_format.save_weights_to_hdf5_group(group, network)
    model = weights.from_foreign(path, CLASSES)
    assert model.record.architecture == Architecture.named("vgg16", image_size=64, **SMALL)
    assert_parity(model, keras_forward(network))


@pytest.mark.parametrize(("name", "size"), [("vgg16", 32), ("vgg19", 96)])
def test_keras_round_trip(keras: Any, name: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "vgg.weights.h5"
    model = small_model(name, size)
    weights.to_foreign(model, path, "keras")
    network = keras_network(keras, name, size)
    network.load_weights(path)
    assert_parity(model, keras_forward(network))
    again = weights.from_foreign(path, CLASSES)
    assert again.record.architecture == model.record.architecture
    assert modelfile.weights_digest(again.weights) == modelfile.weights_digest(model.weights)


@KERAS_ARRAYS
def test_keras_grey(keras: Any, tmp_path: Path) -> None:
    network = keras_network(keras, "vgg16", channels=1)
    network.save_weights(tmp_path / "grey.weights.h5")
    model = weights.from_foreign(tmp_path / "grey.weights.h5", CLASSES)
    assert model.record.preprocessing.channel_order == "L"
    assert_parity(model, keras_forward(network))


@KERAS_ARRAYS
def test_keras_2_13_groups(keras: Any, tmp_path: Path) -> None:
    import h5py

    network = keras_network(keras, "vgg16")
    network.save_weights(tmp_path / "old.weights.h5")
    with h5py.File(tmp_path / "old.weights.h5", "a") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
    assert_parity(weights.from_foreign(tmp_path / "old.weights.h5", CLASSES), keras_forward(network))


def test_keras_preprocessing_is_its_own(keras: Any) -> None:
    record = weights.preprocessing("keras", Architecture.named("vgg16"))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    expected = keras.applications.vgg16.preprocess_input(pixels.astype(np.float32))
    from vgglass.preprocess import normalise

    np.testing.assert_allclose(normalise(pixels, record).transpose(0, 2, 3, 1), expected, rtol=0, atol=1e-4)
    assert (record.size, record.resize) == (224, 256)


# Full size


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder whose half gigabytes do not outlive the test."""
    yield tmp_path
    for path in tmp_path.iterdir():
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES if FULL else ["vgg11_bn", "vgg19"])
def test_torchvision_full_size(name: str, scratch: Path) -> None:
    network = torchvision_network(name, width=1, hidden=4096, classes=1000)
    torch.save(network.state_dict(), scratch / "weights.pth")
    classes = tuple(map(str, range(1000)))
    for size in (224, 96):
        model = weights.from_foreign(scratch / "weights.pth", classes, size)
        assert model.record.architecture == Architecture.named(name, image_size=size)
        assert_parity(model, network, number=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn"] if FULL else ["vgg16_bn"])
def test_timm_full_size(name: str, scratch: Path) -> None:
    import timm

    with torch.device("meta"):
        empty = timm.create_model(name, num_classes=7)
    network = randomise(empty.to_empty(device="cpu"))
    safetensors.torch.save_file(network.state_dict(), scratch / "weights.safetensors")
    model = weights.from_foreign(scratch / "weights.safetensors", CLASSES, 96)
    assert_parity(model, network, number=1)
    model = weights.from_foreign(scratch / "weights.safetensors", CLASSES)
    weights.to_foreign(model, scratch / "back.pth", "timm")
    network.load_state_dict(torch.load(scratch / "back.pth", weights_only=True), strict=True)
    assert_parity(model, network, number=1)


@pytest.mark.slow
@KERAS_ARRAYS
@pytest.mark.parametrize("name", ["VGG16", "VGG19"] if FULL else ["VGG16"])
def test_keras_full_size(keras: Any, name: str, scratch: Path) -> None:
    build = getattr(keras.applications, name)
    network = build(weights=None, classes=7, classifier_activation=None)
    generator = np.random.default_rng(0)
    network.set_weights([fill(generator, weight.shape) for weight in network.weights])
    network.save_weights(scratch / "there.weights.h5")
    model = weights.from_foreign(scratch / "there.weights.h5", CLASSES)
    assert model.record.architecture == Architecture.named(name, classes=7)
    assert_parity(model, keras_forward(network), number=1)

    weights.to_foreign(model, scratch / "back.weights.h5", "keras")
    network.set_weights([np.zeros(weight.shape, np.float32) for weight in network.weights])
    network.load_weights(scratch / "back.weights.h5")
    assert_parity(model, keras_forward(network), number=1)
