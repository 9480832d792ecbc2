"""Opening models by path or name, engines and predictors, and recipes."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from vgglass import drift, familiarity, lineage, modelfile, names, weights
from vgglass.engines.artifact import Artifact
from vgglass.errors import MissingExtraError, ModelFileError, UsageError
from vgglass.modelfile import ModelFile, Record
from vgglass.weights import zoo
from vgglass.weights.formats import READERS

if TYPE_CHECKING:
    from vgglass.engines import Engine, Output
    from vgglass.inference.predictor import Predictor
    from vgglass.training.recipe import Recipe


Model = str | Path | ModelFile


def load(model: Model) -> ModelFile:
    """Load a model file by path, or ImageNet weights by name ('vgg16') if already downloaded.

    Raises ModelFileError, or WeightsError for weights that are not on this machine (see `pretrained`).

    >>> vgglass.load("runs/digits/best.safetensors").record.architecture.name
    'vgg11_bn'
    """
    return model if isinstance(model, ModelFile) else modelfile.load(_model_path(model))


def _model_path(model: str | Path) -> Path:
    """The file of a model by its path or pretrained name. Raises ModelFileError or WeightsError."""
    if str(model) in zoo.names() and not Path(model).exists():
        return pretrained(str(model))
    path = names.existing(Path(model))
    if not path.suffix and not path.exists():
        remedy = f"name a .safetensors file, or one of {', '.join(zoo.names())}"
        raise ModelFileError(model, "is neither a file nor a pretrained name", remedy)
    return path


def load_parent(child: Record, given: str | None) -> ModelFile | None:
    """Load the model that a shrunk one came from, by `parent_path`; None if there is none."""
    path = parent_path(child, given)
    return None if path is None else modelfile.load(path)


def parent_path(child: Record, given: str | None) -> Path | None:
    """The file of the model that a shrunk one came from: the one given, as for `load`, or the recorded one if there.

    Raises UsageError for a file that the child was not shrunk from, ModelFileError for a given one that can't be read.
    """
    if given is None and "shrunk" not in child.recipe:
        return None
    digest, recorded = lineage.parent_of(child)
    if given is not None:
        path = _model_path(given)
        lineage.require_parent(child, modelfile.load_record(path), given)
        return path
    if recorded is None or not Path(recorded).is_file():
        return None
    try:
        found = modelfile.load_record(Path(recorded))
    except ModelFileError:  # another file may lie there by now
        return None
    if found.digest != digest:
        return None
    lineage.require_parent(child, found, recorded)
    return Path(recorded)


def load_record(model: str | Path) -> Record:
    """Read a model file's record without its weights. Raises ModelFileError."""
    return modelfile.load_record(Path(model))


def is_foreign(path: Path) -> bool:
    """Whether a file holds another framework's weights, by its suffix or, if that is ambiguous, by its contents."""
    if path.suffix != ".safetensors":
        return path.suffix in READERS
    return path.is_file() and not modelfile.is_one(path)


def starting_model(source: Model, preprocessing: str | None = None, console: Console | None = None) -> ModelFile:
    """Load a run's starting model as `load` does, or from another framework's weights, with their digest in the record.

    preprocessing  of foreign weights whose file does not determine it: 'torchvision' or 'keras'
    console        prints two lines on what was recognised, converted and ignored of foreign weights
    Raises ModelFileError, WeightsError, UsageError.
    """
    if isinstance(source, ModelFile) or not is_foreign(Path(source)):
        if preprocessing:
            rule = "is how another framework's network is fed, and a model file says it itself"
            raise UsageError(f"--preprocessing {preprocessing}", rule, "leave it out")
        return load(source)
    foreign = weights.read_foreign(Path(source), preprocessing)
    if console:
        console.print("\n".join(foreign.lines()), soft_wrap=True, markup=False)
    model = weights.model_of(foreign)
    return replace(model, record=replace(model.record, digest=modelfile.weights_digest(model.weights)))


def open_source(model: Model | Artifact) -> ModelFile | Artifact:
    """Open a model file or pretrained name as `load` does, or an exported graph by its path (.xml, .onnx)."""
    from vgglass.engines import FORMATS, export

    if isinstance(model, Artifact):
        return model
    if not isinstance(model, ModelFile) and Path(model).suffix in FORMATS:
        return export.read(names.existing(Path(model)))
    return load(model)


