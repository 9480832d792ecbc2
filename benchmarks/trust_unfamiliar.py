"""Is an image like anything that the model was trained on? Five classes of imagenette are known, the rest is not."""

import gzip
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.special import log_softmax, logsumexp
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

import vgglass
from vgglass import familiarity, workflows
from vgglass.data.folder import open_data
from vgglass.images import Pixels
from vgglass.modelfile import ModelFile
from vgglass.preprocess import fit
from vgglass.training.probe import Probe, fit_probe
from vgglass.workflows.features import LabelledFeatures, labelled_features

DATA = Path(__file__).parents[2] / "shared" / "data"
IMAGENETTE = DATA / "imagenette-small"
WEIGHTS = DATA / "vgg16-imagenet-conv" / "vgg16_notop.weights.h5"
KNOWN, EACH = 5, 64
CHOICES, SPLITS, FOLDED = 4, 200, 20  # which five classes; how the images are divided; of these, with folds too
FAR = ("digits", "Fashion-MNIST", "noise", "textures")
TURNS, BATCH = 15, 4

Array = NDArray[Any]
console = Console(width=140, highlight=False)


def run(folder: Path) -> None:
    dataset = open_data(IMAGENETTE)
    train, held = (labelled_features(dataset, dataset.split(part), WEIGHTS) for part in ("train", "validation"))
    small = copy_known(folder / "known", np.arange(KNOWN), dataset.classes)
    best = vgglass.train(small, out=folder / "run", source=WEIGHTS, console=Console(quiet=True))
    model = vgglass.load(best)
    size = sum(array.nbytes for name, array in model.attached.items() if name.startswith("familiarity."))
    console.print(f"attached for familiarity: {size / 1e6:.2f} MB; {dict(model.record.familiarity)}")
    engine = workflows.engine(model, precision="auto", output="fc8+average")
    images = far(np.random.default_rng(0))
    squares = {name: [fit(pixels, model.record.preprocessing) for pixels in group] for name, group in images.items()}
    averages = {
        name: np.concatenate([engine(np.stack(group[i : i + BATCH]))[:, KNOWN:] for i in range(0, EACH, BATCH)])
        for name, group in squares.items()
    }
    separation(train, held, averages)
    false_alarms(train, held)
    by_command(best, small, dataset.classes)
    cost(model, np.stack(squares["textures"][:1]))


def copy_known(folder: Path, known: Array, classes: tuple[str, ...]) -> Path:
    for part in ("train", "val"):
        for index in known:
            shutil.copytree(IMAGENETTE / part / classes[index], folder / part / classes[index])
    return folder


def separation(train: LabelledFeatures, held: LabelledFeatures, averages: dict[str, Array]) -> None:
    """AUROC of held-out images of the five classes against each kind of other image."""
    rows: dict[str, list[list[float]]] = {}
    for seed in range(CHOICES):
        known = np.sort(np.random.default_rng(seed).permutation(len(train.classes))[:KNOWN])
        own, of_known = np.isin(train.labels, known), np.isin(held.labels, known)
        x, y = train.vectors[own], np.searchsorted(known, train.labels[own])
        head = fit_probe(x[None], y, train.groups[own], np.ones(KNOWN), 0)
        gaussians = familiarity.fit(x, y, [train.classes[index] for index in known])
        scores: dict[str, Callable[[Array], Array]] = {
            "Gaussians, shrunk covariance (chosen)": gaussians.distances,
            "10th nearest neighbour": partial(neighbour, x, 10),
            "1st nearest neighbour": partial(neighbour, x, 1),
            "maximum softmax probability": partial(doubt, head),
            "energy": partial(energy, head),
        }
        others = {"near: other classes": held.vectors[~of_known], **averages}
        others["far, all"] = np.concatenate([averages[name] for name in FAR])
        for name, score in scores.items():
            inside = score(held.vectors[of_known])
            rows.setdefault(name, []).append([auroc(inside, score(group)) for group in others.values()])
    table = Table("score", *others, title=f"AUROC, mean over {CHOICES} choices of five classes (least)")
    for name, found in rows.items():
        cells = zip(np.mean(found, axis=0), np.min(found, axis=0), strict=True)
        table.add_row(name, *(f"{mean:.3f} ({least:.3f})" for mean, least in cells))
    console.print(table)


def auroc(inside: Array, outside: Array) -> float:
    return float(roc_auc_score(np.r_[np.zeros(len(inside)), np.ones(len(outside))], np.r_[inside, outside]))


def doubt(head: Probe, queries: Array) -> Array:
    """Minus the logarithm of the largest probability (Hendrycks and Gimpel 2017)."""
    found: Array = -log_softmax(head.logits(queries), axis=1).max(axis=1)
    return found


def energy(head: Probe, queries: Array) -> Array:
    """Liu et al. 2020."""
    found: Array = -logsumexp(head.logits(queries), axis=1)
    return found


def neighbour(training: Array, k: int, queries: Array) -> Array:
    """Distance from the k-th nearest training image, of averages of length 1 (Sun et al. 2022)."""
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (training, queries))
    found: Array = np.sort(-other @ one.T, axis=1)[:, k - 1]
    return found


