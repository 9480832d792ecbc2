"""What is timed side by side: a model on each engine, and the machine's peak.

N images, S side of the input in pixels, C channels, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vgglass.architecture import Architecture
from vgglass.benchmark.timing import Prepare, Work
from vgglass.engines import Precision, selection
from vgglass.engines.artifact import Artifact
from vgglass.engines.selection import Choice, Source
from vgglass.images import Pixels
from vgglass.modelfile import ModelFile, Record, golden_images
from vgglass.preprocess import Preprocessing

Logits = NDArray[np.float32]

NOISE = 8  # random images beside the golden ones, on which answers are compared
PRODUCT = {"CPU": 1024, "CUDA": 8192}  # side of the matrices whose product is the peak
GRAPH = "torch, CUDA graph"


@dataclass(frozen=True, eq=False)
class Candidate:
    """One network on one engine.

    network  its name
    engine   such as 'openvino', or 'torchvision eager'
    device   'CPU' or 'CUDA'
    prepare  the work of one call, for a batch size
    logits   (N, K) on the images of `compared`; None where no answers are compared
    """

    network: str
    engine: str
    device: str
    precision: Precision
    prepare: Prepare
    logits: Logits | None = None

    def __str__(self) -> str:
        return f"{self.network}: {self.engine}, {self.precision}"


def random_model(architecture: Architecture) -> ModelFile:
    """A colour network with random weights (He et al. 2015), which cost what trained ones do; made without torch."""
    generator, side = np.random.default_rng(0), architecture.image_size
    weights = {
        name: generator.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[1:])) ** 0.5)
        if len(shape) > 1
        else np.zeros(shape, np.float32)
        for name, shape in architecture.tensors().items()
    }
    preprocessing = Preprocessing(side, side, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    classes = tuple(f"class {index}" for index in range(architecture.classes))
    images = golden_images(preprocessing)
    logits = np.zeros((len(images), architecture.classes), np.float32)  # never asked for: engines are compared
    return ModelFile(Record(architecture, classes, preprocessing), weights, images, logits)


def compared(source: Source) -> Pixels:
    """The images (N, S, S, C) on which answers are compared: the golden inputs, and noise."""
    return np.concatenate([source.golden_images, _noise(NOISE, *source.golden_images.shape[1:])])


def of_source(name: str, source: Source, choice: Choice) -> Candidate:
    """A model file or an artifact on an engine, from uint8 images; normalisation is part of its work."""
    dense = isinstance(source, Artifact) and source.dense
    engine = selection.open_engine(source, choice, dense=dense)
    logits = engine(compared(source))

    def prepare(batch: int) -> Work:
        return partial(engine, _noise(batch, *source.golden_images.shape[1:]))

    found = logits[:, :, 0, 0] if dense else logits
    return Candidate(name, choice.engine, engine.device, choice.precision, prepare, found)


def captured(name: str, source: ModelFile, precision: Precision) -> Candidate:
    """A model file on a GPU, each batch size captured as one CUDA graph."""
    from vgglass.engines.torch import capture

    def prepare(batch: int) -> Work:
        return partial(capture(source, precision, batch), _noise(batch, *source.golden_images.shape[1:]))

    images = compared(source)
    return Candidate(name, GRAPH, "CUDA", precision, prepare, capture(source, precision, len(images))(images))


def float32_logits(source: ModelFile, opened: Sequence[Candidate]) -> Logits:
    """Logits (N, K) of OpenVINO in float32 on the images of `compared`, perhaps of a candidate that is open."""
    for one in opened:
        if one.logits is not None and (one.engine, one.precision) == ("openvino", "float32"):
            return one.logits
    return selection.open_engine(source, Choice("openvino", "float32", ""))(compared(source))


def peak(device: str, precision: Precision) -> Candidate:
    """A product of two square matrices, by OpenVINO on the CPU or torch on a GPU; the same for any batch size."""
    side = PRODUCT[device]
    if device == "CUDA":
        from vgglass.engines.torch import product as on_gpu

        return Candidate("matrix product", "torch", device, precision, lambda batch: on_gpu(side, precision))
    from vgglass.engines.openvino import product

    work = partial(product(side, precision), np.ones((side, side), np.float32))
    return Candidate("matrix product", "openvino", device, precision, lambda batch: work)


def _noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
