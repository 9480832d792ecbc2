"""Images in, rows out: what a model says of each file, in order; and where the rows go."""

from vgglass.prediction.answers import predict
from vgglass.prediction.files import expand
from vgglass.prediction.header import header
from vgglass.prediction.journal import complete, recorded
from vgglass.prediction.origin import require as require_origin
from vgglass.prediction.rows import Prediction
from vgglass.prediction.sorting import sorted_into
from vgglass.prediction.tables import require, write

__all__ = [
    "Prediction", "complete", "expand", "header", "predict", "recorded", "require", "require_origin", "sorted_into",
    "write",
]  # fmt: skip
