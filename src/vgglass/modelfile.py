"""Model files: weights, class names, preprocessing, metrics and golden inputs in a single safetensors file.

Weights have vgglass's own names ('conv1_1.weight'); 'golden.images' (uint8, N H W C) and 'golden.logits' (float32,
N K) allow any runtime to be verified. Arrays on the training images may be attached: what 'unfamiliar' is judged by,
and their features. The header's metadata has one JSON record under 'vgglass', with SHA-256 digests of the weights, of
what is attached and of the record. A single key, because safetensors writes several in arbitrary order.
"""

import hashlib
import json
import math
import mmap
import os
import struct
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from vgglass import notebook
from vgglass.architecture import Architecture, Shape, options_of_version_1, options_of_version_2
from vgglass.errors import ModelFileError, UserError
from vgglass.files import replacing
from vgglass.images import Pixels
from vgglass.preprocess import Preprocessing

# Version 2 added the architecture's head and a width for each convolution; 3 a width each for fc6 and fc7, and ranks;
# 4 attached arrays.
FORMAT_VERSION = 4
READABLE_VERSIONS = (1, 2, 3, 4)
# Weights of other frameworks, which `convert` and `--from` read.
FOREIGN_SUFFIXES = frozenset(
    {".pt", ".pth", ".bin", ".ckpt", ".tar", ".torchscript", ".pt2", ".h5", ".hdf5", ".keras", ".onnx"}
)
MAX_HEADER_BYTES = 8 << 20  # 22,000 class names need less than 1 MB
MAX_TENSORS = 1000  # VGG-19 with batch norm has 118

DTYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "U8": "u1"}
ATTACHED = ("familiarity.", "training.")  # how the names of attached arrays begin

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Record:
    """The metadata of a model file.

    temperature, reject_threshold  None until calibrated
    metrics   by split: {'validation': {'top1': 0.98, ...}}
    data      digest of the training data, digests and sizes of its splits, how many images were left out of them, and
              the split used for model selection
    recipe    fields of the training recipe
    versions  of vgglass and the libraries that wrote the file
    familiarity  how the attached 'familiarity.' arrays are used; empty without them
    digest    SHA-256 of the weights
    attached_digest  SHA-256 of the attached arrays; '' without any
    """

    architecture: Architecture
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    temperature: float | None = None
    reject_threshold: float | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    familiarity: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    attached_digest: str = ""

    def __post_init__(self) -> None:
        fitting = (
            len(self.classes) == self.architecture.classes
            and self.preprocessing.size == self.architecture.image_size
            and self.preprocessing.channels == self.architecture.channels
        )
        if not fitting:
            raise ValueError("class names, preprocessing and architecture disagree")
        if not all(self.classes):
            raise ValueError("a class has an empty name")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("two classes bear one name")
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError("the temperature must be positive")
        if self.reject_threshold is not None and not 0 <= self.reject_threshold <= 1:
            raise ValueError("the reject threshold must lie in [0, 1]")

    def log_probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log-softmax over classes (..., K), after division by the temperature if calibrated."""
        scaled = logits.astype(np.float64) / (self.temperature or 1.0)
        shifted = scaled - scaled.max(axis=-1, keepdims=True)
        result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return result

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Softmax over classes (..., K), after division by the temperature if calibrated."""
        return np.exp(self.log_probabilities(logits))

    def as_json(self) -> dict[str, Any]:
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        options = {name: getattr(self.architecture, name) for name in Architecture.__dataclass_fields__}
        return record | {
            "format_version": FORMAT_VERSION,
            "architecture": options,
            "preprocessing": self.preprocessing.as_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Record":
        """Parse the record of a header. Raises TypeError, KeyError, ValueError or OverflowError if invalid."""
        if record["format_version"] < 4:
            record = {"familiarity": {}, "attached_digest": "", **record}
        _check_types(cls, record)
        if record["format_version"] == 1:
            record = {**record, "architecture": options_of_version_1(record["architecture"])}
        if record["format_version"] < 3:
            record = {**record, "architecture": options_of_version_2(record["architecture"])}
        _check_types(Architecture, record["architecture"])
        _check_types(Preprocessing, record["preprocessing"])
        values = {name: record[name] for name in cls.__dataclass_fields__}
        options = values["architecture"]
        listed = {name: tuple(options[name]) for name in ("widths", "hidden", "ranks")}
        return cls(
            **values
            | {
                "architecture": Architecture(**{**options, **listed}),
                "preprocessing": Preprocessing.from_json(values["preprocessing"]),
                "classes": tuple(values["classes"]),
            }
        )


class Mapped:
    """An open, memory-mapped model file."""

    def __init__(self, path: Path) -> None:
        self.path, self._descriptor = path, os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._state = self._stat()

    def tensors(self) -> dict[str, NDArray[Any]]:
        data = np.frombuffer(mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_COPY), np.uint8)
        start = 8 + int(data[:8].view("<u8")[0])
        header = json.loads(data[8:start].tobytes())
        header.pop("__metadata__")
        tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            tensors[name] = data[start + begin : start + end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
        return tensors

    def require_unchanged(self) -> None:
        """Raises ModelFileError if the file was modified since it was opened."""
        if self._stat() != self._state:
            rule = "was written to while its weights were in use"
            raise ModelFileError(self.path, rule, "start again; to replace a model, rename another into its place")

    def _stat(self) -> tuple[int, int]:
        about = os.fstat(self._descriptor)
        return about.st_size, about.st_mtime_ns


@dataclass(frozen=True)
class ModelFile:
    """A model in memory, NumPy only: its record, weights and golden inputs with their logits.

    mapped    the memory-mapped file of the arrays; None if they are not mapped
    attached  arrays on the training images, by names that begin as ATTACHED says
    """

    record: Record
    weights: Weights
    golden_images: Pixels  # N H W C
    golden_logits: NDArray[np.float32]  # N K
    mapped: Mapped | None = None
    attached: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        record, side = self.record, self.record.preprocessing.size
        rows = {
            "architecture": record.architecture.name,
            "classes": f"{len(record.classes):,} ({notebook.listed(record.classes)})",
            "input": f"{side}×{side}×{record.preprocessing.channels}",
            "parameters": record.architecture.parameters,
            "selected": notebook.percent(record.metrics.get("validation", {}).get("top1")),
            "digest": record.digest or None,
        }
        return notebook.panel("model", rows)


def save(model: ModelFile, path: Path) -> Record:
    """Write atomically; the record with the arrays' digests. Raises ModelFileError, as on a full disk."""
    record = replace(
        model.record, digest=weights_digest(model.weights), attached_digest=_attached_digest(model.attached)
    )
    expected = record.architecture.tensors()
    found = {name: array.shape for name, array in model.weights.items()}
    assert found == expected, f"weights do not fit {record.architecture.name}"
    assert all(name.startswith(ATTACHED) for name in model.attached), sorted(model.attached)
    tensors = dict(model.weights) | {"golden.images": model.golden_images, "golden.logits": model.golden_logits}
    tensors |= model.attached
    values = record.as_json()
    values["sha256"] = _digest(values)
    metadata = {"vgglass": json.dumps(values, ensure_ascii=False, allow_nan=False)}
    try:
        with replacing(path) as temporary:
            safetensors.numpy.save_file(
                {name: np.ascontiguousarray(array) for name, array in tensors.items()}, temporary, metadata
            )
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelFileError(path, f"could not be written ({error})", "free space or choose another place") from error
    return record


def load(path: Path) -> ModelFile:
    """Verify and memory-map a model file (copy-on-write).

    Replacing the file by a rename does not affect existing mappings. Modifying it in place does: the mapped arrays
    change, and truncation makes reads crash the process (SIGBUS).
    Raises ModelFileError; nothing in the file is ever executed.
    """
    record = load_record(path)
    mapped = Mapped(path)
    tensors = mapped.tensors()
    golden_images, golden_logits = tensors.pop("golden.images"), tensors.pop("golden.logits")
    attached = {name: tensors.pop(name) for name in sorted(tensors) if name.startswith(ATTACHED)}
    _require_intact(path, record, tensors)
    if record.attached_digest != _attached_digest(attached):
        raise ModelFileError(path, "what is attached to it is not what was saved", "write or fetch the file again")
    return ModelFile(record, tensors, golden_images, golden_logits, mapped, attached)


def load_record(path: Path) -> Record:
    """Read the record and validate the header, without reading the weights. Raises ModelFileError."""
    header = _read_header(path)
    text = header.pop("__metadata__", {}).get("vgglass")
    if text is None:
        raise ModelFileError(path, "a safetensors file that vgglass did not write", "see 'vgglass convert --help'")
    try:
        record_json = json.loads(text)
        version = record_json["format_version"]
        stored_digest = record_json.pop("sha256", None)  # absent in older files
        is_sound = stored_digest in (None, _digest(record_json))
        if version in READABLE_VERSIONS:
            record = Record.from_json(record_json)
    except (TypeError, KeyError, ValueError, OverflowError, RecursionError) as error:
        detail = f"{error.value}: {error.rule}" if isinstance(error, UserError) else error
        raise ModelFileError(path, f"its record is damaged ({detail})", "write or fetch the file again") from error
    if version not in READABLE_VERSIONS:
        raise ModelFileError(
            path,
            f"has format version {version!r}, and this vgglass reads up to {FORMAT_VERSION}",
            "upgrade with: pip install --upgrade vgglass",
        )
    if not is_sound:
        raise ModelFileError(path, "its record is not the one that was saved", "write or fetch the file again")
    _check_tensors(path, record, header)
    return record


def is_one(path: Path) -> bool:
    """Whether a safetensors file has a vgglass record. Raises ModelFileError if it is damaged."""
    return "vgglass" in _read_header(path).get("__metadata__", {})


def weights_digest(weights: Weights) -> str:
    """SHA-256 over names, shapes and little-endian float32 bytes, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(f"{name} {weights[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(weights[name], "<f4").data)
    return digest.hexdigest()


def _attached_digest(attached: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, shapes, types and bytes, sorted by name; '' for none."""
    digest = hashlib.sha256()
    for name in sorted(attached):
        digest.update(f"{name} {attached[name].shape} {attached[name].dtype.str}\n".encode())
        digest.update(np.ascontiguousarray(attached[name]).data)
    return digest.hexdigest() if attached else ""


def _require_intact(path: Path, record: Record, weights: Weights) -> None:
    """Raises ModelFileError if the weights do not match the digest or are not finite.

    SHA-256 runs at about 1 GB/s. The result is not cached: a disk error changes no time stamp.
    """
    if record.digest != weights_digest(weights):
        raise ModelFileError(path, "its weights are not those of its digest", "write or fetch the file again")
    for name, array in weights.items():
        if not (np.isfinite(array.min()) and np.isfinite(array.max())):  # half the time of isfinite on all values
            rule = f"{name} holds numbers that are infinite or not a number (NaN)"
            raise ModelFileError(path, rule, "its training diverged: take another file")


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, ensure_ascii=False).encode(errors="surrogatepass")).hexdigest()


