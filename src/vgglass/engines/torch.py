"""PyTorch as an engine: what the convolutions make of an image, for training a head on it."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from vgglass.images import Pixels
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import normalise


def pool5(model: ModelFile) -> Callable[[Pixels], NDArray[np.float32]]:
    """uint8 images (N, S, S, C) to pool5's output (N, C, k, k), float32, on the GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = VGG.from_file(model).to(device).to(memory_format=torch.channels_last)
    preprocessing = model.record.preprocessing

    @torch.inference_mode()
    def extract(images: Pixels) -> NDArray[np.float32]:
        batch = torch.from_numpy(normalise(images, preprocessing)).to(device, memory_format=torch.channels_last)
        found = next(step.output for step in network.walk(batch) if step.name == "pool5")
        return found.contiguous().cpu().numpy()

    return extract
