"""Foreign files that are refused, each in a sentence with a remedy: other networks, programs, links, absurd shapes."""

import json
import os
import signal
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from foreign_networks import CLASSES, export_onnx, saved, small_model, timm_network, torchvision_network
from vgglass import modelfile, workflows
from vgglass.cli import app
from vgglass.errors import ModelFileError, UsageError, WeightsError
from vgglass.weights import from_foreign, keras_files, read_foreign, to_foreign

# Other networks


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("resnet18", "a ResNet"), ("efficientnet_b0", "an EfficientNet"), ("mobilenet_v2", "a MobileNet"),
        ("mobilenet_v3_small", "a MobileNet"), ("vit_b_16", "a vision transformer"), ("densenet121", "a DenseNet"),
        ("convnext_tiny", "a ConvNeXt"), ("squeezenet1_0", "a SqueezeNet"),
    ],
)  # fmt: skip
def test_networks_of_another_family(name: str, named: str, tmp_path: Path) -> None:
    import torchvision

    with torch.device("meta"):
        keys = torchvision.models.get_model(name, weights=None).state_dict()
    state = {key: torch.zeros((1,) * tensor.ndim) for key, tensor in keys.items()}
    with pytest.raises(WeightsError, match=f"holds the weights of {named}, not of a VGG; name the weights of a VGG-11"):
        read_foreign(saved(state, tmp_path))


def test_alexnet_is_no_vgg(tmp_path: Path) -> None:
    state = {f"features.{number}.weight": torch.ones(4, 4, 3, 3) for number in (0, 3, 6, 8, 10)}
    with pytest.raises(WeightsError, match="not the weights of a VGG; next to the numbered layers of vgg"):
        read_foreign(saved(state, tmp_path))


def test_keras_with_other_convolutions(tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    write_hdf5(path, {f"layers/conv2d_{number}/vars/0": np.ones((3, 3, 4, 4), "f4") for number in range(5)})
    with pytest.raises(WeightsError, match="it has 5 convolutions and 0 batch norms, and VGG-16 has 13 and VGG-19 has"):
        read_foreign(path)


def test_two_networks_in_one_file(tmp_path: Path) -> None:
    state = torchvision_network("vgg11").state_dict()
    both = {f"{owner}.{key}": tensor for owner in ("student", "teacher") for key, tensor in state.items()}
    with pytest.raises(
        WeightsError, match=r"holds 2 VGGs, under 'student\.features' and 'teacher\.features'; save the"
    ):
        read_foreign(saved(both, tmp_path))


# Numbers and shapes


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none(number: float, tmp_path: Path) -> None:
    state = torchvision_network("vgg11").state_dict()
    state["features.3.weight"][0, 0, 0, 0] = number
    match = r"features\.3\.weight in .*: 1 of 72 numbers are NaN or infinite.*; take an earlier checkpoint"
    with pytest.raises(WeightsError, match=match):
        read_foreign(saved(state, tmp_path))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.ones(2, 3, 3, 3, device="meta"), "a tensor of the device 'meta', which has a shape and no numbers"),
        (torch.ones(2, 3).to_sparse(), "is a sparse or nested tensor"),
        (torch.ones(2, 3, dtype=torch.complex64), r"holds torch\.complex64, not plain numbers"),
        (torch.empty_strided((1 << 31, 1 << 31), (0, 0)), r"claims to hold 4,611,686,018,427,387,904 numbers"),
        (torch.ones(1).expand(1 << 20, 1 << 20), r"claims to hold 1,099,511,627,776 numbers, and no VGG has more"),
        (torch.ones(1).expand(1000, 1000), r"has the shape \(1000, 1000\) and stores fewer numbers"),
    ],
)
def test_tensors_that_are_no_plain_numbers(tensor: torch.Tensor, message: str, tmp_path: Path) -> None:
    state = torchvision_network("vgg11").state_dict() | {"features.3.weight": tensor}
    with pytest.raises(WeightsError, match=rf"features\.3\.weight in .*{message}"):
        read_foreign(saved(state, tmp_path))


