"""Answers of no network at all, for tests of what is reckoned from answers. N images, K classes."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from vgglass.architecture import Architecture
from vgglass.evaluation.predictions import Predictions
from vgglass.modelfile import Record
from vgglass.preprocess import Preprocessing

LETTERS = "abcdefghijklmnopqrst"


def judged(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> Predictions:
    """Logits (N, K) of images with labels (N,)."""
    classes = scores.shape[1]
    architecture = Architecture.named("A", classes=classes, channels=1, image_size=32)
    record = Record(architecture, tuple(LETTERS[:classes]), Preprocessing(32, 32, (0.0,), (1.0,), "L"))
    return Predictions(record, "test", (), labels, log_softmax(scores, axis=1))


def answers(images: int, classes: int, seed: int = 0, known: int | None = None) -> Predictions:
    """Answers that are often right; labels are of the first `known` classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, known or classes, images)
    scores = generator.normal(size=(images, classes))
    scores[np.arange(images), labels] += 1.5
    return judged(scores, labels)
