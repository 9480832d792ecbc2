"""Weights from other frameworks into a model file, and back; and architectures by name or file."""

from pathlib import Path
from typing import Any

from rich.console import Console

from vgglass import modelfile, weights
from vgglass.architecture import Architecture
from vgglass.errors import DataError, UsageError
from vgglass.modelfile import Record
from vgglass.names import group_by_case
from vgglass.weights import zoo
from vgglass.workflows.models import is_foreign, require_torch


def architecture(name: str, **options: Any) -> Architecture:
    """Return the architecture of a model file, or by name with `Architecture.named`'s options.

    Raises UsageError, ModelFileError.
    """
    if is_model_file(name):
        return modelfile.load_record(Path(name)).architecture
    return Architecture.named(name, **options)


def is_model_file(name: str) -> bool:
    return name.endswith(".safetensors") or Path(name).is_file()


def is_pretrained_name(model: str) -> bool:
    """Whether `model` is the name of torchvision's ImageNet weights and not an existing path."""
    return model in zoo.names() and not Path(model).exists()


def convert_to_foreign(source: Path, destination: Path, family: str) -> None:
    """Write a model file's weights in the format of `family`. Raises UsageError, ModelFileError, MissingExtraError."""
    require_torch("converting weights")
    weights.to_foreign(modelfile.load(source), destination, family)


def convert_from_foreign(
    source: Path,
    destination: Path,
    *,
    classes: str | None = None,
    image_size: int | None = None,
    preprocessing: str | None = None,
    console: Console | None = None,
) -> Record:
    """Convert another framework's weights to a model file; return its record.

    classes  a text file with one class name per line, or 'imagenet'
    console  prints what was recognised, converted and ignored
    Raises UsageError, WeightsError, ModelFileError, MissingExtraError.
    """
    require_torch("converting weights")
    console = console or Console(quiet=True)
    if source.suffix == ".safetensors" and not is_foreign(source):
        modelfile.load_record(source)
        rule, remedy = "is a vgglass model file already", f"add --to and one of {', '.join(weights.FAMILIES)}"
        raise UsageError(source, rule, remedy)
    if destination.suffix != ".safetensors":
        raise UsageError(destination, "a model file ends in .safetensors", "choose such a name")
    foreign = weights.read_foreign(source, preprocessing)
    console.print("\n".join(foreign.lines()), soft_wrap=True, markup=False)
    if classes is None and foreign.network.has_classes:
        outputs = f"names the {foreign.network.architecture.classes:,} classes in the order of the outputs"
        raise UsageError("--classes", f"{outputs} and is missing", "add a text file, one name a line, or imagenet")
    names = class_names(classes) if classes else None
    for alike in group_by_case(names or ()).values():
        if len(alike) > 1:
            console.print(f"{' and '.join(map(repr, alike))} differ in case alone", style="yellow", markup=False)
    return modelfile.save(weights.model_of(foreign, names, image_size), destination)


def class_names(source: str) -> tuple[str, ...]:
    """Return the lines of a text file, or ImageNet's 1,000 names from torchvision. Raises UsageError."""
    from vgglass.data import lists

    if source == "imagenet":
        return zoo.imagenet_classes()
    try:
        return lists.lines(Path(source))
    except DataError as error:
        rule = f"can't be read ({error.value}: {error.rule})"
        raise UsageError(
            f"--classes {source}", rule, "name a text file in UTF-8, one name a line, or imagenet"
        ) from error
