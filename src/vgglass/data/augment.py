"""What happens to a training image on its way to the network's square, drawn anew each epoch.

Each function takes the decoded pixels (H, W, C), the preprocessing record and a generator of its own, and gives uint8
(size, size, C). Add one here and name it in AUGMENTATIONS.
"""

from collections.abc import Callable

import numpy as np

from vgglass.images import Pixels
from vgglass.preprocess import Preprocessing, fit, resize

Augmentation = Callable[[Pixels, Preprocessing, np.random.Generator], Pixels]

SHIFT_SHARE = 1 / 32  # of the side: 1 pixel of 32
CROP_AREA = (0.35, 1.0)  # share of the image's area, after Szegedy et al. (2015), who take 0.08 of ImageNet's
CROP_ASPECT = (3 / 4, 4 / 3)


def none(pixels: Pixels, record: Preprocessing, generator: np.random.Generator) -> Pixels:
    """As in evaluation."""
    return fit(pixels, record)


def shift(pixels: Pixels, record: Preprocessing, generator: np.random.Generator) -> Pixels:
    """Move by up to a thirty-second of the side, the edge repeated: for characters, which must not be mirrored."""
    reach = round(record.size * SHIFT_SHARE)
    down, right = generator.integers(-reach, reach + 1, 2)
    places = np.arange(record.size)
    rows, columns = (np.clip(places - offset, 0, record.size - 1) for offset in (down, right))
    shifted: Pixels = fit(pixels, record)[rows[:, None], columns]
    return shifted


def flip(pixels: Pixels, record: Preprocessing, generator: np.random.Generator) -> Pixels:
    """As in evaluation, mirrored left to right half of the time: for centred pictures of things."""
    return _flip(fit(pixels, record), generator)


def shift_flip(pixels: Pixels, record: Preprocessing, generator: np.random.Generator) -> Pixels:
    """`shift`, and mirrored left to right half of the time: for small pictures of things."""
    return _flip(shift(pixels, record, generator), generator)


def crop_flip(pixels: Pixels, record: Preprocessing, generator: np.random.Generator) -> Pixels:
    """A random part of the image, resized, mirrored half of the time: for photographs."""
    height, width = pixels.shape[:2]
    area = height * width * generator.uniform(*CROP_AREA)
    aspect = np.exp(generator.uniform(*np.log(CROP_ASPECT)))
    rows = min(height, max(1, round(float(np.sqrt(area / aspect)))))
    columns = min(width, max(1, round(float(np.sqrt(area * aspect)))))
    top, left = generator.integers(height - rows + 1), generator.integers(width - columns + 1)
    part = pixels[top : top + rows, left : left + columns]
    return _flip(resize(part, record.size, record.size, record.interpolation), generator)


def _flip(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    return pixels[:, ::-1] if generator.random() < 0.5 else pixels


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": none,
    "flip": flip,
    "shift": shift,
    "shift-flip": shift_flip,
    "crop-flip": crop_flip,
}
