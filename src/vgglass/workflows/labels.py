"""Which labels of a folder are probably wrong, and what becomes of a person's decisions on them."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from vgglass import names
from vgglass.errors import DataError, UsageError
from vgglass.workflows.check import keep_manifest
from vgglass.workflows.data import open_data_set
from vgglass.workflows.features import labelled_features
from vgglass.workflows.label_networks import judge_by_networks
from vgglass.workflows.models import Model, require_torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vgglass.data.dataset import Dataset
    from vgglass.data.moves import Moves
    from vgglass.evaluation.label_review import LabelReview


def check_labels(
    folder: str | Path,
    source: Model | None = None,
    *,
    preprocessing: str | None = None,
    workers: int | None = None,
    console: Console | None = None,
) -> "LabelReview":
    """Find the labels of a folder, idx folder or manifest that are probably wrong, by confident learning.

    source         whose convolutions give the features: a model file, a pretrained name or another framework's weights;
                   None trains small networks in folds, which on photographs are poor judges
    preprocessing  of those weights, as `starting_model` takes it
    Every image of every split is judged by models that were fitted without it and its near duplicates.
    Raises DataError, ModelFileError, WeightsError, UsageError, TrainingError.

    >>> review = vgglass.check_labels("photos", "runs/digits/best.safetensors")
    >>> review.images, review.folds
    (360, 10)
    """
    require_torch("judging labels")
    from vgglass.evaluation import label_review, labels

    console = console or Console(stderr=True)
    dataset = open_data_set(folder, console)
    groups = _groups(dataset)
    samples = dataset.split("all")
    given = np.array([sample.label for sample in samples])
    if source is None:
        judgement, vectors = judge_by_networks(dataset, groups, console, workers)
    else:
        undivided = replace(dataset, splits=dict.fromkeys(("train", "validation"), samples))
        vectors = labelled_features(
            undivided, samples, source, preprocessing=preprocessing, workers=workers, console=console
        ).vectors
        judgement = labels.judge(vectors, given, groups)
    noise = labels.find_label_noise(judgement.probabilities, given)
    return label_review.review(dataset.name, dataset.classes, samples, vectors, judgement, noise)


def _groups(dataset: "Dataset") -> "NDArray[np.intp]":
    """The group of near duplicates of each image. Raises DataError where a class has no two of them."""
    from vgglass.data.duplicates import find_duplicates

    samples = dataset.split("all")
    if len(dataset.classes) < 2:
        rule = f"has one class, {dataset.classes[0]!r}, and a label is wrong only where another could be right"
        raise DataError(dataset.name, rule, "name a folder with a subfolder for each class")
    groups = find_duplicates([sample.described() for sample in samples]).group
    for label, name in enumerate(dataset.classes):
        own = [group for group, sample in zip(groups, samples, strict=True) if sample.label == label]
        if len(set(own)) < 2:
            what = f"has {len(own)} images" if len(own) != 1 else "has 1 image"
            alike = ", all of one picture" if len(own) > 1 else ""
            rule = f"{what}{alike}, and a label is judged by other pictures of its class"
            raise DataError(f"class {name!r} of {dataset.name}", rule, "add images, or take its folder away")
    return groups


def write_label_page(review: "LabelReview", path: Path) -> None:
    """Write one self-contained HTML file on which a person decides."""
    from vgglass.evaluation import label_review

    label_review.write_page(review, path)


def write_suspects(review: "LabelReview", path: Path) -> None:
    """Write the list of suspects (.csv), without decisions."""
    from vgglass.data import corrections

    corrections.write([suspect.row() for suspect in review.suspects], path)


# A person's decisions.


def apply_labels(
    folder: str | Path, decisions: Path, manifest: Path, *, console: Console | None = None
) -> "tuple[Dataset, int]":
    """Write a manifest with the decisions of a list; that data set, and the number of images that changed.

    No file moves. Raises DataError, UsageError, MissingExtraError.
    """
    from vgglass.data import corrections

    dataset = open_data_set(folder, console or Console(stderr=True))
    changes = corrections.read(decisions, dataset)
    return keep_manifest(corrections.corrected(dataset, changes), manifest), len(changes)


def plan_moves(folder: str | Path, decisions: Path, *, console: Console | None = None) -> "Moves":
    """Where the decisions of a list move files within a folder of class folders; nothing is moved yet.

    Moves of the same list that were cut short are found again. Raises DataError, UsageError.
    """
    from vgglass.data import corrections, moves, sources

    path = names.existing(Path(folder))
    if not path.is_dir() or sources.holds_idx(path):
        raise UsageError("--move", f"moves files of class folders, and {folder} has none", "write a --manifest")
    if not decisions.is_file():
        raise DataError(decisions, "is not a file", "name the labels.csv that the page or --out wrote")
    digest = hashlib.sha256(decisions.read_bytes()).hexdigest()
    for earlier in moves.journals(path):
        if earlier.decisions == digest and not earlier.waiting():
            raise DataError(decisions, f"was applied to {folder} already", "put all back with --undo, or leave it so")
        if earlier.decisions == digest:
            return earlier
        if earlier.waiting():
            remedy = "give it the list that it began with, or put all back with --undo"
            raise DataError(folder, "holds moves by another list that were cut short", remedy)
    dataset = open_data_set(path, console or Console(stderr=True))
    return moves.plan(path, corrections.read(decisions, dataset), dataset.classes, digest)


def undo_moves(folder: str | Path) -> int:
    """Put back what the last list moved; the number of files. Raises DataError."""
    from vgglass.data import moves

    journals = moves.journals(names.existing(Path(folder)))
    if not journals:
        raise DataError(folder, "holds no record of moved files", "name the folder that --apply --move was given")
    return journals[-1].undo()
