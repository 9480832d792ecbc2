"""Images in, rows out: what a model says of each file, in order; and where the rows go."""

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
