"""Features of its training images that a fitted head's file keeps, so that classes can be added with nothing forgotten.

n images, D features, K classes.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.data.dataset import Dataset
from vgglass.errors import UsageError
from vgglass.modelfile import ModelFile
from vgglass.training.probe import FOLDS, Features, Integers, Probe, out_of_fold
from vgglass.training.recipe import Recipe

ATTACHED = "training."
COMPUTED = "features_by"  # in a model's recipe: engine and precision


@dataclass(frozen=True)
class KeptFeatures:
    """What the classes of a model were learned from.

    features  (n, D) of the images as in evaluation; float16 in the file
    labels    (n,)
    groups    (n,): near duplicates share one
    digests   (n, 32) SHA-256 of the images
    """

    features: Features
    labels: Integers
    groups: NDArray[np.intp]
    digests: NDArray[np.uint8]

    @classmethod
    def of(cls, source: ModelFile) -> "KeptFeatures":
        """Raises UsageError for a model without."""
        if f"{ATTACHED}features" not in source.attached:
            rule = "needs a model that keeps the features of its training images, and this one does not"
            remedy = "train its head again --from the same convolutions, without --set keep_features=false"
            raise UsageError("--add", rule, remedy)
        arrays = {name: source.attached[f"{ATTACHED}{name}"] for name in cls.__dataclass_fields__}
        return cls(**arrays | {"features": arrays["features"].astype(np.float32)})

    def attached(self) -> dict[str, NDArray[Any]]:
        """The arrays for `ModelFile.attached`."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        limit = np.finfo(np.float16).max
        values["features"] = np.clip(self.features, -limit, limit).astype(np.float16)
        values["groups"] = self.groups.astype(np.int64)
        return {f"{ATTACHED}{name}": array for name, array in values.items()}


def widened(dataset: Dataset, source: ModelFile | None) -> Dataset:
    """A data set of new classes, labelled after a model's; as it is without one. Raises UsageError for a class that
    exists."""
    if not source:
        return dataset
    classes = source.record.classes
    if known := [name for name in dataset.classes if name in classes]:
        rule = f"adds classes, and the model has {', '.join(known)} already"
        raise UsageError(f"--add {dataset.name}", rule, "leave them out of the folder, or give them other names")
    splits = {
        name: tuple(replace(sample, label=sample.label + len(classes)) for sample in samples)
        for name, samples in dataset.splits.items()
    }
    return replace(dataset, classes=(*classes, *dataset.classes), splits=splits)


def recipe_of_first_run(source: ModelFile) -> dict[str, Any]:
    """The recipe fields of a model with kept features, its engine and precision as then. Raises UsageError."""
    KeptFeatures.of(source)
    recorded = source.record.recipe
    engine, precision = recorded[COMPUTED]
    fields = {name: value for name, value in recorded.items() if name in Recipe.__dataclass_fields__}
    return fields | {"feature_engine": engine, "precision": precision}


def judged_before_and_after(
    kept: KeptFeatures, whole: KeptFeatures, weights: NDArray[np.float64], found: Probe, penalty: float, seed: int
) -> dict[str, Any]:
    """Accuracy on the old classes' images, out of fold: among the old classes alone, and among all.

    weights  (K,) of all classes in the loss; penalty: of the old head
    """
    old = int(kept.labels.max()) + 1
    before = out_of_fold(kept.features[None], kept.labels, kept.groups, weights[:old], penalty, FOLDS, seed)
    after = out_of_fold(whole.features[None], whole.labels, whole.groups, weights, found.penalty, FOLDS, seed)
    count = len(kept.labels)
    return {
        "images": count,
        "before": float((before.argmax(axis=1) == kept.labels).mean()),
        "after": float((after[:count].argmax(axis=1) == kept.labels).mean()),
    }
