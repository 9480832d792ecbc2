"""Making a smaller model from a trained one, and judging it on images that chose nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from vgglass import modelfile
from vgglass.architecture import Architecture
from vgglass.errors import DataError, UsageError
from vgglass.modelfile import Record
from vgglass.names import normalised
from vgglass.workflows.data import read_training_data
from vgglass.workflows.evaluate import aligned, used_for
from vgglass.workflows.models import Model, features, load, require_torch

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset
    from vgglass.shrinking.judgement import Judgement

HEADS = ("auto", "pooled")


@dataclass(frozen=True)
class Shrunk:
    """A smaller model that was written.

    ranks  of fc6 and fc7; (0, 0) for a pooled head
    """

    path: Path
    ranks: tuple[int, int]
    judgement: "Judgement"

    def as_json(self) -> dict[str, Any]:
        return {"path": str(self.path), "ranks": list(self.ranks), **self.judgement.as_json()}


def shrink_head(
    model: Model, folder: str | Path | None = None, *, out: str | Path, head: str, console: Console | None = None
) -> Shrunk:
    """Make a model with a smaller head, write it to `out`, and compare both on a folder's held-out images.

    head  a rank for fc6 and fc7; 'auto': the least ranks that change little on training images; 'pooled': pool5's
          average and an fc8 fitted to the training images in their place
    The images are divided as in training; the test split judges if there is one, else validation.
    Raises UsageError, DataError, ModelFileError, MissingExtraError.
    """
    require_torch("shrinking")
    from vgglass.shrinking import heads
    from vgglass.shrinking.judgement import judge
    from vgglass.training.metrics_log import Display
    from vgglass.training.transfer import require_finite

    out, console = require_model_path(out), console or Console(stderr=True)
    parent = load(model)
    rank = _rank(head, parent.record.architecture)
    require_finite(parent, "the model")
    dataset = training_data(parent.record, folder, console)
    if head == "pooled":
        child = heads.pooled(parent, dataset, features, Display(console))
    else:
        ranks = heads.auto_ranks(parent, dataset.split("train"), features) if rank is None else (rank, rank)
        if not any(ranks):
            rule = "finds no ranks that save multiply-adds and keep the answers on training images"
            raise UsageError(f"--head {head}", rule, "name a rank, or take pooled")
        child = heads.factorised(parent, ranks)
    modelfile.save(child, out)
    split, samples = held_out(dataset)
    judgement = judge(parent, modelfile.load(out), samples, split, used_for(parent.record, dataset, split))
    return Shrunk(out, child.record.architecture.ranks, judgement)


def _rank(head: str, architecture: Architecture) -> int | None:
    """The rank that `head` names; None for one of HEADS. Raises UsageError."""
    if architecture.head == "pooled":
        rule = "has no fc6 and fc7 to shrink: its head is pool5's average and fc8"
        raise UsageError(f"--head {head}", f"the model {rule}", "name a model with fc6 and fc7")
    if head in HEADS:
        return None
    if not head.isdecimal():
        raise UsageError(f"--head {head}", f"is neither a rank nor one of {', '.join(HEADS)}", "write, say, --head 64")
    inputs = architecture.widths[-1] * architecture.head_kernel**2
    largest = min(inputs, *architecture.hidden)
    if not 1 <= int(head) <= largest:
        rule = f"fc6 and fc7 of this model both have ranks from 1 to {largest:,}"
        raise UsageError(f"--head {head}", rule, "choose one of these, or auto")
    return int(head)


def require_model_path(out: str | Path) -> Path:
    """Raises UsageError unless `out` is the name of a model file."""
    if Path(out).suffix != ".safetensors":
        raise UsageError(f"--out {out}", "a model file ends in .safetensors", "choose such a name")
    return Path(out)


def training_data(record: Record, folder: str | Path | None, console: Console) -> "Dataset":
    """The folder's images divided as in training, labelled by the model's classes in its order.

    Raises DataError for other classes than the model's, or too few images to hold some out.
    """
    dataset = read_training_data(folder, console)
    own, found = ({normalised(name): name for name in names} for names in (record.classes, dataset.classes))
    if different := sorted(own.keys() ^ found.keys()):
        where = "the model tells and the folder lacks" if different[0] in own else "the folder has and the model lacks"
        rule = f"{where} ({len(different)} such classes of {len(own)} and {len(found)})"
        raise DataError(f"class {different[0]!r} of {dataset.name}", rule, "name the folder that trained the model")
    splits = {
        name: tuple(aligned(dataset, samples, record.classes).samples) for name, samples in dataset.splits.items()
    }
    return replace(dataset, classes=record.classes, splits=splits)


def held_out(dataset: "Dataset") -> "tuple[str, Sequence[Any]]":
    """The split to judge on: test, or validation if there is no test split."""
    name = "test" if dataset.splits.get("test") else "validation"
    return name, dataset.split(name)
