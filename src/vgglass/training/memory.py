"""How much memory a run will take, estimated before its first step."""

import math
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from rich.filesize import decimal

from vgglass.architecture import Architecture
from vgglass.data.sampling import WHOLE, Share
from vgglass.errors import TrainingError
from vgglass.training import transfer
from vgglass.training.precision import DTYPES
from vgglass.training.recipe import Recipe

CGROUP = Path("/sys/fs/cgroup")  # with the memory limit of a container
WORKSPACE = 0.4  # of the activations: gradients of the current layer, and the kernels' scratch buffers


@dataclass(frozen=True)
class Forecast:
    """An estimate, in bytes.

    fixed      weights, gradients, momentum, bfloat16 copies and moving average
    per_image  activations that the backward pass needs, and workspace
    images     that are computed at once
    free       memory that is available
    parts      of a rank's images of a step (`accumulate`), and ranks, which share the images of a step
    """

    fixed: int
    per_image: int
    images: int
    free: int
    parts: int = 1
    ranks: int = 1

    @property
    def total(self) -> int:
        return self.fixed + self.per_image * self.images

    @property
    def largest(self) -> int:
        """The most images at once that fit."""
        return max(0, (self.free - self.fixed) // self.per_image)

    def __str__(self) -> str:
        of_each = " of each rank" if self.ranks > 1 else ""
        return (
            f"memory{of_each}: {decimal(self.fixed)} for weights and optimizer"
            f" and {decimal(self.per_image * self.images)} for {self.images:,} images at once;"
            f" {decimal(self.free)} are free, in which {self.largest:,} would fit"
        )

    def require(self) -> None:
        """Raises TrainingError where the machine has too little."""
        if self.total > self.free:
            remedy = (
                f"--batch-size {self.largest * self.parts * self.ranks}, or"
                f" --set accumulate={math.ceil(self.images * self.parts / self.largest)}"
                if self.largest
                else "a narrower network (--set width=0.5) or smaller images"
            )
            raise TrainingError(self, "that is too little", remedy)


def forecast(
    recipe: Recipe, architecture: Architecture, batch_size: int, precision: str, device: torch.device,
    share: Share = WHOLE,
) -> Forecast:  # fmt: skip
    """For one rank, from the shapes of the layers; measured peaks are within a third of it."""
    number, first = DTYPES[precision].itemsize, transfer.FIRST_TRAINED[recipe.train]
    master = max(4, number)
    copies = number if number == 2 else 0
    parameters = learning = kept = passing = 0
    for layer in architecture.layers():
        size = math.prod(layer.output_shape)
        parameters += layer.parameters
        if transfer.block(layer.name) >= first:
            learning += layer.parameters
            kept += size * _bytes_kept(layer.kind, number, architecture.batch_norm)
        elif recipe.train != "head":  # whose features are computed before
            passing = max(passing, 2 * size * number)
    fixed = parameters * (master + copies + (master if recipe.ema else 0)) + learning * (2 * master + copies)
    images = math.ceil(math.ceil(batch_size / share.ranks) / recipe.accumulate)
    free = _free(device) // (1 if device.type == "cuda" else share.neighbours)
    per_image = round(kept * (1 + WORKSPACE)) + passing
    return Forecast(fixed, per_image, images, free, recipe.accumulate, share.ranks)


def _bytes_kept(kind: str, number: int, batch_norm: bool) -> int:
    """Bytes that the backward pass needs for each number of a layer's output."""
    if kind == "maxpool":
        return number + 8  # the int64 index of each maximum
    if kind == "conv":
        return number if batch_norm else 0  # batch norm needs its input, ReLU only its own output
    return number if kind in ("relu", "lrn", "dropout") else 0


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdecimal():
        free = min(free, int(limit.read_text()) - int(used.read_text()) + _page_cache())
    return free


def _page_cache() -> int:
    """Bytes of the container's page cache, which the kernel frees when memory is needed."""
    if not (CGROUP / "memory.stat").is_file():
        return 0
    counts = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    return int(counts.get("inactive_file", 0)) + int(counts.get("active_file", 0))
