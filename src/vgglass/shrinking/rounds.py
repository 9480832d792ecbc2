"""Shrinking a network in rounds: channels go, what is left is fitted anew, then learns from the parent.

A round's outcome is written before the next begins, and its decisions before they are acted on: the same command goes
on where a killed one stopped, to the same bits.
"""

import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgglass import modelfile
from vgglass.architecture import Architecture
from vgglass.data.dataset import Sample
from vgglass.data.loader import evaluation_batches
from vgglass.errors import UsageError
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import normalise
from vgglass.shrinking import reconstruction
from vgglass.shrinking.channels import Indices, Kept, composed, narrowed, removed, widths, with_widths
from vgglass.shrinking.child import descendant, kept_of
from vgglass.shrinking.distillation import Distillation
from vgglass.shrinking.importance import Importance, taylor
from vgglass.shrinking.reconstruction import Targets
from vgglass.shrinking.selection import Cost, groups_of, least_widths, select, select_as_quick
from vgglass.training.feature_cache import Extractor
from vgglass.training.metrics_log import Display
from vgglass.training.precision import device

STEP = 2.0  # by how much a round makes the network quicker, at most
STEP_OF_LOSS = 1.4  # likewise, where the smallest network with an allowed loss is sought
# Between rounds the layers are fitted anew, which takes a minute; epochs would take many.
EPOCHS_BETWEEN = 0
# All activations and gradients of a batch are held at once: 200 MB an image of VGG-16.
TAYLOR_IMAGES, TAYLOR_BATCH = 128, 2


@dataclass(frozen=True)
class Goal:
    """What is wanted; one of these.

    speed          times as quick, in milliseconds on this machine
    multiply_adds  share of the parent's
    largest_loss   points of top-1 that may be lost, in the smallest network
    """

    speed: float | None = None
    multiply_adds: float | None = None
    largest_loss: float | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in asdict(self).values()) != 1:
            raise UsageError("--speed, --multiply-adds, --largest-loss", "say the same in three ways", "name one")
        if self.speed is not None and not 1 <= self.speed < math.inf:
            raise UsageError(f"--speed {self.speed:g}", "says how many times as quick: 1 or more", "take, say, 4")
        if self.multiply_adds is not None and not 0 < self.multiply_adds <= 1:
            raise UsageError(f"--multiply-adds {self.multiply_adds:g}", "is a share of the parent's", "take, say, 0.25")
        if self.largest_loss is not None and not 0 <= self.largest_loss < 100:
            raise UsageError(f"--largest-loss {self.largest_loss:g}", "is in points of top-1", "take, say, 1.0")

    def __str__(self) -> str:
        """As on the command line."""
        name, value = next((name, value) for name, value in asdict(self).items() if value is not None)
        return f"--{name.replace('_', '-')} {value:g}"

    def ratios(self) -> list[float]:
        """The parent's cost divided by that of each round's network; with an allowed loss as many as there may be."""
        if self.largest_loss is not None:
            return [STEP_OF_LOSS**number for number in range(1, 16)]
        whole = self.speed or 1 / (self.multiply_adds or 1)
        count = max(1, math.ceil(math.log(whole) / math.log(STEP) - 1e-9))
        return [whole ** (number / count) for number in range(1, count + 1)]


@dataclass(frozen=True)
class Round:
    """One network on the way.

    ratio     the parent's cost divided by its own, as planned
    missed    by layer, the share of its parent's output that it missed when it was fitted, before it learned
    accuracy  top-1 on the selection images; None where there are none
    """

    model: ModelFile
    ratio: float
    missed: dict[str, float]
    accuracy: float | None