def test_numbers_of_four_bits(tmp_path: Path) -> None:
    header = json.dumps({"a.weight": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "vgg.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(
        WeightsError, match=r"a\.weight in .*: holds torch\.float4.*, which torch can't make float32 of"
    ):
        read_foreign(tmp_path / "vgg.safetensors")


def test_a_compressed_pickle(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(1000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(
        WeightsError, match=r"is a compressed archive \(plain/.*\), which torch\.save never writes; unpack"
    ):
        read_foreign(tmp_path / "packed.pth")


def test_a_bias_of_another_length(tmp_path: Path) -> None:
    state = torchvision_network("vgg11").state_dict() | {"classifier.6.bias": torch.ones(3)}
    with pytest.raises(WeightsError, match=r"classifier\.6\.bias: expected \(7,\), found \(3,\)"):
        read_foreign(saved(state, tmp_path))


def test_images_of_four_channels(tmp_path: Path) -> None:
    state = torchvision_network("vgg11").state_dict() | {"features.0.weight": torch.ones(2, 4, 3, 3)}
    with pytest.raises(UsageError, match=r"4 channels: an image has 1 \(grey\) or 3 \(colour\)"):
        read_foreign(saved(state, tmp_path))


def test_a_checkpoint_that_holds_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    with pytest.raises(WeightsError, match="holds a dict without tensors, not a state dict"):
        read_foreign(saved(content, tmp_path))


# Programs


def test_torchscript_is_named(tmp_path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))  # type: ignore[no-untyped-call]
        torch.jit.save(script, tmp_path / "script.pt")
    with pytest.raises(
        WeightsError, match=r"is a TorchScript archive, a program with .*torch\.jit\.load\('script\.pt'"
    ):
        read_foreign(tmp_path / "script.pt")


def test_a_whole_model_is_refused_with_the_line_to_run(tmp_path: Path) -> None:
    match = (
        r"holds a pickled torchvision\.models\.vgg\.VGG, .*Python: torch\.save\(model\.state_dict\(\), 'weights\.pth'\)"
    )
    with pytest.raises(WeightsError, match=match):
        read_foreign(saved(torchvision_network("vgg11"), tmp_path))


def keras_archive(path: Path, config: object, weights: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    return path


def test_code_in_a_keras_archive_is_never_run(tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda", "config": {}}]}}
    path = keras_archive(tmp_path / "vgg.keras", config, b"")
    with pytest.raises(
        WeightsError, match=r"holds code of its own \(Lambda\), which is never run; .*model\.save_weights"
    ):
        read_foreign(path)


def test_keras_with_its_own_scaling_asks_how_it_is_fed(tmp_path: Path) -> None:
    to_foreign(small_model("vgg16", 32), tmp_path / "vgg.weights.h5", "keras")
    config = {"config": {"layers": [{"class_name": "Rescaling"}]}}
    path = keras_archive(tmp_path / "vgg.keras", config, (tmp_path / "vgg.weights.h5").read_bytes())
    with pytest.raises(WeightsError, match=r"it has a layer Rescaling of its own\); add --preprocessing torchvision"):
        read_foreign(path)
    assert read_foreign(path, "torchvision").convention == "torchvision"


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04 not really"])
def test_damaged_archives_and_graphs(content: bytes, tmp_path: Path) -> None:
    for name in ("vgg.keras", "vgg.onnx"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=r"truncated or damaged|not the weights of a VGG"):
            read_foreign(tmp_path / name)


def test_a_keras_archive_that_claims_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vgglass.weights import keras_files

    monkeypatch.setattr(keras_files, "MOST_NUMBERS", 10)
    path = keras_archive(tmp_path / "vgg.keras", {}, b"?" * 41)
    with pytest.raises(WeightsError, match=r"its model\.weights\.h5 claims 41 bytes, and no VGG's has more than 40"):
        read_foreign(path)


# Other files


def write_hdf5(path: Path, arrays: dict[str, Any]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array


@pytest.mark.parametrize("kind", ["soft", "external"])
def test_links_are_refused(kind: str, tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "vgg.weights.h5"
    write_hdf5(tmp_path / "secret.h5", {"a": np.ones(3)})
    link = h5py.SoftLink("/layers") if kind == "soft" else h5py.ExternalLink(str(tmp_path / "secret.h5"), "a")
    write_hdf5(path, {"layers/conv2d/vars/0": link})
    with pytest.raises(
        WeightsError, match=r"layers/conv2d/vars/0 in .*: is a link, which may lead to another file; in"
    ):
        read_foreign(path)


@pytest.mark.parametrize("place", ["layers", "model_weights", "layers/conv2d", "top_level_model_weights"])
def test_a_linked_file_is_not_even_opened(place: str, tmp_path: Path) -> None:
    import h5py

    os.mkfifo(tmp_path / "endless")  # to open it is to wait for ever
    write_hdf5(tmp_path / "vgg.weights.h5", {place: h5py.ExternalLink("endless", "/layers")})

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    try:
        with pytest.raises(WeightsError, match=f"{place} in .*: is a link, which may lead to another file"):
            read_foreign(tmp_path / "vgg.weights.h5")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_filter_of_a_plug_in_is_not_looked_for(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "vgg.weights.h5", "w") as file:
        way = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        way.set_chunk((4,))
        way.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (1,))
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.create_group("layers").id, b"a", h5py.h5t.IEEE_F32LE, space, way)
    with pytest.raises(
        WeightsError, match=r"layers/a in .*: is packed by filter 32015 of a plug-in, which is not loaded"
    ):
        read_foreign(tmp_path / "vgg.weights.h5")


def test_arrays_of_hdf5_that_are_no_plain_numbers(tmp_path: Path) -> None:
    import h5py

    path, place = tmp_path / "vgg.weights.h5", "layers/conv2d/vars/0"
    for value, held in (
        (h5py.Empty("f4"), "nothing"),
        ([b"text"], "object"),
        (np.zeros(2, [("a", "f4"), ("b", "i4")]), r"\[\('a'"),
        (np.zeros(2, "c8"), "complex64"),
    ):
        write_hdf5(path, {place: value})
        with pytest.raises(WeightsError, match=f"layers/conv2d in .*: holds {held}.*, not plain numbers; in Python"):
            read_foreign(path)
    with h5py.File(path, "w") as file:
        file.create_dataset(place, data=np.array([file.ref], h5py.ref_dtype))
    with pytest.raises(WeightsError, match="holds object, not plain numbers"):
        read_foreign(path)
    with h5py.File(path, "w") as file:
        file.create_dataset(place, (1 << 20,), np.dtype(("f4", (100_000,))), chunks=(1,))
    with pytest.raises(WeightsError, match=r"holds .*100000.*, not plain numbers"):
        read_foreign(path)


def test_many_packed_arrays_are_counted_together(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "vgg.weights.h5", "w") as file:
        for number in range(3):
            file.create_dataset(f"layers/conv2d_{number}/vars/0", (1 << 28,), "f4", chunks=(1 << 20,), compression=1)
    with pytest.raises(WeightsError, match=r"all that is in .*: claims to hold 805,306,368 numbers"):
        read_foreign(tmp_path / "vgg.weights.h5")


def test_external_storage_is_refused(tmp_path: Path) -> None:
    import h5py

    (tmp_path / "secret").write_bytes(b"x" * 8)
    with h5py.File(tmp_path / "vgg.weights.h5", "w") as file:
        external = [(str(tmp_path / "secret"), 0, 8)]
        file.create_dataset("layers/conv2d/vars/0", (2,), "f4", external=external)
    with pytest.raises(WeightsError, match="keeps its numbers in another file, which is not opened"):
        read_foreign(tmp_path / "vgg.weights.h5")


def test_virtual_data_sets_are_refused(tmp_path: Path) -> None:
    import h5py

    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "a", (2,))
    with h5py.File(tmp_path / "vgg.weights.h5", "w") as file:
        file.create_virtual_dataset("layers/conv2d/vars/0", layout)
    with pytest.raises(WeightsError, match="keeps its numbers in another file, which is not opened"):
        read_foreign(tmp_path / "vgg.weights.h5")


def test_absurd_shapes_and_groups_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import h5py

    monkeypatch.setattr(keras_files, "MOST_ENTRIES", 1_000)

    path = tmp_path / "vgg.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (1 << 20, 1 << 20), "f4", chunks=(64, 64))
    with pytest.raises(WeightsError, match="claims to hold 1,099,511,627,776 numbers"):
        read_foreign(path)
    with h5py.File(path, "w") as file:
        group = file.create_group("layers")
        group["again"] = group
    with pytest.raises(WeightsError, match="holds more than 1,000 entries"):
        read_foreign(path)


def test_onnx_weights_in_another_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    export_onnx(torchvision_network("vgg11"), tmp_path / "vgg.onnx")
    model = onnx.load(tmp_path / "vgg.onnx")
    onnx.save(model, tmp_path / "apart.onnx", save_as_external_data=True, location="data.bin", size_threshold=0)
    with pytest.raises(WeightsError, match=r"keeps its weights \(.*\) in another file, which is not opened; save it"):
        read_foreign(tmp_path / "apart.onnx", "torchvision")


# How it is asked for


def test_onnx_needs_to_be_told_how_it_is_fed(tmp_path: Path) -> None:
    export_onnx(timm_network("vgg11"), tmp_path / "vgg.onnx")
    with pytest.raises(WeightsError, match=r"does not tell how its network is fed .*; add --preprocessing torchvision"):
        read_foreign(tmp_path / "vgg.onnx")
    assert (
        from_foreign(tmp_path / "vgg.onnx", CLASSES, preprocessing="keras").record.preprocessing.channel_order == "BGR"
    )


def test_a_graph_that_vgglass_exported_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    modelfile.save(small_model("vgg11", 32), tmp_path / "vgg.safetensors")
    workflows.export(tmp_path / "vgg.safetensors", tmp_path / "vgg.onnx")
    with pytest.raises(WeightsError, match="is a graph that vgglass export wrote; convert the model file that it came"):
        read_foreign(tmp_path / "vgg.onnx", "torchvision")


def test_words_that_are_no_choice(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--preprocessing caffe: not one of torchvision, keras"):
        read_foreign(tmp_path / "vgg.pth", "caffe")
    with pytest.raises(UsageError, match="--to caffe: not one of torchvision, timm, keras"):
        to_foreign(small_model("vgg11", 32), tmp_path / "vgg.pth", "caffe")


def test_a_top_for_other_classes(tmp_path: Path) -> None:
    path = saved(torchvision_network("vgg11", classes=5).state_dict(), tmp_path)
    with pytest.raises(WeightsError, match="7 class names: the weights have 5 outputs; give one name an output"):
        from_foreign(path, CLASSES)


@pytest.mark.parametrize("family", ["torchvision", "timm"])
def test_a_pooled_head_has_no_place_in_torchs_families(family: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"a pooled head: averages pool5 and has fc8 alone, where {family}'s vgg11"):
        to_foreign(small_model("vgg11", 224, head="pooled"), tmp_path / "vgg.pth", family)


@pytest.mark.parametrize("name", ["vgg.torchscript", "vgg.pt2", "vgg.pth", "vgg.weights.h5", "vgg.keras"])
def test_foreign_weights_where_a_model_file_is_expected(name: str, tmp_path: Path) -> None:
    path = saved(torchvision_network("vgg11").state_dict(), tmp_path, name)
    with pytest.raises(ModelFileError, match=f"not a vgglass model file; for another.*run: vgglass convert {path}"):
        workflows.load(path)


def test_preprocessing_is_of_foreign_weights_alone(tmp_path: Path) -> None:
    modelfile.save(small_model("vgg11", 32), tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="--preprocessing keras: is how another framework's network is fed"):
        workflows.starting_model(tmp_path / "model.safetensors", "keras")
    with pytest.raises(UsageError, match="--preprocessing: is of the weights that --from names; add --from"):
        workflows.train(out=tmp_path / "run", preprocessing="keras")


def test_a_summary_of_foreign_weights_names_convert(tmp_path: Path) -> None:
    (tmp_path / "vgg.pth").write_bytes(b"PK" * 100)
    result = CliRunner().invoke(app, ["summary", str(tmp_path / "vgg.pth")])
    with pytest.raises(ModelFileError, match=r"for another framework's weights run: vgglass convert .*vgg\.pth"):
        raise result.exception or AssertionError(result.output)


def test_a_word_that_is_no_model_names_those_there_are() -> None:
    with pytest.raises(ModelFileError, match=r"vgg17: is neither a file nor a pretrained name; .* or one of vgg11"):
        workflows.load("vgg17")
