"""A model on images: judged by their labels, or asked for them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vgglass.engines.artifact import Artifact
from vgglass.errors import DataError
from vgglass.inference.predictor import Predictor
from vgglass.modelfile import ModelFile, Record
from vgglass.names import casefolded, group_by_case, normalised
from vgglass.workflows.data import open_data_set, report_line
from vgglass.workflows.models import Model, open_source, predictor

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset, Sample
    from vgglass.evaluation.metrics import Evaluation
    from vgglass.evaluation.predictions import Comparison, Predictions


Source = ModelFile | Artifact | Predictor  # of answers

SHOWN_CLASSES = 10
USES = ("training", "changed", "selection", "calibration", "")  # of images, the most flattering first


def evaluate(model: Model | Predictor, folder: str | Path | None = None, **how: Any) -> "Evaluation":
    """A model's figures on one split of a folder (without one: the digits); arguments as of `predictions_on_split`."""
    from vgglass.evaluation import metrics

    metrics.require()
    return metrics.evaluate(predictions_on_split(model, folder, **how))


def predictions_on_split(
    model: Model | Predictor,
    folder: str | Path | None = None,
    *,
    split: str | None = None,
    ensemble: Sequence[Model] = (),
    console: Console | None = None,
    **how: Any,
) -> "Predictions":
    """A model's answers to one split of a folder, from which every figure is reckoned.

    split     without it 'test' where there is one, else 'validation', else all images
    ensemble  further models of the same classes, whose probabilities are averaged with its own
    how       views, engine and precision, as `evaluation_predictor` takes them
    Images of classes that the model does not tell are left out, which the console is told.
    Raises DataError, UsageError or ModelFileError.
    """
    sources = [model if isinstance(model, Predictor) else open_source(model), *map(open_source, ensemble)]
    dataset, name = open_split(sources[0].record, folder, split, console or Console(stderr=True))
    return predictions_of(sources, dataset, name, console, **how)


def predictions_of(
    sources: Sequence[Source], dataset: "Dataset", split: str, console: Console | None = None, **how: Any
) -> "Predictions":
    """As `predictions_on_split`, for a data set and models (more than one: an ensemble) that are open already."""
    from vgglass.evaluation.predictions import Predictions

    first, *others = records = [source.record for source in sources]
    require_same_classes(records)
    found = _aligned_and_reported(dataset, split, first.classes, console)
    total = np.full((len(found.samples), len(first.classes)), -np.inf)
    for source in sources:
        chosen = _predictor(source, console, **how)
        total = np.logaddexp(total, _answers(chosen, found.samples, first.classes))
    return Predictions(
        record=first,
        split=split,
        sources=tuple(sample.source for sample in found.samples),
        labels=np.array([sample.label for sample in found.samples]),
        log_probabilities=total - np.log(len(sources)),
        used_for=_most_flattering(_used_for(record, dataset, split) for record in records),
        missing=found.missing,
        unknown=found.unknown,
        views=chosen.views,
        others=tuple(others),
    )


def compare(
    first: Model | Predictor,
    second: Model | Predictor,
    folder: str | Path | None = None,
    *,
    split: str | None = None,
    console: Console | None = None,
    **how: Any,
) -> "Comparison":
    """Two models on the same images, of the classes that both know; arguments as of `predictions_on_split`."""
    from vgglass.data.loader import original
    from vgglass.evaluation import metrics
    from vgglass.evaluation.predictions import compare_predictions

    metrics.require()
    sources = [model if isinstance(model, Predictor) else open_source(model) for model in (first, second)]
    records = [source.record for source in sources]
    others = set(map(normalised, records[1].classes))
    common = tuple(name for name in records[0].classes if normalised(name) in others)
    if not common:
        told = ", ".join(records[0].classes[:5])
        raise DataError(f"models of {told}, ...", "have no class in common", "compare models of the same classes")
    dataset, name = open_split(records[0], folder, split, console or Console(stderr=True))
    found = _aligned_and_reported(dataset, name, common, console)
    labels = np.array([sample.label for sample in found.samples])
    right = []
    for source in sources:
        chosen = _predictor(source, console, **how)
        own = np.array(list(_places(common, chosen.record.classes).values()))
        answers = metrics.collect(chosen.stream(map(original, found.samples)))
        right.append(answers.argmax(axis=1) == own[labels])
    return compare_predictions(
        right[0],
        right[1],
        name,
        used_for=tuple(_used_for(record, dataset, name) for record in records),
        missing=found.missing,
        unknown=tuple(found.unknown.items()),
    )


def draw_confusion(evaluation: "Evaluation", model: Path, path: Path | None = None) -> tuple[Path, list[str]]:
    """The confusion matrix as a .png, at `path` or beside the model file; the path, and what could not be written."""
    from vgglass import plotting

    folder = model.parent if model.exists() else Path()
    path = path or folder / f"confusion-{evaluation.split}.png"
    classes = tuple(row.name for row in evaluation.per_class)
    title = f"{evaluation.split}: top-1 {evaluation.top1:.4f} on {evaluation.images:,} images"
    return path, plotting.confusion(evaluation.confusion, classes, title, path)


