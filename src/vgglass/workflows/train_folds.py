"""`train --folds` of networks that learn by steps: one is trained without each fold, and answers for its images.

Each has the run's own recipe, its number of epochs and its seed. The weights of its last epoch answer, or their moving
average where the recipe has one: an epoch chosen by the images that are judged would be judged by what chose it, and
images held out to choose it would be missing from what is learned, which is what few images can't spare. The network
that is kept learns from all images in the same way, so that it is the method of the folds that made it.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import UsageError
from vgglass.modelfile import ModelFile
from vgglass.workflows.evaluate import predictions_of
from vgglass.workflows.models import load

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset, Sample
    from vgglass.training.checkpoint import Run
    from vgglass.training.fold_answers import Fold
    from vgglass.training.run import RunContext

Places = NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """One fold: the places of the training images that its network learns from, and of those that it judges."""

    fold: "Fold"
    learned: Places
    judged: Places


def are_trained(run: "Run") -> bool:
    """Whether a run trains networks in folds, in place of fitting heads."""
    return bool(run.recipe.folds) and not run.recipe.fits_head


def require(run: "Run", dataset: "Dataset", source: ModelFile | None, *, ranks: bool, watched: bool) -> None:
    """Raises UsageError, and TrainingError for a class that can't be left out, before anything is written.

    source  that the networks start from
    ranks   whether the run is one of torchrun's; watched: whether its learning is recorded
    """
    from vgglass.training import folds

    asked = f"--folds {run.recipe.folds}"
    if ranks:
        raise UsageError(asked, "trains one network after another, which torchrun's ranks can't", "start it alone")
    if watched:
        raise UsageError("--watch", "records one network, and --folds trains several", "leave one of the two out")
    if source and _has_learned_from(source, dataset):
        rule = "has learned from images of this folder, so that in no fold they would be new to it"
        remedy = "start from the weights that it began with, or leave --folds out"
        raise UsageError(f"--from {source.record.architecture.name}", rule, remedy)
    labels, groups = _labels_and_groups(dataset)
    folds.require_folds(labels, groups, run.classes, run.recipe.folds)
    for part in _parts(Path(), run, labels, groups):
        if missing := set(range(len(run.classes))) - set(labels[part.learned].tolist()):
            rule = f"leaves a fold without class {run.classes[min(missing)]!r} to learn from"
            raise UsageError(asked, rule, "choose another number, or add images")


def _has_learned_from(source: ModelFile, dataset: "Dataset") -> bool:
    """Whether a model's record names this data set or one of its splits, or it keeps features of one of its images."""
    from vgglass.training.kept import ATTACHED

    data, samples = source.record.data, dataset.split("train")
    digests = {dataset.digest(split) for split in dataset.splits}
    kept = {row.tobytes() for row in source.attached.get(f"{ATTACHED}digests", ())}
    return (
        data.get("name") == dataset.name
        or not digests.isdisjoint(data.get("digests", {}).values())
        or any(sample.digest in kept for sample in samples)
    )


def _labels_and_groups(dataset: "Dataset") -> tuple[NDArray[np.int64], Places]:
    from vgglass.data.duplicates import find_duplicates
    from vgglass.training.run import labels_of

    samples = dataset.split("train")
    return labels_of(samples), find_duplicates([sample.described() for sample in samples]).group


def _parts(out: Path, run: "Run", labels: NDArray[np.int64], groups: Places) -> list[Part]:
    """All folds of all repeats, divided as those of fitted heads are."""
    from vgglass.training.fold_answers import Fold
    from vgglass.training.probe import folds_of

    return [
        Part(Fold(out, repeat, number), learned, judged)
        for repeat in range(run.recipe.repeats)
        for number, (learned, judged) in enumerate(folds_of(labels, groups, run.recipe.folds, run.recipe.seed + repeat))
    ]


