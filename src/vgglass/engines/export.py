"""Export models to OpenVINO (.xml and .bin) or ONNX (.onnx), verified before they are moved into place."""

import glob
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vgglass.engines import ENGINES, FORMATS
from vgglass.engines.artifact import Artifact, describe, parse
from vgglass.engines.verify import Check, verify
from vgglass.errors import MissingExtraError, ModelFileError, UsageError
from vgglass.files import abandoned, beside, discard, synced
from vgglass.modelfile import ModelFile

if TYPE_CHECKING:
    import openvino


import logging
import warnings
from concurrent.futures import ThreadPoolExecutor

import openvino

from vgglass.engines.openvino import build_graph
from vgglass.images import Pixels


def require_exportable(path: Path, *, int8: bool, dense: bool) -> None:
    """Raises UsageError for an unsupported path or combination of options."""
    if path.suffix not in FORMATS:
        raise UsageError(path, f"exports end in {' or '.join(FORMATS)}", "give it one of these endings")
    if path.is_dir():
        raise UsageError(path, "is a folder", "name a file")
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and weights.exists() and not (path.exists() or abandoned(_escaped(path))):
        raise UsageError(weights, f"is there already, and not as the weights of {path.name}", "choose another name")
    if int8 and path.suffix != ".xml":
        raise UsageError(f"--int8 to {path}", "int8 is exported to OpenVINO", "end it in .xml")
    if int8 and dense:
        raise UsageError("--int8 --dense", "int8's ranges hold at the training size alone", "leave one of them out")


def export(model: ModelFile, path: Path, *, dense: bool = False) -> list[Check]:
    """Write a float32 graph. Raises UsageError, MissingExtraError; ModelFileError if its outputs differ."""
    require_exportable(path, int8=False, dense=dense)
    runtime = _format_module(path)
    graph = runtime.build_graph(model, dense=dense)
    text = describe(model, runtime.constants_digest(graph), dense=dense)
    return _write_verified(path, lambda place: runtime.write(graph, place, text))


def export_int8(model: ModelFile, graph: "openvino.Model", path: Path, figures: dict[str, Any]) -> list[Check]:
    """Write the int8 graph of a model, with golden logits of that graph; `figures`: its accuracy."""
    from vgglass.engines import openvino

    logits = openvino.engine_of(graph, "int8")(model.golden_images)
    golden = replace(model, golden_logits=logits)
    text = describe(golden, openvino.constants_digest(graph), precision="int8", int8=figures)
    return _write_verified(path, lambda place: openvino.write(graph, place, text))


def read(path: Path) -> Artifact:
    """An exported graph's record and golden inputs. Raises ModelFileError, MissingExtraError."""
    if not path.is_file():
        raise ModelFileError(path, "does not exist", "check the path")
    return parse(path, *_format_module(path).read_text(path))


def _format_module(path: Path) -> ModuleType:
    """The module that reads and writes graphs with this suffix. Raises MissingExtraError."""
    if path.suffix == ".onnx" and not find_spec("onnx"):
        raise MissingExtraError("onnx", "onnx", "ONNX graphs")
    return import_module(f"vgglass.engines.{ENGINES[FORMATS[path.suffix]].module}")


def _write_verified(path: Path, write: Callable[[Path], None]) -> list[Check]:
    with _temporary_folder(path) as folder:
        written = folder / path.name
        try:
            write(written)
        except (OSError, RuntimeError) as error:  # RuntimeError: OpenVINO on a full disk
            raise ModelFileError(
                path, f"could not be written ({error})", "free space or choose another place"
            ) from error
        checks = list(verify(read(written)))
        failed = [check for check in checks if not check.passed]
        if failed:
            raise ModelFileError(path, f"answers otherwise than the model: {failed[0]}", "it was not kept; report this")
        _move(folder, path)
    return [replace(check, path=path) for check in checks]


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in abandoned(_escaped(path)):
        discard(leftover)
    folder = beside(path)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _escaped(path: Path) -> Path:
    return path.with_name(glob.escape(path.name))


def _move(folder: Path, path: Path) -> None:
    """Remove the old graph first and move the new one last, so that a graph never has the weights of another."""
    files = sorted(folder.iterdir(), key=lambda file: file.name == path.name)
    _fsync(files)
    if len(files) > 1:
        path.unlink(missing_ok=True)
    for file in files:
        file.replace(path.with_name(file.name))
    synced(path.parent)


def _fsync(files: Iterable[Path]) -> None:
    for file in files:
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())


# Post-training quantisation to int8 by NNCF (extra: vgglass[int8]).


def quantise(model: ModelFile, images: Iterable[Pixels], count: int) -> openvino.Model:
    """Quantise a model with ranges calibrated on `count` images, each a batch (1, S, S, C).

    Runs in another thread, which receives no signals, because NNCF creates cores of its own (see `openvino.core`).
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_quantise, model, images, count).result()


def _quantise(model: ModelFile, images: Iterable[Pixels], count: int) -> openvino.Model:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # warnings of NNCF and torch about features not used here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nncf
        preset = nncf.QuantizationPreset.MIXED
        return nncf.quantize(build_graph(model), nncf.Dataset(images), preset=preset, subset_size=count)
    finally:
        logging.disable(before)
