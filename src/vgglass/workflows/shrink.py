"""Making a smaller model from a trained one, and judging it on images that chose nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from vgglass import modelfile, notebook
from vgglass.architecture import Architecture
from vgglass.data.sources import DIGITS
from vgglass.engines import Precision
from vgglass.errors import DataError, UsageError
from vgglass.modelfile import ModelFile, Record
from vgglass.names import normalised
from vgglass.workflows.data import read_training_data
from vgglass.workflows.evaluate import aligned, used_for
from vgglass.workflows.models import Model, features, load, require_torch
from vgglass.workflows.shrink_channels import shrink_channels
from vgglass.workflows.train import source_name, train

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset
    from vgglass.shrinking.judgement import Judgement
    from vgglass.shrinking.rounds import Round
    from vgglass.training.metrics_log import Display

HEADS = ("auto", "pooled")
SPEED = 4.0
BASELINE = ".baseline"  # the folder of its run, beside the model


@dataclass(frozen=True)
class Shrunk:
    """A smaller model that was written.

    ranks      of fc6 and fc7; (0, 0) where neither is factorised
    rounds     the networks on the way and the child; none where only the head became smaller
    judgement  of parent and child
    baseline   of the parent and a network of the child's widths that learned from the labels alone, if asked for
    """

    path: Path
    parent: ModelFile
    child: ModelFile
    ranks: tuple[int, int]
    rounds: "tuple[Round, ...]"
    judgement: "Judgement"
    baseline: "Judgement | None"

    def _repr_html_(self) -> str:
        before, after = self.parent.record.architecture, self.child.record.architecture
        top1, labels = self.judgement.comparison.top1, notebook.words()["labels"]
        table = [
            ["", "parent", "child"],
            [labels["top1"], *map(notebook.percent, top1)],
            [labels["parameters"], before.parameters, after.parameters],
            [labels["work"], before.multiply_adds, after.multiply_adds],
        ]
        return notebook.panel("shrunk", {"written": self.path}, table)

    def as_json(self) -> dict[str, Any]:
        baseline = {"baseline": self.baseline.as_json()} if self.baseline else {}
        shrunk = self.child.record.recipe["shrunk"]
        return {"path": str(self.path), "ranks": list(self.ranks), **shrunk, **self.judgement.as_json(), **baseline}


def shrink(
    model: Model,
    folder: str | Path | None = None,
    *,
    out: str | Path,
    speed: float | None = None,
    multiply_adds: float | None = None,
    largest_loss: float | None = None,
    head: str | None = None,
    baseline: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    checkpoint_every: str = "5m",
    console: Console | None = None,
    **overrides: Any,
) -> Shrunk:
    """Make a smaller, quicker model of one, write it to `out`, and compare both on images that chose nothing.

    folder         divided as in training; default: the images that the model learned from. The test split judges if
                   there is one, else validation
    speed          remove channels until it is so many times as quick, measured on this machine; 4 where nothing is said
    multiply_adds  or until this share of the parent's is left
    largest_loss   or as many as may go at a loss of so many points of top-1
    head           make fc6 to fc8 smaller instead: a rank for fc6 and fc7; 'auto': the least ranks that change little
                   on training images; 'pooled': pool5's average and a fitted fc8 in their place
    baseline       train a network of the same widths from random weights as well
    overwrite      begin anew where an earlier call was interrupted or has finished
    overrides      fields of the recipe 'shrink', by which the narrow network learns from its parent
    Removing channels goes on where a call that was interrupted or killed stopped. Raises UsageError, DataError,
    ModelFileError, TrainingError, MissingExtraError, InterruptedRunError.

    >>> found = vgglass.shrink("runs/digits/best.safetensors", head="pooled", out="small.safetensors")
    >>> found.child.record.architecture.parameters < found.parent.record.architecture.parameters
    True
    """
    require_torch("shrinking")
    from vgglass.shrinking.judgement import judge
    from vgglass.shrinking.rounds import Goal
    from vgglass.training.metrics_log import Display
    from vgglass.training.transfer import require_finite

    out, console = require_model_path(out), console or Console(stderr=True)
    if isinstance(model, str | Path) and out.exists() and Path(model).exists() and out.samefile(model):
        raise UsageError(f"--out {out}", "is the model that is to be shrunk", "name another file")
    display, goal = Display(console), None
    if head is None:
        nothing = (speed, multiply_adds, largest_loss) == (None, None, None)
        goal = Goal(SPEED if nothing else speed, multiply_adds, largest_loss)
    elif (speed, multiply_adds, largest_loss) != (None, None, None) or baseline or overrides:
        rule = "makes the head smaller, at once, and the other options remove channels"
        raise UsageError(f"--head {head}", rule, "shrink the head first, then the channels of the model that comes out")
    parent = load(model)
    rank = _rank(head, parent.record.architecture) if head else None
    require_finite(parent, "the model")
    folder = _folder(parent.record, folder)
    dataset = training_data(parent.record, folder, console)
    name = source_name(model)
    rounds: list[Round] = []
    if goal:
        rounds = shrink_channels(
            parent, name, dataset, out, goal, overwrite=overwrite, workers=workers, checkpoint_every=checkpoint_every,
            display=display, **overrides,
        )  # fmt: skip
        child = rounds[-1].model
    else:
        child = _with_smaller_head(parent, dataset, head, rank, display)
    split, samples = held_out(dataset)
    used = used_for(parent.record, dataset, split)
    judgement = judge(parent, child, samples, split, used, [each.model for each in rounds[:-1]])
    record = modelfile.save(_with_record(child, name, judgement), out)
    child = replace(child, record=record)
    own = None
    if baseline:
        own = judge(parent, _baseline(child, folder, out, console), samples, split, used)
    return Shrunk(out, parent, child, record.architecture.ranks, tuple(rounds), judgement, own)


def draw_shrinking(found: Shrunk, path: Path) -> Path:
    """Draw accuracy against time over the rounds, by the precision that the engine chooses; the picture's path."""
    from vgglass import plotting

    judgement = found.judgement
    networks = (judgement.parent, *judgement.between, judgement.child)
    precision: Precision = "bfloat16" if "bfloat16" in judgement.parent.milliseconds else "float32"
    points = [(each.milliseconds[precision], each.top1, each.interval) for each in networks]
    comparison = judgement.comparison
    plotting.trade_off(
        points, f"{judgement.engine}, {precision}; {comparison.images:,} {comparison.split} images", path
    )
    return path


