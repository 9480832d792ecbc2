"""A model on images: judged by their labels, or asked for them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from vgglass.api.data import open_data_set, reading
from vgglass.api.models import Model, opened, predictor
from vgglass.engines.artifact import Artifact
from vgglass.errors import DataError, UsageError
from vgglass.modelfile import ModelFile, Record
from vgglass.predictor import Predictor

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset, Sample
    from vgglass.evaluation.metrics import Evaluation
    from vgglass.prediction import Prediction


FEW_FILES = 64  # are predicted without a bar


def evaluate(
    model: Model | Predictor,
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

    metrics.require()
    wanted, console = console, console or Console(stderr=True)
    source = model if isinstance(model, Predictor) else opened(model)
    record = source.record
    dataset, name = _judged(record, folder, split, console)
    samples = aligned(dataset, dataset.split(name), record.classes)
    chosen = source if isinstance(source, Predictor) else judge(source, **how)
    _say(chosen, wanted)
    answers = metrics.answered(chosen.stream(sample.source for sample in samples))
    labels = np.array([sample.label for sample in samples])
    return metrics.evaluate(answers, labels, record.classes, name, _used_for(record, dataset, name))


def predict(model: Model | Predictor, paths: Sequence[str | Path], *, top: int = 5, **how: Any) -> "list[Prediction]":
    """One row for each image of the files and folders given, in order; an unreadable one carries its reason.

    how  views, engine and precision, as `predictor` takes them
    """
    return list(predictions(model, paths, top=top, **how))


def predictions(
    model: Model | Predictor,
    paths: Sequence[str | Path],
    *,
    top: int = 5,
    out: str | Path | None = None,
    resume: bool = False,
    sort_into: str | Path | None = None,
    console: Console | None = None,
    **how: Any,
) -> "Iterator[Prediction]":
    """The rows of `predict` as they come, however many.

    paths      files, folders and manifests, or '-' alone: a list of them on standard input
    out        a .csv, .jsonl or .parquet file that the rows go to; it is there when the last row has been taken
    resume     go on with the rows of an earlier run to `out`, which come first; of one that ended there are none
    sort_into  a folder to link the images into, by predicted class
    console    of a bar where there are many, and of a line that says what was chosen
    how        views, engine and precision, as `predictor` takes them
    Raises DataError, ModelFileError, UsageError or MissingExtraError; with `out` InterruptedRunError on SIGINT and
    SIGTERM, the rows so far kept beside it.
    """
    from vgglass import prediction

    if out:
        prediction.require(Path(out), map(Path, paths))
        if resume and prediction.complete(Path(out)):
            return iter(())
    elif resume:
        raise UsageError("--resume", "goes on with the rows of --out", "add --out and the file's name")
    apart = Path(sort_into) if sort_into else None
    files = prediction.expand(map(Path, paths), apart)
    chosen = model if isinstance(model, Predictor) else predictor(model, **how)
    _say(chosen, console)

    def answer(files: Sequence[Path]) -> "Iterator[Prediction]":
        return prediction.predict(files, chosen, top)

    if out:
        rows = prediction.recorded(answer, files, Path(out), prediction.header(chosen, top, files), resume)
    else:
        rows = answer(files)
    rows = prediction.sorted_into(apart, rows) if apart else rows
    return _counted(rows, len(files), console or Console(stderr=True)) if len(files) > FEW_FILES else rows


def _counted(rows: "Iterator[Prediction]", files: int, console: Console) -> "Iterator[Prediction]":
    with reading(console, "predicting") as progress:
        for done, row in enumerate(rows, 1):
            progress(done, files)
            yield row


def judge(model: Model | Artifact, *, precision: str | None = None, **how: Any) -> Predictor:
    """As `predictor`, in float32 unless told or exported otherwise: the same figure on every machine."""
    source = opened(model)
    return predictor(source, precision=precision or ("float32" if isinstance(source, ModelFile) else "auto"), **how)


def _say(chosen: Predictor, console: Console | None) -> None:
    """Which engine runs, and why: for a person at a terminal, who gave a console."""
    if console:
        console.print(chosen.about, style="dim", soft_wrap=True)


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


def aligned(dataset: "Dataset", samples: "Sequence[Sample]", classes: Sequence[str]) -> "list[Sample]":
    """Samples of a data set, labelled by the model's classes of the same names. Raises DataError."""
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
