"""Other epochs for a run that has begun: what its schedule then is, and where there is no way."""

from dataclasses import replace
from pathlib import Path

from vgglass.data.training_loader import batch_sizes
from vgglass.errors import TrainingError, UsageError
from vgglass.training.checkpoint import Progress, Run
from vgglass.training.recipe import Recipe
from vgglass.training.schedule import learning_rate

ANOTHER = "vgglass train FOLDER --train all --out ANOTHER --from"


def extended(out: Path, run: Run, progress: Progress, epochs: int) -> Run:
    """The run with so many epochs in all. Raises TrainingError, and UsageError for epochs that are behind it."""
    recipe = Recipe(**run.recipe)
    if run.fits_head:
        remedy = f"train its convolutions too: {ANOTHER} {out / 'best.safetensors'}"
        raise TrainingError(out, "is a head that was fitted at once, without epochs", remedy)
    require_patience(out, progress, recipe)
    if epochs <= progress.epoch:
        raise UsageError(f"--epochs {epochs}", f"{progress.epoch} are behind the run in {out}", "name more")
    if epochs == recipe.epochs:
        return run
    changes = [*run.extended, [progress.epoch, recipe.epochs]]
    return replace(run, recipe=recipe.override(epochs=epochs).as_json(), extended=changes)


def require_patience(out: Path, progress: Progress, recipe: Recipe) -> None:
    """Raises TrainingError for a run that more epochs would not make go on."""
    if progress.tired(recipe.patience):
        rule = f"stopped after {progress.epoch} epochs, the last {recipe.patience} without a better one (patience)"
        raise TrainingError(out, rule, f"start another run from it: {ANOTHER} {out / 'last.safetensors'}")


def line(run: Run, before: Run, progress: Progress, images: int) -> str:
    """What the change of epochs does to the rate of learning; '' where there is none."""
    old, new = Recipe(**before.recipe), Recipe(**run.recipe)
    if old == new:
        return ""
    steps = len(batch_sizes(images, run.batch_size))
    done = progress.epoch * steps + progress.step
    last, following = (learning_rate(recipe, done, steps, progress.rate_drops) for recipe in (old, new))
    said = f"epochs: {new.epochs} in place of {old.epochs}; after {done / steps:.3g} of them the learning rate"
    if last == following:
        return f"{said} stays {following:.3g}, as in a run of {new.epochs} from the start"
    return (
        f"{said} goes on at {following:.3g} in place of {last:.3g}: its {new.schedule} now ends at epoch {new.epochs}."
        f" {new.epochs} epochs from the start would have given other weights"
    )
