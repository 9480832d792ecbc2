"""`evaluate --folds`: heads fitted anew in each fold, or what networks answered while a model was trained."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from vgglass.errors import DataError, UsageError
from vgglass.modelfile import ModelFile, Record
from vgglass.workflows.data import report_line
from vgglass.workflows.models import Model, features, require_torch

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset, Sample
    from vgglass.training.folds import Folds
    from vgglass.training.recipe import Recipe


def heads_in_folds(source: ModelFile, recipe: "Recipe", dataset: "Dataset", console: Console) -> "Folds":
    """Heads fitted anew to a model's convolutions by its recipe, on the training images."""
    require_torch("judging in folds")
    from vgglass.training import fitted
    from vgglass.training.metrics_log import Display
    from vgglass.training.plan import plan_run

    run, line = plan_run(recipe, dataset, None, ("", source))
    run = replace(run, preprocessing=source.record.preprocessing.as_json())
    display = Display(console)
    report_line(line, console)
    averages = fitted.averages_of(run, source, features, None, display)
    return fitted.judge_in_folds(fitted.given_to_fit(dataset.split("train"), averages), recipe, display)


def require_folds_of_run(model: Model, record: Record, folds: int, repeats: int) -> None:
    """Raises UsageError where networks did not answer in these folds while the model was trained."""
    known = record.metrics["folds"]
    if (known["folds"], known["repeats"]) != (folds, repeats):
        remedy = f"add --folds {known['folds']} --repeats {known['repeats']}, or train again"
        rule = "are others than those of the training, in each of which a network was trained"
        raise UsageError(f"--folds {folds} --repeats {repeats}", rule, remedy)
    if isinstance(model, ModelFile):
        raise UsageError(f"--folds {folds}", "are answered in the run's folder", "name the model file in it")


def answers_of_run(out: Path, record: Record, samples: "Sequence[Sample]") -> "Folds":
    """What networks answered while this model was trained. Raises TrainingError, and DataError for other images."""
    from vgglass.data.duplicates import find_duplicates
    from vgglass.training import fold_answers

    known = record.metrics["folds"]
    groups = find_duplicates([sample.described() for sample in samples]).group
    judged = fold_answers.gathered(out, samples, groups, len(record.classes), known["folds"], known["repeats"])
    if not np.array_equal(judged.figures.accuracies, known["accuracies"]):
        rule = "holds answers of other networks than those of this model's training"
        raise DataError(out / fold_answers.FOLDER, rule, "name the model that was trained in this folder")
    return judged


def recipe_of_head(record: Record, folds: int, repeats: int) -> "Recipe":
    """The recipe by which a model's head was fitted. Raises UsageError where it was not."""
    from vgglass.training.recipe import Recipe

    known = {field.name for field in fields(Recipe)}
    recipe = Recipe().override(**{name: value for name, value in record.recipe.items() if name in known})
    if not recipe.fits_head or "shrunk" in record.recipe:
        rule = (
            "repeats the fit of a head, and this model's head was not fitted: training it anew would take as long again"
        )
        raise UsageError(f"--folds {folds}", rule, "judge it on images held out, or fit a head: train --from it")
    return recipe.override(folds=folds, repeats=repeats)
