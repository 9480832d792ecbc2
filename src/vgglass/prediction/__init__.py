"""Images in, rows out: what a model says of each file, in order; and where the rows go."""

from vgglass.prediction.answers import predict
from vgglass.prediction.files import expand
from vgglass.prediction.journal import complete, header, recorded
from vgglass.prediction.rows import Prediction
from vgglass.prediction.sorting import sorted_into
from vgglass.prediction.tables import require, write

__all__ = ["Prediction", "complete", "expand", "header", "predict", "recorded", "require", "sorted_into", "write"]
