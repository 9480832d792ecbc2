"""Engines: uint8 images (N, H, W, C) in, float32 logits (N, K) out."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vgglass.images import Pixels

Engine = Callable[[Pixels], NDArray[np.float32]]
