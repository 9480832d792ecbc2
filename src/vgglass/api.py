"""What `import vgglass` offers; the only place that hands one room's functions to another."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from vgglass import modelfile, zoo
from vgglass.errors import DataError, MissingExtraError, TrainingError, UsageError
from vgglass.modelfile import ModelFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vgglass.data.audit import Audit
    from vgglass.data.dataset import Dataset, Sample
    from vgglass.engines import Engine
    from vgglass.evaluation.metrics import Evaluation
    from vgglass.images import Pixels
    from vgglass.prediction import Prediction
    from vgglass.training.checkpoint import Run
    from vgglass.training.recipe import Recipe

SHOWN_FILES = 10
EVALUATION_BATCH = 64
Model = str | Path | ModelFile


def load(model: Model) -> ModelFile:
    """A model file by its path, or ImageNet weights by name ('vgg16') where they have been fetched already.

    Raises ModelFileError, or WeightsError for weights that are not on this machine (see `pretrained`).
    """
    if isinstance(model, ModelFile):
        return model
    if str(model) in zoo.names() and not Path(model).exists():
        return modelfile.load(pretrained(str(model)))
    return modelfile.load(Path(model))


def pretrained(name: str, *, download: bool = False, **hooks: Callable[..., Any]) -> Path:
    """The model file of torchvision's ImageNet weights: fetched once when `download` allows it, checked, cached.

    hooks: approve(address, bytes) -> bool instead of `download`; progress(bytes done, bytes in all).
    """
    approve = hooks.pop("approve", lambda address, size: download)
    return zoo.pretrained(name, approve, **hooks)


def check(
    folder: str | Path,
    *,
    recipe: "str | Recipe | None" = None,
    image_size: int | None = None,
    console: Console | None = None,
) -> "Audit":
    """Audit a folder of class folders, an idx folder or a manifest before training.

    recipe, image_size  whose crop is judged; the default recipe's without. Raises DataError, UsageError.
    """
    from vgglass.data import idx
    from vgglass.data.audit import audit
    from vgglass.data.folder import Survey, open_data, survey
    from vgglass.preprocess import Preprocessing

    chosen = _recipe(recipe, {} if image_size is None else {"image_size": image_size}, None)
    record = Preprocessing(chosen.image_size, chosen.resize, (0.0,) * 3, (1.0,) * 3, fit=chosen.fit)
    path = Path(folder)
    with _reading(console or Console(stderr=True)) as progress:
        of_files = path.is_dir() and not idx.holds_idx(path)
        found = survey(path, progress) if of_files else Survey.of(open_data(path, progress))
    return audit(found, record)


def write_manifest(audit: "Audit", path: str | Path) -> "Dataset":
    """Write what an audit found readable to a .parquet manifest, divided for training; that data set.

    Images whose content a manifest at `path` has already keep their split. Raises DataError, MissingExtraError.
    """
    from vgglass.data import manifest
    from vgglass.data.folder import trainable

    path, dataset = Path(path), audit.survey.dataset()
    if dataset.splits.keys() & {"train", "all"}:
        dataset = trainable(dataset, manifest.sides(path) if path.exists() else {})
    manifest.write(dataset, path)
    return dataset


def train(
    folder: str | Path | None = None,
    *,
    out: str | Path,
    recipe: "str | Recipe | None" = None,
    source: Model | None = None,
    resume: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    checkpoint_every: str = "5m",
    keep: int = 2,
    console: Console | None = None,
    **overrides: Any,
) -> Path:
    """Train on a folder of class folders (the embedded digits without one); the path of the best model file.

    recipe     a shipped recipe's name, a .toml path or a Recipe; `overrides` replace single fields of it
    source     a model file or pretrained name to start from
    resume     go on where the run under `out` stopped, with its own recipe
    overwrite  remove an earlier run under `out` first
    workers    processes that decode; None for what suits the data
    checkpoint_every  '200' steps or '5m' of time, and keep, how many checkpoints stay
    Raises DataError, UsageError or TrainingError before anything is written; InterruptedRunError on SIGINT and SIGTERM,
    after saving.
    """
    require_torch("training")
    from vgglass.data import manifest
    from vgglass.training import checkpoint, run
    from vgglass.training.display import Display

    out, console = Path(out), console or Console(stderr=True)
    display = Display(console)
    conduct = run.Conduct(checkpoint.Cadence(checkpoint_every), keep, workers)
    if resume:
        if recipe or overrides or source or overwrite:
            raise UsageError("--resume", "goes on with the run's own recipe", "leave the other options out")
        dataset, chosen, start = _resumed(out, folder, console)
    else:
        if not overwrite:
            run.require_fresh(out)
        plan, start = _plan(folder, recipe, source, overrides)
        dataset = read_training_data(folder, console)
        named = (_named(source), start) if source and start else None
        chosen, line = run.settle(plan, dataset, str(folder) if folder else None, named)
        display.say(line)
    run.require_memory(chosen, display)
    with checkpoint.alone(out):
        if not resume:
            if not overwrite:
                run.require_fresh(out)  # another may have run since
            run.clear(out)
            manifest.write(dataset, out / run.MANIFEST)
            checkpoint.write_run(out, chosen)
        return run.train(dataset, chosen, out, display, conduct, start, pool5)


def preview(
    folder: str | Path | None,
    path: Path,
    *,
    recipe: "str | Recipe | None" = None,
    source: Model | None = None,
    console: Console | None = None,
    **overrides: Any,
) -> None:
    """Draw to a PNG file what a network trained so would see: some images as judged, and as some epochs draw them."""
    require_torch("training")
    from vgglass.data.augment import colour_components
    from vgglass.training import preview, run

    console = console or Console(stderr=True)
    plan, start = _plan(folder, recipe, source, overrides)
    dataset = read_training_data(folder, console)
    samples = dataset.split("train")
    record, pixels = run.measure(samples, plan, start)
    missing = preview.preview(
        samples, dataset.classes, record, plan.augmentation, plan.seed, path, colour_components(pixels)
    )
    if missing:
        console.print(missing, style="yellow")


def pool5(model: ModelFile) -> "Callable[[Pixels], NDArray[np.float32]]":
    """The function that gives a model's features: uint8 images (N, H, W, C) in, pool5's output (N, C, k, k) out."""
    from vgglass.engines import torch

    return torch.pool5(model)


def _resumed(out: Path, folder: str | Path | None, console: Console) -> "tuple[Dataset, Run, ModelFile | None]":
    """The data of the run under `out`, what it is, and the model it starts from, where it has not started yet.

    Raises TrainingError for a run that is finished, and for other data than its own.
    """
    from vgglass.training import checkpoint, run

    chosen, progress = checkpoint.read_run(out), checkpoint.peek(out)
    if progress.finished:
        raise TrainingError(out, f"has finished after {progress.epoch} epochs", "there is nothing to resume")
    dataset = read_training_data(folder or out / run.MANIFEST, console)
    if not folder:
        dataset = replace(dataset, name=chosen.folder or dataset.name)
    if (run.identity(dataset), list(dataset.classes)) != (chosen.digest, chosen.classes):
        raise TrainingError(out, "was trained on other images or classes", "give it the folder as it was")
    start = None
    if chosen.source and progress == checkpoint.Progress():
        start = load(chosen.source["model"])
        if start.record.digest != chosen.source["digest"]:
            raise TrainingError(chosen.source["model"], "is no longer the model that the run began with", "put it back")
    return dataset, chosen, start


def evaluate(
    model: Model, folder: str | Path | None = None, *, split: str | None = None, console: Console | None = None
) -> "Evaluation":
    """Judge a model on one split of a folder (the embedded digits without one).

    Without `split`: 'test' where there is one, else 'validation', else all images. Raises DataError or ModelFileError.
    """
    from vgglass.data.loader import evaluation_batches
    from vgglass.evaluation import metrics

    file = load(model)
    dataset, name = _judged(file, folder, split, console or Console(stderr=True))
    samples = _aligned(dataset, name, file.record.classes)
    batches = evaluation_batches(samples, file.record.preprocessing, EVALUATION_BATCH)
    logits, labels = metrics.answer(batches, engine(file))
    return metrics.evaluate(logits, labels, file.record.classes, name, _used_for(file, dataset, name))


def predict(model: Model, paths: Sequence[str | Path], *, top: int = 5) -> "list[Prediction]":
    """One row for each image of the files and folders given, in order; an unreadable one carries its reason."""
    from vgglass import prediction

    file = load(model)
    return list(prediction.predict(prediction.expand(map(Path, paths)), file.record, engine(file), top))


def engine(model: ModelFile) -> "Engine":
    """The function that runs a model: uint8 images (N, H, W, C) in, logits (N, K) out."""
    from vgglass.engines.openvino import compile_model

    return compile_model(model)


def read_training_data(folder: str | Path | None, console: Console) -> "Dataset":
    """A folder's data set, split for training; what was left out is said. Raises DataError."""
    from vgglass.data.folder import trainable

    return trainable(_open(folder, console))


