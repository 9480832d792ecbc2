"""Training a narrowed network to give what its parent gives: soft targets, and pool5's output.

Source: Hinton et al. 2015, Distilling the Knowledge in a Neural Network (arXiv 1503.02531), section 2; Romero et al.
2015, FitNets (arXiv 1412.6550), for the layer in between. n images, N of a batch, K classes, k side of pool5's output.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vgglass.data.dataset import Sample
from vgglass.data.loader import evaluation_batches
from vgglass.data.training_loader import TrainingLoader, batch_sizes, epoch_batches
from vgglass.errors import TrainingError
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing, normalise
from vgglass.shrinking.channels import Indices
from vgglass.signals import Interruption
from vgglass.training import checkpoint, feature_cache, transfer
from vgglass.training.batches import POOL5, ImageBatches
from vgglass.training.checkpoint import Checkpointer, Progress, Run, TrainState
from vgglass.training.distributed import ALONE
from vgglass.training.feature_cache import Cache
from vgglass.training.loop import clip_gradients, learning_rate
from vgglass.training.metrics_log import Display
from vgglass.training.precision import Weights, device
from vgglass.training.recipe import Recipe
from vgglass.training.run import RunOptions, make_optimizer

TEMPERATURE = 2.0  # of the soft targets
PART = 64  # images that the parent's head computes at once


@dataclass(frozen=True)
class Teacher:
    """What the parent gives for the training images, one view of each after another: augmented as in that epoch.

    pool5   by view (n, C, k, k), and logits (n, K)
    """

    pool5: Sequence[NDArray[np.float32]]
    logits: Sequence[Tensor]


@torch.inference_mode()
def teacher(parent: VGG, samples: Sequence[Sample], cache: Cache, recipe: Recipe) -> Teacher:
    """Compute what is not in the user's cache of features."""
    views = cache.views(samples, recipe)
    return Teacher(views, [_logits(parent, view) for view in views])


def _logits(parent: VGG, pool5: NDArray[np.float32]) -> Tensor:
    parts = (torch.from_numpy(np.array(pool5[start : start + PART])) for start in range(0, len(pool5), PART))
    return torch.cat([parent.after(POOL5, part) for part in parts])


