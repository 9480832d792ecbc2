"""What `import vgglass` offers; the only room that hands one room's functions to another."""

from vgglass.workflows.calibrate import calibrate
from vgglass.workflows.data import check, read_training_data, write_manifest
from vgglass.workflows.evaluate import compare, evaluate, judge, judged, judged_on, predict, predictions
from vgglass.workflows.export import export, verify
from vgglass.workflows.models import (
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
from vgglass.workflows.paper import paper
from vgglass.workflows.report import report
from vgglass.workflows.train import preview, train

__all__ = [
    "Model", "calibrate", "check", "compare", "engine", "evaluate", "export", "features", "is_foreign", "judge",
    "judged", "judged_on", "load", "opened", "paper", "predict", "predictions", "predictor", "pretrained", "preview",
    "read_training_data", "report", "require_torch", "starting_model", "train", "verify", "write_manifest",
]  # fmt: skip
