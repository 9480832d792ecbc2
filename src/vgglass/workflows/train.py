"""Training: start a run from data and a recipe, or resume one."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from vgglass.errors import TrainingError, UsageError, UserError
from vgglass.modelfile import ModelFile
from vgglass.workflows import train_folds
from vgglass.workflows.card import require_card, write_card
from vgglass.workflows.data import read_training_data
from vgglass.workflows.models import Model, features, recipe_of, require_torch, starting_model

if TYPE_CHECKING:
    from vgglass.data.dataset import Dataset
    from vgglass.training.checkpoint import Checkpoint, Run
    from vgglass.training.distributed import Ranks
    from vgglass.training.metrics_log import Display
    from vgglass.training.recipe import Recipe
    from vgglass.training.recording import Watching


def train(
    folder: str | Path | None = None,
    *,
    out: str | Path,
    recipe: "str | Recipe | None" = None,
    source: Model | None = None,
    preprocessing: str | None = None,
    add: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    checkpoint_every: str = "5m",
    keep: int = 2,
    watch: "bool | Watching" = False,
    activation: str = "relu",
    console: Console | None = None,
    **overrides: Any,
) -> Path:
    """Train on a folder of class folders (default: the embedded digits); return the path of the best model file.

    Beside it, its cards are written, or renewed where an earlier run left them.

    recipe     a shipped recipe's name, a .toml path or a Recipe; `overrides` replace single fields of it
    source     a model file, a pretrained name or another framework's weights to start from
    preprocessing  of those weights, as `starting_model` takes it
    add        the folder's classes to those of `source`, a fitted head that keeps its training features
    resume     continue the run under `out` with its own recipe; only `epochs` may differ, also to extend a finished run
    overwrite  remove an earlier run under `out` first
    workers    decoder processes; None chooses by the data
    checkpoint_every  '200' steps or '5m' of time; keep: number of checkpoints to retain
    watch      record how it learns in the run's folder (see `vgglass.learning`), at most 20 MB; `clip` draws it
    activation in place of every ReLU, to watch what comes of it: no model file is written then
    Under torchrun the ranks share the work, an unfinished run of the same recipe under `out` is resumed automatically,
    and a finished one is left unchanged.
    Raises DataError, UsageError or TrainingError before anything is written; InterruptedRunError on SIGINT, SIGTERM
    and SIGHUP, after saving.

    >>> best = vgglass.train("photos", out="runs/mine", image_size=32, width=0.125, epochs=1, watch=True)
    >>> best.as_posix()
    'runs/mine/best.safetensors'
    """
    require_torch("training")
    from vgglass.training import checkpoint, distributed, process, run
    from vgglass.training.metrics_log import Display
    from vgglass.training.recording import Open, Watching

    out, console = Path(out), console or Console(stderr=True, quiet=not process.first())
    display = Display(console)
    watching = Watching(Open()) if watch is True else watch or None
    options = run.RunOptions(checkpoint.Cadence(checkpoint_every), keep, workers, watching)
    others = overrides.keys() - {"epochs"}
    if resume and (recipe or others or source or preprocessing or overwrite or add):
        raise UsageError("--resume", "goes on with the run's own recipe", "leave all options out but --epochs")
    epochs = _requested_epochs(overrides) if resume else None
    with distributed.process_group() as group, ExitStack() as held:
        start: ModelFile | None = None  # these two are set on the first rank only
        newest: Checkpoint | None = None

        def begin() -> "tuple[Dataset, Run] | None":
            """Write the run's data and record under `out` and return them; None if the run has finished."""
            nonlocal start, newest
            if overwrite and group.launched:
                remedy = "remove the folder beforehand, or choose another --out"
                raise UsageError("--overwrite", "would remove the run each time that torchrun starts it again", remedy)
            goes_on = resume or (group.launched and (out / checkpoint.RUN).exists())
            if goes_on:
                if not resume:
                    _require_same_run(
                        out, _resolve_plan(folder, recipe, source, overrides, preprocessing, None, add)[0], source
                    )
                before = checkpoint.read_run(out)
                held.enter_context(checkpoint.exclusive(out))
                newest = checkpoint.read_newest(out)
                if group.launched and run.finished(out, before, newest.progress, epochs):
                    return None
                dataset, chosen, start = _resume_run(out, before, newest, folder, epochs, display)
            else:
                if not overwrite:
                    run.require_fresh(out)
                plan, start = _resolve_plan(folder, recipe, source, overrides, preprocessing, console, add)
                own, dataset, chosen = _planned_run(folder, plan, source, start, preprocessing, display, add=add)
                chosen = replace(chosen, activation=activation)
            _require_feasible(chosen, dataset, start, group, bool(watch), display)
            require_card(out)
            if not goes_on:
                held.enter_context(checkpoint.exclusive(out))
                held.enter_context(_clearing_failed_start(out))
                _write_new_run(out, own, chosen, overwrite)
            elif epochs:
                checkpoint.write_run(out, chosen)
            return dataset, chosen

        begun = group.broadcast_object(begin)
        if begun is None:
            display.print(f"{out} holds this run, finished")
            return out / run.BEST
        context = run.RunContext(*begun, out, options, display, features, group)
        if train_folds.are_trained(context.run):
            context = train_folds.judge(context, start)
            display.print("training on all images")
        best = run.train(context, start, newest)
        if group.first and best.exists():
            write_card(best)
        return best