@dataclass(frozen=True)
class Distillation:
    """What is the same for every network that learns from one parent.

    run      the recipe but for its epochs, and how this machine computes
    go_on    what to do after an interruption
    """

    run: Run
    samples: Sequence[Sample]
    teacher: Teacher
    options: RunOptions
    display: Display
    go_on: str

    def train(self, child: VGG, channels: Indices, epochs: int, folder: Path, what: str) -> VGG:
        """The child after some epochs: the moving average of its weights where the recipe has one.

        channels  of the parent's pool5 that the child has
        folder    of the checkpoints, from which an earlier call that was interrupted goes on
        Raises InterruptedRunError after saving, TrainingError where the loss is not finite.
        """
        recipe, record = self.run.recipe.override(epochs=epochs), Preprocessing.from_json(self.run.preprocessing)
        scales = transfer.scales(child, self._first_images(record))
        network = child.to(device()).to(memory_format=torch.channels_last)
        weights = Weights(network, self.run.precision, recipe.ema)
        optimizer = make_optimizer(weights, recipe, scales)
        progress = checkpoint.read_newest(folder).restore(weights, optimizer, self.display.warn)
        state = TrainState(weights, optimizer, progress)
        steps = len(batch_sizes(len(self.samples), self.run.batch_size))
        with self._feed(record, weights) as feed, Interruption() as interruption:
            checkpointer = Checkpointer(
                folder, state, self.options.cadence, self.options.keep, interruption, go_on=self.go_on
            )
            with self.display.counting(what, epochs * steps) as count:
                count(progress.epoch * steps + progress.step)
                while progress.epoch < epochs:
                    for images, pool5, logits in self._batches(feed, progress, channels):
                        progress.loss += _step(state, recipe, steps, images, pool5, logits)
                        progress.step += 1
                        count(1)
                        checkpointer.after_step(steps)
                    far = progress.loss / steps
                    self.display.print(f"epoch {progress.epoch + 1}/{epochs}: distillation loss {far:.4f}")
                    progress.epoch, progress.step, progress.loss = progress.epoch + 1, 0, 0.0
        return weights.as_network()

    def drawn(self, samples: Sequence[Sample], count: int) -> Iterator[Tensor]:
        """So many augmented views of samples in turn, normalised (N, C, S, S); other ones than it learns from."""
        record = Preprocessing.from_json(self.run.preprocessing)
        for view in itertools.count(len(self.teacher.pool5)):
            part = samples[:count]
            if not part:
                return
            with self._loader(part, record) as loader:
                for batch in loader.in_order(view):
                    yield torch.from_numpy(normalise(batch.images, record)).to(device())
            count -= len(part)

    def _first_images(self, record: Preprocessing) -> Tensor:
        batch = next(evaluation_batches(self.samples[: transfer.SCALE_IMAGES], record, transfer.SCALE_IMAGES))
        return torch.from_numpy(normalise(batch.images, record))

    def _feed(self, record: Preprocessing, weights: Weights) -> ImageBatches:
        return ImageBatches(self._loader(self.samples, record), (), record, device(), weights.dtype)

    def _loader(self, samples: Sequence[Sample], record: Preprocessing) -> TrainingLoader:
        recipe = self.run.recipe
        return TrainingLoader(
            samples, record, self.run.batch_size, recipe.augmentation, recipe.seed,
            colours=feature_cache.colours(self.run), workers=self.options.workers,
        )  # fmt: skip

    def _batches(
        self, feed: ImageBatches, progress: Progress, channels: Indices
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The rest of an epoch: images, and the parent's pool5 and logits for them."""
        view = progress.epoch % len(self.teacher.pool5)
        order = epoch_batches(len(self.samples), self.run.batch_size, self.run.recipe.seed, view, None)
        pool5, logits = self.teacher.pool5[view], self.teacher.logits[view]
        for (images, _), indices in zip(feed.training(view, progress.step), order[progress.step :], strict=True):
            wanted = torch.from_numpy(pool5[indices][:, channels])
            yield images, wanted.to(images.device), logits[torch.from_numpy(indices)].to(images.device)


def _step(state: TrainState, recipe: Recipe, steps: int, images: Tensor, pool5: Tensor, logits: Tensor) -> float:
    """One optimizer step, and its loss; `steps` of an epoch. Raises TrainingError where the loss is not finite."""
    weights, optimizer, progress = state.weights, state.optimizer, state.progress
    done = progress.epoch * steps + progress.step
    torch.manual_seed(ALONE.dropout_seed(recipe.seed, done))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, done, steps) * group["share"] * group["unit"]
    network = weights.network.train()
    optimizer.zero_grad()
    found = next(step.output for step in network.walk(images) if step.name == POOL5)
    loss = distance(found.to(weights.master_dtype), pool5, network.after(POOL5, found).to(weights.master_dtype), logits)
    if not loss.isfinite():
        rule = f"is not finite at step {done + 1} of the distillation"
        raise TrainingError(f"loss {loss.item()}", rule, "lower --set learning_rate")
    loss.backward()  # type: ignore[no-untyped-call]
    weights.accumulate_gradients()
    if recipe.clip_norm:
        clip_gradients(optimizer, recipe.clip_norm)
    optimizer.step()
    weights.sync_model()
    weights.update_ema(done)
    return loss.item()


def distance(pool5: Tensor, wanted: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """How far a child is from its parent: the mean square of pool5's difference in units of the parent's own, and the
    divergence of the probabilities at TEMPERATURE, times its square (Hinton et al. 2015, section 2).

    pool5, wanted    (N, C, k, k) of the child and of the parent
    logits, targets  (N, K) of the child and of the parent
    """
    features = F.mse_loss(pool5, wanted) / wanted.square().mean().clamp_min(torch.finfo(wanted.dtype).tiny)
    soft = F.kl_div(
        F.log_softmax(logits / TEMPERATURE, 1), F.log_softmax(targets / TEMPERATURE, 1), reduction="batchmean",
        log_target=True,
    )  # fmt: skip
    return features + TEMPERATURE**2 * soft
