"""Checkpoints: weights and momentum as tensors, the rest as JSON, in one safetensors file written atomically."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import SGD

from vgglass.atomic import replacing
from vgglass.errors import TrainingError

FILE = "checkpoint.safetensors"


@dataclass
class Progress:
    """Where a run stands between two epochs.

    recipe, digest, classes  of the run; one that resumes it must share them
    folder         the data's, as given; None for the embedded digits
    epochs_done    whole epochs behind it
    best_accuracy  highest validation accuracy so far, and best_epoch, counted from 1, that reached it
    """

    recipe: dict[str, Any]
    folder: str | None
    digest: str
    classes: list[str]
    epochs_done: int = 0
    best_accuracy: float = -1.0
    best_epoch: int = 0


def save(out: Path, network: nn.Module, optimizer: SGD, progress: Progress) -> None:
    """Raises TrainingError on a full disk; the checkpoint before it is then as it was."""
    tensors = {f"weights.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        tensors[f"momentum.{name}"] = optimizer.state[parameter]["momentum_buffer"].contiguous()
    try:
        with replacing(out / FILE) as temporary:
            safetensors.torch.save_file(tensors, temporary, {"progress": json.dumps(vars(progress))})
    except (OSError, safetensors.SafetensorError) as error:
        raise TrainingError(out / FILE, f"could not be written ({error})", "free space, then --resume") from error


def peek(out: Path) -> Progress:
    """Where the run under `out` stands. Raises TrainingError where there is no whole checkpoint."""
    if not (out / FILE).is_file():
        raise TrainingError(out, "holds no checkpoint to resume", "start it without --resume")
    try:
        with safetensors.safe_open(out / FILE, framework="pt") as file:
            return Progress(**json.loads(file.metadata()["progress"]))
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(out / FILE, f"damaged ({error})", "start again with --overwrite") from error


def load_progress(out: Path, wanted: Progress) -> Progress:
    """The same, checked against the data that a resumed run was given. Raises TrainingError."""
    found = peek(out)
    if (found.digest, found.classes) != (wanted.digest, wanted.classes):
        raise TrainingError(out, "was trained on other images or classes", "give it the folder as it was")
    return found


def restore(out: Path, network: nn.Module, optimizer: SGD) -> None:
    """Put a checkpoint's weights and momentum in place."""
    tensors: dict[str, Tensor] = safetensors.torch.load_file(out / FILE)
    state = {name.removeprefix("weights."): tensor for name, tensor in tensors.items() if name.startswith("weights.")}
    network.load_state_dict(state)
    for name, parameter in network.named_parameters():
        momentum = tensors[f"momentum.{name}"].to(parameter.device)
        optimizer.state[parameter]["momentum_buffer"] = momentum.contiguous(memory_format=_layout(parameter))


def _layout(tensor: Tensor) -> torch.memory_format:
    channels_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format
