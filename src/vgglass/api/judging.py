"""A model on images: judged by their labels, or asked for them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from vgglass.api.data import open_data_set
from vgglass.api.models import Model, opened, predictor
from vgglass.engines.artifact import Artifact
from vgglass.errors import DataError
from vgglass.modelfile import ModelFile, Record

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset, Sample
    from vgglass.evaluation.metrics import Evaluation
    from vgglass.prediction import Prediction
    from vgglass.predictor import Predictor


def evaluate(
    model: "Model | Predictor",
    folder: str | Path | None = None,
    *,
    split: str | None = None,
    console: Console | None = None,
    **how: Any,
) -> "Evaluation":
    """Judge a model on one split of a folder (the embedded digits without one).

    split  without it 'test' where there is one, else 'validation', else all images
    how    views, engine and precision, as `judge` takes them
    Raises DataError, UsageError or ModelFileError.
    """
    from vgglass.evaluation import metrics

    console = console or Console(stderr=True)
    chosen = _ready(model, judge, how)
    record = chosen.record
    dataset, name = _judged(record, folder, split, console)
    samples = _aligned(dataset, name, record.classes)
    answers = metrics.answered(chosen.stream(sample.source for sample in samples))
    labels = np.array([sample.label for sample in samples])
    return metrics.evaluate(answers, labels, record.classes, name, _used_for(record, dataset, name))


def predict(model: "Model | Predictor", paths: Sequence[str | Path], *, top: int = 5, **how: Any) -> "list[Prediction]":
    """One row for each image of the files and folders given, in order; an unreadable one carries its reason.

    how  views, engine and precision, as `predictor` takes them
    """
    from vgglass import prediction

    return list(prediction.predict(prediction.expand(map(Path, paths)), _ready(model, predictor, how), top))


def judge(model: Model | Artifact, *, precision: str | None = None, **how: Any) -> "Predictor":
    """As `predictor`, in float32 unless told or exported otherwise: the same figure on every machine."""
    source = opened(model)
    return predictor(source, precision=precision or ("float32" if isinstance(source, ModelFile) else "auto"), **how)


def _ready(model: "Model | Predictor", make: "Callable[..., Predictor]", how: dict[str, Any]) -> "Predictor":
    from vgglass.predictor import Predictor

    return model if isinstance(model, Predictor) else make(model, **how)


def _judged(record: "Record", folder: str | Path | None, split: str | None, console: Console) -> "tuple[Dataset, str]":
    """The data set to judge by, divided as in training where it is the training data, and the split's name."""
    from vgglass.data.folder import trainable

    dataset = open_data_set(folder, console)
    if "validation" not in dataset.splits and ("train" in dataset.splits or "all" in dataset.splits):
        try:
            divided = trainable(dataset)
        except DataError:
            divided = dataset  # too small to train on is large enough to judge by
        if "train" in divided.splits and divided.digest("train") == record.data.get("digests", {}).get("train"):
            dataset = divided
    default = next(name for name in ("test", "validation", *dataset.splits) if name in dataset.splits)
    return dataset, split or default


def _aligned(dataset: "Dataset", split: str, classes: Sequence[str]) -> "list[Sample]":
    """The split's samples, labelled by the model's classes of the same names. Raises DataError."""
    samples = dataset.split(split)
    unknown = sorted({dataset.classes[sample.label] for sample in samples} - set(classes))
    if unknown:
        raise DataError(
            f"classes {', '.join(map(repr, unknown[:5]))} of {dataset.name}",
            f"are unknown to the model, which tells {', '.join(classes[:5])}{', ...' * (len(classes) > 5)} apart",
            "choose the model trained on these classes",
        )
    places = {name: index for index, name in enumerate(classes)}
    return [replace(sample, label=places[dataset.classes[sample.label]]) for sample in samples]


def _used_for(record: "Record", dataset: "Dataset", split: str) -> str:
    """What these very images did in training: a key of the command line's CAUTIONS, or nothing ('')."""
    digests = record.data.get("digests", {})
    digest = dataset.digest(split)
    if digest == digests.get("train") or (split == "all" and dataset.splits.get("train")):
        return "training"
    if split == "all" and dataset.name == record.data.get("name"):
        return "changed"  # the folder of the training, but no longer as it was: its old split can't be told
    return "selection" if digest == digests.get(record.data.get("selected_on")) else ""
