"""Temperature scaling and reject threshold of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vgglass import drift, familiarity, modelfile, notebook
from vgglass.errors import DataError, UsageError
from vgglass.familiarity import Familiarity
from vgglass.modelfile import ModelFile
from vgglass.workflows.data import report_line
from vgglass.workflows.evaluate import aligned, evaluation_predictor, open_split, predictions_of, used_for
from vgglass.workflows.models import Model, engine, open_source

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset, Sample
    from vgglass.evaluation.predictions import Predictions
    from vgglass.evaluation.temperature import Calibration, Threshold

REFUSED = {
    "training": ("have trained the model, which is surer of them than of others", "calibrate on validation images"),
    "changed": ("may have trained the model: the folder has changed since", "name a folder of other images"),
}
MOST = 20_000  # training images, spread evenly over the classes: more of them change no Gaussian
BATCH = 16


@dataclass(frozen=True)
class Calibrated:
    """The result of `calibrate`.

    temperature    None if every prediction is correct, as no temperature is optimal then
    before, after  calibration on the images used for fitting
    threshold      None unless a target precision was given
    familiarity    `Record.familiarity` as written; empty for a model that can't tell what is unfamiliar to it
    recorded       whether these images are the training record that drift is told by; too few are not
    """

    path: Path
    split: str
    images: int
    temperature: float | None
    before: "Calibration"
    after: "Calibration"
    threshold: "Threshold | None"
    familiarity: Mapping[str, Any]
    recorded: bool

    def _repr_html_(self) -> str:
        rows = {
            "judged": f"{self.split}, {self.images:,}",
            "temperature": self.temperature,
            "before": notebook.percent(self.before.ece),
            "after": notebook.percent(self.after.ece),
            "threshold": notebook.percent(self.threshold.value if self.threshold else None),
            "written": self.path,
        }
        return notebook.panel("calibration", rows)

    def as_json(self) -> dict[str, Any]:
        found = {"before": self.before.as_json(), "after": self.after.as_json()}
        threshold = self.threshold.as_json() if self.threshold else None
        return vars(self) | {"path": str(self.path), **found, "threshold": threshold}


def calibrate(
    model: Model,
    folder: str | Path | None = None,
    *,
    out: str | Path | None = None,
    precision_target: float | None = None,
    false_alarm_rate: float = familiarity.FALSE_ALARMS,
    split: str | None = None,
    console: Console | None = None,
    **how: Any,
) -> Calibrated:
    """Fit a model's temperature, and choose its thresholds of what is unsure and what is unfamiliar, on images used
    neither for training nor for testing.

    out               the model file to write; default: the model's own
    precision_target  required precision in (0, 1); default: no threshold
    false_alarm_rate  share of images like the training images that may be called unfamiliar
    split             default: 'validation', or all images of an undivided folder; never test
    how               engine and precision, as `evaluation_predictor` takes them
    What familiarity is judged by is fitted to the training images, where the folder still has them, unless the model
    has it already. Replaces the model's temperature and thresholds; weights and golden inputs are unchanged. Raises
    DataError, UsageError, ModelFileError or MissingExtraError.

    >>> found = vgglass.calibrate("runs/digits/best.safetensors", "photos", split="all", out="calibrated.safetensors")
    >>> found.after.nll <= found.before.nll
    True
    """
    from vgglass.evaluation import metrics

    metrics.require()
    if precision_target is not None and not 0 < precision_target < 1:
        raise UsageError(f"--precision-target {precision_target:g}", "is a share between 0 and 1", "write, say, 0.95")
    if not 0 < false_alarm_rate < 1:
        raise UsageError(f"--false-alarm-rate {false_alarm_rate:g}", "is a share between 0 and 1", "write, say, 0.05")
    console = console or Console(stderr=True)
    file, path = _model_and_destination(model, out)
    plain = replace(file, record=replace(file.record, temperature=None, reject_threshold=None))
    dataset, _ = open_split(plain.record, folder, split, console)
    chosen = split or ("all" if dataset.splits.keys() == {"all"} else "validation")
    kept = file.record.data.get("digests", {}).get("test")
    if chosen == "test" or (chosen == "all" and dataset.splits.get("test")) or dataset.digest(chosen) == kept:
        rule = "has the images of the headline figure, which must choose nothing"
        raise UsageError(f"--split {chosen}", rule, "calibrate on validation images")
    if (use := used_for(plain.record, dataset, chosen)) in REFUSED:
        raise DataError(f"the {chosen} images of {dataset.name}", *REFUSED[use])
    plain = _with_gaussians(plain, dataset, console, **how)
    found = predictions_of([plain], dataset, chosen, console, **how)
    plain = _with_threshold(plain, found, false_alarm_rate, console)
    return _fit_and_write(plain, path, found, dataset.digest(chosen), precision_target)


def _with_gaussians(file: ModelFile, dataset: "Dataset", console: Console, **how: Any) -> ModelFile:
    """The model with what familiarity is judged by, its threshold 1 where it had none; as it was without a way to it.

    The Gaussians are of the whole training set, or of MOST of its images.
    """
    training = dataset.splits.get("train", ())
    if file.record.familiarity:
        return file
    if not training or dataset.digest("train") != file.record.data.get("digests", {}).get("train"):
        remedy = "calibrate on the folder that it was trained on, or train with --from, which fits it"
        report_line(f"What is unfamiliar is not told: the training images are not here; {remedy}.", console)
        return file
    samples = _spread(aligned(dataset, training, file.record.classes).samples)
    labels = np.array([sample.label for sample in samples])
    try:
        gaussians = familiarity.fit(_averages(file, samples, **how), labels, file.record.classes)
    except DataError as error:
        report_line(f"What is unfamiliar is not told: {error}", console)
        return file
    return familiarity.attach(file, Familiarity(gaussians, 1.0))


def _spread(samples: "Sequence[Sample]") -> "list[Sample]":
    """Up to MOST samples, as many of each class as there are or as make that number, drawn by a fixed seed."""
    labels = np.array([sample.label for sample in samples])
    each = max(2, MOST // len(np.unique(labels)))
    order = np.random.default_rng(0).permutation(len(samples))
    parts = [order[labels[order] == label][:each] for label in np.unique(labels)]
    return [samples[index] for index in np.sort(np.concatenate(parts))]


def _averages(file: ModelFile, samples: "Sequence[Sample]", **how: Any) -> NDArray[np.float32]:
    """pool5's averages (n, D), by the engine that predicts."""
    from vgglass.data.loader import evaluation_batches

    settings = evaluation_predictor(file, **how).settings
    run = engine(file, settings["engine"], settings["precision"], output="fc8+average")
    batches = evaluation_batches(samples, file.record.preprocessing, BATCH)
    return np.concatenate([run(batch.images)[:, len(file.record.classes) :] for batch in batches])


