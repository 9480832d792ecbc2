"""Model files as the weights that torchvision, timm and Keras load."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from vgglass import weightfiles
from vgglass.architecture import Architecture
from vgglass.atomic import replacing
from vgglass.conversion.families import FAMILIES, PUBLISHED, SUFFIXES, TORCH_POOL, Entry, key_table
from vgglass.errors import UsageError, WeightsError
from vgglass.modelfile import ModelFile
from vgglass.weightfiles import Array


def to_foreign(model: ModelFile, path: Path, family: str) -> None:
    """Write the weights as `family`, one of FAMILIES, loads them: `.pth` or `.safetensors`, for Keras `.weights.h5`.

    Class names and preprocessing have no place in such a file: feed the network what the model's own preprocessing
    record says, whatever the family usually does. Raises UsageError for another
    family, WeightsError where the family has no such network.
    """
    if family not in FAMILIES:
        raise UsageError(f"--to {family}", f"not one of {', '.join(FAMILIES)}", "choose the framework to write for")
    architecture = model.record.architecture
    _require_expressible(architecture, family)
    if not path.name.endswith(SUFFIXES[family]):
        raise WeightsError(path, f"{family} loads {' or '.join(SUFFIXES[family])}", "choose such a name")
    state: dict[str, NDArray[Any]] = {
        entry.key: _write_out(model.weights[name], entry) for name, entry in key_table(architecture, family).items()
    }
    for key in [key for key in state if key.endswith(".running_var")]:
        state[key.replace(".running_var", ".num_batches_tracked")] = np.zeros((), np.int64)
    try:
        with replacing(path) as temporary:
            weightfiles.write(state, temporary, path.suffix)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:  # torch reports a full disk as RuntimeError
        raise WeightsError(path, f"could not be written ({error})", "free space or choose another place") from error


def _require_expressible(architecture: Architecture, family: str) -> None:
    if architecture.name not in PUBLISHED[family]:
        raise WeightsError(
            architecture.name,
            f"{family} has no such network",
            f"it has {', '.join(PUBLISHED[family])}; keep the vgglass file",
        )
    if family != "keras" and architecture.head == "pooled":
        rule = f"averages pool5 and has fc8 alone, where {family}'s {architecture.name} has fc6, fc7 and fc8"
        raise WeightsError("a pooled head", rule, "keep the vgglass file, or write it for keras")
    side = architecture.head_kernel
    if family != "keras" and side != TORCH_POOL:
        raise WeightsError(
            f"an image size of {architecture.image_size}",
            f"fc6 takes a {side}x{side} map, and {family} always pools to {TORCH_POOL}x{TORCH_POOL}",
            "keep the vgglass file",
        )


def _write_out(array: Array, entry: Entry) -> Array:
    if entry.channels_last:
        array = array.reshape(entry.kernel).transpose(2, 3, 1, 0)
    return np.ascontiguousarray(array.reshape(entry.shape))
