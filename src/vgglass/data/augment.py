"""Augmentations: random transforms of the training images, and MixUp and CutMix.

An augmentation may replace the fixed crop or resize of evaluation by a random one (torchvision's v2 transforms, on
Pillow images). Shifts and flips of the resulting squares are applied here to whole batches, because torchvision's
overhead would exceed the work. torch is imported lazily, so that recipes and audits can name augmentations without it.
N batch, S side, C channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgglass.data.sampling import drawn_from, key
from vgglass.images import Pixels
from vgglass.preprocess import INTERPOLATIONS, Preprocessing

if TYPE_CHECKING:
    from torch import Tensor
    from torchvision.transforms import v2

Colours = NDArray[np.float64]  # (3, 3): see colour_components
Square = Callable[[Image.Image], "Tensor"]  # to uint8 (C, S, S)

SHIFT_SHARE = 1 / 32  # maximum shift as a share of the side: 1 pixel of 32
CROP_AREA = (0.35, 1.0)  # share of the image's area; Szegedy et al. (2015) start from 0.08 on ImageNet
CROP_ASPECT = (3 / 4, 4 / 3)
JITTER = 0.4  # of brightness, contrast and saturation, as in fb.resnet.torch
ERASED = 0.1  # share of the images that lose a rectangle, as in torchvision's own recipes
# Shorter side of the image divided by the side of the crop (S in section 3.1), fixed or drawn from a range.
PAPER_SCALES = (256 / 224, 512 / 224)
PAPER_SCALE_256, PAPER_SCALE_384 = (256 / 224,) * 2, (384 / 224,) * 2
COLOUR_DEVIATION = 0.1  # Krizhevsky et al. (2012), section 4.1


@dataclass(frozen=True)
class Augmentation:
    """One augmentation.

    square       makes the transform of an image to a square, from the record and the colour components; None: `fit`
    shift, flip  of the squares
    mix          whether the training step applies MixUp or CutMix: see `mix`
    """

    square: Callable[[Preprocessing, Colours | None], Square] | None = None
    shift: bool = False
    flip: bool = False
    mix: bool = False

    def finish(self, squares: Pixels, keys: NDArray[np.uint64]) -> Pixels:
        """Shift and flip squares (N, S, S, C) by the upper bits of their keys; the lower bits seed torch."""
        if self.shift:
            squares = _shift(squares, keys)
        if self.flip:
            mirrored = keys >> 63 == 1
            squares[mirrored] = squares[mirrored, :, ::-1]
        return squares


def _shift(squares: Pixels, keys: NDArray[np.uint64]) -> Pixels:
    """Translate by up to SHIFT_SHARE of the side, with edge padding."""
    side = squares.shape[1]
    reach = round(side * SHIFT_SHARE)
    padded = np.pad(squares, ((0, 0), (reach, reach), (reach, reach), (0, 0)), "edge")
    down, right = ((keys >> first & 0x7FFF) % (2 * reach + 1) for first in (32, 47))
    places = zip(padded, down.tolist(), right.tolist(), strict=True)
    return np.stack([image[top : top + side, left : left + side] for image, top, left in places])


def _crop(record: Preprocessing) -> "v2.Transform":
    """A random resized crop."""
    from torchvision.transforms import v2

    interpolation = v2.InterpolationMode(record.interpolation)
    return v2.RandomResizedCrop(record.size, CROP_AREA, CROP_ASPECT, interpolation)


def crop(record: Preprocessing, colours: Colours | None) -> "v2.Compose":
    from torchvision.transforms import v2

    return v2.Compose([_crop(record), v2.PILToTensor()])


def paper(record: Preprocessing, colours: Colours | None, scales: tuple[float, float] = PAPER_SCALES) -> "v2.Compose":
    """Scale jitter, random crop and colour shift of Simonyan and Zisserman (2015), section 3.1."""
    from torchvision.transforms import v2

    steps = [ScaleJitter(record.size, record.interpolation, scales), v2.PILToTensor()]
    return v2.Compose(steps if colours is None else [*steps, ColourShift(colours)])


def standard(record: Preprocessing, colours: Colours | None) -> "v2.Compose":
    from torchvision.transforms import v2

    return v2.Compose([_crop(record), v2.ColorJitter(JITTER, JITTER, JITTER), v2.PILToTensor()])


def strong(record: Preprocessing, colours: Colours | None) -> "v2.Compose":
    """TrivialAugment (Müller and Hutter, 2021) and random erasing (Zhong et al., 2020).

    Empty areas are filled with the mean colour, which is zero after normalisation.
    """
    from torchvision.transforms import v2

    mean = [round(value) for value in record.mean]
    fill = mean[::-1] if record.channel_order == "BGR" else mean
    interpolation = v2.InterpolationMode(record.interpolation)
    return v2.Compose(
        [
            _crop(record),
            v2.TrivialAugmentWide(interpolation=interpolation, fill=fill),
            v2.PILToTensor(),
            v2.RandomErasing(ERASED, value=fill),
        ]
    )


@dataclass(frozen=True)
class ScaleJitter:
    """Random crop of the image with its shorter side at S, drawn uniformly from `scales` times the crop's size.

    Only the part of the image that the crop keeps is resized.
    """

    size: int
    interpolation: str
    scales: tuple[float, float] = PAPER_SCALES

    def __call__(self, image: Image.Image) -> Image.Image:
        import torch

        shorter = float(torch.empty(()).uniform_(*self.scales)) * self.size
        side = self.size * min(image.size) / shorter  # of the crop, in pixels of the original image
        left, top = (float(torch.rand(())) * (extent - side) for extent in image.size)
        box = (left, top, left + side, top + side)
        return image.resize((self.size, self.size), INTERPOLATIONS[self.interpolation], box)


class ColourShift:
    """Random shift of an image's colours along the principal components of the training set."""

    def __init__(self, colours: Colours) -> None:
        import torch

        self.colours = torch.from_numpy(colours).float()

    def __call__(self, pixels: "Tensor") -> "Tensor":
        import torch

        shift = self.colours @ (torch.randn(3) * COLOUR_DEVIATION)
        return (pixels + shift[:, None, None]).round().clamp(0, 255).to(torch.uint8)


