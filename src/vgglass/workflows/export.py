"""Export of models as graphs for other runtimes, in float32 or int8, and their verification."""

from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from vgglass.data.dataset import Dataset, Sample
from vgglass.data.folder import trainable
from vgglass.data.loader import square
from vgglass.engines.artifact import Artifact
from vgglass.errors import DataError, MissingExtraError
from vgglass.modelfile import ModelFile
from vgglass.workflows.data import open_data_set
from vgglass.workflows.evaluate import aligned
from vgglass.workflows.models import Model, load, open_source

if TYPE_CHECKING:
    from vgglass.engines.verify import Check
    from vgglass.evaluation.predictions import Agreement


INT8_IMAGES, COMPARED_IMAGES = 300, 1000


def divide_for_int8(dataset: Dataset) -> tuple[list[Sample], list[Sample]]:
    """Choose images to calibrate int8 ranges, and disjoint ones (by content) to compare on.

    Training images calibrate and the others compare, if there are both. An undivided data set is split as for training,
    or alternately if it is too small for that. Raises DataError.
    """
    if "all" in dataset.splits:
        with suppress(DataError):  # too few images to split
            dataset = trainable(dataset)
    parts = [dataset.splits[name] for name in ("train", "test", "validation") if dataset.splits.get(name)]
    if len(parts) < 2:
        parts = [dataset.split("all")[::2], dataset.split("all")[1::2]]
    chosen = _evenly_spaced(parts[0], INT8_IMAGES)
    used = {sample.digest for sample in chosen}
    unused = tuple(sample for part in parts[1:] for sample in part if sample.digest not in used)
    if not unused:
        rule = "has too few different images to set int8's ranges by some and compare on others"
        raise DataError(dataset.name, rule, "add images")
    return chosen, _evenly_spaced(unused, COMPARED_IMAGES)


def _evenly_spaced(samples: tuple[Sample, ...], count: int) -> list[Sample]:
    """Return at most `count` evenly spaced samples."""
    return [samples[index] for index in np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int)]


# Export and verification.

LEAST_AGREEMENT = 0.98  # minimum top-1 agreement of int8 with float32


def export(
    model: Model,
    path: str | Path,
    *,
    dense: bool = False,
    int8_images: str | Path | None = None,
    force: bool = False,
    console: Console | None = None,
) -> "tuple[list[Check], Agreement | None]":
    """Export a model as a graph that takes uint8 images, OpenVINO (.xml) or ONNX (.onnx), verified before it appears.

    dense      accept images of any size, with fully connected layers as convolutions
    int8_images  a folder of images to calibrate an int8 graph; its agreement with float32 on held-out ones is returned
    force      keep an int8 graph even below LEAST_AGREEMENT
    Raises UsageError, DataError, ModelFileError, MissingExtraError.

    >>> checks, _ = vgglass.export("runs/digits/best.safetensors", "digits.xml")
    >>> all(check.passed for check in checks)
    True
    """
    from vgglass.engines import export

    path, console = Path(path), console or Console(stderr=True)
    export.require_exportable(path, int8=int8_images is not None, dense=dense)
    file = load(model)
    if int8_images is None:
        return export.export(file, path, dense=dense), None
    return _export_int8(file, path, int8_images, force, console)


def verify(model: Model | Artifact) -> "Iterator[Check]":
    """Replay the golden inputs of a model file or an exported graph on every installed runtime.

    >>> [check.passed for check in vgglass.verify("runs/digits/best.safetensors") if check.engine == "openvino"][0]
    True
    """
    from vgglass.engines.verify import verify

    return verify(open_source(model))


def _export_int8(
    file: ModelFile, path: Path, folder: str | Path, force: bool, console: Console
) -> "tuple[list[Check], Agreement]":
    if not find_spec("nncf"):
        raise MissingExtraError("nncf", "int8", "int8")
    from vgglass.data.loader import original
    from vgglass.engines import export, openvino
    from vgglass.engines.export import quantise
    from vgglass.evaluation import metrics
    from vgglass.evaluation.predictions import agreement
    from vgglass.inference.predictor import Predictor
    from vgglass.inference.views import parse

    record, dataset = file.record, open_data_set(folder, console)
    images, others = divide_for_int8(dataset)
    labels = None
    if set(dataset.classes) <= set(record.classes):
        labels = np.array([sample.label for sample in aligned(dataset, others, record.classes).samples])
    else:
        console.print("the folder's classes are not the model's: agreement alone can be told", style="yellow")
    views = parse("centre", record)
    plain = Predictor(record, views, {False: openvino.open_engine(file)})
    console.print(f"int8 ranges from {len(images)} images")
    way = record.preprocessing
    stacks = [square(sample, way)[None] for sample in images]
    graph = quantise(file, stacks, len(stacks))
    console.print(f"comparing on {len(others)} others")
    small = Predictor(record, views, {False: openvino.engine_of(graph, "int8")})
    first, second = (metrics.collect(one.stream(map(original, others))) for one in (plain, small))
    found = agreement(first, second, labels)
    if found.top1_agreement < LEAST_AGREEMENT and not force:
        raise DataError(
            f"int8 agrees with float32 on {found.top1_agreement:.1%} of {found.images} images",
            f"less than {LEAST_AGREEMENT:.0%}",
            "give --int8-images like those it will see, or add --force",
        )
    return export.export_int8(file, graph, path, found.as_json()), found
