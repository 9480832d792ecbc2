"""The contents of a foreign weights file in a layout that does not depend on the framework."""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import WeightsError

Array = NDArray[np.float32]
Arrays = dict[str, Array]

# Exceptions of reading a damaged pickle, zip or HDF5 file.
DAMAGED = (AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, struct.error)
MOST_NUMBERS = 1 << 29  # per file: 2 GiB as float32, nearly four times VGG-19


@dataclass(frozen=True)
class Part:
    """One layer: a convolution's weight is (O outputs, I inputs, k, k), a fully connected one's (O, I).

    key   in the file, without the tensor's name: 'features.0', 'layers/conv2d_1'
    name  of the layer, if the file has one besides the key
    """

    key: str
    tensors: Arrays
    name: str = ""

    @property
    def kind(self) -> Literal["conv", "batchnorm", "maxpool", "linear", "other"]:
        """The kind of layer by its tensors; without tensors max pooling, which only graphs contain."""
        if not self.tensors:
            return "maxpool"
        if "running_mean" in self.tensors:
            return "batchnorm"
        weight = self.tensors.get("weight")
        rank = weight.ndim if weight is not None and weight.size else 0
        return "conv" if rank == 4 else "linear" if rank == 2 else "other"


@dataclass(frozen=True)
class Contents:
    """The layers of a file in order.

    framework      whose key scheme is used; the origin of an ONNX graph is unknown
    channels_last  inputs of the first fully connected layer are flattened from (H, W, C), not (C, H, W)
    chosen         a phrase on which of several sets of weights was chosen
    own_feed       a phrase on why the preprocessing differs from the family's
    """

    framework: Literal["torch", "keras", "onnx"]
    parts: tuple[Part, ...]
    channels_last: bool = False
    chosen: str = ""
    own_feed: str = ""


def damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(path, f"truncated or damaged ({error!r})", "write or fetch the file again")


def require_size(path: Path, key: str, numbers: int) -> None:
    """Raises WeightsError before a shape in a small file can cause an excessive allocation."""
    if numbers > MOST_NUMBERS:
        rule = f"claims to hold {numbers:,} numbers, and no VGG has more than {MOST_NUMBERS:,}"
        raise WeightsError(f"{key} in {path}", rule, "write or fetch the file again")


def as_float(values: Any) -> Array:
    return np.asarray(values, np.float32)


def natural(text: str) -> list[str | int]:
    """Natural sort key: 'conv2d_2' before 'conv2d_10'."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d+)", text))]
