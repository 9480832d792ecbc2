"""Temperature scaling and reject threshold of a model."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from vgglass import modelfile
from vgglass.errors import DataError, UsageError
from vgglass.modelfile import ModelFile
from vgglass.workflows.evaluate import open_split, predictions_of
from vgglass.workflows.models import Model, open_source

if TYPE_CHECKING:
    from vgglass.evaluation.temperature import Calibration, Threshold

REFUSED = {
    "training": ("have trained the model, which is surer of them than of others", "calibrate on validation images"),
    "changed": ("may have trained the model: the folder has changed since", "name a folder of other images"),
}


@dataclass(frozen=True)
class Calibrated:
    """The result of `calibrate`.

    temperature    None if every prediction is correct, as no temperature is optimal then
    before, after  calibration on the images used for fitting
    threshold      None unless a target precision was given
    """

    path: Path
    split: str
    images: int
    temperature: float | None
    before: "Calibration"
    after: "Calibration"
    threshold: "Threshold | None"

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
    split: str | None = None,
    console: Console | None = None,
    **how: Any,
) -> Calibrated:
    """Fit a model's temperature, and choose its reject threshold, on images used neither for training nor for testing.

    out               the model file to write; default: the model's own
    precision_target  required precision in (0, 1); default: no threshold
    split             default: 'validation', or all images of an undivided folder; never test
    how               engine and precision, as `evaluation_predictor` takes them
    Replaces the model's temperature and threshold; weights and golden inputs are unchanged. Raises DataError,
    UsageError, ModelFileError or MissingExtraError.
    """
    from vgglass.evaluation import metrics

    metrics.require()
    if precision_target is not None and not 0 < precision_target < 1:
        raise UsageError(f"--precision-target {precision_target:g}", "is a share between 0 and 1", "write, say, 0.95")
    file, path = _model_and_destination(model, out)
    plain = replace(file, record=replace(file.record, temperature=None, reject_threshold=None))
    dataset, _ = open_split(plain.record, folder, split, console or Console(stderr=True))
    chosen = split or ("all" if dataset.splits.keys() == {"all"} else "validation")
    kept = file.record.data.get("digests", {}).get("test")
    if chosen == "test" or (chosen == "all" and dataset.splits.get("test")) or dataset.digest(chosen) == kept:
        rule = "has the images of the headline figure, which must choose nothing"
        raise UsageError(f"--split {chosen}", rule, "calibrate on validation images")
    found = predictions_of([plain], dataset, chosen, console, **how)
    if found.used_for in REFUSED:
        raise DataError(f"the {chosen} images of {dataset.name}", *REFUSED[found.used_for])
    return _fit_and_write(file, path, found, dataset.digest(chosen), precision_target)


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
    modelfile.save(replace(file, record=record), path)
    before, after = calibration(found), calibration(mended)
    return Calibrated(path, found.split, len(labels), temperature, before, after, threshold)
