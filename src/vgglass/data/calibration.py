"""Which images an int8 graph is calibrated on, and which others it is compared on."""

from contextlib import suppress

import numpy as np

from vgglass.data.dataset import Dataset, Sample
from vgglass.data.folder import trainable
from vgglass.errors import DataError

CALIBRATION_IMAGES, COMPARED_IMAGES = 300, 1000


def divide(dataset: Dataset) -> tuple[list[Sample], list[Sample]]:
    """Images to calibrate on, and others to compare on; none does both, under whatever name.

    Training images calibrate and the others compare, where there are both; what is not divided is divided as for
    training, or every other image where there is too little for that. Raises DataError.
    """
    if "all" in dataset.splits:
        with suppress(DataError):  # too few for that
            dataset = trainable(dataset)
    parts = [dataset.splits[name] for name in ("train", "test", "validation") if dataset.splits.get(name)]
    if len(parts) < 2:
        parts = [dataset.split("all")[::2], dataset.split("all")[1::2]]
    chosen = _spread(parts[0], CALIBRATION_IMAGES)
    met = {sample.digest for sample in chosen}
    unmet = tuple(sample for part in parts[1:] for sample in part if sample.digest not in met)
    if not unmet:
        rule = "has too few different images to calibrate on some and compare on others"
        raise DataError(dataset.name, rule, "add images")
    return chosen, _spread(unmet, COMPARED_IMAGES)


def _spread(samples: tuple[Sample, ...], count: int) -> list[Sample]:
    """At most so many, evenly over all."""
    return [samples[index] for index in np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int)]
