"""Learning curves: fitted at 30 images a class or fewer, what they forecast for 60, and what 60 then bring."""

import io
from pathlib import Path

import numpy as np
from rich.console import Console

from vgglass.evaluation.curve import learning_curve
from vgglass.workflows.curve import fitted_at
from vgglass.workflows.data import read_training_data
from vgglass.workflows.features import labelled_features

DATA = Path(__file__).parents[2] / "shared" / "data"
WEIGHTS = DATA / "vgg16-imagenet-conv" / "vgg16_notop.weights.h5"
REPEATS, SIZES, ALL = 10, (2, 4, 8, 16, 30), 60

console = Console(width=140, highlight=False)


def run(_: Path) -> None:
    """The photographs of imagenette-small, 100 a class, divided anew each time: 60 that may be drawn, 40 that judge."""
    quiet = Console(file=io.StringIO())
    dataset = read_training_data(DATA / "imagenette-small", quiet)
    found = labelled_features(dataset, dataset.split("all"), WEIGHTS, console=quiet)
    classes, held, errors = len(found.classes), 0, []
    for repeat in range(REPEATS):
        generator = np.random.default_rng(repeat)
        orders = [generator.permutation(np.flatnonzero(found.labels == label)) for label in range(classes)]
        order = np.concatenate([members[:ALL] for members in orders] + [members[ALL:] for members in orders])
        given = found.vectors[order], found.labels[order], found.groups[order], ALL * classes
        images, right = fitted_at(*given, (*SIZES, ALL), classes, repeat, lambda done, total: None)
        curve = learning_curve(images[:-1], right[:, :-1], given[1][ALL * classes :], found.classes, repeat)
        forecast = next(point for point in curve.points if point.forecast)
        assert forecast.images == ALL
        measured = float(right[0, -1].mean())
        inside = forecast.low <= measured <= forecast.high
        held += inside
        errors.append(forecast.top1 - measured)
        console.print(
            f"{repeat}: at {SIZES[-1]} {right[:, -2].mean():.4f}; forecast for {ALL}: {forecast.top1:.4f}"
            f" ({forecast.low:.4f} to {forecast.high:.4f}), {'' if inside else 'not '}around {measured:.4f}; {curve}"
        )
    deviation = f"its error {np.mean(errors):+.4f} on average, with a deviation of {np.std(errors):.4f}"
    console.print(f"the forecast held {held} of {REPEATS} times; {deviation}")
