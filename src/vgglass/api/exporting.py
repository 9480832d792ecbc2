"""Models as graphs for other runtimes, in float32 or int8, and the proof that they answer alike."""

from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from vgglass.api.data import open_data_set
from vgglass.api.models import Model, load, opened
from vgglass.engines.artifact import Artifact
from vgglass.errors import DataError, MissingExtraError
from vgglass.modelfile import ModelFile, Record
from vgglass.preprocess import fit, read

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vgglass.data.dataset import Sample
    from vgglass.engines.verify import Check
    from vgglass.evaluation.agreement import Agreement
    from vgglass.images import Pixels

CALIBRATION_IMAGES, COMPARED_IMAGES = 300, 1000
LEAST_AGREEMENT = 0.98  # of int8 with float32, on the likeliest class


def export(
    model: Model,
    path: str | Path,
    *,
    dense: bool = False,
    calibrate: str | Path | None = None,
    force: bool = False,
    console: Console | None = None,
) -> "tuple[list[Check], Agreement | None]":
    """Write a model as a graph that takes uint8 images: OpenVINO (.xml) or ONNX (.onnx); checked before it is there.

    dense      for images of any size, fully connected layers as convolutions
    calibrate  a folder of images to make an int8 graph by; its agreement with float32 on others of them comes back
    force      also keep an int8 graph that agrees too seldom
    Raises UsageError, DataError, ModelFileError, MissingExtraError.
    """
    from vgglass.engines import export

    path, console = Path(path), console or Console(stderr=True)
    export.require_exportable(path, int8=calibrate is not None, dense=dense)
    file = load(model)
    if calibrate is None:
        return export.export(file, path, dense=dense), None
    return _export_int8(file, path, calibrate, force, console)


def verify(model: Model | Artifact) -> "Iterator[Check]":
    """Replay the golden inputs of a model file or an exported graph on every runtime that is installed."""
    from vgglass.engines.verify import verify

    return verify(opened(model))


def _export_int8(
    file: ModelFile, path: Path, folder: str | Path, force: bool, console: Console
) -> "tuple[list[Check], Agreement]":
    if not find_spec("nncf"):
        raise MissingExtraError("nncf", "int8", "int8")
    from vgglass.engines import export, int8, openvino
    from vgglass.evaluation import metrics
    from vgglass.evaluation.agreement import agreement
    from vgglass.predictor import Predictor
    from vgglass.views import parse

    record = file.record
    calibration, held_out, labels = _calibration(record, folder, console)
    views = parse("centre", record)
    plain = Predictor(record, views, {False: openvino.open_engine(file)})
    console.print(f"calibrating on {len(calibration)} images")
    way = record.preprocessing
    stacks = [fit(read(source, way), way)[None] for source in calibration]
    graph = int8.quantise(file, stacks, len(stacks))
    console.print(f"comparing on {len(held_out)} others")
    small = Predictor(record, views, {False: openvino.engine_of(graph, "int8")})
    first, second = (metrics.answered(one.stream(held_out)) for one in (plain, small))
    found = agreement(first, second, labels)
    if found.top1_agreement < LEAST_AGREEMENT and not force:
        raise DataError(
            f"int8 agrees with float32 on {found.top1_agreement:.1%} of {found.images} images",
            f"less than {LEAST_AGREEMENT:.0%}",
            "calibrate on images like those it will see, or add --force",
        )
    return export.export_int8(file, graph, path, found.as_json()), found


def _calibration(
    record: "Record", folder: str | Path, console: Console
) -> "tuple[list[Path | Pixels], list[Path | Pixels], NDArray[np.int64] | None]":
    """Images to calibrate on, others to compare on, and the labels of these where the model knows their classes.

    Training images calibrate and the others compare, where there are both; what is not divided is divided as for
    training, or every other image where there is too little for that. None does both, under whatever name.
    """
    from vgglass.data.folder import trainable

    dataset = open_data_set(folder, console)
    if "all" in dataset.splits:
        with suppress(DataError):  # too few for that
            dataset = trainable(dataset)
    parts = [dataset.splits[name] for name in ("train", "test", "validation") if dataset.splits.get(name)]
    if len(parts) < 2:
        parts = [dataset.split("all")[::2], dataset.split("all")[1::2]]
    chosen = _spread(parts[0], CALIBRATION_IMAGES)
    met = {sample.digest for sample in chosen}
    unmet = tuple(sample for part in parts[1:] for sample in part if sample.digest not in met)
    if not unmet:
        raise DataError(folder, "has too few different images to calibrate on some and compare on others", "add images")
    others = _spread(unmet, COMPARED_IMAGES)
    known = {name: index for index, name in enumerate(record.classes)}
    labels = None
    if set(dataset.classes) <= known.keys():
        labels = np.array([known[dataset.classes[sample.label]] for sample in others])
    else:
        console.print("the folder's classes are not the model's: agreement alone can be told", style="yellow")
    return [sample.source for sample in chosen], [sample.source for sample in others], labels


def _spread(samples: "tuple[Sample, ...]", count: int) -> "list[Sample]":
    """At most so many, evenly over all."""
    return [samples[index] for index in np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int)]