def _require_feasible(
    chosen: "Run", dataset: "Dataset", start: ModelFile | None, group: "Ranks", watch: bool, display: "Display"
) -> None:
    """Raises UsageError, DataError or TrainingError for a run that could not be carried out, before it is written."""
    from vgglass.training import run

    if watch and chosen.recipe.train == "head":
        rule = "records convolutions that learn, and here they are frozen"
        raise UsageError("--watch", rule, "leave it out, or train all layers")
    if train_folds.are_trained(chosen):
        watched = watch or chosen.activation != "relu"
        train_folds.require(chosen, dataset, start, ranks=group.launched, watched=watched)
    run.require_divisible(chosen, len(dataset.split("train")), group)
    if not chosen.recipe.fits_head:
        run.require_memory(chosen, display, group)


def preview(
    folder: str | Path | None,
    path: Path,
    *,
    recipe: "str | Recipe | None" = None,
    source: Model | None = None,
    preprocessing: str | None = None,
    add: bool = False,
    console: Console | None = None,
    **overrides: Any,
) -> None:
    """Draw a PNG of what a network would be trained on: some images as evaluated, and as augmented in some epochs."""
    require_torch("training")
    from vgglass.data.augment import colour_components
    from vgglass.training import kept, preview
    from vgglass.training.plan import measure_statistics

    console = console or Console(stderr=True)
    plan, start = _resolve_plan(folder, recipe, source, overrides, preprocessing, console, add)
    own = read_training_data(folder, console, hold_out=not plan.folds, least=1 if add else 2)
    dataset = kept.widened(own, start if add else None)
    samples = dataset.split("train")
    record, pixels = measure_statistics(samples, plan, start)
    missing = preview.preview(
        samples, dataset.classes, record, plan.augmentation, plan.seed, path, colour_components(pixels)
    )
    if missing:
        console.print(missing, style="yellow")


def _planned_run(
    folder: str | Path | None, plan: "Recipe", source: Model | None, start: ModelFile | None,
    preprocessing: str | None, display: "Display", *, add: bool,
) -> "tuple[Dataset, Dataset, Run]":  # fmt: skip
    """The data of a new run, as it lies in the folder and as it is learned from, and the run's record."""
    from vgglass.training import kept
    from vgglass.training.plan import plan_run

    own = read_training_data(folder, display.console, hold_out=not plan.folds, least=1 if add else 2)
    dataset = kept.widened(own, start if add else None)
    named = (source_name(source), start) if source and start else None
    chosen, line = plan_run(plan, dataset, str(folder) if folder else None, named)
    if add:
        assert start
        chosen = replace(chosen, preprocessing=start.record.preprocessing.as_json(), adds=True)
    if preprocessing:
        chosen.source["preprocessing"] = preprocessing  # not determined by the file
    display.print(line)
    return own, dataset, chosen


@contextmanager
def _clearing_failed_start(out: Path) -> Iterator[None]:
    """Remove the files of a run that fails before its first checkpoint, as they would block a second attempt.

    Kept if the error suggests --resume, which needs them, or if there is a record of how it failed.
    """
    from vgglass.learning import Learning
    from vgglass.training import checkpoint, fold_answers, run

    try:
        yield
    except (UserError, OSError) as error:
        of_run = checkpoint.newest_first(out) or (out / run.BEST).exists() or Learning(out).steps()
        learned = of_run or fold_answers.begun(out)
        resumable = isinstance(error, UserError) and "--resume" in error.remedy
        if not learned and not resumable:
            run.clear(out)
        raise


def _write_new_run(out: Path, dataset: "Dataset", chosen: "Run", overwrite: bool) -> None:
    """Write the files of a new run, replacing an earlier one if `overwrite`. Raises TrainingError."""
    from vgglass.data import manifest
    from vgglass.training import checkpoint, run

    if not overwrite:
        run.require_fresh(out)  # again: another process may have written here in the meantime
    run.clear(out)
    manifest.write(dataset, out / run.MANIFEST)
    checkpoint.write_run(out, chosen)