def false_alarms(train: LabelledFeatures, held: LabelledFeatures) -> None:
    """Of images of the known classes, divided anew each time: 60 % fit, 20 % set the threshold, 20 % are asked."""
    vectors = np.concatenate([train.vectors, held.vectors])
    labels = np.concatenate([train.labels, held.labels])
    split, folds = [], []
    for seed in range(SPLITS):
        generator = np.random.default_rng(seed)
        known = np.sort(generator.permutation(len(train.classes))[:KNOWN])
        order = generator.permutation(np.flatnonzero(np.isin(labels, known)))
        fitted, chosen, last = np.split(order, [len(order) * 3 // 5, len(order) * 4 // 5])
        own = np.searchsorted(known, labels)
        gaussians = familiarity.fit(vectors[fitted], own[fitted], [train.classes[index] for index in known])
        least = familiarity.threshold(gaussians.distances(vectors[chosen]))
        split.append((gaussians.distances(vectors[last]) > least).mean())
        if seed < FOLDED:
            every = np.arange(len(fitted))
            each = [(np.setdiff1d(every, part), part) for part in np.array_split(every, 10)]
            least = familiarity.threshold(familiarity.out_of_fold(vectors[fitted], own[fitted], each))
            folds.append((gaussians.distances(vectors[np.r_[chosen, last]]) > least).mean())
    for name, found in (("held-out images (calibrate)", split), ("ten folds (a fitted head)", folds)):
        error = np.std(found) / np.sqrt(len(found))
        console.print(
            f"false alarms, 5 % promised, threshold by {name}: {np.mean(found):.2%} ± {error:.2%}, {len(found)} splits"
        )


def by_command(best: Path, small: Path, classes: tuple[str, ...]) -> None:
    """What `vgglass predict` says of real files: the five classes' validation images, and the others'."""
    inside = workflows.predict(best, [small / "val"])
    outside = workflows.predict(best, [IMAGENETTE / "val" / name for name in classes[KNOWN:]])
    for name, rows in (("the five classes", inside), ("the other five", outside)):
        console.print(f"predict, validation images of {name}: {np.mean([r.unfamiliar for r in rows]):.1%} unfamiliar")


def cost(model: ModelFile, image: Pixels) -> None:
    """Milliseconds of the processor an image, without and with the average and the distance: the least of several
    turns, which hangs less on what else the machine does than the clock's."""
    plain, both = (workflows.engine(model, precision="auto", output=output) for output in ("fc8", "fc8+average"))
    known = familiarity.attached(model)
    assert known
    seconds: dict[str, list[float]] = {"without": [], "with": [], "distance": []}
    for _ in range(TURNS):
        began = time.process_time()
        plain(image)
        first = time.process_time()
        averages = both(image)[:, KNOWN:]
        second = time.process_time()
        known.distances(averages)
        last = time.process_time()
        for name, taken in zip(seconds, (first - began, last - first, last - second), strict=True):
            seconds[name].append(taken)
    without, with_, distance = (1000 * min(taken) for taken in seconds.values())
    console.print(
        f"processor ms an image: {without:.1f} without, {with_:.1f} with ({with_ - without:+.2f});"
        f" the distance alone {distance:.2f}"
    )


def far(generator: np.random.Generator) -> dict[str, list[Pixels]]:
    """EACH images of a kind that resembles no photograph."""
    digits = generator.permutation(load_digits().images)[:EACH] * 255 / 16
    with gzip.open(DATA / "fashion-mnist" / "t10k-images-idx3-ubyte.gz") as file:
        clothes = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)
    found = {
        "digits": [grey(image) for image in digits],
        "Fashion-MNIST": [grey(image) for image in generator.permutation(clothes)[:EACH]],
        "noise": [noise(generator, (1, 4, 16, 56)[index % 4]) for index in range(EACH)],
        "textures": [texture(generator, index % 5) for index in range(EACH)],
    }
    assert tuple(found) == FAR
    return found


def grey(image: Array) -> Pixels:
    return np.repeat(image.astype(np.uint8)[:, :, None], 3, axis=2)


def noise(generator: np.random.Generator, cell: int) -> Pixels:
    cells = generator.integers(0, 256, (224 // cell, 224 // cell, 3), dtype=np.uint8)
    return cells.repeat(cell, axis=0).repeat(cell, axis=1)


def texture(generator: np.random.Generator, kind: int) -> Pixels:
    """Stripes, checks, cells, clouds or marble in two colours."""
    y, x = np.mgrid[:224, :224] / 224
    angle, frequency = generator.uniform(0, np.pi), generator.uniform(4, 40)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if kind == 0:
        share = 0.5 + 0.5 * np.sin(2 * np.pi * frequency * u)
    elif kind == 1:
        share = (np.floor(frequency * u / 2) + np.floor(frequency * v / 2)) % 2
    elif kind == 2:
        points = generator.random((generator.integers(20, 150), 2))
        apart = np.sort(np.hypot(x[..., None] - points[:, 0], y[..., None] - points[:, 1]), axis=2)
        share = np.clip((apart[..., 1] - apart[..., 0]) * 15, 0, 1)
    else:
        share = clouds(generator)
        if kind == 4:
            share = 0.5 + 0.5 * np.sin(2 * np.pi * (u * frequency / 4 + 3 * share))
    one, other = generator.uniform(0, 255, (2, 3))
    found: Pixels = (share[..., None] * one + (1 - share[..., None]) * other).astype(np.uint8)
    return found


def clouds(generator: np.random.Generator) -> Array:
    """Noise whose power falls with the frequency."""
    radius = np.hypot(np.fft.fftfreq(224)[:, None], np.fft.fftfreq(224))
    radius[0, 0] = 1
    spectrum = np.fft.fft2(generator.normal(size=(224, 224))) / radius ** generator.uniform(0.8, 1.6)
    waves: Array = np.fft.ifft2(spectrum).real
    shares: Array = (waves - waves.min()) / np.ptp(waves)
    return shares
