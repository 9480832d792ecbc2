"""Inference: predictions for image files in order, and their output as tables or links."""

from vgglass.inference.header import header
from vgglass.inference.inputs import expand
from vgglass.inference.links import sorted_into
from vgglass.inference.resume import complete, recorded
from vgglass.inference.resume import require as require_origin
from vgglass.inference.rows import Prediction, predict
from vgglass.inference.tables import require, write

__all__ = [
    "Prediction", "complete", "expand", "header", "predict", "recorded", "require", "require_origin", "sorted_into",
    "write",
]  # fmt: skip
