"""Read and write weights files of other frameworks; no arbitrary unpickling, no code execution."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vgglass.errors import WeightsError
from vgglass.weights import keras_files, onnx_files, torch_files
from vgglass.weights.contents import Array, Arrays, Contents, Part

__all__ = ["READERS", "Array", "Arrays", "Contents", "Part", "read", "write"]

READERS: dict[str, Callable[[Path], Contents]] = {
    ".pt": torch_files.read_pickle,
    ".pth": torch_files.read_pickle,
    ".bin": torch_files.read_pickle,
    ".ckpt": torch_files.read_pickle,
    ".tar": torch_files.read_pickle,  # .pth.tar, as in the PyTorch examples
    ".torchscript": torch_files.read_pickle,  # for a specific error
    ".pt2": torch_files.read_pickle,
    ".safetensors": torch_files.read_safetensors,
    ".h5": keras_files.read_hdf5,
    ".hdf5": keras_files.read_hdf5,
    ".keras": keras_files.read_keras,
    ".onnx": onnx_files.read_onnx,
}


def read(path: Path) -> Contents:
    """Every layer of a foreign file. Raises WeightsError, MissingExtraError."""
    if path.suffix not in READERS:
        raise WeightsError(path, f"weights are read from {', '.join(READERS)} files", "save them as one of these")
    if not path.is_file():
        raise WeightsError(path, "no such file", "check the path")
    return READERS[path.suffix](path)


def write(state: Mapping[str, NDArray[Any]], path: Path, suffix: str) -> None:
    if suffix == ".h5":
        path.write_bytes(keras_files.written(state))
    elif suffix == ".safetensors":
        import safetensors.numpy

        safetensors.numpy.save_file(dict(state), path, {"format": "pt"})
    else:
        import torch

        torch.save({key: torch.from_numpy(array) for key, array in state.items()}, path)
