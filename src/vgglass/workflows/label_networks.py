"""Judges of labels where no weights are given: small networks, each trained without the images that it judges."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vgglass.workflows.evaluate import predictions_of
from vgglass.workflows.features import labelled_features
from vgglass.workflows.models import load
from vgglass.workflows.train import train

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset, Sample
    from vgglass.evaluation.labels import Judgement

FOLDS = 5
SEEN = 30_000  # images that each network sees in all its epochs, which bounds the time
EPOCHS = (3, 30)
SMALL, SIDE = 32, 64  # sides of small images, and of the network's input for larger ones


def judge_by_networks(
    dataset: "Dataset", groups: NDArray[np.intp], console: Console, workers: int | None = None
) -> "tuple[Judgement, NDArray[np.float32]]":
    """Probabilities (n, K) of each image by a network that was trained without it, and features (n, D) of the last one.

    groups  (n,): near duplicates share one and are in one fold
    The weights are those of the last epoch, so that no image has chosen them. Raises TrainingError.
    """
    from vgglass.data import manifest
    from vgglass.evaluation.labels import Judgement
    from vgglass.training.probe import folds_of

    samples = dataset.split("all")
    labels = np.array([sample.label for sample in samples])
    probabilities = np.zeros((len(samples), len(dataset.classes)))
    with tempfile.TemporaryDirectory() as name:
        for number, (seen, judged) in enumerate(folds_of(labels, groups, FOLDS, seed=0), 1):
            console.print(f"training a small network on {len(seen):,} images, to judge {len(judged):,} (fold {number})")
            parts = {"train": seen, "validation": judged[:1], "test": judged}
            splits = {part: tuple(samples[index] for index in chosen) for part, chosen in parts.items()}
            fold, place = replace(dataset, splits=splits), Path(name) / f"{number}.parquet"
            manifest.write(fold, place)
            out = place.with_suffix("")
            train(place, out=out, workers=workers, console=Console(quiet=True), **_recipe(samples, len(seen)))
            network = load(out / "last.safetensors")
            probabilities[judged] = np.exp(predictions_of([network], fold, "test").log_probabilities)
        undivided = replace(dataset, splits=dict.fromkeys(("train", "validation"), samples))
        found = labelled_features(undivided, samples, network, workers=workers, console=Console(quiet=True))
    return Judgement(probabilities, FOLDS), found.vectors


def _recipe(samples: "tuple[Sample, ...]", images: int) -> dict[str, Any]:
    """Of the digits for small images; a network as small on 64 x 64 pixels for larger ones."""
    facts = [sample.described() for sample in samples]
    shorter = float(np.median([min(fact.height, fact.width) for fact in facts]))
    chosen: dict[str, Any] = {"epochs": min(max(SEEN // images, EPOCHS[0]), EPOCHS[1])}
    chosen["channels"] = 1 if all(fact.mode == "L" for fact in facts) else 3
    if shorter <= SMALL:
        return chosen | {"recipe": "digits"}
    return chosen | {"image_size": SIDE, "width": 0.25, "hidden": 128}