@contextmanager
def _reading(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A bar that shows how many images have been read of how many."""
    from rich.progress import Progress

    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading images", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _open(folder: str | Path | None, console: Console) -> "Dataset":
    from vgglass.data.folder import open_data

    with _reading(console) as progress:
        dataset = open_data(Path(folder) if folder else None, progress)
    if dataset.left_out:
        console.print(f"left out {len(dataset.left_out)} files that can't be read:", style="yellow")
        for name, reason in dataset.left_out[:SHOWN_FILES]:
            console.print(f"  {name}: {reason}", markup=False, highlight=False)
        if len(dataset.left_out) > SHOWN_FILES:
            console.print(f"  and {len(dataset.left_out) - SHOWN_FILES} more")
    return dataset


def _judged(file: ModelFile, folder: str | Path | None, split: str | None, console: Console) -> "tuple[Dataset, str]":
    """The data set to judge by, divided as in training where it is the training data, and the split's name."""
    from vgglass.data.folder import trainable

    dataset = _open(folder, console)
    if "validation" not in dataset.splits and ("train" in dataset.splits or "all" in dataset.splits):
        try:
            divided = trainable(dataset)
        except DataError:
            divided = dataset  # too small to train on is large enough to judge by
        if "train" in divided.splits and divided.digest("train") == file.record.data.get("digests", {}).get("train"):
            dataset = divided
    default = next(name for name in ("test", "validation", *dataset.splits) if name in dataset.splits)
    return dataset, split or default


def _aligned(dataset: "Dataset", split: str, classes: Sequence[str]) -> "list[Sample]":
    """The split's samples, labelled by the model's classes of the same names. Raises DataError."""
    samples = dataset.split(split)
    unknown = sorted({dataset.classes[sample.label] for sample in samples} - set(classes))
    if unknown:
        raise DataError(
            f"classes {', '.join(map(repr, unknown[:5]))} of {dataset.name}",
            f"are unknown to the model, which tells {', '.join(classes[:5])}{', ...' * (len(classes) > 5)} apart",
            "choose the model trained on these classes",
        )
    places = {name: index for index, name in enumerate(classes)}
    return [replace(sample, label=places[dataset.classes[sample.label]]) for sample in samples]


def _used_for(file: ModelFile, dataset: "Dataset", split: str) -> str:
    """What these very images did in training: a key of the command line's CAUTIONS, or nothing ('')."""
    digests = file.record.data.get("digests", {})
    digest = dataset.digest(split)
    if digest == digests.get("train") or (split == "all" and dataset.splits.get("train")):
        return "training"
    if split == "all" and dataset.name == file.record.data.get("name"):
        return "changed"  # the folder of the training, but no longer as it was: its old split can't be told
    return "selection" if digest == digests.get(file.record.data.get("selected_on")) else ""


def _named(source: Model) -> str:
    """What a run's record calls the model that it started from: a file by a path that holds from any folder."""
    if isinstance(source, ModelFile):
        return "(a model in memory)"
    return str(Path(source).resolve()) if Path(source).exists() else str(source)


def _plan(
    folder: str | Path | None, recipe: "str | Recipe | None", source: Model | None, overrides: dict[str, Any]
) -> "tuple[Recipe, ModelFile | None]":
    """The recipe of a run, and the model that it starts from."""
    start = load(source) if source else None
    usual = "finetune" if source else "digits" if folder is None else None
    return _recipe(recipe or usual, overrides, start), start


def _recipe(given: "str | Recipe | None", overrides: dict[str, Any], start: ModelFile | None) -> "Recipe":
    """The recipe with its overrides; what neither says of the network is as in the model that the run starts from."""
    from vgglass.training import recipe, transfer

    if isinstance(given, recipe.Recipe):
        return given.override(**overrides)
    values = recipe.values(given) if given else {}
    kept = transfer.fields_of(start.record) if start else {}
    return recipe.Recipe().override(**kept | values | overrides)


def require_torch(purpose: str) -> None:
    for package in ("torch", "sklearn", "matplotlib"):
        if not find_spec(package):
            raise MissingExtraError(package, "torch", purpose)
