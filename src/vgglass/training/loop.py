"""The training loop: plain PyTorch, the step readable in place. N batch, C channels, S side, K classes."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD

from vgglass.data.augment import AUGMENTATIONS, mix
from vgglass.errors import TrainingError
from vgglass.model import VGG, Step
from vgglass.preprocess import Preprocessing
from vgglass.training import diagnostics, transfer
from vgglass.training.batches import IMAGE, BatchSource
from vgglass.training.checkpoint import Checkpointer, Progress
from vgglass.training.distributed import ALONE, Forward, Ranks
from vgglass.training.metrics_log import Display
from vgglass.training.precision import Weights
from vgglass.training.recipe import Recipe

RECENT_LOSSES = 50  # losses that tell whether the run has started to learn
CLIP_EPSILON = 1e-6  # as in torch
DEAD_CHANNEL_IMAGES = 32  # validation images whose ReLUs are looked at


@dataclass
class Trainer:
    """The parts of a run that every step touches.

    sizes          images of each step of an epoch, over all ranks
    class_weights  (K,) of the loss, or None
    """

    recipe: Recipe
    network: VGG
    weights: Weights
    optimizer: SGD
    feed: BatchSource
    preprocessing: Preprocessing
    sizes: Sequence[int]
    class_weights: Tensor | None
    display: Display
    checkpointer: Checkpointer
    progress: Progress
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        layers = self.network.architecture
        shape = (
            layers.layers()[0].input_shape if self.feed.layer == IMAGE else layers.layer(self.feed.layer).output_shape
        )
        example = torch.zeros((1, *shape), device=self.network.device, dtype=self.weights.dtype)
        # Not a bound method: a trainer that holds one of itself, gigabytes with it, waits for the garbage collector.
        network, layer = self.network, self.feed.layer
        self.forward: Forward = (
            network if layer == IMAGE else partial(network.after, layer)
        )  # what the feed gives -> N K
        self.model = self.ranks.wrap(network, self.forward, example, self.recipe.all_reduce == "bfloat16")

    @property
    def steps(self) -> int:
        return len(self.sizes)

    def epoch(self) -> dict[str, Any]:
        """The rest of one pass over the training samples; mean loss and accuracy on the way, and the speed."""
        progress, recipe, waited, began, images_here = self.progress, self.recipe, 0.0, time.perf_counter(), 0
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
            in_all, architecture = self.steps * recipe.epochs, self.network.architecture
            self.display.warn(diagnostics.stuck_loss_warning(done - 1, in_all, progress.losses, architecture))
            where = f"{progress.epoch + 1}/{recipe.epochs}"
            self.display.step(where, size, loss, correct / size, waited / (time.perf_counter() - began))
            self.checkpointer.after_step(self)
        seconds = time.perf_counter() - began
        return {
            "train_loss": progress.loss / progress.seen,
            "train_accuracy": progress.correct / progress.seen,
            "learning_rate": self.rate(progress.step - 1),
            "images_per_second": images_here / seconds,
            "seconds": seconds,
            "waited": waited / seconds,
        }

    def step(self, images: Tensor, labels: Tensor) -> tuple[float, int]:
        """One step of the optimizer on this rank's images; over all ranks, the loss and how many were named rightly."""
        recipe, progress, ranks = self.recipe, self.progress, self.ranks
        done = progress.epoch * self.steps + progress.step
        torch.manual_seed(ranks.dropout_seed(recipe.seed, done))  # a function of the seed, the step and the rank
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(progress.step) * group["share"] * group["unit"]
        targets = labels
        if AUGMENTATIONS[recipe.augmentation].mix and self.feed.layer == IMAGE:
            classes = self.network.architecture.classes
            images, targets = mix(images, labels, classes, recipe.seed, progress.epoch, progress.step)

        self.optimizer.zero_grad()
        total, correct, count = 0.0, 0, min(recipe.accumulate, len(labels))
        whole = self.sizes[progress.step] / ranks.count  # the ranks' gradients are averaged, their losses here too
        parts = (x.tensor_split(count) for x in (images, targets, labels))
        for number, (part, wanted, named) in enumerate(zip(*parts, strict=True), 1):
            with self.part(last=number == count):
                logits = self.model(part).to(self.weights.master_dtype)  # N K
                loss = (
                    F.cross_entropy(
                        logits, wanted, self.class_weights, label_smoothing=recipe.label_smoothing, reduction="sum"
                    )
                    / whole
                )
                loss.backward()  # type: ignore[no-untyped-call]
            self.weights.accumulate_gradients()
            total, correct = total + loss.item(), correct + int((logits.argmax(1) == named).sum())
        loss_of_all, right = ranks.all_reduce(total / ranks.count, correct)
        if not math.isfinite(loss_of_all):
            self.refuse(loss_of_all, total, images)
        if recipe.clip_norm:
            self.clip(recipe.clip_norm)
        self.optimizer.step()
        self.weights.sync_model()
        self.weights.update_ema(done)
        return loss_of_all, int(right)

    def clip(self, largest: float) -> None:
        """Scale the gradients down to this norm where they exceed it, each weight in the unit of its group."""
        groups = [
            ([master.grad for master in group["params"] if master.grad is not None], group["unit"])
            for group in self.optimizer.param_groups
        ]
        norms = [norm * unit**0.5 for members, unit in groups for norm in torch._foreach_norm(members)]
        share = (largest / (torch.stack(norms).norm() + CLIP_EPSILON)).clamp_max(1.0)
        for members, _ in groups:
            torch._foreach_mul_(members, share)

    @contextmanager
    def part(self, last: bool) -> Iterator[None]:
        """A part of a step: the last one takes the gradients of those before it along to the other ranks."""
        if self.ranks.count == 1:
            yield
        elif last:
            self.weights.restore_gradients()
            yield
        else:
            with self.ranks.no_sync(self.model):
                yield

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Loss and top-1 of the judged weights, in the precision that they are trained in; channels that are dead."""
        total, correct, seen = 0.0, 0, 0
        dead: dict[str, float] = {}
        self.network.eval()
        self.ranks.broadcast(self.weights.batch_norm_statistics())
        with self.weights.evaluation_weights():
            for images, labels in self.feed.validation():
                if not seen and self.ranks.first:
                    dead = diagnostics.dead_channels(self.walk(images[:DEAD_CHANNEL_IMAGES]))
                logits = self.forward(images).to(self.weights.master_dtype)
                total += float(F.cross_entropy(logits, labels, reduction="sum"))
                correct, seen = correct + int((logits.argmax(1) == labels).sum()), seen + len(labels)
                if self.checkpointer.stop_requested:
                    break
        loss_of_all, right, images_of_all = self.ranks.all_reduce(total, correct, seen)
        self.checkpointer.stop_if_requested(self)  # outside the block: it saves the weights, not their average
        return {
            "validation_loss": loss_of_all / images_of_all,
            "validation_accuracy": right / images_of_all,
            "dead_channels": dead,
        }

    def walk(self, x: Tensor) -> Iterator[Step]:
        return self.network.walk(x) if self.feed.layer == IMAGE else self.network.walk_after(self.feed.layer, x)

    def rate(self, step: int) -> float:
        """The learning rate at a step of the epoch under way."""
        done = self.progress.epoch * self.steps + step
        return learning_rate(self.recipe, done, self.steps, self.progress.rate_drops)

    def refuse(self, loss: float, here: float, images: Tensor) -> None:
        """Raises TrainingError: the step, where the first number went wrong, and what can be gone back to.

        loss, here  over all ranks, and of the images on this one
        """
        place = "on another rank"
        if not math.isfinite(here):
            place = diagnostics.first_nonfinite(self.network, self.walk(images), images)
        step = self.progress.epoch * self.steps + self.progress.step + 1
        norm = "" if self.network.architecture.batch_norm else ", use batch norm (an architecture ending in _bn)"
        raise TrainingError(
            f"loss {loss} at step {step}",
            f"the first that is not finite is {place}; training diverged at learning rate {self.recipe.learning_rate}",
            f"lower the learning rate{norm} or set clip_norm; "
            f"the last good checkpoint: {self.checkpointer.latest or 'none yet'}",
        )

    def finish_epoch(self, accuracy: float) -> bool:
        """Close the books of an epoch; whether it was the best so far."""
        progress, recipe = self.progress, self.recipe
        progress.epoch += 1
        progress.step, progress.loss, progress.correct, progress.seen = 0, 0.0, 0, 0
        best = accuracy > progress.best_accuracy
        if best:
            progress.best_accuracy, progress.best_epoch = accuracy, progress.epoch
            progress.plateau_from = progress.epoch
        elif progress.epoch - progress.plateau_from >= recipe.plateau_epochs:
            progress.rate_drops, progress.plateau_from = progress.rate_drops + 1, progress.epoch
        progress.finished = progress.is_finished(recipe.epochs, recipe.patience)
        return best


# The learning rate of a step: a function of the recipe and of where the run stands.

PLATEAU_FACTOR = 0.1  # paper, section 3.1


def learning_rate(recipe: Recipe, step: int, steps: int, drops: int = 0) -> float:
    """Linear warm-up to the recipe's rate, then its schedule.

    step, steps  of the whole run, counted from 0, and of one epoch
    drops        times that a plateau was met
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
