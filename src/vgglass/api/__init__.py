"""What `import vgglass` offers; the only room that hands one room's functions to another."""

from vgglass.api.data import check, read_training_data, write_manifest
from vgglass.api.exporting import export, verify
from vgglass.api.judging import evaluate, judge, predict, predictions
from vgglass.api.models import Model, engine, load, opened, pool5, predictor, pretrained, require_torch
from vgglass.api.training import preview, train

__all__ = [
    "Model", "check", "engine", "evaluate", "export", "judge", "load", "opened", "pool5", "predict", "predictions",
    "predictor", "pretrained", "preview", "read_training_data", "require_torch", "train", "verify", "write_manifest",
]  # fmt: skip