def pretrained(name: str, *, download: bool = False, **hooks: Callable[..., Any]) -> Path:
    """Return the cached model file of torchvision's ImageNet weights, downloading and verifying it if allowed.

    hooks: approve(address, bytes) -> bool instead of `download`; progress(bytes done, total bytes).

    >>> vgglass.pretrained("vgg16").name
    'vgg16.safetensors'
    """
    approve = hooks.pop("approve", lambda address, size: download)
    return zoo.pretrained(name, approve, **hooks)


def engine(
    model: Model | Artifact,
    engine: str = "auto",
    precision: str = "auto",
    *,
    output: "Output" = "fc8",
    dense: bool = False,
) -> "Engine":
    """Return the function that runs a model: uint8 images (N, H, W, C) in, float32 'fc8', 'fc7' or 'pool5' out.

    dense  accept images of any size, with fully connected layers as convolutions: fc8 is then (N, K, rows, columns)

    >>> import numpy as np
    >>> run = vgglass.engine("runs/digits/best.safetensors")
    >>> run(np.zeros((2, 32, 32, 1), np.uint8)).shape
    (2, 10)
    """
    from vgglass.engines.selection import choose, open_engine

    source = open_source(model)
    return open_engine(source, choose(source, engine, precision), output, dense=dense)


def predictor(
    model: Model | Artifact, *, views: str | None = None, engine: str = "auto", precision: str = "auto"
) -> "Predictor":
    """Open a model for prediction; the result can be used for any number of calls.

    model      a model file, a pretrained name, or a graph that `export` wrote
    views      'centre', 'dense', 'crops', 'scales', with sizes and sums as `views.parse` reads them
    engine     'openvino', 'torch', 'onnxruntime'; 'auto' is torch on a GPU, else OpenVINO
    precision  'float32' or 'bfloat16'; 'auto' is the faster one on this machine
    Raises UsageError for options that are incompatible or unsupported here, MissingExtraError, ModelFileError.
    """
    from vgglass.engines.selection import choose, open_engine
    from vgglass.inference.predictor import Predictor
    from vgglass.inference.views import parse

    source = open_source(model)
    usual = "dense" if isinstance(source, Artifact) and source.dense else "centre"
    parsed = parse(usual if views is None else views, source.record)
    choice = choose(source, engine, precision)
    known = familiarity.attached(source) if isinstance(source, ModelFile) else None
    training = drift.attached(source) if isinstance(source, ModelFile) else None
    output: Output = "fc8+average" if known else "fc8"
    engines = {kind: open_engine(source, choice, output, dense=kind) for kind in {view.is_dense for view in parsed}}
    record = source.record
    if isinstance(source, ModelFile) and not record.digest:  # created in memory and never saved
        record = replace(record, digest=modelfile.weights_digest(source.weights))
    mapped = source.mapped if isinstance(source, ModelFile) else None
    return Predictor(record, parsed, engines, str(choice), mapped, known, training)


def features(model: ModelFile, name: str, precision: str, output: "Output") -> "Engine":
    """Open an engine that extracts features: uint8 images (N, H, W, C) in, 'pool5' or 'avgpool' out."""
    return engine(model, name, precision, output=output)


def require_torch(purpose: str) -> None:
    for package in ("torch", "sklearn", "matplotlib"):
        if not find_spec(package):
            raise MissingExtraError(package, "torch", purpose)


# Recipes by name, path or field.


def recipe_of(given: "str | Recipe | None", overrides: dict[str, Any], start: ModelFile | None) -> "Recipe":
    """Resolve a recipe with its overrides; unspecified network fields are taken from the starting model."""
    from vgglass.training import recipe, transfer

    if isinstance(given, recipe.Recipe):
        return given.override(**overrides)
    values = recipe.values(given) if given else {}
    kept = transfer.recipe_fields(start.record) if start else {}
    chosen = values | overrides
    if "width" in chosen or ("architecture" in chosen and "widths" in kept):
        kept.pop("widths", None)  # a width per convolution applies only to the model's own architecture
    return recipe.Recipe().override(**kept | chosen)
