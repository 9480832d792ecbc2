"""Replication of the paper on one's own data: its columns trained under one recipe, and Tables 3 to 5 of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from vgglass import modelfile
from vgglass.architecture import COLUMNS
from vgglass.errors import DataError, ImageError, TrainingError, UsageError
from vgglass.files import replacing
from vgglass.inference.views import require_whole
from vgglass.workflows.data import read_training_data, reading_progress
from vgglass.workflows.evaluate import evaluation_predictor
from vgglass.workflows.models import require_torch
from vgglass.workflows.train import train

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset, Sample
    from vgglass.replication.lab import Lab, Trained
    from vgglass.replication.tables import LogProbabilities, Trial
    from vgglass.training.recipe import Recipe

FROM_A = ("B", "C", "D", "E")  # the paper's deeper columns, initialised with weights of A (section 3.1)
CHANNELS, HIDDEN = 64, 4096  # channels of the paper's first convolution, and outputs of fc6 and fc7
RUNS, FIGURES, PAGE = "runs", "paper.json", "paper.md"


def paper(
    folder: str | Path | None = None,
    *,
    columns: Sequence[str] = tuple(COLUMNS),
    sides: Sequence[str] = ("256",),
    width: float = 0.125,
    size: int = 32,
    epochs: int | None = None,
    seed: int = 0,
    from_a: bool = False,
    out: str | Path = Path("runs/paper"),
    lang: str = "en",
    console: Console | None = None,
) -> "Lab":
    """Train the paper's columns on a folder (default: the embedded digits) and test them as in its Tables 3 to 5.

    sides   S, smallest image sides in training, by the paper's names: 256, 384, 256-512; scaled to `size`
    width   of the convolutions and of fc6 and fc7, as a fraction of the paper's
    from_a  initialise B, C, D and E with weights of A
    out     each network is a run in its `runs` folder; a repeated call trains only the missing ones. paper.json holds
            all results, paper.md the tables in the language `lang`
    Raises UsageError, DataError or TrainingError before anything is trained; InterruptedRunError on SIGINT and SIGTERM,
    after saving.

    >>> lab = vgglass.paper(columns=["A"], epochs=1, out="runs/paper")
    >>> [trained.column for trained in lab.trained]
    ['A']
    """
    require_torch("the paper lab")
    from vgglass.replication.lab import Lab
    from vgglass.replication.tables import tables, trials, views

    out, console = Path(out), console or Console(stderr=True)
    chosen = trials(columns, sides)
    _require_whole_channels(width)
    if from_a and chosen[0].column != "A":
        remedy = "add A to --columns and 256 to --sides"
        raise UsageError("--from-a", "begins with weights of column A, which is not trained", remedy)
    shared = {"width": width, "hidden": max(1, round(HIDDEN * width)), "image_size": size, "seed": seed}
    shared |= {} if epochs is None else {"epochs": epochs}
    recipes = {trial: _recipe(trial, shared) for trial in chosen}
    dataset = read_training_data(folder, console)
    channels = _input_channels(dataset)
    recipes = {trial: recipe.override(channels=channels) for trial, recipe in recipes.items()}
    split = "test" if dataset.splits.get("test") else "validation"
    samples = dataset.split(split)
    _require_views(samples, chosen, size)

    trained: dict[Trial, Trained] = {}
    start = out / RUNS / "A" if from_a else None
    for number, (trial, recipe) in enumerate(recipes.items(), 1):
        console.print(f"{trial.name}: network {number} of {len(chosen)}", style="bold")
        source = start if trial.column in FROM_A else None
        trained[trial] = _train_trial(trial, recipe, source, out / RUNS / trial.name, folder, dataset, console)
    answers = {
        trial: _log_probabilities(out / RUNS / trial.name, shown, samples, console) if trained[trial].started else None
        for trial, shown in views(chosen, size).items()
    }
    labels = np.array([sample.label for sample in samples])
    alike = next(iter(recipes.values())).as_json()
    lab = Lab(
        data=dataset.name,
        classes=len(dataset.classes),
        images={name: len(members) for name, members in dataset.splits.items()},
        split=split,
        used_for="selection" if split == "validation" else "",
        recipe={name: value for name, value in alike.items() if name not in ("architecture", "augmentation")},
        trained=tuple(trained.values()),
        tables=tables(answers, labels, size),
    )
    _write(lab, out, lang)
    return lab


def _write(lab: "Lab", out: Path, lang: str) -> None:
    from vgglass.replication.lab import markdown

    figures = json.dumps(lab.as_json(), ensure_ascii=False, indent=2) + "\n"
    for name, text in ((FIGURES, figures), (PAGE, markdown(lab, lang))):
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _recipe(trial: "Trial", shared: dict[str, Any]) -> "Recipe":
    from vgglass.training import recipe

    return recipe.read("columns").override(architecture=trial.column, augmentation=trial.side.augmentation, **shared)


def _train_trial(
    trial: "Trial", recipe: "Recipe", source: Path | None, out: Path, folder: str | Path | None, dataset: "Dataset",
    console: Console,
) -> "Trained":  # fmt: skip
    """Train a network, or resume its run; return its results. Raises TrainingError if `out` holds another run."""
    from vgglass.data.dataset import class_counts
    from vgglass.replication.lab import Trained
    from vgglass.replication.tables import scaled
    from vgglass.training import checkpoint, diagnostics, metrics_log
    from vgglass.training.run import BEST, finished

    start = source / BEST if source else None
    if not (out / checkpoint.RUN).exists():
        train(folder, out=out, recipe=recipe, source=start, overwrite=True, console=console)
    else:
        _require_same_run(out, recipe, start, dataset)
        if not finished(out, checkpoint.read_run(out), checkpoint.read_newest(out).progress):
            train(folder, out=out, resume=True, console=console)
        else:
            console.print("trained already")
    rows = [json.loads(line) for line in (out / metrics_log.METRICS).read_text(encoding="utf-8").splitlines()]
    losses = [row[name] for row in rows for name in ("train_loss", "validation_loss")]
    counts = class_counts(dataset.split("train"), len(dataset.classes)).tolist()
    record = modelfile.load_record(out / BEST)
    return Trained(
        name=trial.name,
        column=trial.column,
        train=tuple(scaled(side, recipe.image_size) for side in trial.side.train),
        parameters=record.architecture.parameters,
        epoch=record.metrics["epoch"],
        validation=record.metrics["validation"]["top1"],
        loss=min(losses),
        guessing=diagnostics.chance_loss(counts),
        started=diagnostics.beats_chance(losses, counts),
        began_from_a=start is not None,
        seconds=sum(row["seconds"] for row in rows),
    )


def _require_same_run(out: Path, recipe: "Recipe", start: Path | None, dataset: "Dataset") -> None:
    """Raises TrainingError if the run under `out` is not the requested one."""
    from vgglass.training import checkpoint, plan, run

    run.require_recipe(out, recipe)
    found, remedy = checkpoint.read_run(out), "choose another --out, or remove that folder"
    if bool(found.source) != bool(start):
        rule = f"holds a run with --from-a {bool(found.source)}, not {bool(start)}"
        raise TrainingError(out, rule, remedy)
    if (plan.identity(dataset), list(dataset.classes)) != (found.digest, found.classes):
        raise TrainingError(out, "holds a run on other images or classes", remedy)
    if start and found.source["digest"] != modelfile.load_record(start).digest:
        raise TrainingError(out, f"began with another model than {start}", remedy)


def _log_probabilities(
    run: Path, views: dict[str, str], samples: "Sequence[Sample]", console: Console
) -> "dict[str, LogProbabilities]":
    """Predict log-probabilities (N, K) of all images, by the names of the views."""
    from vgglass.data.loader import original
    from vgglass.evaluation import metrics
    from vgglass.training.run import BEST

    found = {}
    for name, words in views.items():
        predictor = evaluation_predictor(run / BEST, views=words)
        with reading_progress(console, f"testing {run.name}, {words}") as progress:
            rows = []
            for done, answer in enumerate(predictor.stream(map(original, samples)), 1):
                rows.append(answer)
                progress(done, len(samples))
        found[name] = metrics.collect(rows)
    return found


def _input_channels(dataset: "Dataset") -> int:
    """Return 1 if every training image is grey, else 3."""
    return 1 if all(sample.described().mode == "L" for sample in dataset.split("train")) else 3


def _require_whole_channels(width: float) -> None:
    if 0 < width * CHANNELS < 1:
        raise UsageError(
            f"--width {width}",
            f"leaves {width * CHANNELS:.2f} of the {CHANNELS} channels of the first convolution",
            f"choose {1 / CHANNELS} or more",
        )


def _require_views(samples: "Sequence[Sample]", chosen: "Sequence[Trial]", size: int) -> None:
    """Check before hours of training that every image suits the test views. Raises DataError."""
    from vgglass.replication.tables import scaled

    largest = max(scaled(max(trial.side.several), size) for trial in chosen)
    for sample in samples:
        facts = sample.described()
        try:
            require_whole(facts.height, facts.width, size, largest)
        except ImageError as error:
            raise DataError(f"{sample.id}, {error.value}", error.rule, "crop it or remove it") from error