def evaluation_predictor(model: Model | Artifact, *, precision: str | None = None, **how: Any) -> Predictor:
    """As `predictor`, in float32 unless told or exported otherwise: the same figure on every machine."""
    source = open_source(model)
    return predictor(source, precision=precision or ("float32" if isinstance(source, ModelFile) else "auto"), **how)


def _predictor(source: Source, console: Console | None, **how: Any) -> Predictor:
    """The source made ready to judge by, which the console is told."""
    chosen = source if isinstance(source, Predictor) else evaluation_predictor(source, **how)
    report_line(chosen.about, console)
    return chosen


def open_split(
    record: "Record", folder: str | Path | None, split: str | None, console: Console
) -> "tuple[Dataset, str]":
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


@dataclass(frozen=True)
class Alignment:
    """Samples labelled by a model's classes of the same names; see `Predictions` for what is missing or unknown.

    by_case  names in the data, and the classes that they were taken for, from which they differ by case
    """

    samples: "list[Sample]"
    missing: tuple[str, ...]
    unknown: dict[str, int]
    by_case: dict[str, str]

    def sentences(self, split: str) -> Iterator[str]:
        """What a person should know of it."""
        for name, label in self.by_case.items():
            yield f"class {name!r} is taken for the model's {label!r}"
        if self.missing:
            yield f"no {split} images of {_listed(self.missing)}: the figures say nothing of such classes"
        if self.unknown:
            left = sum(self.unknown.values())
            yield f"left out {left:,} {split} images of classes that the model does not tell: {_listed(self.unknown)}"


def aligned(dataset: "Dataset", samples: "Sequence[Sample]", classes: Sequence[str]) -> Alignment:
    """Samples of a data set by the model's classes, matched by name. Raises DataError where none is in common."""
    places = _places(dataset.classes, classes)
    counts = Counter(dataset.classes[sample.label] for sample in samples)
    unknown = {name: count for name, count in counts.items() if name not in places}
    if len(unknown) == len(counts):
        raise DataError(
            f"classes {', '.join(map(repr, sorted(unknown)[:5]))} of {dataset.name}",
            f"are unknown to the model, which tells {', '.join(classes[:5])}{', ...' * (len(classes) > 5)} apart",
            "choose the model trained on these classes",
        )
    known = [
        replace(sample, label=places[dataset.classes[sample.label]])
        for sample in samples
        if dataset.classes[sample.label] in places
    ]
    found = {places[name] for name in counts if name in places}
    missing = tuple(name for index, name in enumerate(classes) if index not in found)
    taken = {name: classes[places[name]] for name in counts if name in places}
    other = {name: label for name, label in taken.items() if normalised(name) != normalised(label)}
    return Alignment(known, missing, unknown, other)


def _places(names: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """The place among a model's classes of each name that looks like one; by case alone where nobody doubts it."""
    exact = {normalised(name): index for index, name in enumerate(classes)}
    told, asked = group_by_case(exact), group_by_case(names)
    found = {}
    for name in names:
        alike = told.get(casefolded(name), ())
        if normalised(name) in exact:
            found[name] = exact[normalised(name)]
        elif len(alike) == len(asked[casefolded(name)]) == 1:
            found[name] = exact[alike[0]]
    return found


def _aligned_and_reported(dataset: "Dataset", split: str, classes: Sequence[str], console: Console | None) -> Alignment:
    """As `aligned`; what is missing or unknown is said."""
    found = aligned(dataset, dataset.split(split), classes)
    if console:
        for sentence in found.sentences(split):
            console.print(sentence, style="yellow", soft_wrap=True)
    return found


def require_same_classes(records: Sequence[Record]) -> None:
    """Raises DataError for models that do not tell the same classes, in whatever order."""
    first, *others = (set(map(normalised, record.classes)) for record in records)
    for other in others:
        if different := sorted(first ^ other):
            rule = f"is told by one model of the ensemble and not by another ({len(different)} such classes)"
            raise DataError(f"class {different[0]!r}", rule, "average models of the same classes")


def _answers(predictor: Predictor, samples: "Sequence[Sample]", classes: Sequence[str]) -> NDArray[np.float64]:
    """Log-probabilities (N, K) in the order of these classes."""
    from vgglass.data.loader import original
    from vgglass.evaluation import metrics

    own = _places(classes, predictor.record.classes)
    return metrics.collect(predictor.stream(map(original, samples)))[:, [own[name] for name in classes]]


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN_CLASSES]) + f" and {len(listed) - SHOWN_CLASSES} more" * (
        len(listed) > SHOWN_CLASSES
    )


def _most_flattering(uses: Iterable[str]) -> str:
    return min(uses, key=USES.index)


def _used_for(record: "Record", dataset: "Dataset", split: str) -> str:
    """What these very images did in training: a key of the command line's CAUTIONS, or nothing ('')."""
    digests = record.data.get("digests", {})
    digest = dataset.digest(split)
    if digest == digests.get("train") or (split == "all" and dataset.splits.get("train")):
        return "training"
    if split == "all" and dataset.name == record.data.get("name"):
        return "changed"  # the folder of the training, but no longer as it was: its old split can't be told
    if digest == digests.get(record.data.get("selected_on")):
        return "selection"
    return "calibration" if digest == record.data.get("calibration", {}).get("digest") else ""
