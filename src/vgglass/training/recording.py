"""How a network learns, recorded while it does: kernels, maps, answers and one weight's update, at log-spaced steps.

It reads weights and gradients and changes neither: the weights of a run are the same to the bit with and without it.
P pinned images, M maps of each, C channels, K classes.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vgglass import learning
from vgglass.data.dataset import Sample
from vgglass.data.loader import evaluation_batches
from vgglass.errors import UsageError
from vgglass.learning import Learning, Point
from vgglass.model import VGG, Step
from vgglass.training import diagnostics
from vgglass.training.batches import ImageBatches
from vgglass.training.checkpoint import Run
from vgglass.training.loop import Trainer

SHARE = 0.02  # points a step: one costs at most about as much as a step, so this bounds what recording costs
FEWEST, MOST = 12, 100  # points of a run, however short or long
JUDGED = 64  # validation images at each point, fewer where they are large
JUDGED_PIXELS = JUDGED * 64 * 64
PINNED, MAPS, SIDES = 10, 6, (32, 16)  # images, maps of each at two layers, and the largest sides that are kept
CONFUSED = 32  # most classes for which the confusion matrix is kept
KERNELS = 64
WEIGHT = ("conv1_1.weight", (0, 0, 1, 1))  # the centre of the first kernel
PATIENCE = 0.02  # seconds between two looks at a gate that is shut
ACTIVATIONS: dict[str, type[torch.nn.Module]] = {
    "relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid, "none": torch.nn.Identity,
}  # fmt: skip


def replace_activations(network: VGG, name: str) -> None:
    """Put the activation of that name in place of every ReLU, to watch what comes of it. Raises UsageError.

    An experiment, no member of the family: a model file describes layers that every engine has, and neither of these.
    """
    if name not in ACTIVATIONS:
        raise UsageError(f"activation {name!r}", f"is none of {', '.join(ACTIVATIONS)}", "choose one of them")
    for layer in network.architecture.layers():
        if layer.kind == "relu" and name != "relu":
            setattr(network, layer.name, ACTIVATIONS[name]())


class Gate(Protocol):
    """Who watches may halt the training between two steps."""

    def opens(self, done: int) -> bool:
        """Whether the step after `done` steps may begin."""

    def wants(self, done: int) -> bool:
        """Whether there should be a point after this step, due or not."""


class Open:
    """The gate of a run that nobody halts."""

    def opens(self, done: int) -> bool:
        return True

    def wants(self, done: int) -> bool:
        return False


@dataclass(frozen=True)
class Watching:
    """What is asked of a recorder; points: how many, where the default is not meant."""

    gate: Gate
    points: int | None = None


def due(steps: int, points: int | None = None) -> list[int]:
    """The steps after which there is a point, of a run of `steps` steps: 0, the last, and log-spaced between."""
    count = points or min(MOST, max(FEWEST, round(SHARE * steps)))
    return [0, *sorted({round(step) for step in np.geomspace(1, max(1, steps), count)})]


class Recorder:
    """Writes the record of a run on rank 0; `after_step` follows each step, before the checkpoint.

    spent  seconds so far
    """

    def __init__(self, place: Learning, trainer: Trainer, run: Run, held_out: Sequence[Sample], plan: Watching) -> None:
        assert isinstance(trainer.feed, ImageBatches)
        began = time.perf_counter()
        self._place, self._trainer, self._gate = place, trainer, plan.gate
        network, steps = trainer.network, trainer.steps * run.recipe.epochs
        self._due = frozenset(due(steps, plan.points))
        chosen = _spread(held_out, run.recipe.image_size)
        labels = [sample.label for sample in chosen]
        self._pinned = _one_of_each(labels)
        batch = next(evaluation_batches(chosen, trainer.feed.preprocessing, len(chosen)))
        self._images, self._labels = trainer.feed.tensors(batch)
        self._classes = network.architecture.classes
        relus = [layer.name for layer in network.architecture.layers() if layer.kind == "relu" and "_" in layer.name]
        self._layers = (relus[0], relus[len(relus) // 2])
        self._master = trainer.weights.masters[WEIGHT[0]]
        self._group = next(
            group for group in trainer.optimizer.param_groups if any(each is self._master for each in group["params"])
        )
        done = trainer.progress.epoch * trainer.steps + trainer.progress.step
        about = {
            "classes": list(run.classes), "steps": steps, "epoch_steps": trainer.steps, "layers": list(self._layers),
            "pinned": [labels[index] for index in self._pinned], "judged": len(chosen), "weight": list(WEIGHT),
            "activation": run.activation, "batch_norm": network.architecture.batch_norm,
            "learning_rate": run.recipe.learning_rate, "label_smoothing": run.recipe.label_smoothing,
            "image_size": run.recipe.image_size, "channels": run.recipe.channels,
        }  # fmt: skip
        if place.exists() and done:
            place.cut(done)
            place.describe(about)
        else:
            pixels = batch.images[self._pinned]
            place.begin(about, {"pixels": np.ascontiguousarray(pixels), "labels": batch.labels[self._pinned]})
        self._size = place.size()
        self._losses = (place.folder / learning.LOSSES).open("ab", buffering=0)
        self._before = self._weight()
        self.spent = time.perf_counter() - began
        if done == 0:
            self._record(0, {})
        self._halt(done)

    def after_step(self, loss: float, accuracy: float) -> None:
        """Loss and accuracy of the step's batch."""
        began, trainer = time.perf_counter(), self._trainer
        done = trainer.progress.epoch * trainer.steps + trainer.progress.step
        if done in self._due or self._gate.wants(done):
            self._record(done, {"loss": loss, "accuracy": accuracy, "update": self._update()})
        self._losses.write(np.array([loss, accuracy], "<f4").tobytes())  # last: a step that counts has its point
        self._size += learning.PAIR
        self._before = self._weight()
        self.spent += time.perf_counter() - began
        self._halt(done)

    def close(self) -> None:
        self._losses.close()

    def _halt(self, done: int) -> None:
        while not (self._gate.opens(done) or self._trainer.checkpointer.stop_requested):
            time.sleep(PATIENCE)

    def _record(self, done: int, numbers: dict[str, Any]) -> None:
        """A point, unless the record would become too large by it."""
        numbers, arrays = self._look(numbers)
        size = sum(array.nbytes for array in arrays.values()) + 4096
        if self._size + size > learning.LARGEST:
            return
        self._size += size
        self._place.write(Point(done, numbers, arrays))

    @torch.no_grad()
    def _look(self, numbers: dict[str, Any]) -> tuple[dict[str, Any], learning.Arrays]:
        """Arrays: kernels (C, c, k, k), maps and ends of two layers, probabilities (P, K), confusion (K, K)."""
        arrays: learning.Arrays = {"kernels": _array(self._master[:KERNELS])}
        with _evaluating(self._trainer.network):
            dead = diagnostics.dead_channels(self._noting_maps(arrays))
        logits = self._logits.to(torch.float64)
        answers = logits.argmax(1)
        arrays["probabilities"] = _array(logits[self._pinned].softmax(1))
        if self._classes <= CONFUSED:
            pairs = (self._labels * self._classes + answers).bincount(minlength=self._classes**2)
            arrays["confusion"] = _array(pairs.view(self._classes, -1)).astype(np.uint16)
        judged = {
            "loss": _finite(F.cross_entropy(logits, self._labels).item()),
            "accuracy": (answers == self._labels).double().mean().item(),
        }
        numbers = {name: value if name == "update" else _finite(value) for name, value in numbers.items()}
        return numbers | {"validation": judged, "dead": dead, "norm": _finite(self._master.norm().item())}, arrays

    def _noting_maps(self, arrays: learning.Arrays) -> Iterator[Step]:
        """Every step of the walk; on the way, the maps of the pinned images and the logits are noted."""
        for step in self._trainer.network.walk(self._images):
            if step.name in self._layers:
                place = self._layers.index(step.name)
                arrays[f"maps{place}"], arrays[f"ends{place}"] = levels(step.output[self._pinned, :MAPS], SIDES[place])
            if step.kind == "softmax":
                self._logits = step.input
            yield step

    def _weight(self) -> tuple[float, float]:
        """The followed weight and its momentum."""
        momentum = self._trainer.optimizer.state.get(self._master, {}).get("momentum_buffer")
        place = WEIGHT[1]
        return self._master[place].item(), 0.0 if momentum is None else momentum[place].item()

    def _update(self) -> dict[str, Any]:
        """The last step's arithmetic for one weight: SGD as torch has it, the gradient after any clipping."""
        assert self._master.grad is not None, "a step has just been made"
        weight, momentum = self._before
        after, velocity = self._weight()
        return {
            "weight": weight, "gradient": self._master.grad[WEIGHT[1]].item(), "decay": self._group["weight_decay"],
            "momentum": self._group["momentum"], "before": momentum, "velocity": velocity,
            "nesterov": self._group["nesterov"], "rate": self._group["lr"], "after": after,
        }  # fmt: skip


