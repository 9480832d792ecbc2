"""A recipe: every choice of a training run, in one frozen record that a short TOML file fills in."""

import difflib
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import Field, asdict, dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from vgglass import notebook
from vgglass.architecture import Architecture
from vgglass.data.augment import AUGMENTATIONS
from vgglass.engines import NAMES
from vgglass.errors import UsageError

CHOICES = {
    "augmentation": tuple(AUGMENTATIONS),
    "fit": ("crop", "pad", "squash"),
    "initialisation": ("kaiming", "paper", "glorot", "he"),
    "precision": ("auto", "float32", "bfloat16", "float64"),
    "all_reduce": ("plain", "bfloat16"),
    "convolution": ("auto", "direct"),
    "rates": ("plain", "layer"),
    "schedule": ("cosine", "linear", "plateau"),
    "balance": ("none", "weights", "sampler"),
    "train": ("all", "last-block", "head"),
    "head": ("vgg", "pooled"),
    "feature_engine": ("auto", *NAMES),
}
RANGES: tuple[tuple[tuple[str, ...], str, Callable[[Any], bool]], ...] = (
    (("epochs", "batch_size", "accumulate", "plateau_epochs"), "from 1 to 1000000000", lambda n: 1 <= n <= 10**9),
    (("patience", "feature_views"), "from 0 to 1000000000", lambda n: 0 <= n <= 10**9),
    (("folds",), "0, or from 2 to 1000", lambda n: n == 0 or 2 <= n <= 1000),
    (("repeats",), "from 1 to 1000", lambda n: 1 <= n <= 1000),
    (("seed",), "from 0 to 4294967295", lambda n: 0 <= n < 2**32),
    (("image_size",), "at most 8192", lambda n: n <= 8192),
    (("hidden",), "at most 1048576", lambda pair: max(pair) <= 2**20),
    (("learning_rate",), "above 0 and finite", lambda x: 0 < x < math.inf),
    (("weight_decay", "warmup_epochs", "clip_norm"), "at least 0 and finite", lambda x: 0 <= x < math.inf),
    (("momentum", "label_smoothing", "ema"), "at least 0 and below 1", lambda x: 0 <= x < 1),
    (("block_decay",), "above 0 and at most 1", lambda x: 0 < x <= 1),
)
KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple[int, ...]: "whole numbers, separated by commas",
    tuple[int, int]: "a whole number for fc6 and fc7, or one for each, separated by a comma",
}
CROP_SHARE = 224 / 256  # of the shorter side, where the fit is 'crop' and the image not tiny
TINY = 64


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults suit a folder of photographs.

    architecture, head, dropout, channels, image_size   the network: see `Architecture`
    hidden, ranks    see there; one number is for both fc6 and fc7
    width            multiplier of the paper's channels
    widths           channels of each convolution, in place of width
    fit              how an image becomes a square: see `Preprocessing`
    augmentation     a key of `data.augment.AUGMENTATIONS`
    initialisation   kaiming, paper, glorot or he; paper means 0..255 input with only the mean subtracted
    batch_size       images a step
    accumulate       parts that a step's images are computed in, with their gradients summed: less memory
    learning_rate    at its highest, after warmup_epochs of linear growth
    rates            plain, or layer: in the units of each layer's own input and output, fresh layers of the head at
                     unit variance, so that one recipe suits weights of any origin (see `transfer`)
    schedule         down a cosine or a line to 0, or plateau: a tenth after each plateau_epochs without a better epoch
    weight_decay     of convolution and fully connected weights, not of biases and norms
    label_smoothing  share of each target spread over all classes
    clip_norm        largest norm of a step's gradient; 0 leaves it as it is
    ema              decay of the weights' moving average, which is validated and saved; 0 for none
    patience         stop after so many epochs without a better one; 0 never stops early
    balance          classes of few images: none, weights in the loss, or a sampler that draws every class as often; a
                     head that is fitted knows weights alone
    train            all layers, the last block of convolutions and the head, or the head alone (on cached features):
                     a vgg head by steps, a pooled head fitted at once, without any of the fields of steps
    block_decay      share of the rate that each block of convolutions gets of the one after it
    feature_views    with train=head: augmented views of each training image to cache, in place of the plain image,
                     for a fitted head beside it
    folds            judge what is learned in so many folds of the training images, from which then none are held out;
                     0 for none. Networks that learn by steps are trained anew in each, and no epoch is chosen: that of
                     the last one is kept, so that patience and plateaus are refused
    repeats          of the folds, divided anew each time
    keep_features    a fitted head's file keeps its training images' features, 1 KB each, for `train --add`
    feature_engine   what computes the features of frozen convolutions; auto is torch on a GPU, else openvino
    precision        bfloat16 (with float32 masters), float32, float64 (to compare two computations), or auto: of the
                     first two whichever this machine multiplies faster in
    convolution      direct; auto means the same (older versions had another)
    all_reduce       how gradients go between ranks: plain, as they were computed, or bfloat16, half of float32's bytes
    sync_batch_norm  with ranks on GPUs: normalise by the whole batch, not by each rank's share
    seed             of the weights, the order, the augmentation and dropout
    """

    architecture: str = "vgg11_bn"
    width: float = 1.0
    widths: tuple[int, ...] = ()
    head: str = "vgg"
    hidden: tuple[int, int] = (1024, 1024)
    ranks: tuple[int, int] = (0, 0)
    dropout: float = 0.5
    channels: int = 3
    image_size: int = 128
    fit: Literal["crop", "pad", "squash"] = "crop"
    augmentation: str = "crop-flip"
    initialisation: str = "kaiming"
    epochs: int = 30
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 0.02
    rates: str = "plain"
    schedule: str = "cosine"
    plateau_epochs: int = 5
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    warmup_epochs: float = 2.0
    label_smoothing: float = 0.1
    clip_norm: float = 0.0
    ema: float = 0.0
    patience: int = 0
    balance: str = "none"
    train: str = "all"
    block_decay: float = 1.0
    feature_views: int = 0
    folds: int = 0
    repeats: int = 1
    keep_features: bool = True
    feature_engine: str = "auto"
    precision: str = "auto"
    convolution: str = "auto"
    all_reduce: str = "plain"
    sync_batch_norm: bool = False
    seed: int = 0

    def _repr_html_(self) -> str:
        usual = Recipe()
        rows = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        changed = [[name, str(value)] for name, value in rows if value != getattr(usual, name)]
        return notebook.panel("recipe", {"usual": ""}, [["field", "value"], *changed])

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _typed(field, getattr(self, field.name)))
        for name, choices in CHOICES.items():
            self._require(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        for names, rule, holds in RANGES:
            for name in names:
                self._require(name, holds(getattr(self, name)), rule)
        if self.folds and not self.fits_head:
            if self.patience:
                rule = "leave no validation images, by which patience stops"
                raise UsageError(f"folds {self.folds}", rule, "add --set patience=0, or leave folds out")
            if self.schedule == "plateau":
                rule = "leave no validation images, by which a plateau is told"
                raise UsageError(f"folds {self.folds}", rule, "add --set schedule=cosine, or leave folds out")
        self._require("repeats", self.repeats == 1 or self.folds > 0, "1 without folds")
        self.network(classes=2)

    def _require(self, name: str, good: bool, rule: str) -> None:
        if not good:
            default = next(field.default for field in fields(self) if field.name == name)
            value = f"{name.replace('_', ' ')} {getattr(self, name)!r}"
            raise UsageError(value, f"must be {rule}", f"its default is {default!r}")

    def network(self, classes: int) -> Architecture:
        """The architecture for `classes` classes. Raises UsageError."""
        return Architecture.named(
            self.architecture,
            classes=classes,
            channels=self.channels,
            image_size=self.image_size,
            width=self.width,
            widths=self.widths,
            head=self.head,
            hidden=self.hidden,
            ranks=self.ranks,
            dropout=self.dropout,
        )

    @property
    def fits_head(self) -> bool:
        """Whether there are no steps: a pooled head alone is fitted to features of frozen convolutions."""
        return self.train == "head" and self.head == "pooled"

    @property
    def resize(self) -> int:
        """Side that an image is resized to before the crop; small images are not cropped."""
        whole = self.fit != "crop" or self.image_size <= TINY
        return self.image_size if whole else round(self.image_size / CROP_SHARE)

    def override(self, **values: Any) -> "Recipe":
        """The same with other values; strings are read as the field's type. Raises UsageError."""
        known = [field.name for field in fields(self)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
                raise UsageError(f"recipe field {name!r}", f"not one of {', '.join(known)}", f"did you mean {near}")
        return replace(self, **values)

    def as_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def read(name: str) -> Recipe:
    """A recipe by the name of a shipped one ('digits') or by its path. Raises UsageError."""
    return Recipe().override(**values(name))


def values(name: str) -> dict[str, Any]:
    """The fields that a recipe's file fills in. Raises UsageError."""
    shipped = resources.files("vgglass") / "recipes"
    path = Path(name)
    source = path if path.suffix == ".toml" else shipped / f"{name}.toml"
    if not source.is_file():
        raise UsageError(f"recipe {name!r}", "no such file", f"name a .toml file, or one of {', '.join(names())}")
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"recipe {name!r}", f"can't be read ({error})", "mend the file") from error


def names() -> list[str]:
    """The recipes that vgglass ships."""
    folder = resources.files("vgglass") / "recipes"
    return sorted(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))


def _typed(field: "Field[Any]", value: Any) -> Any:
    """The value as int, float, bool, str or whole numbers; a whole number may stand for a float."""
    kind: Any = field.type
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if kind in (int, float) and isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = kind(value)
            if float(number) == float(value):
                return number
        except (ValueError, OverflowError):  # int(inf) and float(10**400) overflow
            pass
    elif kind in (tuple[int, ...], tuple[int, int]):
        pair = kind == tuple[int, int]
        listed = value.split(",") if isinstance(value, str) else [value] if pair and type(value) is int else value
        if isinstance(listed, list | tuple) and all(re.fullmatch(r"\s*\d{1,8}\s*", str(item)) for item in listed):
            numbers = tuple(int(item) for item in listed)
            if not pair or len(numbers) == 2:
                return numbers
            if len(numbers) == 1:
                return numbers * 2
    elif isinstance(value, bool if kind is bool else str) and kind not in (int, float):
        return value
    expected = KINDS.get(kind, "text")
    raise UsageError(f"recipe field {field.name}={value!r}", f"must be {expected}", f"its default is {field.default!r}")
