"""A model file comes back as it was written, and whatever is not one is refused by name, quickly and unexecuted."""

import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vgglass import modelfile, preprocess
from vgglass.architecture import Architecture
from vgglass.errors import ImageError, ModelFileError
from vgglass.modelfile import ModelFile, Record
from vgglass.preprocess import Preprocessing

ARCHITECTURE = Architecture.named("A", classes=3, channels=1, image_size=32, width=1 / 64, hidden=4)
PREPROCESSING = Preprocessing(size=32, resize=32, mean=(127.5,), std=(64,), channel_order="L")
RECORD = Record(
    ARCHITECTURE,
    ("cat", "dog", "雪"),
    PREPROCESSING,
    temperature=1.5,
    reject_threshold=None,
    metrics={"validation": {"top1": 0.75}},
    data={"digest": "abc", "sizes": {"train": 10}},
    recipe={"epochs": 2, "schedule": ["cosine"]},
    versions={"vgglass": "0.1.0"},
)


def small_model(record: Record = RECORD) -> ModelFile:
    generator = np.random.default_rng(0)
    shapes = record.architecture.tensors()
    weights = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    images = modelfile.golden_images(record.preprocessing)
    return ModelFile(record, weights, images, generator.normal(size=(len(images), 3)).astype(np.float32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    modelfile.save(small_model(), path)
    return path


def tensors_of(path: Path) -> dict[str, Any]:
    tensors: dict[str, Any] = safetensors.numpy.load_file(path)
    return tensors


def record_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    record: dict[str, Any] = json.loads(header["__metadata__"]["vgglass"])
    return record


def rewrite(path: Path, tensors: dict[str, Any], record: Any) -> None:
    safetensors.numpy.save_file(tensors, path, {"vgglass": json.dumps(record)})


def refuses(path: Path, message: str) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        modelfile.load(path)
    assert caught.value.value == path


# What was written ----------------------------------------------------------------------------------------------------


def test_round_trip(tmp_path: Path) -> None:
    model, path = small_model(), tmp_path / "new" / "model.safetensors"
    saved = modelfile.save(model, path)
    loaded = modelfile.load(path)
    assert loaded.record == saved == replace(RECORD, digest=modelfile.weights_digest(model.weights))
    assert modelfile.load_record(path) == saved
    assert loaded.weights.keys() == model.weights.keys() == ARCHITECTURE.tensors().keys()
    for name, weight in model.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], weight)
    np.testing.assert_array_equal(loaded.golden_images, model.golden_images)
    np.testing.assert_array_equal(loaded.golden_logits, model.golden_logits)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def with_attachments() -> ModelFile:
    attached: dict[str, Any] = {
        "familiarity.means": np.arange(6, dtype=np.float32).reshape(3, 2),
        "training.features": np.ones((5, 2), np.float16),
        "training.labels": np.arange(5),
        "training.digests": np.full((5, 32), 7, np.uint8),
    }
    return replace(small_model(replace(RECORD, familiarity={"threshold": 2.5})), attached=attached)


def test_attached_arrays_come_back_in_their_types_and_have_a_digest(tmp_path: Path) -> None:
    model, path = with_attachments(), tmp_path / "model.safetensors"
    saved = modelfile.save(model, path)
    loaded = modelfile.load(path)
    assert loaded.record == saved
    assert (saved.familiarity, len(saved.attached_digest)) == ({"threshold": 2.5}, 64)
    assert loaded.attached.keys() == model.attached.keys()
    for name, array in model.attached.items():
        np.testing.assert_array_equal(loaded.attached[name], array)
        assert loaded.attached[name].dtype == array.dtype
    assert loaded.weights.keys() == model.weights.keys()
    assert saved.digest == modelfile.weights_digest(small_model().weights)  # of the weights alone
    assert modelfile.save(replace(loaded, attached={}), tmp_path / "bare.safetensors").attached_digest == ""


