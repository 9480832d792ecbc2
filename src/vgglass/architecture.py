"""The VGG architectures as frozen data: the paper's table, and the layer shapes and counts derived from it.

Source: Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition
(arXiv 1409.1556v6), Table 1 and section 2. Shapes are C channels, H height, W width.
"""

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from vgglass.errors import UsageError

Kind = Literal["conv", "batchnorm", "relu", "lrn", "maxpool", "avgpool", "linear", "dropout", "softmax"]
Head = Literal["vgg", "pooled"]
Shape = tuple[int, ...]

# Five blocks per column; a block is a tuple of convolutions (kernel, channels), followed by 2x2 max pooling with stride
# 2. Convolutions have stride 1 and "same" padding: 1 for 3x3, 0 for 1x1.
COLUMNS: dict[str, tuple[tuple[tuple[int, int], ...], ...]] = {
    "A": (((3, 64),), ((3, 128),), ((3, 256),) * 2, ((3, 512),) * 2, ((3, 512),) * 2),
    "A-LRN": (((3, 64),), ((3, 128),), ((3, 256),) * 2, ((3, 512),) * 2, ((3, 512),) * 2),
    "B": (((3, 64),) * 2, ((3, 128),) * 2, ((3, 256),) * 2, ((3, 512),) * 2, ((3, 512),) * 2),
    "C": (
        ((3, 64),) * 2,
        ((3, 128),) * 2,
        ((3, 256), (3, 256), (1, 256)),
        ((3, 512), (3, 512), (1, 512)),
        ((3, 512), (3, 512), (1, 512)),
    ),
    "D": (((3, 64),) * 2, ((3, 128),) * 2, ((3, 256),) * 3, ((3, 512),) * 3, ((3, 512),) * 3),
    "E": (((3, 64),) * 2, ((3, 128),) * 2, ((3, 256),) * 4, ((3, 512),) * 4, ((3, 512),) * 4),
}
ALIASES = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}

SMALLEST_IMAGE = 32  # reduced to one pixel by five 2x2 poolings
WIDEST = 64  # maximum multiple of the paper's channels

# Local response normalisation (Krizhevsky et al., 2012): x / (k + alpha * sum)^beta over `size` channels.
LRN_SIZE, LRN_ALPHA, LRN_BETA, LRN_K = 5, 1e-4, 0.75, 2.0


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels; bottom and right are exclusive.

    Coordinates are continuous: the first pixel spans 0 to 1, so that its centre is 0.5.
    """

    top: float
    left: float
    bottom: float
    right: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def empty(self) -> bool:
        """Whether its area is zero, as for a position whose field lies entirely in the padding."""
        return self.width == 0 or self.height == 0

    def clipped(self, height: float, width: float) -> "Box":
        """Return the intersection with an image of this size."""
        rows = (min(max(edge, 0.0), height) for edge in (self.top, self.bottom))
        columns = (min(max(edge, 0.0), width) for edge in (self.left, self.right))
        (top, bottom), (left, right) = rows, columns
        return Box(top, left, bottom, right)


@dataclass(frozen=True)
class ReceptiveField:
    """What a layer's output values see of the network's input, in its pixels; as it stands, a pixel's own.

    size          side of the square
    jump          distance between the centres of adjacent outputs (effective stride)
    first_centre  centre of position 0
    """

    size: int = 1
    jump: int = 1
    first_centre: float = 0.5

    def through(self, kernel: int, stride: int = 1, padding: int = 0) -> "ReceptiveField":
        """Return the field of a window's outputs: a side of k with padding p shifts the centre by (k-1)/2 - p."""
        centre = self.first_centre + ((kernel - 1) / 2 - padding) * self.jump
        return ReceptiveField(self.size + (kernel - 1) * self.jump, self.jump * stride, centre)

    def centre(self, position: tuple[int, int]) -> tuple[float, float]:
        row, column = (self.first_centre + self.jump * place for place in position)
        return row, column

    def box(self, position: tuple[int, int]) -> Box:
        """Return the field of a position (row, column) in the network's input; it may extend beyond the border."""
        row, column = self.centre(position)
        reach = self.size / 2
        return Box(row - reach, column - reach, row + reach, column + reach)