def judge(context: "RunContext", source: ModelFile | None) -> "RunContext":
    """Train a network without each fold, gather what they answered, and say so; the context of the run with figures.

    source  that the networks start from; None also where no fold is to be begun
    Folds that have answered are not repeated, and one that was interrupted goes on. Raises as `training.run.train`.
    """
    from vgglass.training import fold_answers

    run, samples = context.run, context.dataset.split("train")
    recipe = run.recipe
    labels, groups = _labels_and_groups(context.dataset)
    parts = _parts(context.out, run, labels, groups)
    left = [part for part in parts if not part.fold.answers.exists()]
    for place, part in enumerate(left):
        later = None
        if not place:
            context.display.print(_announced(run, len(parts) - len(left)))
            later = sum(_steps(run, len(part.learned)) for part in left[1:]) + _steps(run, len(samples))
        _judge_part(context, source, part, later)
    for part in parts:
        shutil.rmtree(part.fold.work, ignore_errors=True)  # left by a process that was killed when it had answered
    found = fold_answers.gathered(context.out, samples, groups, len(run.classes), recipe.folds, recipe.repeats)
    context.display.print(str(found.figures))
    return replace(context, folds=found.figures)


def _announced(run: "Run", done: int) -> str:
    recipe = run.recipe
    count = recipe.folds * recipe.repeats
    if done:
        return f"{done} of {count} folds are judged already"
    return (
        f"{count + 1} trainings of {recipe.epochs} epochs: one without each of {count} folds, whose images it judges,"
        " and one on all images"
    )


def _steps(run: "Run", images: int) -> int:
    """Of a whole training on so many images."""
    from vgglass.data.training_loader import batch_sizes

    return len(batch_sizes(images, min(run.recipe.batch_size, images))) * run.recipe.epochs


def _judge_part(context: "RunContext", source: ModelFile | None, part: Part, later: int | None) -> None:
    """Train the network of one fold, or go on with it, and write down what it answers."""
    from vgglass.training import checkpoint, run
    from vgglass.training.metrics_log import Display

    samples, fold = context.dataset.split("train"), part.fold
    dataset = replace(context.dataset, splits={"train": _at(samples, part.learned), "test": _at(samples, part.judged)})
    folds = context.run.recipe.folds
    where = f"fold {fold.repeat * folds + fold.number + 1} of {folds * context.run.recipe.repeats}"
    context.display.print(f"{where}: training on {len(part.learned):,} images, to judge {len(part.judged):,}")
    with checkpoint.exclusive(fold.work):
        newest = checkpoint.read_newest(fold.work)
        if (fold.work / checkpoint.RUN).exists():
            own = checkpoint.read_run(fold.work)
        else:
            own = _planned(context.run, dataset, source)
            checkpoint.write_run(fold.work, own)
        if not run.finished(fold.work, own, newest.progress):
            fresh = newest.progress == checkpoint.Progress()
            display = Display(context.display.console, where, later)
            go_on = f"vgglass train --out {context.out} --resume"
            inner = replace(context, dataset=dataset, run=own, out=fold.work, display=display, go_on=go_on)
            run.train(inner, source if fresh else None, newest)
        network = load(fold.work / run.BEST)
        fold.write(predictions_of([network], dataset, "test").log_probabilities, dataset.split("test"))
    shutil.rmtree(fold.work)


def _at(samples: Sequence["Sample"], places: Places) -> "tuple[Sample, ...]":
    return tuple(samples[place] for place in places)


def _planned(run: "Run", dataset: "Dataset", source: ModelFile | None) -> "Run":
    """The record of a fold's run: the whole run's recipe and precision, all that is measured by its own images."""
    from vgglass.training.plan import plan_run

    named = (run.source["model"], source) if source else None
    own, _ = plan_run(run.recipe.override(folds=0, repeats=1), dataset, run.folder, named)
    return replace(
        own, source=run.source, precision=run.precision, threads=run.threads, feature_engine=run.feature_engine,
        feature_precision=run.feature_precision,
    )  # fmt: skip