@pytest.mark.parametrize("name", ["familiarity.means", "training.features"])
def test_one_bit_of_an_attached_array(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.safetensors"
    modelfile.save(with_attachments(), path)
    data, array = bytearray(path.read_bytes()), with_attachments().attached[name].tobytes()
    data[data.index(array) + 1] ^= 1
    path.write_bytes(data)
    refuses(path, "what is attached to it is not what was saved; write or fetch the file again")


def test_attached_arrays_of_another_kind_are_refused(path: Path) -> None:
    rewrite(path, tensors_of(path) | {"training.labels": np.zeros(3, np.int16)}, record_of(path))
    refuses(path, r"tensor 'training.labels' should be absent and is \('I16', \(3,\)\)")


def test_version_3_had_nothing_attached(path: Path) -> None:
    record = record_of(path)
    for name in ("sha256", "familiarity", "attached_digest"):
        del record[name]
    rewrite(path, tensors_of(path), record | {"format_version": 3})
    loaded = modelfile.load(path)
    assert (loaded.record.familiarity, loaded.record.attached_digest, loaded.attached) == ({}, "", {})


def test_round_trip_with_batch_norm_and_arrays_in_any_memory_order(tmp_path: Path) -> None:
    record = replace(RECORD, architecture=replace(ARCHITECTURE, batch_norm=True))
    model = small_model(record)
    turned = {name: np.asfortranarray(weight) for name, weight in model.weights.items()}
    modelfile.save(replace(model, weights=turned), tmp_path / "model")
    loaded = modelfile.load(tmp_path / "model")
    assert "bn1_1.running_var" in loaded.weights
    np.testing.assert_array_equal(loaded.weights["conv5_2.weight"], model.weights["conv5_2.weight"])


def test_the_file_is_the_same_byte_for_byte(path: Path, tmp_path: Path) -> None:
    modelfile.save(modelfile.load(path), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_the_digest_by_hand() -> None:
    """SHA-256 of b'a (2,)\\n', 1.0 and 2.0 in little-endian float32, computed with sha256sum."""
    weights = {"a": np.array([1, 2], np.float32)}
    assert modelfile.weights_digest(weights) == "15fa5aeccc2a7e2c602c37ca4aafecab32d04d62973ac012fca8e44fe8e41448"


def test_one_weight_changes_the_digest_and_the_order_of_names_does_not() -> None:
    weights = small_model().weights
    digest = modelfile.weights_digest(weights)
    assert modelfile.weights_digest(dict(reversed(weights.items()))) == digest
    assert modelfile.weights_digest({name: np.asfortranarray(weight) for name, weight in weights.items()}) == digest
    weights["conv1_1.weight"][0, 0, 1, 1] += 1e-3
    assert modelfile.weights_digest(weights) != digest


def test_golden_images_are_the_same_everywhere_and_fit_the_network() -> None:
    images = modelfile.golden_images(replace(PREPROCESSING, size=48, resize=48))
    assert images.shape == (4, 48, 48, 1)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[0, 0, :6, 0], [95, 130, 194, 217, 207, 235])
    for number, patch in enumerate((1, 4, 16, 48)):
        np.testing.assert_array_equal(
            images[number, :patch, :patch], images[number, :1, :1].repeat(patch, 0).repeat(patch, 1)
        )
        assert len(np.unique(images[number])) <= (48 // patch) ** 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("cat", "dog")}, "class names, preprocessing and architecture disagree"),
        ({"classes": ("cat", "dog", "cat")}, "two classes bear one name"),
        ({"classes": ("cat", "dog", "")}, "a class has an empty name"),
        ({"preprocessing": replace(PREPROCESSING, size=16)}, "disagree"),
        ({"architecture": replace(ARCHITECTURE, channels=3)}, "disagree"),
    ],
)
def test_a_record_agrees_with_itself(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RECORD, **change)


