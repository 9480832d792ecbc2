"""Files of weights that other frameworks wrote, as layers of float32 arrays; never unpickled freely, never run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vgglass.errors import WeightsError
from vgglass.weightfiles import kerasfiles, onnxfiles, torchfiles
from vgglass.weightfiles.contents import Array, Arrays, Contents, Part

__all__ = ["READERS", "Array", "Arrays", "Contents", "Part", "read", "write"]

READERS: dict[str, Callable[[Path], Contents]] = {
    ".pt": torchfiles.read_pickle,
    ".pth": torchfiles.read_pickle,
    ".bin": torchfiles.read_pickle,
    ".ckpt": torchfiles.read_pickle,
    ".tar": torchfiles.read_pickle,  # .pth.tar, as the PyTorch examples write it
    ".torchscript": torchfiles.read_pickle,  # to be named as what it is
    ".pt2": torchfiles.read_pickle,
    ".safetensors": torchfiles.read_safetensors,
    ".h5": kerasfiles.read_hdf5,
    ".hdf5": kerasfiles.read_hdf5,
    ".keras": kerasfiles.read_keras,
    ".onnx": onnxfiles.read_onnx,
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
        path.write_bytes(kerasfiles.written(state))
    elif suffix == ".safetensors":
        import safetensors.numpy

        safetensors.numpy.save_file(dict(state), path, {"format": "pt"})
    else:
        import torch

        torch.save({key: torch.from_numpy(array) for key, array in state.items()}, path)
