"""Evaluation and comparison of models on a split of a data set."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from vgglass.engines.artifact import Artifact
from vgglass.errors import DataError, UsageError
from vgglass.inference.predictor import Answer, Predictor
from vgglass.modelfile import ModelFile, Record
from vgglass.names import casefolded, group_by_case, normalised
from vgglass.workflows import evaluate_folds as judging
from vgglass.workflows.card import card_folder, judged_card
from vgglass.workflows.data import open_data_set, report_line
from vgglass.workflows.models import Model, open_source, predictor

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset, Sample
    from vgglass.evaluation.metrics import Evaluation
    from vgglass.evaluation.predictions import Comparison, Predictions


Source = ModelFile | Artifact | Predictor  # anything that predicts

SHOWN_CLASSES = 10
USES = ("training", "changed", "selection", "calibration", "")  # previous uses of the images, strongest bias first


def evaluate(
    model: Model | Predictor, folder: str | Path | None = None, *, folds: int = 0, repeats: int = 1, **how: Any
) -> "Evaluation":
    """Compute a model's metrics on one split of a folder (default: the digits); arguments: `predictions_on_split`.

    folds, repeats  judge the fit of the model's head in place of the model: arguments then as `predictions_in_folds`
    The cards of a single model are renewed, where `card_folder` says so.

    >>> found = vgglass.evaluate("runs/digits/best.safetensors", "photos", split="all")
    >>> found.images, found.top1 > 0.5
    (360, True)
    """
    from vgglass.evaluation import metrics

    metrics.require()
    if folds:
        assert not isinstance(model, Predictor), "folds are of a model file"
        return metrics.evaluate(predictions_in_folds(model, folder, folds, repeats, **how))
    source = model if isinstance(model, Predictor) else open_source(model)
    place = None if how.get("ensemble") else card_folder(model, source.record)
    found = metrics.evaluate(predictions_on_split(source, folder, **how))
    if place:
        judged_card(model, source.record, folder, found)
    return found


def predictions_on_split(
    model: Model | Source,
    folder: str | Path | None = None,
    *,
    split: str | None = None,
    ensemble: Sequence[Model] = (),
    console: Console | None = None,
    **how: Any,
) -> "Predictions":
    """Predict one split of a folder; every metric is computed from the result.

    split     default: 'test' if there is one, else 'validation', else all images
    ensemble  further models of the same classes, whose probabilities are averaged
    how       views, engine and precision, as `evaluation_predictor` takes them
    Images of classes that the model does not have are excluded, with a message on the console.
    Raises DataError, UsageError or ModelFileError.
    """
    sources = [model if isinstance(model, Predictor) else open_source(model), *map(open_source, ensemble)]
    dataset, name = open_split(sources[0].record, folder, split, console or Console(stderr=True))
    return predictions_of(sources, dataset, name, console, **how)


def predictions_of(
    sources: Sequence[Source], dataset: "Dataset", split: str, console: Console | None = None, **how: Any
) -> "Predictions":
    """As `predictions_on_split`, for an open data set and open models (several form an ensemble)."""
    from vgglass.evaluation.predictions import Predictions

    first, *others = records = [source.record for source in sources]
    require_same_classes(records)
    found = _align_and_report(dataset, split, first.classes, console)
    total = np.full((len(found.samples), len(first.classes)), -np.inf)
    for source in sources:
        chosen = _open_and_report(source, console, **how)
        answers = _answers(chosen, found.samples)
        own = list(_class_indices(first.classes, chosen.record.classes).values())
        total = np.logaddexp(total, np.stack([answer.log_probabilities for answer in answers])[:, own])
    tells = chosen.familiarity is not None and not others
    return Predictions(
        record=first,
        split=split,
        sources=tuple(sample.source for sample in found.samples),
        labels=np.array([sample.label for sample in found.samples]),
        log_probabilities=total - np.log(len(sources)),
        used_for=_most_biased(used_for(record, dataset, split) for record in records),
        missing=found.missing,
        unknown=found.unknown,
        views=chosen.views,
        others=tuple(others),
        distances=np.array([answer.distance for answer in answers]) if tells else None,
        seen={name: [each.quantities[name] for each in answers] for name in answers[0].quantities},
    )


def predictions_in_folds(
    model: Model,
    folder: str | Path | None,
    folds: int,
    repeats: int = 1,
    *,
    split: str | None = None,
    console: Console | None = None,
) -> "Predictions":
    """Repeat the fit of a model's head, by its own recipe, in folds: each image by a head that was fitted without it.

    split  default: all images, also those that the model's own head was fitted to
    The convolutions stay as they are. For a network that was trained with folds its run's folder has the answers.
    Raises UsageError for any other model, TrainingError or UsageError for images that can't be divided so, DataError,
    ModelFileError.
    """
    from vgglass.evaluation.predictions import Predictions
    from vgglass.inference.views import parse

    source, console, chosen = open_source(model), console or Console(stderr=True), split or "all"
    if not isinstance(source, ModelFile):
        raise UsageError(
            f"--folds {folds}", f"fits heads anew, and {source.path} is an exported graph", "name its model"
        )
    if source.record.metrics.get("folds", {}).get("networks"):
        judging.require_folds_of_run(model, source.record, folds, repeats)
        found = _align_and_report(open_data_set(folder, console), chosen, source.record.classes, console)
        judged = judging.answers_of_run(Path(str(model)).parent, source.record, found.samples)
    else:
        recipe = judging.recipe_of_head(source.record, folds, repeats)
        dataset = open_data_set(folder, console)
        found = _align_and_report(dataset, chosen, source.record.classes, console)
        dataset = replace(dataset, classes=source.record.classes, splits={"train": tuple(found.samples)})
        judged = judging.heads_in_folds(source, recipe, dataset, console)
    record = replace(source.record, temperature=None, reject_threshold=None)  # each fold has its own
    return Predictions(
        record=record,
        split=chosen,
        sources=tuple(sample.source for sample in found.samples),
        labels=judged.labels,
        log_probabilities=record.log_probabilities(judged.logits[0].astype(np.float32)),
        unknown=found.unknown,
        views=parse("centre", record),
        folds=judged.figures,
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
    """Compare two models on the same images of their common classes; arguments: `predictions_on_split`.

    >>> found = vgglass.compare("runs/mine/best.safetensors", "runs/digits/best.safetensors", "photos", split="all")
    >>> found.images, found.is_larger_than_chance
    (360, True)
    """
    from vgglass.data.loader import original
    from vgglass.evaluation import metrics
    from vgglass.evaluation.predictions import compare_predictions

    metrics.require()
    sources = [model if isinstance(model, Predictor) else open_source(model) for model in (first, second)]
    records = [source.record for source in sources]
    others = set(map(normalised, records[1].classes))
    common = tuple(name for name in records[0].classes if normalised(name) in others)
    if not common:
        listed = ", ".join(records[0].classes[:5])
        raise DataError(f"models of {listed}, ...", "have no class in common", "compare models of the same classes")
    dataset, name = open_split(records[0], folder, split, console or Console(stderr=True))
    found = _align_and_report(dataset, name, common, console)
    labels = np.array([sample.label for sample in found.samples])
    right = []
    for source in sources:
        chosen = _open_and_report(source, console, **how)
        own = np.array(list(_class_indices(common, chosen.record.classes).values()))
        answers = metrics.collect(chosen.stream(map(original, found.samples)))
        right.append(answers.argmax(axis=1) == own[labels])
    return compare_predictions(
        right[0],
        right[1],
        name,
        used_for=tuple(used_for(record, dataset, name) for record in records),
        missing=found.missing,
        unknown=tuple(found.unknown.items()),
    )


def draw_confusion(evaluation: "Evaluation", model: Path, path: Path | None = None) -> tuple[Path, list[str]]:
    """Draw the confusion matrix to `path` (default: next to the model file).

    Returns the path, and a sentence if no font supports some class names.
    """
    from vgglass import plotting

    folder = model.parent if model.exists() else Path()
    path = path or folder / f"confusion-{evaluation.split}.png"
    classes = tuple(row.name for row in evaluation.per_class)
    title = f"{evaluation.split}: top-1 {evaluation.top1:.4f} on {evaluation.images:,} images"
    return path, plotting.confusion(evaluation.confusion, classes, title, path)


def evaluation_predictor(model: Model | Artifact, *, precision: str | None = None, **how: Any) -> Predictor:
    """As `predictor`, but float32 by default for model files: the same metrics on every machine."""
    source = open_source(model)
    return predictor(source, precision=precision or ("float32" if isinstance(source, ModelFile) else "auto"), **how)


def _open_and_report(source: Source, console: Console | None, **how: Any) -> Predictor:
    """Return the source's predictor for evaluation, and report it on the console."""
    chosen = source if isinstance(source, Predictor) else evaluation_predictor(source, **how)
    report_line(chosen.about, console)
    return chosen


