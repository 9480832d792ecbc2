"""Models that judge what is unfamiliar, without images that they were trained on."""

import numpy as np

from vgglass import familiarity
from vgglass.familiarity import Familiarity, Gaussians
from vgglass.modelfile import ModelFile


def fitted(file: ModelFile, least: float = 1.0) -> ModelFile:
    """A model with Gaussians that are drawn, and this threshold."""
    classes, channels = len(file.record.classes), file.record.architecture.layer("pool5").output_shape[0]
    generator = np.random.default_rng(0)
    gaussians = Gaussians(
        generator.normal(size=(classes, channels)).astype(np.float16),
        generator.normal(size=(channels, channels)).astype(np.float16),
    )
    about = {"false_alarm_rate": 0.05, "images": 100, "judged_on": "validation"}
    return familiarity.attach(file, Familiarity(gaussians, least), **about)
