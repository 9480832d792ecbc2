"""MixUp (Zhang et al., 2018) and CutMix (Yun et al., 2019) of a batch.

N batch, C channels, S side, K classes.
"""

from torch import Tensor
from torchvision.transforms import v2

from vgglass.data.randomness import drawn_from, key

MIXUP_ALPHA, CUTMIX_ALPHA = 0.2, 1.0  # as in torchvision's own recipes


def mix(images: Tensor, labels: Tensor, classes: int, seed: int, epoch: int, batch: int) -> tuple[Tensor, Tensor]:
    """Normalised images (N, C, S, S) and labels (N,) to images mixed in pairs and targets (N, K), by one or the other.

    A function of (seed, epoch, batch), on whichever device; the caller's random state stays as it was.
    """
    either = v2.RandomChoice(
        [v2.MixUp(alpha=MIXUP_ALPHA, num_classes=classes), v2.CutMix(alpha=CUTMIX_ALPHA, num_classes=classes)]
    )
    with drawn_from(key(seed, epoch, batch)):
        mixed, targets = either(images, labels)
    return mixed, targets
