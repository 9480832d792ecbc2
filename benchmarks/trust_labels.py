"""Planted wrong labels: how many are found, at what precision, and whether the right class is suggested.

CLEANLAB_PYTHON may name an interpreter that has cleanlab (AGPL, so nothing here installs it): its own ranking of the
same probabilities then stands beside ours.
"""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from vgglass.evaluation.labels import LabelNoise, find_label_noise, judge
from vgglass.workflows.data import read_training_data
from vgglass.workflows.features import labelled_features

DATA = Path(__file__).parents[2] / "shared" / "data"
WEIGHTS = DATA / "vgg16-imagenet-conv" / "vgg16_notop.weights.h5"
NAMES = ("imagenette-small", "hymenoptera")
SEEDS = {"imagenette-small": 3, "hymenoptera": 5}
SHARES = (0.05, 0.10)
PRECISION = 0.75
PEER = """
import json, sys, numpy as np
from cleanlab.rank import order_label_issues
from cleanlab.filter import find_label_issues
given = json.load(sys.stdin)
labels, answers = np.array(given["labels"]), np.array(given["answers"])
order = order_label_issues(np.ones(len(labels), bool), labels, answers, rank_by="normalized_margin")
found = find_label_issues(labels, answers, return_indices_ranked_by="normalized_margin", n_jobs=1)
json.dump({"order": order.tolist(), "found": found.tolist()}, sys.stdout)
"""
console = Console(width=160, highlight=False)
Integers = NDArray[np.int64]


def run(folder: Path) -> None:
    table = Table(
        "data", "planted", "seed", f"recall at precision {PRECISION}", "flagged", "recall", "precision", "right class",
        "estimated", "cleanlab: recall at precision", "flagged", "recall", "precision", "seconds",
        title="wrong labels planted",
    )  # fmt: skip
    for name in NAMES:
        quiet = Console(quiet=True)
        dataset = read_training_data(DATA / name, quiet)
        found = labelled_features(dataset, dataset.split("all"), WEIGHTS, console=quiet)
        clean = find_label_noise(judge(found.vectors, found.labels, found.groups).probabilities, found.labels)
        console.print(f"{name}: {len(clean.suspects)} suspects among its own labels")
        pairs = [None] if len(dataset.classes) == 2 else [None, most_confused(clean)]
        for pair in pairs:
            for share in SHARES:
                for seed in range(SEEDS[name]):
                    given, planted = flipped(found.labels, share, seed, pair)
                    began = time.process_time()
                    answers = judge(found.vectors, given, found.groups).probabilities
                    noise = find_label_noise(answers, given)
                    seconds = time.process_time() - began
                    kind = "uniform" if pair is None else f"{dataset.classes[pair[0]]}, {dataset.classes[pair[1]]}"
                    row = [
                        name,
                        f"{share:.0%} ({planted.sum()}), {kind}",
                        str(seed),
                        *ours(noise, found.labels, planted),
                    ]
                    row += [*cleanlabs(answers, given, planted), f"{seconds:.1f}"]
                    console.print(*row)
                    table.add_row(*row)
    console.print(table)
    many()


def most_confused(noise: LabelNoise) -> tuple[int, int]:
    both = noise.joint + noise.joint.T
    np.fill_diagonal(both, 0)
    first, second = np.unravel_index(both.argmax(), both.shape)
    return int(first), int(second)


def flipped(
    labels: Integers, share: float, seed: int, pair: tuple[int, int] | None
) -> tuple[Integers, NDArray[np.bool_]]:
    """Labels of which a share is wrong, of all images or of those of two classes, and which those are."""
    generator, given = np.random.default_rng(seed), labels.copy()
    among = np.arange(len(labels)) if pair is None else np.flatnonzero(np.isin(labels, pair))
    chosen = generator.choice(among, round(share * len(among)), replace=False)
    classes = int(labels.max()) + 1
    if pair is None:
        given[chosen] = (labels[chosen] + generator.integers(1, classes, len(chosen))) % classes
    else:
        given[chosen] = sum(pair) - labels[chosen]
    return given, given != labels


def ours(noise: LabelNoise, labels: Integers, planted: NDArray[np.bool_]) -> list[str]:
    flagged = noise.suspects
    caught = flagged[planted[flagged]]
    right = (noise.suggested[caught] == labels[caught]).mean()
    estimated = noise.joint.sum() - np.trace(noise.joint)
    return [*figures(np.argsort(noise.margins, kind="stable"), flagged, planted), f"{right:.2f}", f"{estimated:.0f}"]


def figures(order: Any, flagged: Any, planted: NDArray[np.bool_]) -> list[str]:
    """Recall of the longest beginning of the order that has the precision; then the flagged images' number and both."""
    hits = planted[order].cumsum()
    enough = hits >= PRECISION * np.arange(1, len(hits) + 1)
    recall = hits[enough][-1] / planted.sum() if enough.any() else 0.0
    caught = planted[flagged].sum()
    return [f"{recall:.2f}", str(len(flagged)), f"{caught / planted.sum():.2f}", f"{caught / max(1, len(flagged)):.2f}"]


def cleanlabs(answers: Any, given: Integers, planted: NDArray[np.bool_]) -> list[str]:
    python = os.environ.get("CLEANLAB_PYTHON")
    if not python:
        return ["", "", "", ""]
    asked = json.dumps({"labels": given.tolist(), "answers": answers.tolist()})
    done = subprocess.run([python, "-c", PEER], input=asked, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return figures(np.array(found["order"]), np.array(found["found"], np.int64), planted)


def many() -> None:
    """Time of 5,000 images, 512 features, 10 classes, a twentieth of the labels wrong; the features are drawn."""
    generator = np.random.default_rng(0)
    centres = np.maximum(generator.normal(0, 1, (10, 512)), 0)
    labels = np.repeat(np.arange(10), 500)
    vectors = np.maximum(centres[labels] + generator.normal(0, 2.5, (5000, 512)), 0).astype(np.float32)
    given, planted = flipped(labels, 0.05, 0, None)
    began, used = time.perf_counter(), time.process_time()
    noise = find_label_noise(judge(vectors, given, np.arange(5000)).probabilities, given)
    wall, used = time.perf_counter() - began, time.process_time() - used
    said = ", ".join(figures(np.argsort(noise.margins), noise.suspects, planted))
    console.print(f"5,000 x 512, 10 classes: {used:.1f} s of one core, {wall:.1f} s by the clock ({said})")
