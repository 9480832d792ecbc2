"""Views of an image at test time: stacks of uint8 crops or whole images for the network.

'centre' is the crop of training. 'dense' and 'crops' are the paper's (section 3.2): the whole image with its shorter
side at Q, and a 5x5 grid of crops of it, each also flipped. N images of a stack, H height, W width.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vgglass.architecture import SMALLEST_IMAGE
from vgglass.errors import ImageError, UsageError
from vgglass.images import Pixels
from vgglass.modelfile import Record
from vgglass.preprocess import Preprocessing, fit, shorter_side_to

GRID = 5  # crops per side, as in the paper
LARGEST = 8  # largest square for dense evaluation, in multiples of the training size: its maps must fit into memory
JITTER = 32 / 224  # relative to the training size: the paper's S-32, S, S+32


def centre(pixels: Pixels, record: Preprocessing, scale: int) -> Pixels:
    """The centre crop (1, S, S, C) of the image with its shorter side at Q."""
    return fit(pixels, replace(record, resize=scale))[None]


def dense(pixels: Pixels, record: Preprocessing, scale: int) -> Pixels:
    """The whole image with its shorter side at Q, and its horizontal flip (2, H, W, C)."""
    whole = _resize_whole(pixels, record, scale)
    return np.stack([whole, whole[:, ::-1]])


def crops(pixels: Pixels, record: Preprocessing, scale: int) -> Pixels:
    """5x5 evenly spaced crops of the whole image, and their horizontal flips (50, S, S, C)."""
    whole, size = _resize_whole(pixels, record, scale), record.size
    tops, lefts = (np.linspace(0, side - size, GRID).round().astype(int) for side in whole.shape[:2])
    squares = [whole[top : top + size, left : left + size] for top in tops for left in lefts]
    return np.stack(squares + [square[:, ::-1] for square in squares])


VIEWS: dict[str, Callable[[Pixels, Preprocessing, int], Pixels]] = {"centre": centre, "dense": dense, "crops": crops}
COUNTS = {"centre": 1, "dense": 2, "crops": 2 * GRID**2}


@dataclass(frozen=True)
class View:
    """One of VIEWS at one scale, and its weight in the average of the softmax.

    scale  Q, the length of the shorter side in pixels
    """

    name: str
    scale: int
    share: float

    @property
    def is_dense(self) -> bool:
        """Whether the fully connected layers run as convolutions."""
        return self.name == "dense"

    @property
    def count(self) -> int:
        """Number of inputs per image."""
        return COUNTS[self.name]


def parse(text: str, record: Record) -> tuple[View, ...]:
    """Parse views such as 'centre', 'scales', 'dense@256,384' or 'dense@224,256,288+crops@256'.

    Sizes Q follow '@', by default the preprocessing record's; 'scales' is dense at three sizes. The terms joined by '+'
    have equal weights, and so have the sizes of a term. Raises UsageError.
    """
    terms = [_parse_term(term, text, record) for term in text.split("+")]
    return tuple(View(name, scale, 1 / len(terms) / len(scales)) for name, scales in terms for scale in scales)


def show(pixels: Pixels, record: Preprocessing, views: tuple[View, ...]) -> list[Pixels]:
    """The stack of each view (N, H, W, C). Raises ImageError for an image too narrow for them."""
    return [VIEWS[view.name](pixels, record, view.scale) for view in views]


def require_whole(height: int, width: int, size: int, scale: int) -> None:
    """Raises ImageError if an image is too elongated for dense evaluation with its shorter side at `scale`.

    size  side of the network's input
    """
    if scale * scale * max(height, width) > (LARGEST * size) ** 2 * min(height, width):
        rule = f"too long a strip to be scored whole with its shorter side at {scale}"
        raise ImageError(f"an image of {height}x{width}", rule, "crop it, or take a smaller size")


def decoding(record: Preprocessing, views: tuple[View, ...]) -> Preprocessing:
    """The preprocessing record for decoding, with a resolution that suffices for the largest view."""
    return replace(record, resize=max(record.resize, *(view.scale for view in views)))


def _parse_term(term: str, text: str, record: Record) -> tuple[str, list[int]]:
    found = re.fullmatch(r"(centre|dense|crops|scales)(?:@([0-9]{1,6}(?:,[0-9]{1,6})*))?", term.strip())
    if not found:
        rule = "is none of centre, dense, crops, scales, with sizes as in dense@256,384, joined by +"
        raise UsageError(f"--views {text}", rule, "choose among them")
    name, given = found[1], found[2]
    preprocessing, default = record.preprocessing, record.preprocessing.resize
    size, smallest = preprocessing.size, SMALLEST_IMAGE * record.architecture.head_kernel
    step = round(JITTER * size)
    scales = [int(number) for number in given.split(",")] if given else [default]
    if name == "scales":
        if given:
            raise UsageError(f"--views {text}", "scales are three sizes by itself", "name sizes as in dense@256,384")
        name, scales = "dense", sorted({max(smallest, default - step), default, default + step})
    least = smallest if name == "dense" else size
    for scale in scales:
        if not least <= scale <= LARGEST * size:
            rule = f"{name} of this network takes sizes from {least} to {LARGEST * size}"
            raise UsageError(f"--views {text}", rule, "choose one of these")
    if given and name == "centre" and preprocessing.fit != "crop":
        rule = f"this network is shown the whole image ({preprocessing.fit})"
        raise UsageError(f"--views {text}", rule, "leave the size out")
    return name, scales


def _resize_whole(pixels: Pixels, record: Preprocessing, scale: int) -> Pixels:
    require_whole(pixels.shape[0], pixels.shape[1], record.size, scale)
    return shorter_side_to(pixels, scale, record.interpolation)
