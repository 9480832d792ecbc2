"""What `import vgglass` offers; the only room that hands one room's functions to another."""

from vgglass.workflows.calibrate import calibrate
from vgglass.workflows.data import check, read_training_data, write_manifest
from vgglass.workflows.evaluate import (
    compare,
    evaluate,
    evaluation_predictor,
    predict,
    predictions_of,
    predictions_on_split,
    stream_predictions,
)
from vgglass.workflows.export import export, verify
from vgglass.workflows.models import (
    Model,
    engine,
    features,
    is_foreign,
    load,
    open_source,
    predictor,
    pretrained,
    require_torch,
    starting_model,
)
from vgglass.workflows.paper import paper
from vgglass.workflows.report import report
from vgglass.workflows.train import preview, train

__all__ = [
    "Model",
    "calibrate",
    "check",
    "compare",
    "engine",
    "evaluate",
    "evaluation_predictor",
    "export",
    "features",
    "is_foreign",
    "load",
    "open_source",
    "paper",
    "predict",
    "predictions_of",
    "predictions_on_split",
    "predictor",
    "pretrained",
    "preview",
    "read_training_data",
    "report",
    "require_torch",
    "starting_model",
    "stream_predictions",
    "train",
    "verify",
    "write_manifest",
]
