"""Networks and images for the tests of the glass: small, untrained, with every kind of layer."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vgglass.architecture import Architecture
from vgglass.glass import Subject, open_subject
from vgglass.model import VGG
from vgglass.modelfile import ModelFile, weights_digest
from vgglass.preprocess import Preprocessing
from vgglass.shrinking.channels import Kept, narrowed, removed, widths

CLASSES = ("猫", "狗", "<b>鸟</b>", "fish", "frog", "horse", "ship")


def model(name: str = "A-LRN", seed: int = 0, image_size: int = 64, **options: Any) -> ModelFile:
    """A network whose weights, biases, running means and variances are all drawn, so that no term is trivial."""
    torch.manual_seed(seed)
    defaults: dict[str, Any] = {"classes": len(CLASSES), "image_size": image_size, "width": 0.125, "hidden": 24}
    network = VGG(Architecture.named(name, **(defaults | options))).eval()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if tensor.ndim == 1:
                tensor.normal_(1.0 if "bn" in name and name.endswith("weight") else 0.0, 0.2)
            elif name.startswith("fc"):
                torch.nn.init.kaiming_normal_(tensor)
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    channels = network.architecture.channels
    record = Preprocessing(
        image_size, image_size, (120.0,) * channels, (60.0,) * channels, "RGB" if channels == 3 else "L"
    )
    return network.to_file(CLASSES[: network.architecture.classes], record)


def shrunk(parent: ModelFile, kept: Kept, path: str = "") -> ModelFile:
    """A model without some channels of its parent, as `vgglass shrink` records it, that learned nothing since."""
    before = widths(parent.record.architecture)
    architecture, weights = narrowed(parent.record.architecture, parent.weights, kept)
    record = {"from": weights_digest(parent.weights), "channels": before, "removed": removed(before, kept)}
    record |= {"parent": path} if path else {}
    network = VGG.from_weights(architecture, weights)
    return network.to_file(parent.record.classes, parent.record.preprocessing, recipe={"shrunk": record})


def every_other(parent: ModelFile) -> dict[str, NDArray[np.intp]]:
    """The odd channels of each layer that can lose some."""
    return {name: np.arange(1, count, 2) for name, count in widths(parent.record.architecture).items()}


def photograph(height: int = 80, width: int = 100, channels: int = 3, seed: int = 1) -> NDArray[np.uint8]:
    """Smooth blobs of colour."""
    noise = torch.rand(1, channels, 6, 6, generator=torch.Generator().manual_seed(seed))
    large = torch.nn.functional.interpolate(noise, (height, width), mode="bilinear")[0]
    return (large * 255).byte().permute(1, 2, 0).contiguous().numpy()


def subject(name: str = "A-LRN", **options: object) -> Subject:
    return open_subject(model(name, **options), photograph())  # type: ignore[arg-type]