@dataclass(frozen=True)
class Layer:
    """One layer: name, kind, shapes (C, H, W), its receptive field and the shapes of its tensors."""

    name: str
    kind: Kind
    input_shape: Shape
    output_shape: Shape
    receptive_field: ReceptiveField
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    tensors: dict[str, Shape] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Number of learned parameters (running mean and variance of batch norm excluded)."""
        return sum(math.prod(shape) for name, shape in self.tensors.items() if not name.startswith("running_"))

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a convolution or fully connected layer per image, without biases."""
        if self.kind == "conv":
            return math.prod((*self.output_shape, self.kernel, self.kernel, self.input_shape[0]))
        if self.kind == "linear":
            return math.prod(self.input_shape) * self.output_shape[0]
        return 0


@dataclass(frozen=True)
class Architecture:
    """One network of the family.

    column        a key of COLUMNS
    batch_norm    batch normalisation between each convolution and its ReLU (not in the paper)
    classes       outputs of fc8
    channels      1 (grey) or 3 (colour)
    image_size    side of the square input in pixels; fc6 fits the resulting size of pool5
    widths        channels of each convolution, in order; empty: the paper's
    head          vgg: the paper's fc6, fc7 and fc8; pooled: pool5's global average, then fc8
    hidden        outputs of fc6 and of fc7 (4096 in the paper); (0, 0) for a pooled head, which has neither
    ranks         of fc6 and of fc7 as products of two matrices, each a layer: fc6_1, inputs to rank, fc6_2, rank to
                  outputs (Girshick 2015, Fast R-CNN, arXiv 1504.08083, section 3.1); 0: one matrix, as in the paper
    dropout       dropout probability after fc6 and fc7
    """

    column: str
    batch_norm: bool = False
    classes: int = 1000
    channels: int = 3
    image_size: int = 224
    widths: tuple[int, ...] = ()
    head: Head = "vgg"
    hidden: tuple[int, int] = (4096, 4096)
    ranks: tuple[int, int] = (0, 0)
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.column not in COLUMNS:
            raise _unknown(self.column)
        if not self.widths:
            object.__setattr__(self, "widths", scaled_widths(self.column, 1.0))
        if self.head == "pooled":
            object.__setattr__(self, "hidden", (0, 0))
            object.__setattr__(self, "ranks", (0, 0))
        if self.image_size < SMALLEST_IMAGE:
            raise UsageError(
                f"image size {self.image_size}",
                f"five 2x2 poolings leave nothing of an image smaller than {SMALLEST_IMAGE} pixels a side",
                f"choose {SMALLEST_IMAGE} or more",
            )
        if self.channels not in (1, 3):
            raise UsageError(f"{self.channels} channels", "an image has 1 (grey) or 3 (colour)", "choose 1 or 3")
        if self.classes < 2:
            raise UsageError(f"{self.classes} classes", "a classifier chooses among at least two", "choose 2 or more")
        usual = scaled_widths(self.column, 1.0)
        if len(self.widths) != len(usual):
            raise UsageError(
                f"{len(self.widths)} widths", f"{self.name} has {len(usual)} convolutions", "name one width for each"
            )
        if not all(1 <= width <= WIDEST * most for width, most in zip(self.widths, usual, strict=True)):
            rule = f"each convolution has 1 to {WIDEST} times the paper's channels"
            raise UsageError(f"widths {', '.join(map(str, self.widths))}", rule, "choose among these")
        if self.head not in get_args(Head):
            raise UsageError(f"head {self.head!r}", f"not one of {', '.join(get_args(Head))}", "choose one of them")
        if self.head == "vgg":
            self._require_matrices()
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout {self.dropout}", "a share to zero lies in [0, 1)", "0.5 is the paper's")

    def _require_matrices(self) -> None:
        """Raises UsageError for fc6 or fc7 without outputs, or of a rank that no matrix of its shape has."""
        inputs = self.widths[-1] * self.head_kernel**2
        for name, outputs, rank in zip(("fc6", "fc7"), self.hidden, self.ranks, strict=True):
            if outputs < 1:
                raise UsageError(f"{name} of {outputs} outputs", "fc6 and fc7 need outputs", "4096 is the paper's")
            if not 0 <= rank <= min(inputs, outputs):
                rule = f"a matrix of {inputs:,} inputs and {outputs:,} outputs has at most {min(inputs, outputs):,}"
                raise UsageError(f"rank {rank} of {name}", rule, "choose that or less; 0 is one matrix, not factorised")
            inputs = outputs

    @classmethod
    def named(cls, name: str, *, width: float = 1.0, **options: Any) -> "Architecture":
        """The architecture of a column ('A' to 'E', 'A-LRN') or alias ('vgg11', 'vgg16_bn'); case is ignored.

        width   multiplier of the paper's channels, if `widths` is not given
        hidden  outputs of fc6 and of fc7, or one number for both
        """
        stem = name.lower().removesuffix("_bn")
        columns = {column.lower(): column for column in COLUMNS} | ALIASES
        if stem not in columns:
            raise _unknown(name)
        options.setdefault("widths", ())
        if not options["widths"]:
            options["widths"] = scaled_widths(columns[stem], width)
        if isinstance(options.get("hidden"), int):
            options["hidden"] = (options["hidden"], options["hidden"])
        return cls(columns[stem], batch_norm=stem != name.lower(), **options)

    @property
    def name(self) -> str:
        """The common name, such as 'vgg16_bn'; the column's name if there is no alias."""
        stem = next((alias for alias, column in ALIASES.items() if column == self.column), self.column)
        return stem + "_bn" * self.batch_norm

    @property
    def head_kernel(self) -> int:
        """Side of pool5's output: the kernel of fc6 as a convolution, or of the average pooling."""
        return self.image_size // SMALLEST_IMAGE

    @property
    def head_layer(self) -> str:
        """The first layer after pool5."""
        if self.head == "pooled":
            return "avgpool"
        return "fc6_1" if self.ranks[0] else "fc6"

    @property
    def embedding(self) -> Literal["fc7", "fc7_2", "avgpool"]:
        """The layer whose output is the embedding of an image: the last before relu7, or the average."""
        if self.head == "pooled":
            return "avgpool"
        return "fc7_2" if self.ranks[1] else "fc7"

    @property
    def fully_connected(self) -> tuple[str, ...]:
        """The names of the fully connected layers: fc6, fc7 and fc8; fc6_1 and fc6_2 for a factorised fc6."""
        return tuple(layer.name for layer in self.layers() if layer.kind == "linear")

    def at(self, image_size: int) -> "Architecture":
        """The same architecture for another image size."""
        return replace(self, image_size=image_size)

    def layers(self) -> tuple[Layer, ...]:
        """Every layer in order, from conv1_1 to prob, with the names published by the authors."""
        return tuple(self._walk())

    def layer(self, name: str) -> Layer:
        """The layer of this name. Raises UsageError, listing similar names first."""
        found = {layer.name: layer for layer in self.layers()}
        if name not in found:
            near = difflib.get_close_matches(name.lower(), found, n=3, cutoff=0.0)
            others = [other for other in found if other not in near]
            raise UsageError(
                f"layer {name!r}",
                f"{self.name} has {', '.join(near)} (nearest), {', '.join(others)}",
                f"did you mean {near[0]}",
            )
        return found[name]

    def tensors(self) -> dict[str, Shape]:
        """Name and shape of every tensor of a model: 'conv1_1.weight' (O, I, kH, kW), 'fc6.weight' (O, I), ..."""
        return {f"{layer.name}.{name}": shape for layer in self.layers() for name, shape in layer.tensors.items()}

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers())

    @property
    def multiply_adds(self) -> int:
        return sum(layer.multiply_adds for layer in self.layers())

    def _walk(self) -> Iterator[Layer]:
        shape: Shape = (self.channels, self.image_size, self.image_size)
        field = ReceptiveField()
        widths = iter(self.widths)
        for block, convolutions in enumerate(COLUMNS[self.column], start=1):
            for index, (kernel, _) in enumerate(convolutions, start=1):
                place = f"{block}_{index}"
                out: Shape = (next(widths), *shape[1:])
                padding = kernel // 2
                field = field.through(kernel, padding=padding)
                weights = {"weight": (out[0], shape[0], kernel, kernel), "bias": (out[0],)}
                yield Layer(f"conv{place}", "conv", shape, out, field, kernel, 1, padding, weights)
                shape = out
                if self.batch_norm:
                    norm = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), out[:1])
                    yield Layer(f"bn{place}", "batchnorm", shape, shape, field, tensors=norm)
                yield Layer(f"relu{place}", "relu", shape, shape, field)
            if self.column == "A-LRN" and block == 1:
                yield Layer("norm1", "lrn", shape, shape, field)
            out = (shape[0], shape[1] // 2, shape[2] // 2)
            field = field.through(kernel=2, stride=2)
            yield Layer(f"pool{block}", "maxpool", shape, out, field, kernel=2, stride=2)
            shape = out

        field = field.through(self.head_kernel)
        sizes = [(6, self.hidden[0], self.ranks[0]), (7, self.hidden[1], self.ranks[1]), (8, self.classes, 0)]
        if self.head == "pooled":
            out = (shape[0], 1, 1)
            yield Layer("avgpool", "avgpool", shape, out, field, kernel=self.head_kernel)
            shape, sizes = out, sizes[2:]
        for number, outputs, rank in sizes:
            factors = {f"fc{number}_1": rank, f"fc{number}_2": outputs} if rank else {f"fc{number}": outputs}
            for name, count in factors.items():
                out = (count, 1, 1)
                weights = {"weight": (count, math.prod(shape)), "bias": (count,)}
                kernel = self.head_kernel if name == self.head_layer else 1
                yield Layer(name, "linear", shape, out, field, kernel, tensors=weights)
                shape = out
            if number < 8:
                yield Layer(f"relu{number}", "relu", shape, shape, field)
                yield Layer(f"drop{number}", "dropout", shape, shape, field)
        yield Layer("prob", "softmax", shape, shape, field)


def scaled_widths(column: str, width: float) -> tuple[int, ...]:
    """The paper's channels of a column times a multiplier, at least 1. Raises UsageError."""
    if not 0 < width <= WIDEST:
        raise UsageError(f"width {width}", f"the channel multiplier lies in (0, {WIDEST}]", "1.0 is the paper's")
    return tuple(max(1, round(channels * width)) for block in COLUMNS[column] for _, channels in block)


def multiplier(column: str, widths: tuple[int, ...]) -> float | None:
    """The multiplier of the paper's channels for these widths, exact for 1, 1/2, 1/4, ...; None if there is none."""
    usual = scaled_widths(column, 1.0)
    least = max((width - 0.5) / paper for width, paper in zip(widths, usual, strict=True))
    most = min((width + 0.5) / paper for width, paper in zip(widths, usual, strict=True))
    middle = (least + most) / 2
    return middle if 0 < middle <= WIDEST and scaled_widths(column, middle) == widths else None


def names() -> list[str]:
    """Every accepted architecture name, columns first."""
    stems = [*COLUMNS, *ALIASES]
    return stems + [f"{stem}_bn" for stem in stems]


def _unknown(name: str) -> UsageError:
    near = difflib.get_close_matches(name, names(), n=3, cutoff=0.3)
    remedy = f"did you mean {' or '.join(near)}" if near else "see the list"
    return UsageError(f"architecture {name!r}", f"not one of {', '.join(names())}", remedy)


def options_of_version_1(options: Mapping[str, Any]) -> dict[str, Any]:
    """A model file's of version 1 as of 2: one multiplier was for all convolutions, and the head was the paper's."""
    kept = {name: value for name, value in options.items() if name != "width"}
    return kept | {"widths": scaled_widths(options["column"], options["width"]), "head": "vgg"}


def options_of_version_2(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of version 2 as of 3: one number was the outputs of both fc6 and fc7, and neither was factorised."""
    return dict(options) | {"hidden": (options["hidden"],) * 2, "ranks": (0, 0)}