def colour_components(pixels: Pixels) -> Colours | None:
    """Eigenvectors (columns) of the RGB covariance times their eigenvalues, of images (n, H, W, 3); None if grey.

    The covariance is computed on colours in 0..1 and the components are scaled to 0..255: eigenvalues in squared units
    of 0..255 would exceed the range of an image (Krizhevsky et al., 2012, give no unit).
    """
    if pixels.shape[-1] == 1:
        return None
    count = pixels[..., 0].size
    mean = pixels.mean((0, 1, 2), np.float64)
    moments = np.zeros((3, 3))
    for image in pixels:  # one at a time: a thousand photographs in float64 take gigabytes
        colours = image.reshape(-1, 3).astype(np.float64)
        moments += colours.T @ colours
    covariance = (moments / count - np.outer(mean, mean)) / 255**2
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * values * 255)


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "flip": Augmentation(flip=True),  # for centred objects
    "shift": Augmentation(shift=True),  # for characters, which must not be flipped
    "shift-flip": Augmentation(shift=True, flip=True),  # for small images of objects
    "crop-flip": Augmentation(crop, flip=True),  # for photographs
    "paper": Augmentation(paper, flip=True),
    "paper-256": Augmentation(partial(paper, scales=PAPER_SCALE_256), flip=True),
    "paper-384": Augmentation(partial(paper, scales=PAPER_SCALE_384), flip=True),
    "standard": Augmentation(standard, flip=True),
    "strong": Augmentation(strong, flip=True, mix=True),
}


def drawn_square(pixels: Pixels, square: Square, seed: int) -> Pixels:
    """Transform an image (H, W, C) to (S, S, C) with torch's generator seeded by `seed`."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    with drawn_from(seed):
        return square(image).permute(1, 2, 0).numpy()


# MixUp (Zhang et al., 2018) and CutMix (Yun et al., 2019) on a batch. N batch, C channels, S side, K classes.

MIXUP_ALPHA, CUTMIX_ALPHA = 0.2, 1.0  # as in torchvision's own recipes


def mix(images: "Tensor", labels: "Tensor", classes: int, seed: int, epoch: int, batch: int) -> "tuple[Tensor, Tensor]":
    """Apply MixUp or CutMix to normalised images (N, C, S, S) and labels (N,); mixed images and targets (N, K).

    Depends only on (seed, epoch, batch), on any device; the caller's random state is unchanged.
    """
    from torchvision.transforms import v2

    either = v2.RandomChoice(
        [v2.MixUp(alpha=MIXUP_ALPHA, num_classes=classes), v2.CutMix(alpha=CUTMIX_ALPHA, num_classes=classes)]
    )
    with drawn_from(key(seed, epoch, batch)):
        mixed, targets = either(images, labels)
    return mixed, targets