def _with_threshold(file: ModelFile, found: "Predictions", rate: float, console: Console) -> ModelFile:
    """The model with a threshold by split conformal prediction on these images; as it was where they are too few."""
    before = familiarity.attached(file)
    if before is None or found.distances is None:
        return file
    try:
        least = before.threshold * familiarity.threshold(found.distances, rate)
    except DataError as error:
        kept = file.record.familiarity if "false_alarm_rate" in file.record.familiarity else {}
        report_line(f"The threshold of what is unfamiliar {'stays' if kept else 'is not set'}: {error}", console)
        return file if kept else familiarity.detach(file)
    about = {"false_alarm_rate": rate, "images": len(found.distances), "judged_on": found.split}
    return familiarity.attach(file, Familiarity(before.gaussians, least), **about)


def _model_and_destination(model: Model, out: str | Path | None) -> tuple[ModelFile, Path]:
    """Return the model and the path to write to. Raises UsageError unless it is a model file."""
    file = open_source(model)
    if not isinstance(file, ModelFile):
        remedy = "calibrate the model file, and export it again"
        raise UsageError(f"--model {file.path}", "is an exported graph, which is not written to", remedy)
    if out:
        return file, Path(out)
    if isinstance(model, ModelFile) or not Path(model).exists():
        raise UsageError("--out", "names the calibrated model file and is missing", "add, say, --out m.safetensors")
    return file, Path(model)


def _fit_and_write(file: ModelFile, path: Path, found: Any, digest: str, target: float | None) -> Calibrated:
    """Fit, choose and write; `found` are the predictions without a temperature."""
    from vgglass.evaluation.temperature import calibration, choose_threshold, fit_temperature, tempered

    answers, labels = found.log_probabilities, found.labels
    temperature = None if found.right.all() else fit_temperature(answers, labels)
    mended = replace(found, log_probabilities=tempered(answers, temperature or 1.0))
    confidence = np.exp(mended.log_probabilities.max(axis=1))
    threshold = None if target is None else choose_threshold(confidence, found.right, target)
    about = {"split": found.split, "digest": digest, "images": len(labels)}
    if threshold:
        about |= {"threshold": threshold.as_json()}
    record = replace(
        file.record,
        temperature=temperature,
        reject_threshold=threshold.value if threshold else None,
        data={**file.record.data, "calibration": about},
    )
    seen = {name: values for name, values in found.seen.items() if name != "distance"} | {"probability": confidence}
    if record.familiarity and found.distances is not None:
        seen["distance"] = found.distances * found.record.familiarity["threshold"] / record.familiarity["threshold"]
    written = drift.attach(replace(file, record=record), seen, found.predicted)
    modelfile.save(written, path)
    before, after = calibration(found), calibration(mended)
    recorded = drift.attached(written) is not None
    return Calibrated(
        path, found.split, len(labels), temperature, before, after, threshold, record.familiarity, recorded
    )