def open_split(
    record: "Record", folder: str | Path | None, split: str | None, console: Console
) -> "tuple[Dataset, str]":
    """Open the data set for evaluation, split as in training if it is the training data; return it and the split."""
    from vgglass.data.folder import trainable

    dataset = open_data_set(folder, console)
    if "validation" not in dataset.splits and ("train" in dataset.splits or "all" in dataset.splits):
        try:
            divided = trainable(dataset)
        except DataError:
            divided = dataset  # too small for training, but not for evaluation
        if "train" in divided.splits and divided.digest("train") == record.data.get("digests", {}).get("train"):
            dataset = divided
    default = next(name for name in ("test", "validation", *dataset.splits) if name in dataset.splits)
    return dataset, split or default


@dataclass(frozen=True)
class Alignment:
    """Samples labelled by a model's classes, matched by name; missing and unknown as in `Predictions`.

    by_case  class names in the data mapped to classes of the model that differ only in case
    """

    samples: "list[Sample]"
    missing: tuple[str, ...]
    unknown: dict[str, int]
    by_case: dict[str, str]

    def sentences(self, split: str) -> Iterator[str]:
        """Yield messages for the user."""
        for name, label in self.by_case.items():
            yield f"class {name!r} is taken for the model's {label!r}"
        if self.missing:
            yield f"no {split} images of {_joined(self.missing)}: the figures say nothing of such classes"
        if self.unknown:
            left = sum(self.unknown.values())
            yield f"left out {left:,} {split} images of classes that the model does not tell: {_joined(self.unknown)}"


