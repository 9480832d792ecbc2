"""Metadata of an exported graph: the model's record, verbatim, and golden inputs with their logits.

Stored as ASCII JSON in OpenVINO's runtime information or ONNX's metadata.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from vgglass.errors import ModelFileError
from vgglass.images import Pixels
from vgglass.modelfile import ModelFile, Record

KEY = "vgglass"
AGAIN = "make it again with vgglass export"
MADE_BY = "make one with vgglass export, of another framework's .onnx with vgglass convert first"
FORMAT_VERSION = 1
ExportPrecision = Literal["float32", "int8"]


@dataclass(frozen=True)
class Artifact:
    """A network exported for a runtime.

    path           of the graph: .xml (OpenVINO, its weights in the .bin beside it) or .onnx
    golden_logits  the model file's own; for an int8 graph, its own outputs at export
    dense          takes images of any size and returns a map of logits (N, K, rows, columns)
    int8           figures of int8 compared with float32 on held-out images; empty for float32
    """

    path: Path
    record: Record
    golden_images: Pixels
    golden_logits: NDArray[np.float32]
    precision: ExportPrecision
    dense: bool
    int8: dict[str, Any]


def describe(
    model: ModelFile,
    constants: str = "",
    *,
    precision: ExportPrecision = "float32",
    dense: bool = False,
    int8: dict[str, Any] | None = None,
) -> str:
    """The metadata text of a model's artifact; `constants`: the `digest` of the graph's constants, if known."""
    assert model.record.digest, "only a saved model is exported"
    golden = safetensors.numpy.save({"images": model.golden_images, "logits": model.golden_logits})
    about = {
        "format_version": FORMAT_VERSION,
        "record": model.record.as_json(),
        "golden": base64.b64encode(golden).decode(),
        "precision": precision,
        "dense": dense,
        "int8": int8 or {},
        "constants": constants,
    }
    return json.dumps(about, allow_nan=False)


def digest(constants: Iterable[NDArray[Any]]) -> str:
    """SHA-256 over a graph's constants, independent of their order and names."""
    each = (hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()) for array in constants)
    return hashlib.sha256(b"".join(sorted(one.digest() for one in each))).hexdigest()


def parse(path: Path, text: str | None, constants: str) -> Artifact:
    """Parse the metadata text of a graph whose constants have this digest.

    Raises ModelFileError if vgglass did not write it, or it is damaged.
    """
    if text is None:
        raise ModelFileError(path, "a graph that vgglass did not write", MADE_BY)
    try:
        about = json.loads(text)
        version = about["format_version"]
        if version != FORMAT_VERSION:
            rule = f"is an artifact of format version {version!r}, and this vgglass reads {FORMAT_VERSION}"
            raise ModelFileError(path, rule, f"upgrade vgglass, or {AGAIN}")
        if (about.get("constants") or constants) != constants:  # absent in older exports
            raise ModelFileError(path, "its weights are not those that were exported", AGAIN)
        record = Record.from_json(about["record"])
        golden = safetensors.numpy.load(base64.b64decode(about["golden"], validate=True))
        images, logits = golden["images"], golden["logits"]
        side, classes = record.preprocessing.size, record.architecture.classes
        valid = (
            images.dtype == np.uint8
            and images.shape == (len(images), side, side, record.architecture.channels)
            and logits.dtype == np.float32
            and logits.shape == (len(images), classes)
            and len(images) > 0
            and about["precision"] in ("float32", "int8")
            and isinstance(about["dense"], bool)
            and isinstance(about["int8"], dict)
        )
        if not valid:
            raise ValueError("its golden inputs do not fit its record")
    except ModelFileError:
        raise
    except (
        TypeError,
        KeyError,
        ValueError,
        OverflowError,
        RecursionError,
        binascii.Error,
        safetensors.SafetensorError,
    ) as error:
        raise ModelFileError(path, f"its record is damaged ({error})", AGAIN) from error
    return Artifact(path, record, images, logits, about["precision"], about["dense"], about["int8"])