def _folder(record: Record, folder: str | Path | None) -> str | Path | None:
    """The images that a model learned from, where no others are named; None for the embedded digits."""
    name = record.data.get("name", "")
    if folder is not None or name == DIGITS:
        return folder
    if not name or not Path(name).exists():
        rule = f"were in {name!r}, which is not there" if name else "are not known from its record"
        raise DataError("the images that the model learned from", rule, "name the FOLDER")
    return str(name)


def _with_smaller_head(
    parent: ModelFile, dataset: "Dataset", head: str | None, rank: int | None, display: "Display"
) -> ModelFile:
    from vgglass.shrinking import heads

    if head == "pooled":
        return heads.pooled(parent, dataset, features, display)
    ranks = heads.auto_ranks(parent, dataset.split("train"), features) if rank is None else (rank, rank)
    if not any(ranks):
        rule = "finds no ranks that save multiply-adds and keep the answers on training images"
        raise UsageError(f"--head {head}", rule, "name a rank, or take pooled")
    return heads.factorised(parent, ranks)


def _with_record(child: ModelFile, parent: str, judgement: "Judgement") -> ModelFile:
    """The child with its parent's name, and what its report shows: accuracy against work, from the parent to itself."""
    networks = (judgement.parent, *judgement.between, judgement.child)
    curve = [{"multiply_adds": each.multiply_adds, "top1": each.top1, "interval": each.interval} for each in networks]
    about = {"split": judgement.comparison.split, "images": judgement.comparison.images, "curve": curve}
    metrics = dict(child.record.metrics) | {"shrinking": about}
    recipe = dict(child.record.recipe) | {"shrunk": {**child.record.recipe["shrunk"], "parent": parent}}
    return replace(child, record=replace(child.record, metrics=metrics, recipe=recipe))


def _baseline(child: ModelFile, folder: str | Path | None, out: Path, console: Console) -> ModelFile:
    """A network of the child's widths trained from random weights on the same images, by the usual recipe."""
    architecture = child.record.architecture
    options: dict[str, Any] = {"architecture": architecture.name, "widths": architecture.widths}
    options |= {"head": architecture.head, "channels": architecture.channels, "image_size": architecture.image_size}
    if architecture.head == "vgg":
        options |= {"hidden": architecture.hidden, "ranks": architecture.ranks}
    return modelfile.load(train(folder, out=out.with_suffix(BASELINE), overwrite=True, console=console, **options))


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
