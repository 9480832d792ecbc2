"""The training loop: plain PyTorch, the step readable in place. N batch, C channels, S side, K classes."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD

from vgglass.data.augment import AUGMENTATIONS, mix
from vgglass.errors import TrainingError
from vgglass.model import Step
from vgglass.training import diagnostics, transfer
from vgglass.training.batches import IMAGE, BatchSource
from vgglass.training.checkpoint import Checkpointer, TrainState
from vgglass.training.distributed import ALONE, Forward, Ranks
from vgglass.training.metrics_log import Display
from vgglass.training.recipe import Recipe

RECENT_LOSSES = 50  # losses that tell whether the run has started to learn
CLIP_EPSILON = 1e-6  # as in torch
DEAD_CHANNEL_IMAGES = 32  # validation images whose ReLUs are examined


class Recorder(Protocol):
    """Who looks on: see `training.recording`."""

    def after_step(self, loss: float, accuracy: float) -> None:
        """Called after every step, with its batch's loss and accuracy."""


@dataclass
class Trainer:
    """Trains a network for the epochs of a recipe.

    sizes          images of each step of an epoch, over all ranks
    class_weights  (K,) of the loss, or None
    recorder       that looks at every step, where the run is watched
    """

    recipe: Recipe
    state: TrainState
    feed: BatchSource
    sizes: Sequence[int]
    class_weights: Tensor | None
    display: Display
    checkpointer: Checkpointer
    ranks: Ranks = ALONE
    recorder: Recorder | None = None

    def __post_init__(self) -> None:
        self.weights, self.optimizer, self.progress = self.state.weights, self.state.optimizer, self.state.progress
        self.network = self.weights.network
        # Not a bound method: a trainer that holds one of itself, gigabytes with it, waits for the garbage collector.
        network, layer = self.network, self.feed.layer
        self.forward: Forward = network if layer == IMAGE else partial(network.after, layer)  # batch -> N K
        layers = network.architecture
        shape = layers.layers()[0].input_shape if layer == IMAGE else layers.layer(layer).output_shape
        example = torch.zeros((1, *shape), device=network.device, dtype=self.weights.dtype)
        self.model = self.ranks.wrap(network, self.forward, example, self.recipe.all_reduce == "bfloat16")

    @property
    def steps(self) -> int:
        """Of one epoch."""
        return len(self.sizes)

    def step(self, images: Tensor, labels: Tensor) -> tuple[float, int]:
        """One optimizer step on this rank's images (N, C, S, S) and labels (N,).

        Returns the mean loss and the number of images classified correctly, both over all ranks. Raises TrainingError
        where the loss is not finite.
        """
        recipe, weights, optimizer, ranks = self.recipe, self.weights, self.optimizer, self.ranks
        epoch, step = self.progress.epoch, self.progress.step
        done = epoch * self.steps + step  # steps of the whole run before this one

        torch.manual_seed(ranks.dropout_seed(recipe.seed, done))  # by seed, step and rank: a resumed run draws the same
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate(step) * group["share"] * group["unit"]

        targets = labels  # (N,) classes, or (N, K) shares of them where images are mixed
        if AUGMENTATIONS[recipe.augmentation].mix and self.feed.layer == IMAGE:
            images, targets = mix(images, labels, self.network.architecture.classes, recipe.seed, epoch, step)

        optimizer.zero_grad()
        loss, correct = 0.0, 0
        size = self.sizes[step] / ranks.count  # gradients and losses are averaged over the ranks
        parts = min(recipe.accumulate, len(labels))
        micro_batches = zip(*(batch.tensor_split(parts) for batch in (images, targets, labels)), strict=True)
        for part, (x, target, label) in enumerate(micro_batches, 1):
            last = part == parts
            if last and ranks.count > 1:
                weights.restore_gradients()  # the parts before go through the all-reduce of the last one
            with nullcontext() if last else ranks.no_sync(self.model):
                logits = self.model(x).to(weights.master_dtype)  # N K
                part_loss = F.cross_entropy(
                    logits, target, self.class_weights, label_smoothing=recipe.label_smoothing, reduction="sum"
                )
                part_loss = part_loss / size
                part_loss.backward()  # type: ignore[no-untyped-call]
            weights.accumulate_gradients()
            loss += part_loss.item()
            correct += int((logits.argmax(1) == label).sum())

        global_loss, global_correct = ranks.all_reduce(loss / ranks.count, correct)
        if not math.isfinite(global_loss):
            raise self.divergence(global_loss, loss, images)
        if recipe.clip_norm:
            clip_gradients(optimizer, recipe.clip_norm)
        optimizer.step()
        weights.sync_model()
        weights.update_ema(done)
        return global_loss, int(global_correct)

    def train_epoch(self) -> dict[str, Any]:
        """The rest of one pass over the training samples: its mean loss, accuracy and speed."""
        progress, recipe, waited, began, images_here = self.progress, self.recipe, 0.0, time.perf_counter(), 0
        architecture, total_steps = self.network.architecture, self.steps * recipe.epochs
        transfer.freeze_batch_norm(self.network.train(), recipe)
        batches = iter(self.feed.training(progress.epoch, progress.step))
        while progress.step < self.steps:
            asked = time.perf_counter()
            images, labels = next(batches)
            waited += time.perf_counter() - asked

            size = self.sizes[progress.step]
            loss, correct = self.step(images, labels)

            progress.step += 1
            progress.loss += loss * size
            progress.correct += correct
            progress.seen += size
            progress.losses = [*progress.losses[1 - RECENT_LOSSES :], loss]
            images_here += size
            done = progress.epoch * self.steps + progress.step
            self.display.warn(diagnostics.stuck_loss_warning(done - 1, total_steps, progress.losses, architecture))
            where = f"{progress.epoch + 1}/{recipe.epochs}"
            self.display.step(where, size, loss, correct / size, waited / (time.perf_counter() - began))
            if self.recorder:  # before the checkpoint, so that the record never lags behind it
                self.recorder.after_step(loss, correct / size)
            self.checkpointer.after_step(self.steps)
        seconds = time.perf_counter() - began
        return {
            "train_loss": progress.loss / progress.seen,
            "train_accuracy": progress.correct / progress.seen,
            "learning_rate": self.learning_rate(progress.step - 1),
            "images_per_second": images_here / seconds,
            "seconds": seconds,
            "waited": waited / seconds,
        }

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Loss and top-1 of the weights that are saved, in the precision of training; shares of dead channels."""
        loss, correct, seen = 0.0, 0, 0
        dead: dict[str, float] = {}
        self.network.eval()
        self.ranks.broadcast(self.weights.batch_norm_statistics())
        with self.weights.evaluation_weights():
            for images, labels in self.feed.validation():
                if not seen and self.ranks.first:
                    dead = diagnostics.dead_channels(self.walk(images[:DEAD_CHANNEL_IMAGES]))
                logits = self.forward(images).to(self.weights.master_dtype)  # N K
                loss += float(F.cross_entropy(logits, labels, reduction="sum"))
                correct, seen = correct + int((logits.argmax(1) == labels).sum()), seen + len(labels)
                if self.checkpointer.stop_requested:
                    break
        loss, global_correct, global_seen = self.ranks.all_reduce(loss, correct, seen)
        self.checkpointer.stop_if_requested(self.steps)  # outside the block: it saves the weights, not their average
        return {
            "validation_loss": loss / global_seen,
            "validation_accuracy": global_correct / global_seen,
            "dead_channels": dead,
        }

    def finish_epoch(self, accuracy: float | None) -> bool:
        """Count an epoch as done, with its validation accuracy; whether it was the best so far.

        None where no epoch is chosen: the last one is kept, and counts as the best.
        """
        progress, recipe = self.progress, self.recipe
        progress.epoch += 1
        progress.step, progress.loss, progress.correct, progress.seen = 0, 0.0, 0, 0
        last = progress.epoch >= recipe.epochs
        best = last if accuracy is None else accuracy > progress.best_accuracy
        if accuracy is None:
            progress.best_epoch = progress.epoch
        elif best:
            progress.best_accuracy, progress.best_epoch = accuracy, progress.epoch
            progress.plateau_from = progress.epoch
        elif progress.epoch - progress.plateau_from >= recipe.plateau_epochs:
            progress.rate_drops, progress.plateau_from = progress.rate_drops + 1, progress.epoch
        progress.finished = progress.is_finished(recipe.epochs, recipe.patience)
        return best

    def walk(self, x: Tensor) -> Iterator[Step]:
        """Every layer after the feed's, in turn, with its output for `x`."""
        return self.network.walk(x) if self.feed.layer == IMAGE else self.network.walk_after(self.feed.layer, x)

    def learning_rate(self, step: int) -> float:
        """At a step of the current epoch."""
        done = self.progress.epoch * self.steps + step
        return learning_rate(self.recipe, done, self.steps, self.progress.rate_drops)

    def divergence(self, global_loss: float, loss: float, images: Tensor) -> TrainingError:
        """The error of a step whose loss is not finite: where that began, and the checkpoint to go back to.

        global_loss, loss  over all ranks, and of the images on this one
        """
        place = "on another rank"
        if not math.isfinite(loss):
            place = diagnostics.first_nonfinite(self.network, self.walk(images), images)
        step = self.progress.epoch * self.steps + self.progress.step + 1
        norm = "" if self.network.architecture.batch_norm else ", use batch norm (an architecture ending in _bn)"
        return TrainingError(
            f"loss {global_loss} at step {step}",
            f"the first that is not finite is {place}; training diverged at learning rate {self.recipe.learning_rate}",
            f"lower the learning rate{norm} or set clip_norm; "
            f"the last good checkpoint: {self.checkpointer.latest or 'none yet'}",
        )


