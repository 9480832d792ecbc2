"""Foreign weights that cannot be read, do not fit or cannot be written: each a clear error, nothing left behind."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from foreign_networks import (
    CLASSES,
    SMALL,
    small_model,
    timm_network,
    torchvision_network,
)
from vgglass import modelfile, weights
from vgglass.architecture import Architecture
from vgglass.errors import MissingExtraError, WeightsError
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing

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
        weights.from_foreign(saved({"features.0.weight": Hostile(tmp_path)}, tmp_path), CLASSES)
    assert not (tmp_path / "pwned").exists()
    pickle.loads(pickle.dumps(Hostile(tmp_path)))  # noqa: S301 (to see that it would have)
    assert (tmp_path / "pwned").exists()


def test_whole_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"a pickled torch\.nn\.modules\.linear\.Linear.*torch\.save\(model\.state_dict"
    ):
        weights.from_foreign(saved(nn.Linear(2, 2), tmp_path), CLASSES)


@pytest.mark.parametrize("content", [[torch.ones(2)], {"state_dict": {"a": 1}}, torch.ones(2)])
def test_not_a_state_dict(content: object, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not a state dict"):
        weights.from_foreign(saved(content, tmp_path), CLASSES)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".h5"])
@pytest.mark.parametrize("content", [b"", b"hello world", b"PK\x03\x04 not really", b"\x89HDF\r\n\x1a\n"])
def test_damaged_files(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"truncated or damaged|more than plain tensors"):
        weights.from_foreign(path, CLASSES)


def test_truncated_file(tmp_path: Path) -> None:
    path = saved({"features.0.weight": torch.ones(1000)}, tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="truncated or damaged"):
        weights.from_foreign(path, CLASSES)


def test_foreign_hdf5(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "table.h5", "w") as file:
        file.attrs["layer_names"] = ["conv"]
    with pytest.raises(WeightsError, match="truncated or damaged"):
        weights.from_foreign(tmp_path / "table.h5", CLASSES)


def test_no_such_file_and_suffix(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        weights.from_foreign(tmp_path / "absent.pth", CLASSES)
    with pytest.raises(WeightsError, match=r"read from \.pt, \.pth, \.bin, .*\.keras, \.onnx files"):
        weights.from_foreign(tmp_path / "model.zip", CLASSES)


def test_a_convolution_without_its_bias(tmp_path: Path) -> None:
    state = torchvision_network("vgg16_bn").state_dict()
    del state["features.3.bias"]
    with pytest.raises(WeightsError, match=r"features\.3 in .*: has no bias, and other convolutions have one"):
        weights.from_foreign(saved(state, tmp_path), CLASSES)


def test_the_nearest_network_is_named(tmp_path: Path) -> None:
    state = torchvision_network("vgg16_bn").state_dict()
    state["features.90.weight"] = state.pop("features.0.weight")
    match = r"not the weights of a VGG; next to the numbered layers of vgg16_bn it lacks 0 and adds 90;"
    with pytest.raises(WeightsError, match=match):
        weights.from_foreign(saved(state, tmp_path), CLASSES)


def test_another_network_altogether(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds the weights of a ResNet, not of a VGG; name the weights of a VGG-11"):
        weights.from_foreign(saved({"layer1.0.conv1.weight": torch.ones(1)}, tmp_path), CLASSES)
    with pytest.raises(WeightsError, match="not the weights of a VGG: it has 0 convolutions"):
        weights.from_foreign(saved({}, tmp_path), CLASSES)


def test_wrong_shape(tmp_path: Path) -> None:
    state = torchvision_network("vgg11").state_dict()
    state["features.6.weight"] = torch.ones(8, 4, 5, 5)
    match = r"features\.6\.weight in .*: expected \(8, 4, 3, 3\) .*, found \(8, 4, 5, 5\); this is conv3_1\.weight of"
    with pytest.raises(WeightsError, match=match):
        weights.from_foreign(saved(state, tmp_path), CLASSES)
    state["features.6.weight"] = torch.ones(16)
    with pytest.raises(WeightsError, match=r"next to the numbered layers of vgg11 it lacks 6"):
        weights.from_foreign(saved(state, tmp_path), CLASSES)


def test_class_names(tmp_path: Path) -> None:
    path = saved(torchvision_network("vgg11").state_dict(), tmp_path)
    with pytest.raises(WeightsError, match="3 class names: the weights have 7 outputs"):
        weights.from_foreign(path, ("a", "b", "c"))
    with pytest.raises(WeightsError, match="class 'a': named 2 times"):
        weights.from_foreign(path, ("a", "b", "c", "d", "e", "f", "a"))


def test_size_that_timm_slides_over(tmp_path: Path) -> None:
    path = saved(timm_network("vgg11").state_dict(), tmp_path)
    with pytest.raises(WeightsError, match=r"image size 256: timm slides .* 8x8 map .* choose 255 or less"):
        weights.from_foreign(path, CLASSES, 256)


def test_size_that_keras_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "vgg.weights.h5"
    weights.to_foreign(small_model("vgg16", 64), path, "keras")
    with pytest.raises(WeightsError, match="image size 224: Keras's fc1 here fits 64"):
        weights.from_foreign(path, CLASSES, 224)


@pytest.mark.parametrize(
    ("name", "family"), [("A-LRN", "torchvision"), ("C", "timm"), ("vgg16_bn", "keras"), ("vgg11", "keras")]
)
def test_networks_that_a_family_lacks(name: str, family: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"{name}: {family} has no such network; it has vgg"):
        weights.to_foreign(small_model(name, 32), tmp_path / "weights.pth", family)


@pytest.mark.parametrize("family", ["torchvision", "timm"])
def test_sizes_that_a_family_lacks(family: str, tmp_path: Path) -> None:
    match = f"an image size of 64: fc6 takes a 2x2 map, and {family} always pools to 7x7"
    with pytest.raises(WeightsError, match=match):
        weights.to_foreign(small_model("vgg11", 64), tmp_path / "weights.pth", family)


def test_suffixes_that_a_family_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"torchvision loads \.pth or \.pt or \.safetensors"):
        weights.to_foreign(small_model("vgg11"), tmp_path / "weights.h5", "torchvision")
    with pytest.raises(WeightsError, match=r"keras loads \.weights\.h5"):
        weights.to_foreign(small_model("vgg16", 32), tmp_path / "weights.h5", "keras")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from vgglass import modelfile, weights
model = modelfile.load(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
weights.to_foreign(model, Path(sys.argv[2]), sys.argv[3])
"""


@pytest.mark.parametrize(
    ("file", "family"),
    [
        ("w.safetensors", "timm"), ("w.weights.h5", "keras"),
        pytest.param("w.pth", "torchvision", marks=pytest.mark.slow),  # it waits for torch
    ],
)  # fmt: skip
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
    weights.to_foreign(small_model("vgg16", 32), path, "keras")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"h5py: needed for reading Keras weights.*vgglass\[keras\]"):
        weights.from_foreign(path, CLASSES)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"torch: needed for converting weights.*vgglass\[torch\]"):
        weights.from_foreign(path, CLASSES)


def test_bgr_model_is_written_as_it_is(tmp_path: Path) -> None:
    """The docstring's promise: weights unchanged, preprocessing the reader's own affair."""
    network = VGG(Architecture.named("vgg11", **SMALL))
    model = network.to_file(CLASSES, Preprocessing(224, 256, (0.0,) * 3, (1.0,) * 3, "BGR"))
    weights.to_foreign(model, tmp_path / "weights.pth", "torchvision")
    state = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert torch.equal(state["features.0.weight"], network.state_dict()["conv1_1.weight"])
