"""What `import vgglass` offers; the only room that hands one room's functions to another."""

from vgglass.api.calibrating import calibrate
from vgglass.api.data import check, read_training_data, write_manifest
from vgglass.api.exporting import export, verify
from vgglass.api.judging import compare, evaluate, judge, judged, judged_on, predict, predictions
from vgglass.api.models import (
    Model,
    engine,
    features,
    is_foreign,
    load,
    opened,
    predictor,
    pretrained,
    require_torch,
    starting_model,
)
from vgglass.api.paperlab import paper
from vgglass.api.reporting import report
from vgglass.api.training import preview, train

__all__ = [
    "Model", "calibrate", "check", "compare", "engine", "evaluate", "export", "features", "is_foreign", "judge",
    "judged", "judged_on", "load", "opened", "paper", "predict", "predictions", "predictor", "pretrained", "preview",
    "read_training_data", "report", "require_torch", "starting_model", "train", "verify", "write_manifest",
]  # fmt: skip
