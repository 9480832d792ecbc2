"""The features of a folder's images that labels, folds and learning curves are judged by: pool5's global averages.

n images, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vgglass.workflows.models import Model, features, recipe_of, require_torch, starting_model

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset, Sample
    from vgglass.training.checkpoint import Run


@dataclass(frozen=True)
class LabelledFeatures:
    """Images of one data set with the features of some convolutions.

    vectors  (n, D)
    run      as which a fitted head of these images would be trained: how the features were computed
    """

    samples: tuple["Sample", ...]
    classes: tuple[str, ...]
    vectors: NDArray[np.float32]
    run: "Run"

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        return np.array([sample.label for sample in self.samples], np.int64)

    @cached_property
    def groups(self) -> NDArray[np.intp]:
        """(n,): near duplicates share one."""
        from vgglass.data.duplicates import find_duplicates

        return find_duplicates([sample.described() for sample in self.samples], self.vectors).group


def labelled_features(
    dataset: "Dataset",
    samples: "Sequence[Sample]",
    source: Model,
    *,
    preprocessing: str | None = None,
    workers: int | None = None,
    console: Console | None = None,
) -> LabelledFeatures:
    """Compute, or take from the user's cache, what a head of these images would be fitted to.

    source         a model file, a pretrained name or another framework's weights; preprocessing of those
    Raises ModelFileError, WeightsError, UsageError, TrainingError.
    """
    require_torch("computing features")
    from vgglass.training.fitted import averages_of
    from vgglass.training.metrics_log import Display
    from vgglass.training.plan import plan_run

    console = console or Console(stderr=True)
    start = starting_model(source, preprocessing, console)
    run, line = plan_run(recipe_of("transfer", {}, start), dataset, None, ("", start))
    display = Display(console)
    display.print(line)
    averages = averages_of(run, start, features, workers, display)
    return LabelledFeatures(tuple(samples), dataset.classes, averages.plain(samples), run)
