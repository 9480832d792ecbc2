"""Weights of the real torchvision, timm and Keras networks give the same logits here, and the other way round."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from timm.layers import ClassifierHead
from timm.models import vgg as timm_vgg
from torch import Tensor, nn
from torchvision.models import vgg as torchvision_vgg

from vgglass import conversion, modelfile
from vgglass.architecture import Architecture
from vgglass.errors import MissingExtraError, WeightsError
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import Preprocessing

CLASSES = tuple("abcdefg")
SMALL = {"classes": 7, "width": 1 / 32, "hidden": 32}
NAMES = conversion.PUBLISHED["torchvision"]


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
    return network.to_file(CLASSES, conversion.preprocessing("torchvision", network.architecture))


# torchvision and timm


@pytest.mark.parametrize("name", NAMES)
def test_torchvision_small(name: str, tmp_path: Path) -> None:
    network = torchvision_network(name)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = conversion.from_foreign(tmp_path / "weights.pth", CLASSES)
    assert model.record.architecture == Architecture.named(name, **SMALL)
    assert model.record.recipe == {"converted_from": "torchvision"}
    assert_parity(model, network)

    conversion.to_foreign(model, tmp_path / "back.pth", "torchvision")
    network.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True), strict=True)
    assert_parity(model, network)


@pytest.mark.parametrize("size", [32, 64, 96, 127, 256, 448])
def test_torchvision_at_another_size(size: int, tmp_path: Path) -> None:
    network = torchvision_network("vgg11")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = conversion.from_foreign(tmp_path / "weights.pth", CLASSES, size)
    assert model.record.architecture.image_size == size
    assert model.record.preprocessing.resize == round(size * 256 / 224)
    assert_parity(model, network)


@pytest.mark.parametrize(("name", "size"), [("vgg11", 224), ("vgg11", 96), ("vgg16_bn", 224), ("vgg16_bn", 64)])
def test_timm_small(name: str, size: int, tmp_path: Path) -> None:
    network = timm_network(name)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    model = conversion.from_foreign(tmp_path / "weights.safetensors", CLASSES, size)
    assert model.record.architecture == Architecture.named(name, image_size=size, **SMALL)
    assert_parity(model, network)


@pytest.mark.parametrize("family", ["torchvision", "timm"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_to_torch_family(family: str, suffix: str, tmp_path: Path) -> None:
    model = small_model("vgg11_bn")
    path = tmp_path / f"weights{suffix}"
    conversion.to_foreign(model, path, family)
    state = safetensors.torch.load_file(path) if suffix == ".safetensors" else torch.load(path, weights_only=True)
    network = {"torchvision": torchvision_network, "timm": timm_network}[family]("vgg11_bn")
    network.load_state_dict(state, strict=True)
    assert state["features.1.num_batches_tracked"] == 0
    assert_parity(model, network)
    again = conversion.from_foreign(path, CLASSES)
    assert modelfile.weights_digest(again.weights) == modelfile.weights_digest(model.weights)


def test_grey_network(tmp_path: Path) -> None:
    network = timm_network("vgg11", channels=1)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    model = conversion.from_foreign(tmp_path / "weights.pt", CLASSES)
    assert model.record.preprocessing.channel_order == "L"
    assert_parity(model, network)


@pytest.mark.parametrize("width", [1.0, 0.5, 0.1, 53.4 / 512, 51.4 / 512, 2.0])
def test_width_is_read_from_the_shapes(width: float) -> None:
    architecture = Architecture.named("vgg16", width=width, hidden=3, classes=7)
    table = conversion.key_table(architecture, "torchvision")
    shapes = {entry.key: np.broadcast_to(np.float32(0), entry.shape) for entry in table.values()}
    fitted = conversion._fit(Architecture.named("vgg16"), "torchvision", shapes)
    assert fitted.tensors() == architecture.tensors()
    assert width not in (1.0, 0.5, 2.0) or fitted == architecture


@pytest.mark.parametrize("inputs", range(1, 15))
def test_pooling_matrix(inputs: int) -> None:
    line = torch.randn(1, 1, inputs)
    expected = nn.functional.adaptive_avg_pool1d(line, 7)[0, 0]
    found = conversion.pooling_matrix(7, inputs) @ line[0, 0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_pooling_matrix_by_hand() -> None:
    assert conversion.pooling_matrix(2, 3).tolist() == [[0.5, 0.5, 0], [0, 0.5, 0.5]]


@pytest.mark.parametrize("wrapper", ["state_dict", "model", None])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_wrapped_parallel_and_half(wrapper: str | None, dtype: torch.dtype, tmp_path: Path) -> None:
    network = torchvision_network("vgg11_bn").to(dtype)
    state: dict[str, Any] = {f"module.{key}": tensor for key, tensor in network.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "weights.pt")
    model = conversion.from_foreign(tmp_path / "weights.pt", CLASSES)
    assert {array.dtype for array in model.weights.values()} == {np.dtype(np.float32)}
    assert_parity(model, network.float())


def test_bfloat16_safetensors(tmp_path: Path) -> None:
    network = timm_network("vgg11").to(torch.bfloat16)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    model = conversion.from_foreign(tmp_path / "weights.safetensors", CLASSES)
    assert_parity(model, network.float())


def test_preprocessing_is_torchvisions_own() -> None:
    from torchvision.models import get_model_weights

    for name in NAMES:
        transforms = get_model_weights(name).IMAGENET1K_V1.transforms()
        record = conversion.preprocessing("torchvision", Architecture.named(name))
        assert (record.size, record.resize) == (*transforms.crop_size, *transforms.resize_size)
        assert record.mean == tuple(255 * value for value in transforms.mean)
        assert record.std == tuple(255 * value for value in transforms.std)
        assert (record.interpolation, record.fit) == (transforms.interpolation.value, "crop")


def test_preprocessing_is_timms_own() -> None:
    import timm
    from timm.data import resolve_data_config

    for name in conversion.PUBLISHED["timm"]:
        config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        record = conversion.preprocessing("timm", Architecture.named(name))
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
    model = conversion.from_foreign(path, CLASSES)
    assert model.record.architecture == Architecture.named("vgg16", image_size=64, **SMALL)
    assert_parity(model, keras_forward(network))


@pytest.mark.parametrize(("name", "size"), [("vgg16", 32), ("vgg19", 96)])
def test_keras_round_trip(keras: Any, name: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "vgg.weights.h5"
    model = small_model(name, size)
    conversion.to_foreign(model, path, "keras")
    network = keras_network(keras, name, size)
    network.load_weights(path)
    assert_parity(model, keras_forward(network))
    again = conversion.from_foreign(path, CLASSES)
    assert again.record.architecture == model.record.architecture
    assert modelfile.weights_digest(again.weights) == modelfile.weights_digest(model.weights)


@KERAS_ARRAYS
def test_keras_grey(keras: Any, tmp_path: Path) -> None:
    network = keras_network(keras, "vgg16", channels=1)
    network.save_weights(tmp_path / "grey.weights.h5")
    model = conversion.from_foreign(tmp_path / "grey.weights.h5", CLASSES)
    assert model.record.preprocessing.channel_order == "L"
    assert_parity(model, keras_forward(network))


@KERAS_ARRAYS
def test_keras_2_13_groups(keras: Any, tmp_path: Path) -> None:
    import h5py

    network = keras_network(keras, "vgg16")
    network.save_weights(tmp_path / "old.weights.h5")
    with h5py.File(tmp_path / "old.weights.h5", "a") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
    assert_parity(conversion.from_foreign(tmp_path / "old.weights.h5", CLASSES), keras_forward(network))


def test_keras_preprocessing_is_its_own(keras: Any) -> None:
    record = conversion.preprocessing("keras", Architecture.named("vgg16"))
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
@pytest.mark.parametrize("name", NAMES)
def test_torchvision_full_size(name: str, scratch: Path) -> None:
    network = torchvision_network(name, width=1, hidden=4096, classes=1000)
    torch.save(network.state_dict(), scratch / "weights.pth")
    classes = tuple(map(str, range(1000)))
    for size in (224, 96):
        model = conversion.from_foreign(scratch / "weights.pth", classes, size)
        assert model.record.architecture == Architecture.named(name, image_size=size)
        assert_parity(model, network, number=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn"])
def test_timm_full_size(name: str, scratch: Path) -> None:
    import timm

    with torch.device("meta"):
        empty = timm.create_model(name, num_classes=7)
    network = randomise(empty.to_empty(device="cpu"))
    safetensors.torch.save_file(network.state_dict(), scratch / "weights.safetensors")
    model = conversion.from_foreign(scratch / "weights.safetensors", CLASSES, 96)
    assert_parity(model, network, number=1)
    model = conversion.from_foreign(scratch / "weights.safetensors", CLASSES)
    conversion.to_foreign(model, scratch / "back.pth", "timm")
    network.load_state_dict(torch.load(scratch / "back.pth", weights_only=True), strict=True)
    assert_parity(model, network, number=1)


@pytest.mark.slow
@KERAS_ARRAYS
@pytest.mark.parametrize("name", ["VGG16", "VGG19"])
def test_keras_full_size(keras: Any, name: str, scratch: Path) -> None:
    build = getattr(keras.applications, name)
    network = build(weights=None, classes=7, classifier_activation=None)
    generator = np.random.default_rng(0)
    network.set_weights([fill(generator, weight.shape) for weight in network.weights])
    network.save_weights(scratch / "there.weights.h5")
    model = conversion.from_foreign(scratch / "there.weights.h5", CLASSES)
    assert model.record.architecture == Architecture.named(name, classes=7)
    assert_parity(model, keras_forward(network), number=1)

    conversion.to_foreign(model, scratch / "back.weights.h5", "keras")
    network.set_weights([np.zeros(weight.shape, np.float32) for weight in network.weights])
    network.load_weights(scratch / "back.weights.h5")
    assert_parity(model, keras_forward(network), number=1)


# What is refused, in words


def saved(state: object, folder: Path) -> Path:
    torch.save(state, folder / "weights.pth")
    return folder / "weights.pth"


class Hostile:
    """Unpickling this makes a file named 'pwned'."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return (Path.touch, (self.folder / "pwned",))


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="more than plain tensors, and unpickling the rest could run anything"):
        conversion.from_foreign(saved({"features.0.weight": Hostile(tmp_path)}, tmp_path), CLASSES)
    assert not (tmp_path / "pwned").exists()
    pickle.loads(pickle.dumps(Hostile(tmp_path)))  # noqa: S301 (to see that it would have)
    assert (tmp_path / "pwned").exists()