@dataclass(frozen=True)
class Shrinking:
    """What is the same for all rounds.

    samples      to learn from, and choosing, others on which an allowed loss is measured
    cost         of a network by its widths
    speedup      of an architecture beside the parent, measured; None where the cost is not a time
    group        channels that go together
    answers      of a model file, what computes its logits
    head         of a model file, its network with a head fitted to its own features; None where the head is not pooled
    """

    parent: ModelFile
    samples: Sequence[Sample]
    choosing: Sequence[Sample]
    goal: Goal
    cost: Cost
    speedup: Callable[[Architecture], float] | None
    group: int
    epochs: int
    seed: int
    distillation: Distillation
    answers: Callable[[ModelFile], Extractor]
    head: Callable[[ModelFile], VGG] | None
    folder: Path
    display: Display

    def run(self) -> list[Round]:
        """Every round's network, the last of which is the one asked for.

        Empty where an allowed loss is exceeded at once. Raises UsageError for a goal that no network reaches.
        """
        ratios = self.goal.ratios()
        self._require_reachable(ratios[0] if self.goal.largest_loss is not None else ratios[-1])
        fitting = Fitting(self)
        allowed = 0.0
        if self.goal.largest_loss is not None:
            allowed = self._accuracy(self.parent) - self.goal.largest_loss / 100
        rounds: list[Round] = []
        for number, ratio in enumerate(ratios, 1):
            last = number == len(ratios) or self.goal.largest_loss is not None
            found = self._round(number, ratio, last, rounds[-1].model if rounds else self.parent, fitting)
            if found is None or (found.accuracy is not None and found.accuracy < allowed):
                break
            rounds.append(found)
        return rounds

    def _require_reachable(self, ratio: float) -> None:
        before = widths(self.parent.record.architecture)
        largest = self.cost(before) / self.cost(least_widths(before, self.group))
        if ratio > largest:
            rule = f"the narrowest network of this family costs {1 / largest:.4f} of the parent"
            raise UsageError(str(self.goal), rule, f"ask for at most {largest:.1f} times as little")

    def _round(self, number: int, ratio: float, last: bool, before: ModelFile, fitting: "Fitting") -> Round | None:
        """None where no network is narrow enough."""
        path, start = self.folder / f"round-{number}.safetensors", self.folder / f"round-{number}-start.safetensors"
        if not path.exists():
            if not start.exists():
                narrow = self._narrowed(number, ratio, before, fitting)
                if narrow is None:
                    return None
                modelfile.save(narrow, start)
            if last:
                fitting.release()
            narrow = modelfile.load(start)
            modelfile.save(self._taught(number, narrow, self.epochs if last else EPOCHS_BETWEEN), path)
            shutil.rmtree(self.folder / f"round-{number}", ignore_errors=True)
        model = modelfile.load(path)
        missed = model.record.recipe["shrunk"]["missed"]
        accuracy = model.record.metrics.get("choosing", {}).get("top1")
        self.display.print(_line(number, ratio, model, missed, accuracy))
        return Round(model, ratio, missed, accuracy)

    def _narrowed(self, number: int, ratio: float, before: ModelFile, fitting: "Fitting") -> ModelFile | None:
        """The network of a round before it learns."""
        network = VGG.from_file(before).to(device())
        images = self.chosen(TAYLOR_IMAGES)
        with self.display.counting(f"round {number}: importance of channels", len(images)) as count:
            importance = taylor(network, self.batches(images, count))
        kept = self._select(importance, before.record.architecture, ratio)
        if kept is None:
            return None
        architecture, weights = narrowed(before.record.architecture, before.weights, kept)
        child = VGG.from_weights(architecture, weights).to(device())
        whole = composed(kept_of(self.parent.record, before.record), kept)
        missed = fitting.fit(child, whole, number)
        gone = removed(widths(self.parent.record.architecture), whole)
        return self._as_file(child, {"missed": missed, "removed": gone}, {})

    def _select(self, importance: Importance, architecture: Architecture, ratio: float) -> dict[str, Indices] | None:
        whole = widths(self.parent.record.architecture)
        target, groups, least = self.cost(whole) / ratio, groups_of(whole, self.group), least_widths(whole, self.group)
        if (speedup := self.speedup) is None:
            return select(importance, self.cost, target, groups, least)

        def quickness(counts: Mapping[str, int]) -> float:
            return speedup(with_widths(architecture, counts)) / ratio

        return select_as_quick(importance, self.cost, target, groups, least, quickness)

    def _taught(self, number: int, narrow: ModelFile, epochs: int) -> ModelFile:
        """The network of a round after it learned from the parent."""
        kept = kept_of(self.parent.record, narrow.record)
        channels = kept[[name for name in kept if name.startswith("conv")][-1]]
        folder, what = self.folder / f"round-{number}", f"round {number}: distillation"
        child = VGG.from_file(narrow)
        if epochs:
            child = self.distillation.train(child, channels, epochs, folder, what)
        about = {name: narrow.record.recipe["shrunk"][name] for name in ("missed", "removed")}
        taught = self._as_file(child, about, {})
        if epochs and self.head:
            child = self.head(taught)
            taught = self._as_file(child, about, {})
        if not self.choosing:
            return taught
        return self._as_file(child, about, {"choosing": {"top1": self._accuracy(taught)}})

    def _as_file(self, child: VGG, about: dict[str, Any], metrics: dict[str, Any]) -> ModelFile:
        shrunk = {"channels": widths(self.parent.record.architecture), **about}
        return descendant(self.parent, child.cpu(), shrunk, metrics=metrics)

    def _accuracy(self, model: ModelFile) -> float:
        """Top-1 on the selection images."""
        run, record, right = self.answers(model), model.record.preprocessing, 0
        with self.display.counting("selection images", len(self.choosing)) as count:
            for batch in evaluation_batches(self.choosing, record, TAYLOR_BATCH):
                right += int((run(batch.images).argmax(1) == batch.labels).sum())
                count(len(batch.labels))
        return right / len(self.choosing)

    def chosen(self, count: int) -> list[Sample]:
        """At most so many of the images to learn from, the classes as evenly as can be."""
        order = np.random.default_rng(self.seed).permutation(len(self.samples))
        seen: Counter[int] = Counter()
        turns: list[tuple[int, int, int]] = []
        for place in order:
            label = self.samples[place].label
            turns.append((seen[label], len(turns), int(place)))
            seen[label] += 1
        return [self.samples[place] for _, _, place in sorted(turns)[:count]]

    def batches(self, samples: Sequence[Sample], count: Callable[[int], None]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images as in evaluation (N, C, S, S), and labels (N,)."""
        record = self.parent.record.preprocessing
        for batch in evaluation_batches(samples, record, TAYLOR_BATCH):
            yield (
                torch.from_numpy(normalise(batch.images, record)).to(device()),
                torch.from_numpy(batch.labels).to(device()),
            )
            count(len(batch.labels))


def _line(number: int, ratio: float, model: ModelFile, missed: dict[str, float], accuracy: float | None) -> str:
    channels = " ".join(map(str, widths(model.record.architecture).values()))
    chosen = "" if accuracy is None else f"; top-1 {accuracy:.4f} on the selection images"
    worst = max(missed, key=lambda name: missed[name])
    return (
        f"round {number}: planned at 1/{ratio:.3g} of the cost; channels {channels}; largest error after least squares:"
        f" {missed[worst]:.1%} of the output of {worst}{chosen}"
    )


class Fitting:
    """Fits narrowed networks to what the parent's layers give, which is computed when it is first needed."""

    def __init__(self, shrinking: Shrinking) -> None:
        self._shrinking = shrinking
        self._made: tuple[Tensor, Targets] | None = None

    def fit(self, child: VGG, kept: Kept, number: int) -> dict[str, float]:
        """Fit a network; by layer, the share that it misses. kept: of the parent's channels."""
        images, wanted = self._made or self._make()
        self._made = images, wanted
        what = f"round {number}: fitting the layers"
        with self._shrinking.display.counting(what, len(wanted.outputs)) as count:
            return reconstruction.refit(child, images, wanted, kept, count)

    def release(self) -> None:
        """Forget the outputs of the parent's layers, 400 MB, before a network learns."""
        self._made = None

    def _make(self) -> tuple[Tensor, Targets]:
        shrinking = self._shrinking
        samples = shrinking.chosen(reconstruction.MOST_IMAGES)
        plain = [images for images, _ in shrinking.batches(samples, lambda count: None)]
        # Of few photographs, more views: with a layer fitted to 240 plain images at 64 pixels, pool5 of other images
        # missed 0.380 of its square, with one view of each besides 0.369, with three 0.363.
        drawn = shrinking.distillation.drawn(samples, reconstruction.MOST_IMAGES - len(samples))
        images = torch.cat([part.half() for part in (*plain, *drawn)])
        parent = VGG.from_file(shrinking.parent).to(device())
        with shrinking.display.counting("outputs of the parent's layers", len(images)) as count:
            return images, reconstruction.targets(parent, images, shrinking.seed, count)