@contextmanager
def recorded(
    out: Path, trainer: Trainer, run: Run, held_out: Sequence[Sample], watching: Watching | None
) -> Iterator[None]:
    """Inside the block the trainer's steps are recorded where that is asked for, or the run had begun so."""
    place = Learning(out)
    if not trainer.ranks.first or (watching is None and not place.exists()):
        yield
        return
    trainer.recorder = recorder = Recorder(place, trainer, run, held_out, watching or Watching(Open()))
    try:
        yield
    finally:
        recorder.close()


def levels(maps: Tensor, side: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Maps (P, M, H, W) as levels from -127 to 127, at most `side` a side, and the end of each one's scale (P, M)."""
    maps = maps.float().nan_to_num(0, 0, 0)
    if maps.shape[-1] > side:
        maps = F.adaptive_avg_pool2d(maps, side)
    ends = maps.abs().amax((2, 3))
    scaled = (127 * maps / ends.clamp_min(1e-30)[:, :, None, None]).round()
    return _array(scaled).astype(np.int8), _array(ends).astype(np.float32)


@contextmanager
def _evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every module is as it was, as some are frozen."""
    training = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in training:
            module.training = mode


def _spread(samples: Sequence[Sample], size: int) -> list[Sample]:
    """Some of the samples, evenly spaced: folders list class after class."""
    count = min(len(samples), max(PINNED, min(JUDGED, JUDGED_PIXELS // size**2)))
    return [samples[round(index)] for index in np.linspace(0, len(samples) - 1, count)]


def _one_of_each(labels: Sequence[int]) -> list[int]:
    """Where the first of each class is, in the order of the classes; not more than PINNED."""
    return [labels.index(label) for label in sorted(set(labels))][:PINNED]


def _array(tensor: Tensor) -> NDArray[Any]:
    """A contiguous copy; in float32 where it is of floating point."""
    values = tensor.detach()
    return (values.float() if values.is_floating_point() else values).cpu().contiguous().numpy().copy()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