def aligned(dataset: "Dataset", samples: "Sequence[Sample]", classes: Sequence[str]) -> Alignment:
    """Relabel samples by the model's classes, matched by name. Raises DataError if none match."""
    places = _class_indices(dataset.classes, classes)
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


def _class_indices(names: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """Map names to indices of a model's classes: exact matches, and case-insensitive ones if unambiguous."""
    exact = {normalised(name): index for index, name in enumerate(classes)}
    in_model, in_data = group_by_case(exact), group_by_case(names)
    found = {}
    for name in names:
        alike = in_model.get(casefolded(name), ())
        if normalised(name) in exact:
            found[name] = exact[normalised(name)]
        elif len(alike) == len(in_data[casefolded(name)]) == 1:
            found[name] = exact[alike[0]]
    return found


def _align_and_report(dataset: "Dataset", split: str, classes: Sequence[str], console: Console | None) -> Alignment:
    """As `aligned`, and print missing and unknown classes."""
    found = aligned(dataset, dataset.split(split), classes)
    if console:
        for sentence in found.sentences(split):
            console.print(sentence, style="yellow", soft_wrap=True)
    return found


def require_same_classes(records: Sequence[Record]) -> None:
    """Raises DataError unless all models have the same classes, in any order."""
    first, *others = (set(map(normalised, record.classes)) for record in records)
    for other in others:
        if different := sorted(first ^ other):
            rule = f"is told by one model of the ensemble and not by another ({len(different)} such classes)"
            raise DataError(f"class {different[0]!r}", rule, "average models of the same classes")


def _answers(predictor: Predictor, samples: "Sequence[Sample]") -> list[Answer]:
    from vgglass.data.loader import original
    from vgglass.evaluation import metrics

    return list(metrics.readable(predictor.answered(map(original, samples))))


def _joined(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN_CLASSES]) + f" and {len(listed) - SHOWN_CLASSES} more" * (
        len(listed) > SHOWN_CLASSES
    )


def _most_biased(uses: Iterable[str]) -> str:
    return min(uses, key=USES.index)


def used_for(record: "Record", dataset: "Dataset", split: str) -> str:
    """Return how the training of a model used these images: a key of the command line's CAUTIONS, or ''."""
    digests = record.data.get("digests", {})
    digest = dataset.digest(split)
    if digest == digests.get("train") or (split == "all" and dataset.splits.get("train")):
        return "training"
    if split == "all" and dataset.name == record.data.get("name"):
        return "changed"  # the training folder with other contents: its former split is unknown
    if digest == digests.get(record.data.get("selected_on")):
        return "selection"
    return "calibration" if digest == record.data.get("calibration", {}).get("digest") else ""
