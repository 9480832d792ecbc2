"""The training loop: plain PyTorch, the step readable in place. N batch, C channels, S side, K classes."""

import math
import platform
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD

from vgglass import __version__, modelfile
from vgglass.data.dataset import Dataset, Sample
from vgglass.data.loader import Batch, evaluation_batches
from vgglass.data.training_loader import TrainingLoader
from vgglass.errors import TrainingError
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing, fit, normalise, read
from vgglass.training import checkpoint
from vgglass.training.display import Display
from vgglass.training.journal import Journal
from vgglass.training.recipe import Recipe

BEST, LAST = "best.safetensors", "last.safetensors"
STATISTICS_IMAGES = 1000  # of the training split, for the mean and deviation of the input
EVALUATION_BATCH = 256
HOPELESS = (1e-4, 1e3)  # largest first logit below or above: the initialisation does not fit the input
STUCK_STEPS, STUCK_LEAST, STUCK_SHARE = 300, 50, 0.98  # after so many steps a loss of this share of ln K has not moved


@dataclass
class Trainer:
    """The parts of a run that every step touches."""

    recipe: Recipe
    network: VGG
    optimizer: SGD
    preprocessing: Preprocessing
    device: torch.device
    precision: Callable[[], AbstractContextManager[Any]]
    display: Display
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=50))

    def epoch(self, samples: Sequence[Sample], epoch: int) -> dict[str, float]:
        """One pass over the training samples; the mean loss and accuracy on the way, and the speed."""
        recipe, network, optimizer = self.recipe, self.network.train(), self.optimizer
        steps = steps_per_epoch(len(samples), recipe)
        total_loss, correct, seen, began = 0.0, 0, 0, time.perf_counter()
        torch.manual_seed(recipe.seed + epoch * 2**32)  # dropout: an epoch's randomness does not hang on the one before

        loader = TrainingLoader(samples, self.preprocessing, recipe.batch_size, recipe.augmentation, recipe.seed)
        with loader:
            for step, batch in enumerate(loader.epoch(epoch), start=epoch * steps):
                images, labels = self.tensors(batch)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(recipe, step, steps)

                with self.precision():
                    logits = network(images)  # N K
                loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

                right = int((logits.argmax(1) == labels).sum())
                total_loss, correct, seen = total_loss + loss.item() * len(labels), correct + right, seen + len(labels)
                self.watch(step, loss.item(), steps * recipe.epochs)
                self.display.step(f"{epoch + 1}/{recipe.epochs}", len(labels), loss.item(), right / len(labels))
        seconds = time.perf_counter() - began
        return {
            "train_loss": total_loss / seen,
            "train_accuracy": correct / seen,
            "learning_rate": learning_rate(recipe, step, steps),
            "images_per_second": seen / seconds,
            "seconds": seconds,
        }

    @torch.no_grad()
    def validate(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Loss and top-1 as the network stands, in the precision that it is trained in."""
        network = self.network.eval()
        total_loss, correct = 0.0, 0
        for batch in evaluation_batches(samples, self.preprocessing, EVALUATION_BATCH):
            images, labels = self.tensors(batch)
            with self.precision():
                logits = network(images).float()
            total_loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            correct += int((logits.argmax(1) == labels).sum())
        return {"validation_loss": total_loss / len(samples), "validation_accuracy": correct / len(samples)}

    def tensors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Normalised images (N, C, S, S), channels last in memory, and labels (N,)."""
        images = torch.from_numpy(normalise(batch.images, self.preprocessing))
        return (
            images.to(self.device, memory_format=torch.channels_last),
            torch.from_numpy(batch.labels).to(self.device),
        )

    def watch(self, step: int, loss: float, steps_in_all: int) -> None:
        """Stop on a loss that is no number; say so when it has not moved from that of guessing."""
        self.losses.append(loss)
        if not math.isfinite(loss):
            raise TrainingError(
                f"loss {loss} at step {step + 1}",
                f"training diverged at learning rate {self.recipe.learning_rate}",
                "lower the learning rate, or use batch norm (an architecture ending in _bn)",
            )
        if step + 1 != min(STUCK_STEPS, steps_in_all) or step + 1 < STUCK_LEAST:
            return
        classes = self.network.architecture.classes
        mean, guessing = float(np.mean(self.losses)), math.log(classes)
        if mean >= STUCK_SHARE * guessing:
            self.display.warn(
                f"after {step + 1} steps the loss is {mean:.3f}, and guessing gives ln({classes}) = {guessing:.3f}. "
                f"The network has not started to learn. What helps: {', '.join(self.remedies())}."
            )

    def remedies(self) -> list[str]:
        """What helps a network to start, without what this one has already."""
        architecture = self.network.architecture
        found = ["more epochs, longer warm-up", "another learning rate"]
        if architecture.column not in ("A", "A-LRN"):
            found.insert(0, "fewer layers (vgg11)")
        if not architecture.batch_norm:
            found.insert(0, "batch norm (an architecture ending in _bn: a deep VGG without it often never starts)")
        return found

    def first_logits(self, samples: Sequence[Sample]) -> None:
        """Warn when the initialisation and the input's scale do not fit one another."""
        batch = next(evaluation_batches(samples[: self.recipe.batch_size], self.preprocessing, self.recipe.batch_size))
        network = deepcopy(self.network).train()  # a look must not move batch norm's running statistics
        with torch.no_grad():
            largest = float(network(self.tensors(batch)[0]).abs().max())
        if not HOPELESS[0] <= largest <= HOPELESS[1]:
            self.display.warn(
                f"the first logits reach {largest:.0e}: from initialisation {self.recipe.initialisation!r} this "
                "network is unlikely to learn. 'kaiming' suits input of deviation 1; 'paper' was meant for 0..255 "
                "input and the paper's widths; 'glorot' is what the paper's authors recommend in its footnote."
            )


def train(dataset: Dataset, recipe: Recipe, out: Path, display: Display, folder: str | None, resume: bool) -> Path:
    """Train on 'train', choose the best epoch on 'validation', write everything under `out`; the best model's path.

    Raises TrainingError. The caller's random state comes back as it was.
    """
    samples = dataset.split("train")
    progress = checkpoint.Progress(recipe.as_json(), folder, dataset.digest("train"), list(dataset.classes))
    if resume:
        progress = checkpoint.load_progress(out, progress)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        trainer = make_trainer(dataset, recipe, display)
        if resume:
            checkpoint.restore(out, trainer.network, trainer.optimizer)
        else:
            trainer.first_logits(samples)
        journal = Journal(out, progress.epochs_done)
        steps = steps_per_epoch(len(samples), recipe)
        with display.run(steps * recipe.epochs, steps * progress.epochs_done):
            for epoch in range(progress.epochs_done, recipe.epochs):
                row = {"epoch": epoch + 1, **trainer.epoch(samples, epoch)}
                row |= trainer.validate(dataset.split("validation"))
                best = row["validation_accuracy"] > progress.best_accuracy
                last = epoch + 1 == recipe.epochs
                display.epoch(row, recipe.epochs, best)
                if best:
                    progress.best_accuracy, progress.best_epoch = row["validation_accuracy"], epoch + 1
                for name, wanted in ((BEST, best), (LAST, last)):
                    if wanted:
                        modelfile.save(as_model_file(trainer, dataset, row), out / name)
                journal.write(row, last)
                progress.epochs_done = epoch + 1
                checkpoint.save(out, trainer.network, trainer.optimizer, progress)
    return out / BEST


def make_trainer(dataset: Dataset, recipe: Recipe, display: Display) -> Trainer:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = VGG(recipe.network(len(dataset.classes)), recipe.initialisation)
    network = network.to(device).to(memory_format=torch.channels_last)
    record = measure(dataset, recipe)
    return Trainer(recipe, network, make_optimizer(network, recipe), record, device, autocast(recipe, device), display)


def make_optimizer(network: VGG, recipe: Recipe) -> SGD:
    """SGD with momentum; weight decay on convolution and fully connected weights alone."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    nesterov = recipe.nesterov and recipe.momentum > 0
    return SGD(groups, recipe.learning_rate, momentum=recipe.momentum, nesterov=nesterov, fused=True)


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Linear warm-up to the recipe's rate, then half a cosine down to 0 (Loshchilov and Hutter, 2017)."""
    warmup, total = round(recipe.warmup_epochs * steps), recipe.epochs * steps
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def steps_per_epoch(samples: int, recipe: Recipe) -> int:
    return max(1, samples // recipe.batch_size)


def autocast(recipe: Recipe, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """A maker of contexts: bfloat16 autocast where the recipe asks for it or the machine computes in it."""
    capable = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cuda"
        else bool({"avx512_bf16", "amx_bf16"} & {name for name, has in torch.cpu.get_capabilities().items() if has})
    )
    if recipe.precision == "bfloat16" or (recipe.precision == "auto" and capable):
        return lambda: torch.autocast(device.type, torch.bfloat16)
    return nullcontext


def measure(dataset: Dataset, recipe: Recipe) -> Preprocessing:
    """The preprocessing record: the recipe's geometry, the mean and deviation of the training images."""
    order = "L" if recipe.channels == 1 else "RGB"
    unit = (1.0,) * recipe.channels
    plain = Preprocessing(
        recipe.image_size, recipe.resize, (0.0,) * recipe.channels, unit, order, recipe.fit, jpeg_scaled=True
    )
    samples = dataset.split("train")
    chosen = samples[:: math.ceil(len(samples) / STATISTICS_IMAGES)]
    pixels = np.stack([fit(read(sample.source, plain), plain) for sample in chosen])
    mean, std = pixels.mean((0, 1, 2), np.float64), pixels.std((0, 1, 2), np.float64)
    if recipe.initialisation == "paper":
        std = np.array(unit)
    values = {"mean": tuple(map(float, mean.round(3))), "std": tuple(map(float, np.maximum(std, 1.0).round(3)))}
    return Preprocessing(**{**plain.as_json(), **values})


def as_model_file(trainer: Trainer, dataset: Dataset, row: dict[str, Any]) -> modelfile.ModelFile:
    digests = {split: dataset.digest(split) for split in dataset.splits}
    sizes = {split: len(samples) for split, samples in dataset.splits.items()}
    return trainer.network.to_file(
        dataset.classes,
        trainer.preprocessing,
        metrics={"validation": {"top1": row["validation_accuracy"]}, "epoch": row["epoch"]},
        data={"name": dataset.name, "digests": digests, "images": sizes, "selected_on": "validation"},
        recipe=trainer.recipe.as_json(),
        versions={"vgglass": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )
