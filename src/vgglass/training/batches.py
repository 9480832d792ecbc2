"""The batches of a run: images from the loader, or cached features of the frozen convolutions.

N batch, C channels, S side, k side of pool5's output.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgglass.data.dataset import Sample
from vgglass.data.loader import Batch, evaluation_batches
from vgglass.data.sampling import WHOLE, Share
from vgglass.data.training_loader import TrainingLoader, epoch_batches
from vgglass.preprocess import Preprocessing, normalise

EVALUATION_BATCH = 256
EVALUATION_PIXELS = EVALUATION_BATCH * 64 * 64  # fewer images at once where they are large
IMAGE, POOL5 = "image", "pool5"


class BatchSource(AbstractContextManager["BatchSource"], Protocol):
    """One rank's part of the batches of a run: outputs of `layer` (or images), and labels (N,)."""

    layer: str

    def training(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch, from the step `start` on."""

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every validation image of this rank once."""


@dataclass
class ImageBatches:
    """Normalised images (N, C, S, S), channels last in memory; a context manager, as the loader is."""

    loader: TrainingLoader
    held_out: Sequence[Sample]
    preprocessing: Preprocessing
    device: torch.device
    dtype: torch.dtype
    share: Share = WHOLE
    layer: str = IMAGE

    def __enter__(self) -> Self:
        self.loader.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.loader.__exit__(kind, error, traceback)

    def training(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        return map(self.tensors, self.loader.epoch(epoch, start))

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        size = max(1, min(EVALUATION_BATCH, EVALUATION_PIXELS // self.preprocessing.size**2))
        return map(self.tensors, evaluation_batches(self.share.every(self.held_out), self.preprocessing, size))

    def tensors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(normalise(batch.images, self.preprocessing))
        return (
            images.to(self.device, self.dtype, memory_format=torch.channels_last),
            torch.from_numpy(batch.labels).to(self.device),
        )


@dataclass(frozen=True)
class Features:
    """pool5's output for the images of a split, and their labels.

    views   each (n, C, k, k), of the same images: epoch e takes number e modulo their count
    labels  (n,)
    """

    views: Sequence[NDArray[np.float32]]
    labels: NDArray[np.int64]


@dataclass
class FeatureBatches:
    """pool5's output (N, C, k, k), read from memory-mapped arrays.

    weights  (n,) of the sampler, or None
    """

    train_features: Features
    validation_features: Features
    batch_size: int
    seed: int
    weights: NDArray[np.float64] | None
    device: torch.device
    dtype: torch.dtype
    share: Share = WHOLE
    layer: str = POOL5

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to release: the arrays are memory-mapped."""

    def training(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        labels, views = self.train_features.labels, self.train_features.views
        view = views[epoch % len(views)]
        for batch in epoch_batches(len(labels), self.batch_size, self.seed, epoch, self.weights)[start:]:
            indices = self.share.of(batch)
            yield self._tensors(view[indices], labels[indices])

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        whole = self.validation_features
        features, labels = self.share.every(whole.views[0]), self.share.every(whole.labels)
        for start in range(0, len(labels), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            yield self._tensors(np.array(features[part]), np.array(labels[part]))

    def _tensors(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(features).to(self.device, self.dtype), torch.from_numpy(labels).to(self.device)