def test_a_full_disk_leaves_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    script = """
import resource, signal, sys
from pathlib import Path
from vgglass import modelfile
from vgglass.errors import ModelFileError
path = Path(sys.argv[1])
model = modelfile.load(path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    modelfile.save(model, path)
except ModelFileError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path}: could not be written (")
    assert done.stdout.endswith("; free space or choose another place.\n")
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_folder_in_the_way_of_a_save(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"could not be written .*Is a directory"):
        modelfile.save(small_model(), tmp_path)


def test_loading_needs_no_torch(path: Path) -> None:
    script = "import sys; from pathlib import Path; from vgglass import modelfile; modelfile.load(Path(sys.argv[1])); "
    script += "print(sorted({'torch', 'openvino', 'matplotlib', 'sklearn'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# What was not --------------------------------------------------------------------------------------------------------


class Trap:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("sprung",)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    return buffer.getvalue()


def framed(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


NOT_OURS = "not a vgglass model file; name a .safetensors file that vgglass wrote"
CROWD = {f"tensor{number}": {"dtype": "F32", "shape": [], "data_offsets": [0, 0]} for number in range(100_000)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", NOT_OURS),
        (b"short", NOT_OURS),
        (b"This is a text file.\n" * 100, NOT_OURS),
        (pickle.dumps(Trap()) * 10, NOT_OURS),
        (zipped(), NOT_OURS),
        (struct.pack("<Q", 2**63) + b"{}", NOT_OURS),
        (struct.pack("<Q", 100) + b"{}", NOT_OURS),
        (framed(b" " * (9 << 20)), NOT_OURS),
        (framed(b""), "its header is damaged; write or fetch the file again"),
        (framed(b"\xff\xfe\xfd\xfc"), "its header is damaged"),
        (framed(b"[" * 100_000), "its header is damaged"),
        (framed(b"[1, 2]"), "its header is damaged"),
        (framed(b'{"__metadata__": 5}'), "its header is damaged"),
        (framed(json.dumps(CROWD).encode()), "holds 100,000 tensors, and no VGG has more than 1000; name another file"),
        (framed(b"{}"), "a safetensors file that vgglass did not write; see 'vgglass convert --help'"),
        (framed(b'{"__metadata__": {"vgglass": 7}}'), "its record is damaged"),
        (framed(b'{"__metadata__": {"vgglass": "[]"}}'), "its record is damaged"),
        (framed(b'{"__metadata__": {"vgglass": "{}"}}'), r"its record is damaged \('format_version'\)"),
        (framed(json.dumps({"__metadata__": {"vgglass": "[" * 100_000}}).encode()), "its record is damaged"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_bytes_that_are_no_model_file(
    data: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    refuses(path, message)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # the trap was not sprung


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    refuses(tmp_path / "no", "no: No such file or directory; check the path")
    refuses(tmp_path, "Is a directory; check the path")


def test_safetensors_from_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"features.0.weight": np.zeros((2, 2), np.float32)}, path, {"format": "pt"})
    refuses(path, "a safetensors file that vgglass did not write; see 'vgglass convert --help'")


def test_truncated_anywhere(path: Path) -> None:
    data = path.read_bytes()
    for length in [*range(0, len(data), len(data) // 150), len(data) - 1]:
        path.write_bytes(data[:length])
        refuses(path, "not a vgglass model file|truncated or damaged")


def test_bytes_behind_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")
    refuses(path, r"truncated or damaged \(.*\); write or fetch the file again")


def test_version_1_had_one_multiplier_and_the_papers_head(path: Path) -> None:
    record = record_of(path)
    del record["sha256"]
    later = ("widths", "head", "ranks")
    options = {name: value for name, value in record["architecture"].items() if name not in later} | {"hidden": 4}
    old = record | {"format_version": 1, "architecture": options | {"width": 1 / 64}}
    rewrite(path, tensors_of(path), old)
    assert modelfile.load_record(path).architecture == ARCHITECTURE
    rewrite(path, tensors_of(path), old | {"architecture": options | {"width": -1}})
    refuses(path, r"its record is damaged \(width -1: the channel multiplier lies in \(0, 64\]\)")
    rewrite(path, tensors_of(path), old | {"architecture": options | {"width": "wide"}})
    refuses(path, "its record is damaged")


def test_version_2_had_one_width_for_fc6_and_fc7(path: Path) -> None:
    record = record_of(path)
    del record["sha256"]
    options = {name: value for name, value in record["architecture"].items() if name != "ranks"}
    rewrite(path, tensors_of(path), record | {"format_version": 2, "architecture": options | {"hidden": 4}})
    assert modelfile.load_record(path).architecture == ARCHITECTURE
    assert modelfile.load(path).golden_logits.shape == (4, 3)
    rewrite(path, tensors_of(path), record | {"format_version": 2, "architecture": options | {"hidden": [4, 4]}})
    refuses(path, r"its record is damaged \('hidden' is of the wrong type\)")


@pytest.mark.parametrize("version", [0, 5, "1"])
def test_another_format_version(path: Path, version: object) -> None:
    rewrite(path, tensors_of(path), record_of(path) | {"format_version": version, "classes": "of a later fashion"})
    refuses(
        path,
        rf"has format version {version!r}, and this vgglass reads up to 4; upgrade with: pip install --upgrade vgglass",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fc8.bias": None}, r"tensor 'fc8.bias' should be \('F32', \(3,\)\) and is nothing; write or fetch"),
        ({"fc9.bias": np.zeros(3, np.float32)}, r"tensor 'fc9.bias' should be absent and is \('F32', \(3,\)\)"),
        ({"fc8.bias": np.zeros(4, np.float32)}, r"'fc8.bias' should be \('F32', \(3,\)\) and is \('F32', \(4,\)\)"),
        ({"fc8.bias": np.zeros(3, np.float16)}, r"'fc8.bias' should be \('F32', \(3,\)\) and is \('F16', \(3,\)\)"),
        ({"golden.images": None}, r"'golden.(images|logits)' should be .* and is "),
        ({"golden.logits": None}, r"'golden.logits' should be \('F32', \(4, 3\)\) and is nothing"),
        ({"golden.images": np.zeros((), np.uint8)}, r"'golden.(images|logits)' should be .* and is "),
        ({"golden.images": np.zeros((4, 32, 32, 3), np.uint8)}, r"'golden.images' .* \(4, 32, 32, 1\)\) and is"),
        ({"golden.images": np.zeros((4, 32, 32, 1), np.int8)}, r"'golden.images' should be \('U8', .* and is \('I8'"),
        ({"golden.images": np.zeros((3, 32, 32, 1), np.uint8)}, r"'golden.logits' should be \('F32', \(3, 3\)\)"),
        (
            {"golden.images": np.zeros((0, 32, 32, 1), np.uint8), "golden.logits": np.zeros((0, 3), np.float32)},
            r"'golden.(images|logits)' should be .*\(1, .* and is .*\(0, ",
        ),
    ],
)
def test_tensors_that_do_not_fit(path: Path, changes: dict[str, Any], message: str) -> None:
    tensors = {name: array for name, array in (tensors_of(path) | changes).items() if array is not None}
    rewrite(path, tensors, record_of(path))
    refuses(path, message)


# Every field of the record, as a path of keys into it.
FIELDS = [(name,) for name in RECORD.as_json()] + [
    (part, name) for part in ("architecture", "preprocessing") for name in RECORD.as_json()[part]
]


@pytest.mark.parametrize("field", FIELDS, ids=".".join)
def test_a_missing_field(path: Path, field: tuple[str, ...]) -> None:
    record = record_of(path)
    part = record if len(field) == 1 else record[field[0]]
    del part[field[-1]]
    rewrite(path, tensors_of(path), record)
    refuses(path, rf"its record is damaged \('{field[-1]}'\); write or fetch the file again")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (("temperature",), "hot", "'temperature' is of the wrong type"),
        (("temperature",), 0.0, "the temperature must be positive"),
        (("reject_threshold",), 1.5, r"the reject threshold must lie in \[0, 1\]"),
        (("temperature",), float("nan"), "'temperature' is of the wrong type"),
        (("metrics",), [], "'metrics' is of the wrong type"),
        (("versions",), {"torch": 2}, "'versions' is of the wrong type"),
        (("classes",), ["a", "b", 3], "'classes' is of the wrong type"),
        (("classes",), "abc", "'classes' is of the wrong type"),
        (("architecture",), [], "'architecture' is of the wrong type"),
        (("preprocessing",), None, "'preprocessing' is of the wrong type"),
        (("architecture", "channels"), 1.0, "'channels' is of the wrong type"),
        (("architecture", "batch_norm"), "no", "'batch_norm' is of the wrong type"),
        (("architecture", "dropout"), True, "'dropout' is of the wrong type"),
        (("architecture", "hidden"), True, "'hidden' is of the wrong type"),
        (("architecture", "ranks"), [1], "'ranks' is of the wrong type"),
        (("architecture", "ranks"), [4, 5], "rank 5 of fc7: a matrix of 4 inputs and 4 outputs has at most 4"),
        (("architecture", "column"), "F", "architecture 'F': not one of A, A-LRN, B"),
        (("architecture", "widths"), [1.5] * 8, "'widths' is of the wrong type"),
        (("architecture", "widths"), [1, 2], "2 widths: vgg11 has 8 convolutions"),
        (("architecture", "head"), "dense", "'head' is of the wrong type"),
        (("architecture", "surprise"), 1, ".*unexpected keyword argument 'surprise'"),
        (("preprocessing", "fit"), "zoom", "'fit' is of the wrong type"),
        (("preprocessing", "mean"), [10**400], "int too large"),
        (("preprocessing", "std"), [0], r"preprocessing std=\(0,\): must be positive numbers"),
        (("preprocessing", "size"), 31, "class names, preprocessing and architecture disagree"),
        (("preprocessing", "jpeg_scaled"), 1, "'jpeg_scaled' is of the wrong type"),
    ],
    ids=str,
)
def test_a_field_of_the_wrong_kind(path: Path, field: tuple[str, ...], value: object, message: str) -> None:
    record = record_of(path)
    part = record if len(field) == 1 else record[field[0]]
    part[field[-1]] = value
    rewrite(path, tensors_of(path), record)
    refuses(path, rf"its record is damaged \({message}.*\); write or fetch the file again")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([32, "D", 10**400]),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(FIELDS), value=JSON)
def test_any_json_in_any_field_loads_or_is_refused(path: Path, field: tuple[str, ...], value: object) -> None:
    record = RECORD.as_json()
    part = record if len(field) == 1 else record[field[0]]
    part[field[-1]] = value
    changed = path.with_name("changed")
    rewrite(changed, ALL_TENSORS, record)
    try:
        loaded = modelfile.load(changed)
    except ModelFileError:
        return
    assert Record.from_json(loaded.record.as_json()) == loaded.record
    try:
        fitted = preprocess.fit(np.zeros((40, 50, 1), np.uint8), loaded.record.preprocessing)
    except ImageError:
        assert loaded.record.preprocessing.resize > 1000
    else:
        assert fitted.shape == (32, 32, 1)


ALL_TENSORS = small_model().weights | {
    "golden.images": modelfile.golden_images(PREPROCESSING),
    "golden.logits": np.zeros((4, 3), np.float32),
}


@pytest.mark.parametrize("name", ["fc8.bias", "conv1_1.weight", "conv5_1.bias", "fc6.weight"])
@pytest.mark.parametrize("bit", [0, 5, 31])
def test_one_bit_of_a_weight(path: Path, name: str, bit: int) -> None:
    data, weight = bytearray(path.read_bytes()), small_model().weights[name].tobytes()
    data[data.index(weight) + bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    refuses(path, "its weights are not those of its digest; write or fetch the file again")


@pytest.mark.parametrize("words", [(b"dog", b"dof"), (b"127.5", b"126.5"), (b"1.5", b"1.7"), (b"cosine", b"bosine")])
def test_one_bit_of_the_record(path: Path, words: tuple[bytes, bytes]) -> None:
    path.write_bytes(path.read_bytes().replace(*words, 1))
    refuses(path, "its record is not the one that was saved; write or fetch the file again")


def test_a_file_from_before_records_had_a_digest(path: Path) -> None:
    tensors, header = tensors_of(path), modelfile._read_header(path)
    record = json.loads(header["__metadata__"]["vgglass"])
    del record["sha256"]
    safetensors.numpy.save_file(tensors, path, {"vgglass": json.dumps(record)})
    assert modelfile.load(path).record.classes == RECORD.classes


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["conv1_1.weight", "fc8.bias"])
def test_weights_that_are_no_numbers(tmp_path: Path, name: str, number: float) -> None:
    model = small_model()
    model.weights[name].flat[-1] = number
    modelfile.save(model, tmp_path / "model.safetensors")
    message = rf"{name} holds numbers that are infinite or not a number \(NaN\); its training diverged: take another"
    refuses(tmp_path / "model.safetensors", message)


def test_flipped_bits_in_the_header_load_or_are_refused(path: Path) -> None:
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    generator = random.Random(0)
    refused = 0
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(generator.choice((1, 1, 3, 10))):
            damaged[generator.randrange(end)] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            modelfile.load(path)
        except ModelFileError:
            refused += 1
    assert refused > 300