def test_whole_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"save model\.state_dict\(\) alone"):
        conversion.from_foreign(saved(nn.Linear(2, 2), tmp_path), CLASSES)


@pytest.mark.parametrize("content", [[torch.ones(2)], {"state_dict": {"a": 1}}, torch.ones(2)])
def test_not_a_state_dict(content: object, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not a state dict"):
        conversion.from_foreign(saved(content, tmp_path), CLASSES)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".h5"])
@pytest.mark.parametrize("content", [b"", b"hello world", b"PK\x03\x04 not really", b"\x89HDF\r\n\x1a\n"])
def test_damaged_files(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"truncated or damaged|more than plain tensors"):
        conversion.from_foreign(path, CLASSES)


def test_truncated_file(tmp_path: Path) -> None:
    path = saved({"features.0.weight": torch.ones(1000)}, tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="truncated or damaged"):
        conversion.from_foreign(path, CLASSES)


def test_foreign_hdf5(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "table.h5", "w") as file:
        file.attrs["layer_names"] = ["conv"]
    with pytest.raises(WeightsError, match="truncated or damaged"):
        conversion.from_foreign(tmp_path / "table.h5", CLASSES)


def test_no_such_file_and_suffix(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        conversion.from_foreign(tmp_path / "absent.pth", CLASSES)
    with pytest.raises(WeightsError, match=r"read from \.pt, \.pth, \.safetensors, \.h5 files"):
        conversion.from_foreign(tmp_path / "model.keras", CLASSES)


def test_missing_and_unexpected_keys(tmp_path: Path) -> None:
    state = torchvision_network("vgg16_bn").state_dict()
    state["extra.weight"] = state.pop("features.0.bias")
    match = r"next to torchvision's vgg16_bn it lacks features\.0\.bias and adds extra\.weight"
    with pytest.raises(WeightsError, match=match):
        conversion.from_foreign(saved(state, tmp_path), CLASSES)


def test_first_few_of_many_keys(tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in timm_network("vgg11").state_dict().items() if "features" in key}
    match = r"timm's vgg11 it lacks head\.fc\.bias, head\.fc\.weight, pre_logits\.fc1\.bias and 3 more;"
    state["pre_logits.fc2.weight"] = torch.ones(1)
    with pytest.raises(WeightsError, match=match.replace("3 more", "2 more")):
        conversion.from_foreign(saved(state, tmp_path), CLASSES)


def test_another_network_altogether(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not the weights of a VGG"):
        conversion.from_foreign(saved({"layer1.0.conv1.weight": torch.ones(1)}, tmp_path), CLASSES)
    with pytest.raises(WeightsError, match="not the weights of a VGG"):
        conversion.from_foreign(saved({}, tmp_path), CLASSES)


def test_wrong_shape(tmp_path: Path) -> None:
    state = torchvision_network("vgg11").state_dict()
    state["features.6.weight"] = torch.ones(8, 4, 5, 5)
    match = r"features\.6\.weight: expected \(8, 4, 3, 3\), found \(8, 4, 5, 5\); this is conv3_1\.weight of a vgg11"
    with pytest.raises(WeightsError, match=match):
        conversion.from_foreign(saved(state, tmp_path), CLASSES)
    state["features.6.weight"] = torch.ones(16)
    with pytest.raises(WeightsError, match=r"features\.6\.weight: expected \(256, 128, 3, 3\), found \(16,\)"):
        conversion.from_foreign(saved(state, tmp_path), CLASSES)


def test_class_names(tmp_path: Path) -> None:
    path = saved(torchvision_network("vgg11").state_dict(), tmp_path)
    with pytest.raises(WeightsError, match="3 class names: the weights have 7 outputs"):
        conversion.from_foreign(path, ("a", "b", "c"))
    with pytest.raises(WeightsError, match="class 'a': named 2 times"):
        conversion.from_foreign(path, ("a", "b", "c", "d", "e", "f", "a"))


def test_size_that_timm_slides_over(tmp_path: Path) -> None:
    path = saved(timm_network("vgg11").state_dict(), tmp_path)
    with pytest.raises(WeightsError, match=r"image size 256: timm slides .* 8x8 map .* choose 255 or less"):
        conversion.from_foreign(path, CLASSES, 256)


def test_size_that_keras_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "vgg.weights.h5"
    conversion.to_foreign(small_model("vgg16", 64), path, "keras")
    with pytest.raises(WeightsError, match="image size 224: Keras's fc1 here fits 64"):
        conversion.from_foreign(path, CLASSES, 224)


@pytest.mark.parametrize(
    ("name", "family"), [("A-LRN", "torchvision"), ("C", "timm"), ("vgg16_bn", "keras"), ("vgg11", "keras")]
)
def test_networks_that_a_family_lacks(name: str, family: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"{name}: {family} has no such network; it has vgg"):
        conversion.to_foreign(small_model(name, 32), tmp_path / "weights.pth", family)


@pytest.mark.parametrize("family", ["torchvision", "timm"])
def test_sizes_that_a_family_lacks(family: str, tmp_path: Path) -> None:
    match = f"an image size of 64: fc6 takes a 2x2 map, and {family} always pools to 7x7"
    with pytest.raises(WeightsError, match=match):
        conversion.to_foreign(small_model("vgg11", 64), tmp_path / "weights.pth", family)


def test_suffixes_that_a_family_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"torchvision loads \.pth or \.pt or \.safetensors"):
        conversion.to_foreign(small_model("vgg11"), tmp_path / "weights.h5", "torchvision")
    with pytest.raises(WeightsError, match=r"keras loads \.weights\.h5"):
        conversion.to_foreign(small_model("vgg16", 32), tmp_path / "weights.h5", "keras")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from vgglass import conversion, modelfile
model = modelfile.load(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
conversion.to_foreign(model, Path(sys.argv[2]), sys.argv[3])
"""


@pytest.mark.parametrize(
    ("file", "family"), [("w.pth", "torchvision"), ("w.safetensors", "timm"), ("w.weights.h5", "keras")]
)
def test_full_disk_leaves_nothing(file: str, family: str, tmp_path: Path) -> None:
    """In a process of its own, none of whose files may grow beyond 4 kB."""
    modelfile.save(small_model("vgg16"), tmp_path / "model.safetensors")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / file).write_text("before")
    model = str(tmp_path / "model.safetensors")
    command = [sys.executable, "-c", FULL_DISK, model, str(folder / file), family]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "WeightsError" in result.stderr
    assert "could not be written" in result.stderr
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(file, "before")]


def test_missing_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "vgg.weights.h5"
    conversion.to_foreign(small_model("vgg16", 32), path, "keras")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"h5py: needed for reading Keras weights.*vgglass\[keras\]"):
        conversion.from_foreign(path, CLASSES)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"torch: needed for converting weights.*vgglass\[torch\]"):
        conversion.from_foreign(path, CLASSES)


def test_bgr_model_is_written_as_it_is(tmp_path: Path) -> None:
    """The docstring's promise: weights unchanged, preprocessing the reader's own affair."""
    network = VGG(Architecture.named("vgg11", **SMALL))
    model = network.to_file(CLASSES, Preprocessing(224, 256, (0.0,) * 3, (1.0,) * 3, "BGR"))
    conversion.to_foreign(model, tmp_path / "weights.pth", "torchvision")
    state = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert torch.equal(state["features.0.weight"], network.state_dict()["conv1_1.weight"])
