"""Folds: whether their interval holds the truth, on simulated small data sets and on real photographs."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats

import vgglass
from vgglass import modelfile
from vgglass.statistics import wilson
from vgglass.training import folds
from vgglass.training.probe import fit_probe

DATA = Path(__file__).parents[2] / "shared" / "data"
WEIGHTS = DATA / "vgg16-imagenet-conv" / "vgg16_notop.weights.h5"
SIZE, LARGE, SETS = 16, 10_000, 40
ALIKE = 0.2  # deviation of the images of a burst from their mean, where that of a class is 1

console = Console(width=140, highlight=False)


@dataclass(frozen=True)
class Setting:
    """Gaussian classes in SIZE dimensions: so many images of each, in bursts of near duplicates, judged so."""

    classes: int
    images: int
    burst: int
    apart: float  # of the classes' means, in deviations of a class
    repeats: int = 1


SETTINGS = (
    Setting(2, 10, 1, 2.5),
    Setting(2, 25, 1, 5.0),
    Setting(5, 8, 1, 4.0),
    Setting(5, 20, 1, 4.5, repeats=3),
    Setting(3, 24, 3, 4.5),
)


def simulated(setting: Setting, means: NDArray[np.float64], seed: int) -> tuple[Any, Any, Any]:
    """Features, labels and groups of one small data set."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(setting.classes), setting.images)
    groups = np.arange(len(labels)) // setting.burst
    own, shared = (generator.normal(0, 1, (len(labels), SIZE)) for _ in range(2))
    spread = own if setting.burst == 1 else ALIKE * own + np.sqrt(1 - ALIKE**2) * shared[groups]
    return (means[labels] + spread).astype(np.float32), labels, groups


def intervals(found: folds.Folds) -> Iterator[tuple[str, tuple[float, float]]]:
    figures = found.figures
    yield "folds", figures.interval
    accuracies = np.ravel(figures.accuracies)
    error = np.sqrt((1 / len(accuracies) + 1 / (figures.folds - 1)) * accuracies.var(ddof=1))
    half = float(stats.t.ppf(0.975, len(accuracies) - 1) * error)
    yield "Nadeau and Bengio's t", (figures.top1 - half, figures.top1 + half)
    yield "Wilson of all images", wilson(figures.top1 * figures.images, figures.images)


def coverage(setting: Setting, sets: int) -> tuple[float, float, dict[str, list[tuple[float, float]]]]:
    """The expected accuracy of a head fitted to all images, the mean of the folds' accuracies, and the intervals."""
    means = np.random.default_rng(setting.classes).normal(0, setting.apart / SIZE**0.5, (setting.classes, SIZE))
    answers = np.arange(LARGE) % setting.classes
    fresh = (means[answers] + np.random.default_rng(1).normal(0, 1, (LARGE, SIZE))).astype(np.float32)
    truths, estimates, found = [], [], {}  # type: ignore[var-annotated]
    for seed in range(sets):
        features, labels, groups = simulated(setting, means, seed)
        given = features[None], labels, groups, np.ones(setting.classes)
        truths.append(float((fit_probe(*given, 0).logits(fresh).argmax(axis=1) == answers).mean()))
        judged = folds.judge(*given, folds=5, repeats=setting.repeats, seed=seed)
        estimates.append(judged.figures.top1)
        for name, interval in intervals(judged):
            found.setdefault(name, []).append(interval)
    return float(np.mean(truths)), float(np.mean(estimates)), found


def simulations(sets: int = SETS) -> None:
    title = f"simulated: {sets * len(SETTINGS)} data sets; coverage of the 95 % intervals, and their mean width"
    table = Table("classes", "images each", "burst", "repeats", "truth", "in folds", title=title)
    held: dict[str, list[bool]] = {}
    for setting in SETTINGS:
        truth, estimate, found = coverage(setting, sets)
        cells = []
        for name, listed in found.items():
            inside = [low <= truth <= high for low, high in listed]
            held.setdefault(name, []).extend(inside)
            cells.append(f"{np.mean(inside):.3f} ({np.mean([high - low for low, high in listed]):.3f})")
        if setting is SETTINGS[0]:
            for name in found:
                table.add_column(name)
        row = (setting.classes, setting.images, setting.burst, setting.repeats)
        table.add_row(*map(str, row), f"{truth:.4f}", f"{estimate:.4f}", *cells)
    table.add_row("all", "", "", "", "", "", *(f"{np.mean(inside):.3f}" for inside in held.values()))
    console.print(table)


def real(folder: Path) -> None:
    """`vgglass train DATA --from WEIGHTS --folds 5` beside the photographs held out, which chose nothing."""
    table = Table("data", "repeats", "in folds", "95 %", "held out", "95 % (Wilson)", title="real photographs")
    for name in ("hymenoptera", "imagenette-small"):
        for repeats in (1, 3):
            out = folder / f"{name}-{repeats}"
            quiet = Console(file=io.StringIO())
            vgglass.train(DATA / name, out=out, source=WEIGHTS, folds=5, repeats=repeats, console=quiet)
            metrics = modelfile.load_record(out / "best.safetensors").metrics
            cells = []
            for part in (metrics["folds"], metrics["validation"]):
                low, high = part["interval"]
                cells += [f"{part['top1']:.4f}", f"{low:.4f} to {high:.4f}"]
            table.add_row(name, str(repeats), *cells)
    console.print(table)


def run(folder: Path) -> None:
    simulations()
    real(folder)
