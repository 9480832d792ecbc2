"""Which training images a network takes an image for: the nearest by its features. M images, N training images."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating[Any]]  # (images, D)


def nearest(
    images: Features, training: Iterable[Features], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The places of the `count` training images nearest to each image, and their cosines, both (M, count).

    training  the features of the training images, batch by batch; of equal cosines the earlier image comes first
    """
    wanted = _unit(images)
    cosines = np.concatenate([wanted @ _unit(batch).T for batch in training], axis=1)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosines, order, axis=1)


def _unit(features: Features) -> NDArray[np.float64]:
    """Each of length 1; one without a direction stays 0, and its cosines are 0."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return features / np.where(lengths == 0, 1, lengths)
