"""Ways to look at an image: which stacks of uint8 pictures the network is shown of it.

'centre' is the square of training. 'dense' and 'crops' are the paper's (section 3.2): the whole image, its shorter
side brought to Q, and a 5x5 grid of squares cut out of that, each also mirrored. N pictures, H height, W width.
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

GRID = 5  # crops a side, as in the paper
LARGEST = 8  # training sizes: the side of the largest square that is scored whole, for its maps must fit into memory
JITTER = 32 / 224  # of the training size: the paper's S-32, S, S+32


def centre(pixels: Pixels, record: Preprocessing, scale: int) -> Pixels:
    """The one square that the network was trained for (1, S, S, C), cut out of the image with its shorter side at Q."""
    return fit(pixels, replace(record, resize=scale))[None]


def dense(pixels: Pixels, record: Preprocessing, scale: int) -> Pixels:
    """The whole image with its shorter side at Q, and its mirror image (2, H, W, C)."""
    whole = _whole(pixels, record, scale)
    return np.stack([whole, whole[:, ::-1]])


def crops(pixels: Pixels, record: Preprocessing, scale: int) -> Pixels:
    """5x5 squares spread evenly over the whole image, and their mirror images (50, S, S, C)."""
    whole, size = _whole(pixels, record, scale), record.size
    tops, lefts = (np.linspace(0, side - size, GRID).round().astype(int) for side in whole.shape[:2])
    squares = [whole[top : top + size, left : left + size] for top in tops for left in lefts]
    return np.stack(squares + [square[:, ::-1] for square in squares])


VIEWS: dict[str, Callable[[Pixels, Preprocessing, int], Pixels]] = {"centre": centre, "dense": dense, "crops": crops}
COUNTS = {"centre": 1, "dense": 2, "crops": 2 * GRID**2}


@dataclass(frozen=True)
class View:
    """One of VIEWS at one size, and its share in the average of the softmax.

    scale  Q, what the shorter side is brought to, in pixels
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
        """Pictures of an image."""
        return COUNTS[self.name]


def parse(text: str, record: Record) -> tuple[View, ...]:
    """The views of a word such as 'centre', 'scales', 'dense@256,384' or 'dense@224,256,288+crops@256'.

    '@' gives the sizes Q, the preprocessing record's own without; 'scales' is dense at three of them. What '+' joins
    has equal shares, and so have the sizes of one. Raises UsageError.
    """
    terms = [_term(term, text, record) for term in text.split("+")]
    return tuple(View(name, scale, 1 / len(terms) / len(scales)) for name, scales in terms for scale in scales)


def show(pixels: Pixels, record: Preprocessing, views: tuple[View, ...]) -> list[Pixels]:
    """The stack of each view (N, H, W, C). Raises ImageError for an image too narrow for them."""
    return [VIEWS[view.name](pixels, record, view.scale) for view in views]


def require_whole(height: int, width: int, size: int, scale: int) -> None:
    """Raises ImageError for an image too long to be scored whole with its shorter side at `scale`.

    size  of the network's square
    """
    if scale * scale * max(height, width) > (LARGEST * size) ** 2 * min(height, width):
        rule = f"too long a strip to be scored whole with its shorter side at {scale}"
        raise ImageError(f"an image of {height}x{width}", rule, "crop it, or take a smaller size")


def decoding(record: Preprocessing, views: tuple[View, ...]) -> Preprocessing:
    """The record to decode by: fine enough for the largest of the views."""
    return replace(record, resize=max(record.resize, *(view.scale for view in views)))


def _term(term: str, text: str, record: Record) -> tuple[str, list[int]]:
    found = re.fullmatch(r"(centre|dense|crops|scales)(?:@([0-9]{1,6}(?:,[0-9]{1,6})*))?", term.strip())
    if not found:
        rule = "is none of centre, dense, crops, scales, with sizes as in dense@256,384, joined by +"
        raise UsageError(f"--views {text}", rule, "choose among them")
    name, given = found[1], found[2]
    preprocessing, usual = record.preprocessing, record.preprocessing.resize
    size, spans = preprocessing.size, SMALLEST_IMAGE * record.architecture.head_kernel
    step = round(JITTER * size)
    scales = [int(number) for number in given.split(",")] if given else [usual]
    if name == "scales":
        if given:
            raise UsageError(f"--views {text}", "scales are three sizes by itself", "name sizes as in dense@256,384")
        name, scales = "dense", sorted({max(spans, usual - step), usual, usual + step})
    least = spans if name == "dense" else size
    for scale in scales:
        if not least <= scale <= LARGEST * size:
            rule = f"{name} of this network takes sizes from {least} to {LARGEST * size}"
            raise UsageError(f"--views {text}", rule, "choose one of these")
    if given and name == "centre" and preprocessing.fit != "crop":
        rule = f"this network is shown the whole image ({preprocessing.fit})"
        raise UsageError(f"--views {text}", rule, "leave the size out")
    return name, scales


def _whole(pixels: Pixels, record: Preprocessing, scale: int) -> Pixels:
    require_whole(pixels.shape[0], pixels.shape[1], record.size, scale)
    return shorter_side_to(pixels, scale, record.interpolation)
