"""The evaluation report: predictions, metrics, explanations and robustness of a model, rendered to a page."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from vgglass.engines import Engine
from vgglass.engines.artifact import Artifact
from vgglass.errors import DataError
from vgglass.modelfile import ModelFile, Record
from vgglass.workflows.card import card_folder, judged_card
from vgglass.workflows.curve import CURVE, SHOWN
from vgglass.workflows.data import reading_progress
from vgglass.workflows.evaluate import (
    aligned,
    evaluation_predictor,
    open_split,
    predictions_in_folds,
    predictions_of,
)
from vgglass.workflows.models import Model, engine, open_source, require_torch

if TYPE_CHECKING:
    from PIL.Image import Image

    from vgglass.data.dataset import Dataset
    from vgglass.evaluation.metrics import Evaluation
    from vgglass.evaluation.report import Explainer, Source
    from vgglass.evaluation.robustness import Robustness
    from vgglass.images import Pixels


def report(
    model: Model,
    folder: str | Path | None,
    path: str | Path,
    *,
    explain: bool = False,
    robustness: bool = False,
    folds: int = 0,
    repeats: int = 1,
    console: Console | None = None,
    split: str | None = None,
    ensemble: Sequence[Model] = (),
    **how: Any,
) -> "Evaluation":
    """Evaluate a model as `evaluate` does and write its report to `path`, one self-contained HTML file.

    folds, repeats  as `evaluate` takes them; no other option but `split` then
    explain     include attribution and nearest training images of the most confident mistakes; needs torch
    robustness  include the accuracy under disturbances
    For an ensemble, explanations and robustness are of the first model.
    Raises DataError, UsageError, MissingExtraError or ModelFileError, and OSError if `path` can't be written.

    >>> found = vgglass.report("runs/digits/best.safetensors", "photos", "report.html", split="all")
    >>> found.images
    360
    """
    from vgglass.evaluation import metrics
    from vgglass.evaluation import report as page

    metrics.require()
    source, console = open_source(model), console or Console(stderr=True)
    if folds:
        return _report_in_folds(model, folder, Path(path), folds, repeats, split, console)
    chosen = evaluation_predictor(source, **how)
    settings = chosen.settings
    as_chosen = settings["engine"], settings["precision"]
    embed = (
        engine(source, *as_chosen, output=source.record.architecture.embedding) if explain else None
    )  # fail before any work
    squares = engine(source, *as_chosen) if robustness else None
    if explain:
        require_torch("explaining mistakes")
    rows = training_rows(model, source.record)
    card_folder(model, source.record)  # a broken card is an error before the work
    dataset, name = open_split(source.record, folder, split, console)
    predictions = predictions_of([chosen, *map(open_source, ensemble)], dataset, name, console, **how)
    evaluation = metrics.evaluate(predictions)
    about = {
        "model": _display_name(model),
        "others": [_display_name(other) for other in ensemble],
        "data": dataset.name,
        "data_digest": dataset.digest(name),
        "how": ", ".join(settings.values()),
    }
    found = _robustness(predictions, squares, console) if squares else None
    cards = None if ensemble else judged_card(model, source.record, folder, evaluation, found)
    with reading_progress(console, "explaining mistakes") as progress:
        explainer = _explainer(source, dataset, embed, progress) if embed else None
        facts = page.facts(predictions, evaluation, about, rows, explainer, found, learning_curve(model), cards)
    page.write(facts, Path(path))
    return evaluation


def _report_in_folds(
    model: Model, folder: str | Path | None, path: Path, folds: int, repeats: int, split: str | None, console: Console
) -> "Evaluation":
    from vgglass.evaluation import metrics
    from vgglass.evaluation import report as page

    predictions = predictions_in_folds(model, folder, folds, repeats, split=split, console=console)
    evaluation = metrics.evaluate(predictions)
    about = {"model": _display_name(model), "others": [], "data": str(folder or "digits")}
    page.write(page.facts(predictions, evaluation, about, curve=learning_curve(model)), path)
    return evaluation


def training_rows(model: Model, record: Record) -> list[dict[str, Any]] | None:
    """Read the epochs of the run in a model file's folder; None if there is no run or it belongs to another model.

    Raises DataError for a metrics.jsonl that can't be read.
    """
    from vgglass.training.metrics_log import METRICS

    if isinstance(model, ModelFile) or record.data.get("selected_on") == "train":
        return None  # a head that was fitted has no epochs, a network judged in folds no validation
    place = Path(model).with_name(METRICS)
    if not Path(model).is_file() or not place.is_file():
        return None
    try:
        rows = [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]
        own = {"epoch": record.metrics.get("epoch"), "top1": record.metrics.get("validation", {}).get("top1")}
        if own not in [{"epoch": row["epoch"], "top1": row["validation_accuracy"]} for row in rows]:
            return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(place, f"is damaged ({error})", "put it back as it was, or move it away") from error
    return [{name: _finite_json(value) for name, value in row.items()} for row in rows]


def learning_curve(model: Model) -> dict[str, Any] | None:
    """Read the curve.json beside a model file; None if there is none. Raises DataError for one that can't be read."""
    if isinstance(model, ModelFile) or not (place := Path(model).with_name(CURVE)).is_file():
        return None
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        return {name: found[name] for name in SHOWN}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(place, f"is damaged ({error})", "write it anew with vgglass curve --out") from error


def _finite_json(value: Any) -> Any:
    """Replace infinity and NaN, which JSON can't represent, by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _display_name(model: Model) -> str:
    """Return a file's name with its folder's, so that a page does not depend on where the runs are."""
    if isinstance(model, ModelFile):
        return model.record.architecture.name
    return "/".join(Path(model).parts[-2:])


def _robustness(predictions: Any, squares: Engine, console: Console) -> "Robustness":
    from vgglass.evaluation.robustness import robustness

    with reading_progress(console, "disturbing images") as progress:
        return robustness(predictions, squares, progress)


def _explainer(
    model: ModelFile | Artifact, dataset: "Dataset", embed: Engine, progress: Callable[[int, int], None]
) -> "Explainer":
    """Build an Explainer from `glass.attribution.usual` and an engine's embedding of the training images."""
    from vgglass import glass
    from vgglass.evaluation.report import Explainer
    from vgglass.glass import sheets
    from vgglass.glass.attribution import usual

    assert isinstance(model, ModelFile), "a graph has no embedding"
    learned = dataset.splits.get("train")
    training = aligned(dataset, learned, model.record.classes).samples if learned else []
    method = usual(model.record.architecture)
    done = 0

    def features(images: "Pixels") -> Any:
        nonlocal done
        done += len(images)
        progress(done, len(training))
        return embed(images)

    def attribute(source: "Source", target: int) -> "Image":
        subject = glass.open_subject(model, source)
        found = glass.attribute(subject, method, target)
        return sheets.overlay(found.map, subject.square, signed=found.signed)

    return Explainer(attribute, method, features, training)
