"""A model's answers on one split: what every figure, table and report is reckoned from. N images, K classes."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgglass.data.listing import shown
from vgglass.images import Pixels
from vgglass.modelfile import Record
from vgglass.views import View


@dataclass(frozen=True, eq=False)
class Judged:
    """A model's answers on one split.

    record             of the model
    sources            the images as the data set holds them (N)
    labels             (N,), by the model's classes
    log_probabilities  (N, K)
    used_for           see `metrics.Evaluation`
    missing            classes of the model of which the split has no image
    unknown            classes of the split that the model does not tell, with how many images of each are left out
    views              that each image was shown in
    others             of an ensemble the records of the further models; the answers are the average at the softmax
    """

    record: Record
    split: str
    sources: tuple[Path | Pixels, ...]
    labels: NDArray[np.int64]
    log_probabilities: NDArray[np.float64]
    used_for: str = ""
    missing: tuple[str, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)
    views: tuple[View, ...] = ()
    others: tuple[Record, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of each image: a file's path below the folder that all of them lie in, or the number of pixels."""
        files = [source.absolute() if isinstance(source, Path) else None for source in self.sources]
        folders = {str(file.parent) for file in files if file}
        common = os.path.commonpath(folders) if folders else ""
        return tuple(shown(file.relative_to(common)) if file else f"#{n}" for n, file in enumerate(files))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,): the likeliest class of each image; a tie goes to the class that comes first."""
        likeliest: NDArray[np.int64] = self.log_probabilities.argmax(axis=1)
        return likeliest

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,): whether the likeliest class is the true one."""
        right: NDArray[np.bool_] = self.predicted == self.labels
        return right
