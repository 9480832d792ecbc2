"""A head fitted to another model's convolutions: their features, the fit, and the model file that comes of it."""

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from vgglass import __version__, drift, familiarity
from vgglass.data.dataset import Dataset, Sample, balance_line, class_weights
from vgglass.data.duplicates import find_duplicates
from vgglass.data.loader import evaluation_batches
from vgglass.errors import DataError
from vgglass.familiarity import Familiarity
from vgglass.model import VGG
from vgglass.modelfile import ModelFile, Record, golden_images
from vgglass.preprocess import Preprocessing
from vgglass.statistics import wilson
from vgglass.training import folds, transfer
from vgglass.training.checkpoint import Run
from vgglass.training.feature_cache import BATCH, Averages, Extractors
from vgglass.training.kept import COMPUTED, KeptFeatures, judged_before_and_after
from vgglass.training.metrics_log import Display
from vgglass.training.probe import Features, Integers, Probe, fit_probe, folds_of
from vgglass.training.recipe import Recipe

HELD_OUT = ("validation", "test")
NAMED = 5  # classes that a warning lists
FAMILIARITY_FOLDS = 10  # the more, the nearer to what all images together give


@dataclass(frozen=True)
class FittedHead:
    """A network with another model's convolutions and a fitted fc8.

    metrics      of a model file: cross-validated accuracy, and that of the held-out splits
    kept         the training images' features
    familiarity  None where there are too few images; `judged` out of fold
    seen         values and answers of the validation images, as `drift.attach` takes them; None where classes were
                 added, of which alone the folder has images
    """

    network: VGG
    probe: Probe
    metrics: dict[str, Any]
    kept: KeptFeatures
    familiarity: Familiarity | None
    judged: int
    seen: tuple[dict[str, list[float]], list[int]] | None


def fit(
    dataset: Dataset, run: Run, source: ModelFile, extractors: Extractors, workers: int | None, display: Display
) -> FittedHead:
    """Fit a pooled head on 'train', evaluate it on the held-out splits, and print a summary.

    Where the run adds classes, also on the features that the source keeps of its own. Raises TrainingError, UsageError.
    """
    recipe = run.recipe
    network = VGG(recipe.network(len(run.classes)))
    display.print(transfer.load_matching(network, source, tuple(run.classes)))
    averages = Averages(_up_to_pool5(network, run), run, extractors, workers, display)
    samples = dataset.split("train")
    before = KeptFeatures.of(source) if run.adds else None
    given = given_to_fit(samples, averages, before)
    views, labels, groups, weights = given
    whole = KeptFeatures(views[0], labels, groups, _digests(samples, before))
    display.print(balance_line(np.bincount(labels, minlength=len(run.classes)), run.classes, recipe.balance))
    display.warn(_single_image_warning(samples, run.classes))
    found = fit_probe(*given, recipe.seed)
    display.print(_summary(found))
    with torch.no_grad():
        fc8 = network.get_submodule("fc8")
        assert isinstance(fc8, torch.nn.Linear)
        fc8.weight.copy_(torch.from_numpy(found.weight))
        fc8.bias.copy_(torch.from_numpy(found.bias))
    metrics: dict[str, Any] = {}
    if found.trials:
        best = found.best
        metrics["cross_validation"] = {
            "top1": best.right / found.images, "interval": list(found.interval), "images": found.images,
            "folds": found.folds, "penalty": best.penalty, "temperature": found.temperature,
        }  # fmt: skip
    if before:
        penalty = source.record.metrics.get("cross_validation", {}).get("penalty", found.penalty)
        metrics["old_classes"] = judged_before_and_after(before, whole, weights, found, penalty, recipe.seed)
        line = "old classes: accuracy {before:.4f} before and {after:.4f} among all, out of fold on {images:,} images"
        display.print(line.format(**metrics["old_classes"]))
    if recipe.folds and recipe.fits_head:
        in_folds = judge_in_folds(given, recipe, display).figures
        display.print(str(in_folds))
        metrics["folds"] = in_folds.as_json()
    for split in HELD_OUT:
        if held := dataset.splits.get(split, ()):
            right = int((found.logits(averages.plain(held)).argmax(axis=1) == _labels(held)).sum())
            metrics[split] = {"top1": right / len(held), "interval": list(wilson(right, len(held)))}
    known, judged = _familiarity(views[0], labels, groups, run, display)
    held = dataset.splits.get("validation", ())
    seen = _seen(held, averages, found, known) if held and not before else None
    return FittedHead(network, found, metrics, whole, known, judged, seen)


Given = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.intp], NDArray[np.float64]]


def given_to_fit(samples: Sequence[Sample], averages: Averages, before: KeptFeatures | None = None) -> Given:
    """Views, labels, groups and weights of the classes, as `fit_probe` takes them, of a run's training images.

    before  of a model that classes are added to: their one view stands before that of the samples
    Raises TrainingError and UsageError, before anything is computed, for images that the recipe's folds can't divide.
    """
    run, recipe = averages.run, averages.run.recipe
    labels = _labels(samples)
    groups = find_duplicates([sample.described() for sample in samples]).group
    if before:
        labels = np.concatenate([before.labels, labels])
        groups = np.concatenate([before.groups, groups + int(before.groups.max()) + 1])
    if recipe.folds:
        folds.require_folds(labels, groups, run.classes, recipe.folds)
    even = recipe.balance == "none"
    images = np.bincount(labels, minlength=len(run.classes))
    weights = np.ones(len(run.classes)) if even else class_weights(images)
    if before:
        return np.concatenate([before.features, averages.plain(samples)])[None], labels, groups, weights
    views = np.stack([averages.plain(samples), *(averages.drawn(samples, v) for v in range(recipe.feature_views))])
    return views, labels, groups, weights