def clip_gradients(optimizer: SGD, max_norm: float) -> None:
    """Scale all gradients so that their joint norm is at most this, each in the unit of its parameter group."""
    groups = [
        ([master.grad for master in group["params"] if master.grad is not None], group["unit"])
        for group in optimizer.param_groups
    ]
    norms = [norm * unit**0.5 for gradients, unit in groups for norm in torch._foreach_norm(gradients)]
    factor = (max_norm / (torch.stack(norms).norm() + CLIP_EPSILON)).clamp_max(1.0)
    for gradients, _ in groups:
        torch._foreach_mul_(gradients, factor)


PLATEAU_FACTOR = 0.1  # paper, section 3.1


def learning_rate(recipe: Recipe, step: int, steps: int, drops: int = 0) -> float:
    """Linear warm-up to the recipe's rate, then its schedule.

    step, steps  of the whole run, counted from 0, and of one epoch
    drops        plateaus so far
    cosine: half a cosine down to 0 (Loshchilov and Hutter, 2017); linear: a line down to 0.
    """
    warmup, total = round(recipe.warmup_epochs * steps), recipe.epochs * steps
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    if recipe.schedule == "plateau":
        return recipe.learning_rate * PLATEAU_FACTOR**drops
    if recipe.schedule == "linear":
        return recipe.learning_rate * (1 - done)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