def _require_same_run(out: Path, plan: "Recipe", source: Model | None) -> None:
    """Raises TrainingError if the run under `out` is not the requested one."""
    from vgglass.training import checkpoint, run

    run.require_recipe(out, plan)
    begun, wanted = checkpoint.read_run(out).source.get("model"), source_name(source) if source else None
    if begun != wanted:
        rule = f"holds a run with --from {begun}, not {wanted}"
        raise TrainingError(out, rule, "choose another --out, or remove that folder")


def _resume_run(
    out: Path, before: "Run", newest: "Checkpoint", folder: str | Path | None, epochs: int | None, display: "Display"
) -> "tuple[Dataset, Run, ModelFile | None]":
    """Open the run under `out`: its data, its record, and its starting model if there is no checkpoint yet.

    before  the stored record; epochs: new total that replaces the recipe's
    Raises TrainingError for a finished run or other data.
    """
    from vgglass.training import checkpoint, kept, plan, run

    progress = newest.progress
    chosen = plan.extended(out, before, progress, epochs) if epochs else before
    if run.finished(out, chosen, progress):
        if chosen.recipe.fits_head:
            raise TrainingError(out, "has finished with its head fitted", "there is nothing to resume")
        plan.require_patience(out, progress, chosen.recipe)
        if chosen.recipe.folds:
            raise TrainingError(out, f"has finished after {progress.epoch} epochs", "there is nothing to resume")
        remedy = f"there is nothing to resume, but more epochs go on from there: --resume --epochs {2 * progress.epoch}"
        raise TrainingError(out, f"has finished after {progress.epoch} epochs", remedy)
    fresh = progress == checkpoint.Progress()
    start = _load_start(chosen, display.console) if chosen.source and (fresh or chosen.adds) else None
    held_out, least = not chosen.recipe.folds, 1 if chosen.adds else 2
    own = read_training_data(folder or out / run.MANIFEST, display.console, hold_out=held_out, least=least)
    dataset = kept.widened(own, start if chosen.adds else None)
    if not folder:
        dataset = replace(dataset, name=chosen.folder or dataset.name)
    if (plan.identity(dataset), list(dataset.classes)) != (chosen.digest, chosen.classes):
        raise TrainingError(out, "was trained on other images or classes", "give it the folder as it was")
    display.print(plan.extension_line(chosen, before, progress, len(dataset.split("train"))))
    if fresh and not chosen.recipe.fits_head and not chosen.recipe.folds:
        display.print(f"no whole checkpoint is in {out}: the run begins anew, at epoch 1")
    return dataset, chosen, start


def _load_start(chosen: "Run", console: Console) -> ModelFile:
    """Load the model that a run started from. Raises TrainingError if its digest has changed."""
    start = starting_model(chosen.source["model"], chosen.source.get("preprocessing"), console)
    if start.record.digest != chosen.source["digest"]:
        raise TrainingError(chosen.source["model"], "is no longer the model that the run began with", "put it back")
    return start


def _requested_epochs(overrides: dict[str, Any]) -> int | None:
    """Return the requested epochs as a number. Raises UsageError."""
    from vgglass.training.recipe import Recipe

    return Recipe().override(**overrides).epochs if overrides else None


def source_name(source: Model) -> str:
    """Return the name of a starting model for the run's record: an absolute path for a file."""
    if isinstance(source, ModelFile):
        return "(a model in memory)"
    return str(Path(source).resolve()) if Path(source).exists() else str(source)


def _resolve_plan(
    folder: str | Path | None, recipe: "str | Recipe | None", source: Model | None, overrides: dict[str, Any],
    preprocessing: str | None = None, console: Console | None = None, add: bool = False,
) -> "tuple[Recipe, ModelFile | None]":  # fmt: skip
    """Resolve the recipe of a run and its starting model; one that adds classes takes that of the model's first run."""
    if preprocessing and not source:
        raise UsageError("--preprocessing", "is of the weights that --from names", "add --from, or leave it out")
    if add and (not source or recipe or overrides):
        rule = "fits a head as that of the model --from was fitted"
        raise UsageError("--add", rule, "name that model by --from, and leave out recipe and --set")
    start = starting_model(source, preprocessing, console) if source else None
    if add:
        from vgglass.training.kept import recipe_of_first_run

        assert start
        return recipe_of(None, recipe_of_first_run(start), start), start
    by_steps = overrides.get("train", "head") != "head"
    usual = ("finetune" if by_steps else "transfer") if source else "digits" if folder is None else None
    if not recipe and "folds" in overrides:
        overrides = {"patience": 0} | overrides  # what is usual may stop early by validation images: there are none
    return recipe_of(recipe or usual, overrides, start), start


def write_digits(split: str, folder: Path) -> Path:
    """Write the embedded digits of a split as image files in class folders; return the folder."""
    from vgglass.data import sources

    return sources.write_images(split, folder)
