"""Files of weights that other frameworks wrote, as float32 arrays under their own keys; never unpickled freely."""

import io
import pickle
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import MissingExtraError, WeightsError

Array = NDArray[np.float32]
Arrays = dict[str, Array]

# A damaged pickle or HDF5 file may raise any of these while it is read.
DAMAGED = (AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, struct.error)


def read(path: Path) -> Arrays:
    """Every weight of a foreign file in float32, under its own key."""
    readers = {".pt": _read_pickle, ".pth": _read_pickle, ".safetensors": _read_safetensors, ".h5": _read_keras}
    if path.suffix not in readers:
        raise WeightsError(path, f"weights are read from {', '.join(readers)} files", "save them as one of these")
    if not path.is_file():
        raise WeightsError(path, "no such file", "check the path")
    return readers[path.suffix](path)


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(path, f"truncated or damaged ({error!r})", "write or fetch the file again")


def _read_pickle(path: Path) -> Arrays:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            path,
            "holds more than plain tensors, and unpickling the rest could run anything",
            "save model.state_dict() alone",
        ) from error
    except DAMAGED as error:
        raise _damaged(path, error) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and wrapper in content:
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(path, f"holds a {type(content).__name__}, not a state dict", "save model.state_dict()")
    return _arrays(content)


def _read_safetensors(path: Path) -> Arrays:
    import safetensors.torch  # not .numpy, which has no bfloat16

    try:
        return _arrays(safetensors.torch.load_file(path))
    except safetensors.SafetensorError as error:
        raise _damaged(path, error) from error


def _arrays(state: Mapping[str, Any]) -> Arrays:
    """float32 arrays of a state dict, without DataParallel's prefix and batch norm's counters."""
    return {
        str(key).removeprefix("module."): tensor.detach().float().numpy()
        for key, tensor in state.items()
        if not str(key).endswith(".num_batches_tracked")
    }


def _read_keras(path: Path) -> Arrays:
    """Keras's three formats under the keys of the newest: the weights in order, `layers/conv2d_1/vars/0`."""
    h5py = _h5py("reading Keras weights")
    try:
        with h5py.File(path) as file:
            legacy = file.get("model_weights", file)  # a full model, or weights alone
            if "layer_names" in legacy.attrs:
                groups = [legacy[name] for name in legacy.attrs["layer_names"]]
                return _number([[group[name][()] for name in group.attrs["weight_names"]] for group in groups])
            layers = file.get("layers", file.get("_layer_checkpoint_dependencies", {}))  # Keras 3, and 2.13 to 2.15
            return {
                f"layers/{layer}/vars/{number}": np.asarray(values, np.float32)
                for layer, group in layers.items()
                for number, values in group.get("vars", {}).items()
            }
    except DAMAGED as error:
        raise _damaged(path, error) from error


def _h5py(purpose: str) -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtraError("h5py", "keras", purpose) from error
    return h5py


def _number(layers: list[list[NDArray[Any]]]) -> Arrays:
    """Keras 3's keys for layers in order; names of layers are the user's and say nothing."""
    arrays: Arrays = {}
    seen: Counter[str] = Counter()
    for weights in filter(None, layers):
        kind = {4: "conv2d", 2: "dense"}.get(weights[0].ndim, "other")
        key = keras_key(kind, seen[kind])
        seen[kind] += 1
        arrays |= {f"{key}/vars/{number}": np.asarray(array, np.float32) for number, array in enumerate(weights)}
    return arrays


def keras_key(kind: str, number: int) -> str:
    """Where Keras 3 keeps a layer: the number-th of its kind ('conv2d', 'dense'), counted from 0."""
    return f"layers/{kind}_{number}" if number else f"layers/{kind}"


def write(state: Mapping[str, NDArray[Any]], path: Path, suffix: str) -> None:
    if suffix == ".h5":
        content = io.BytesIO()  # not the file itself: on a full disk HDF5 ends the process with a segmentation fault
        with _h5py("writing Keras weights").File(content, "w") as file:
            for key, array in state.items():
                file[key] = array
        path.write_bytes(content.getbuffer())
    elif suffix == ".safetensors":
        import safetensors.numpy

        safetensors.numpy.save_file(dict(state), path, {"format": "pt"})
    else:
        import torch

        torch.save({key: torch.from_numpy(array) for key, array in state.items()}, path)
