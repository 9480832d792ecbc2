"""Where a run's batches come from: images through the loader, or cached features of the frozen convolutions.

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
    """A rank's share of the batches of one run: what the layer after `layer` is fed, and labels (N,)."""

    layer: str

    def training(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch's, from the step `start` on."""

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every validation image of this rank once."""


@dataclass
class ImageBatches:
    """Normalised images (N, C, S, S), channels last in memory; a context, as the loader is."""

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


@dataclass
class FeatureBatches:
    """pool5's output (N, C, k, k), read from memory-mapped arrays.

    views       of the training images, each (n, C, k, k): epoch e takes number e modulo their count
    held_out    of the validation images (m, C, k, k)
    weights     (n,) of the sampler, or None
    """

    views: Sequence[NDArray[np.float32]]
    labels: NDArray[np.int64]
    held_out: NDArray[np.float32]
    held_out_labels: NDArray[np.int64]
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
        """Nothing to give back: the arrays are only mapped."""

    def training(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        view = self.views[epoch % len(self.views)]
        for batch in epoch_batches(len(self.labels), self.batch_size, self.seed, epoch, self.weights)[start:]:
            indices = self.share.of(batch)
            yield self._tensors(view[indices], self.labels[indices])

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        features, named = self.share.every(self.held_out), self.share.every(self.held_out_labels)
        for start in range(0, len(named), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            yield self._tensors(np.array(features[part]), np.array(named[part]))

    def _tensors(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(features).to(self.device, self.dtype), torch.from_numpy(labels).to(self.device)