def _digests(samples: Sequence[Sample], before: KeptFeatures | None) -> NDArray[np.uint8]:
    own = np.frombuffer(b"".join(sample.digest for sample in samples), np.uint8).reshape(-1, 32)
    return np.concatenate([before.digests, own]) if before else own


def judge_in_folds(given: Given, recipe: Recipe, display: Display) -> folds.Folds:
    with display.counting("folds", recipe.folds * recipe.repeats) as count:
        return folds.judge(*given, folds=recipe.folds, repeats=recipe.repeats, seed=recipe.seed, count=count)


def as_model_file(fitted: FittedHead, run: Run, about: dict[str, Any]) -> ModelFile:
    file = fitted.network.to_file(
        tuple(run.classes),
        Preprocessing.from_json(run.preprocessing),
        metrics=fitted.metrics,
        data=about,
        recipe=run.recipe.as_json() | {"from": run.source, COMPUTED: [run.feature_engine, run.feature_precision]},
        versions={"vgglass": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )
    if run.recipe.keep_features:
        file = replace(file, attached=fitted.kept.attached())
    if fitted.familiarity:
        how = {"false_alarm_rate": familiarity.FALSE_ALARMS, "images": fitted.judged, "judged_on": "out of fold"}
        file = familiarity.attach(file, fitted.familiarity, **how)
    return drift.attach(file, *fitted.seen) if fitted.seen else file


def _seen(
    held: Sequence[Sample], averages: Averages, found: Probe, known: Familiarity | None
) -> tuple[dict[str, list[float]], list[int]]:
    """What the model sees of held-out images, as `Predictor.answers` does: its training images it knows too well."""
    features = averages.plain(held)
    probabilities = softmax(found.logits(features), axis=1)
    batches = evaluation_batches(held, Preprocessing.from_json(averages.run.preprocessing), BATCH)
    looks = [drift.look(image) for batch in batches for image in batch.images]
    values = {
        "brightness": [brightness for brightness, _ in looks],
        "sharpness": [sharpness for _, sharpness in looks],
        "probability": probabilities.max(axis=1).tolist(),
    }
    if known:
        values["distance"] = known.distances(features).tolist()
    return values, probabilities.argmax(axis=1).tolist()


def _familiarity(
    averages: Features, labels: Integers, groups: NDArray[np.intp], run: Run, display: Display
) -> tuple[Familiarity | None, int]:
    """What familiarity is judged by, and the number of images that its threshold was chosen on, out of fold.

    As in cross-conformal prediction (Vovk 2015): a Gaussian of nine tenths of the images is a little farther from the
    rest than that of all will be, so that the rate of false alarms is kept rather than exceeded.
    """
    folds = folds_of(labels, groups, FAMILIARITY_FOLDS, run.recipe.seed)
    try:
        gaussians = familiarity.fit(averages, labels, run.classes)
        distances = familiarity.out_of_fold(averages, labels, folds)
        return Familiarity(gaussians, familiarity.threshold(distances)), len(distances)
    except DataError as error:
        display.warn(f"this model will not tell what is unfamiliar to it: {error}")
        return None, 0


def averages_of(run: Run, source: ModelFile, extractors: Extractors, workers: int | None, display: Display) -> Averages:
    """The features of any images, as `fit` takes them from the source's convolutions in such a run."""
    network = VGG(run.recipe.network(len(run.classes)))
    transfer.load_matching(network, source, tuple(run.classes))
    return Averages(_up_to_pool5(network, run), run, extractors, workers, display)


def _up_to_pool5(network: VGG, run: Run) -> ModelFile:
    """The network for an engine that computes up to avgpool: its golden logits are never used."""
    preprocessing = Preprocessing.from_json(run.preprocessing)
    record = Record(network.architecture, tuple(run.classes), preprocessing)
    images = golden_images(preprocessing)
    return ModelFile(record, network.weights(), images, np.zeros((len(images), len(run.classes)), np.float32))


def _labels(samples: Sequence[Sample]) -> NDArray[np.int64]:
    return np.array([sample.label for sample in samples], np.int64)


def _summary(found: Probe) -> str:
    if not found.trials:
        return (
            f"fitted: logistic regression, C {found.penalty:g}; no class has two different images, so nothing could be"
            " cross-validated"
        )
    low, high = found.interval
    return (
        f"fitted: logistic regression, C {found.penalty:g} of {len(found.trials)} tried;"
        f" cross-validated accuracy {found.best.right / found.images:.4f} ({low:.4f} to {high:.4f})"
        f" on {found.images:,} images in {found.folds} folds"
    )


def _single_image_warning(samples: Sequence[Sample], classes: Sequence[str]) -> str:
    """A sentence on classes with a single image; '' where there are none."""
    counts = Counter(sample.label for sample in samples)
    lone = [classes[label] for label, count in sorted(counts.items()) if count == 1]
    if not lone:
        return ""
    names = ", ".join(lone[:NAMED]) + (f" and {len(lone) - NAMED} more" if len(lone) > NAMED else "")
    return f"a single training image of {names}: it is fitted, but cross-validation can't judge it; add a second image"