def _read_header(path: Path) -> dict[str, Any]:
    """The safetensors header as a dict, after cheap checks against malicious files."""
    try:
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))[0]
            if length > min(MAX_HEADER_BYTES, path.stat().st_size - 8):
                remedy = "name a .safetensors file that vgglass wrote"
                if path.suffix in FOREIGN_SUFFIXES:
                    remedy = f"for another framework's weights run: vgglass convert {path} {path.stem}.safetensors"
                raise ModelFileError(path, "not a vgglass model file", remedy)
            header = json.loads(file.read(length))
    except OSError as error:
        raise ModelFileError(path, error.strerror or str(error), "check the path") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(path, "its header is damaged", "write or fetch the file again") from error
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise ModelFileError(path, "its header is damaged", "write or fetch the file again")
    if len(header) > MAX_TENSORS:
        raise ModelFileError(
            path, f"holds {len(header):,} tensors, and no VGG has more than {MAX_TENSORS}", "name another file"
        )
    return header


def _check_types(cls: type, values: Mapping[str, Any]) -> None:
    """Check JSON values against a dataclass's annotations, so that errors are reported here. Raises TypeError."""
    for name, hint in get_type_hints(cls).items():
        if not _matches(values[name], hint):
            raise TypeError(f"{name!r} is of the wrong type")


def _matches(value: Any, hint: Any) -> bool:
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind is UnionType:
        return any(_matches(value, argument) for argument in arguments)
    if kind is Literal:
        return value in arguments
    if kind is tuple:
        return (
            isinstance(value, list | tuple)
            and (arguments[-1] is Ellipsis or len(value) == len(arguments))
            and all(_matches(item, arguments[0]) for item in value)
        )
    if kind is Mapping:
        return isinstance(value, dict) and all(_matches(item, arguments[1]) for item in value.values())
    if kind in (Architecture, Preprocessing):
        return isinstance(value, dict)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return kind is Any or type(value) is kind


def _check_tensors(path: Path, record: Record, header: Mapping[str, Any]) -> None:
    try:
        with safetensors.safe_open(path, framework="numpy"):
            pass  # the library checks offsets and overlaps
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelFileError(path, f"truncated or damaged ({error})", "write or fetch the file again") from error
    golden_shape = header.get("golden.images", {}).get("shape") or [0]
    golden = max(1, golden_shape[0])  # at least one, which 'verify' needs
    side, classes = record.preprocessing.size, record.architecture.classes
    expected: dict[str, tuple[str, Shape]] = {
        name: ("F32", shape) for name, shape in record.architecture.tensors().items()
    }
    expected["golden.images"] = ("U8", (golden, side, side, record.architecture.channels))
    expected["golden.logits"] = ("F32", (golden, classes))
    for name in sorted(expected.keys() | header.keys()):
        entry = header.get(name)
        if name.startswith(ATTACHED) and entry and entry["dtype"] in DTYPES:
            continue
        found = (entry["dtype"], tuple(entry["shape"])) if entry else "nothing"
        if found != expected.get(name, "nothing"):
            rule = f"tensor {name!r} should be {expected.get(name, 'absent')} and is {found}"
            raise ModelFileError(path, rule, "write or fetch the file again")


def golden_images(preprocessing: Preprocessing) -> Pixels:
    """Four synthetic images (N, size, size, C) as golden inputs, so that models contain no photographs.

    Noise at four scales, from single pixels to large patches, so that every layer is activated.
    """
    size, channels = preprocessing.size, preprocessing.channels
    generator = np.random.default_rng(0)
    batch = []
    for patch in (1, 4, 16, size):
        cells = math.ceil(size / patch) + 1
        noise = generator.integers(0, 256, (cells, cells, channels), dtype=np.uint8)
        batch.append(noise.repeat(patch, axis=0).repeat(patch, axis=1)[:size, :size])
    return np.stack(batch)
