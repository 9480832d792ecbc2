"""Inference: predictions for image files in order, and their output as tables or links."""

from vgglass.inference.inputs import expand
from vgglass.inference.links import sorted_into
from vgglass.inference.predictor import Prediction, predict
from vgglass.inference.resume import complete, header, recorded
from vgglass.inference.resume import require as require_origin
from vgglass.inference.tables import SUFFIXES as ROW_FORMATS
from vgglass.inference.tables import require, write

__all__ = [
    "ROW_FORMATS", "Prediction", "complete", "expand", "header", "predict", "recorded", "require", "require_origin",
    "sorted_into", "write",
]  # fmt: skip
