"""Has the world moved? A year of unchanged traffic by resampling held-out images, and four changes to be found."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

import vgglass
from vgglass import workflows
from vgglass.drift import Monitor, TrainingRecord
from vgglass.images import Pixels
from vgglass.inference.predictor import Answer, Predictor

DATA = Path(__file__).parents[2] / "shared" / "data"
IMAGENETTE = DATA / "imagenette-small"
WEIGHTS = DATA / "vgg16-imagenet-conv" / "vgg16_notop.weights.h5"
KNOWN, WEEKS, A_WEEK, RUNS, WITHIN = 5, 52, 500, 20, 300

console = Console(width=140, highlight=False)


def run(folder: Path) -> None:
    data = folder / "known"
    for part in ("train", "val"):
        for source in sorted((IMAGENETTE / part).iterdir())[:KNOWN]:
            shutil.copytree(source, data / part / source.name)
    best = vgglass.train(data, out=folder / "run", source=WEIGHTS, console=Console(quiet=True))
    workflows.calibrate(best, data, console=Console(quiet=True), precision="auto")
    measure(workflows.predictor(best), sorted((data / "val").rglob("*.JPEG")))


def measure(predictor: Predictor, paths: list[Path]) -> None:
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    seen = {name: answers(predictor, [change(image) for image in images]) for name, change in CHANGES.items()}
    record = predictor.training
    assert record
    plain, generator = seen["unchanged"], np.random.default_rng(0)
    alarms = year(record, plain, generator)
    console.print(f"{KNOWN} classes, a record of {record.images} images; a year of {A_WEEK} unchanged images a week:")
    console.print(f"the record's own images resampled: {alarms} of {WEEKS} weeks with a false alarm")
    halves = [halved(plain, number) for number in range(2)]
    others = sum(year(own, rest, generator) for own, rest in halves)
    console.print(
        f"other images than the record's (halves, {len(halves)} years): {others} of {len(halves) * WEEKS} weeks"
    )
    table = Table("change", f"found within {WITHIN}", "images, median", "named", title=f"{RUNS} runs each")
    doubled = doubling(plain, record, generator)
    for name, pool in {**{name: each for name, each in seen.items() if name != "unchanged"}, "share": None}.items():
        found, named = [], set()
        for _ in range(RUNS):
            monitor = Monitor(record)
            for number in range(1, WITHIN + 1):
                answer = pool[generator.integers(len(pool))] if pool else doubled()
                monitor.add(answer.quantities, int(answer.log_probabilities.argmax()))
                if monitor.has_moved:
                    found.append(number)
                    named |= set(monitor.moved)
                    break
        title = name if pool else "a class's share doubled"
        table.add_row(
            title, f"{len(found)} of {RUNS}", f"{np.median(found) if found else np.nan:.0f}", ", ".join(sorted(named))
        )
    console.print(table)


def answers(predictor: Predictor, images: list[Pixels]) -> list[Answer]:
    return [answer for answer in predictor.answered(images) if isinstance(answer, Answer)]


def year(record: TrainingRecord, pool: list[Answer], generator: np.random.Generator) -> int:
    """Weeks with a false alarm at any moment."""
    alarms = 0
    for _ in range(WEEKS):
        monitor = Monitor(record)
        for index in generator.integers(len(pool), size=A_WEEK):
            monitor.add(pool[index].quantities, int(pool[index].log_probabilities.argmax()))
            if monitor.has_moved:
                alarms += 1
                break
    return alarms


def halved(pool: list[Answer], seed: int) -> tuple[TrainingRecord, list[Answer]]:
    """A training record of one half of the images, and the other half, each with half of every answer: what one half
    has more of a class the other would lack, and that would be a change."""
    order = np.random.default_rng(seed).permutation(len(pool))
    order = order[np.argsort([pool[index].log_probabilities.argmax() for index in order], kind="stable")]
    own, rest = ([pool[index] for index in part] for part in (order[::2], order[1::2]))
    values = {name: np.sort([each.quantities[name] for each in own]) for name in own[0].quantities}
    return TrainingRecord(values, np.bincount([each.log_probabilities.argmax() for each in own], minlength=KNOWN)), rest


def doubling(pool: list[Answer], record: TrainingRecord, generator: np.random.Generator) -> Callable[[], Answer]:
    """Draws answers so that the first class comes twice as often."""
    first = np.array([answer.log_probabilities.argmax() == 0 for answer in pool])
    share = 2 * record.answers[0] / record.images
    weights = np.where(first, share / first.sum(), (1 - share) / (~first).sum())
    return lambda: pool[generator.choice(len(pool), p=weights)]


def compressed(image: Pixels) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=20)
    return np.asarray(Image.open(file))


CHANGES: dict[str, Callable[[Pixels], Any]] = {
    "unchanged": lambda image: image,
    "brightness -40 %": lambda image: (image * 0.6).astype(np.uint8),
    "blur of 2 px": lambda image: np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2))),
    "JPEG quality 20": compressed,
}
