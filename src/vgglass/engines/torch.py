"""The PyTorch engine: on the GPU if available, else on the CPU."""

import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vgglass.engines import Engine, Output, Precision
from vgglass.images import Pixels
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import normalise

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def open_engine(
    source: ModelFile, output: Output = "fc8", precision: Precision = "float32", *, dense: bool = False
) -> Engine:
    """Open a model file with torch, for batches of any size: one too large for the GPU is halved until it fits."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = VGG.from_file(source).to(device, TYPES[precision]).to(memory_format=torch.channels_last)
    preprocessing = source.record.preprocessing
    function: Callable[[Tensor], Tensor] = network.dense if dense else network
    if output == "fc8+average":
        function = with_average(network, function)
    elif output != "fc8":
        function = partial(named, network, output=output)

    @torch.inference_mode()
    def run(images: Pixels) -> NDArray[np.float32]:
        batch = torch.from_numpy(normalise(images, preprocessing))
        batch = batch.to(device, TYPES[precision], memory_format=torch.channels_last)
        return function(batch).float().contiguous().cpu().numpy()

    return Engine("torch", device.type.upper(), precision, halving(run))


def capture(source: ModelFile, precision: Precision, batch: int) -> Callable[[Pixels], NDArray[np.float32]]:
    """A model file on a GPU as one CUDA graph, for batches of this size alone: its kernels are launched together."""
    preprocessing = source.record.preprocessing
    network = VGG.from_file(source).to("cuda", TYPES[precision]).to(memory_format=torch.channels_last)
    shape = (batch, preprocessing.channels, preprocessing.size, preprocessing.size)
    images = torch.zeros(shape).to("cuda", TYPES[precision], memory_format=torch.channels_last)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode():
        network(images)  # cuDNN chooses its kernels before they are captured
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            logits = network(images)

    @torch.inference_mode()
    def run(pixels: Pixels) -> NDArray[np.float32]:
        images.copy_(torch.from_numpy(normalise(pixels, preprocessing)))
        graph.replay()
        found: NDArray[np.float32] = logits.float().cpu().numpy()
        return found

    return run


def product(side: int, precision: Precision) -> Callable[[], object]:
    """A product of two (side, side) matrices on the GPU if available, as a measure of the machine's peak."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    matrix = torch.rand(side, side, device=device, dtype=TYPES[precision])

    @torch.inference_mode()
    def run() -> object:
        return (matrix @ matrix)[0, 0].cpu()  # waits for the GPU

    return run


@torch.inference_mode()
def layer_milliseconds(model: ModelFile, precision: Precision, repeats: int) -> dict[str, float]:
    """What each convolution and fully connected layer takes for one image: the quickest of `repeats`, after one that
    sets things up."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = VGG.from_file(model).to(device, TYPES[precision]).to(memory_format=torch.channels_last)
    image = torch.from_numpy(normalise(model.golden_images[:1], model.record.preprocessing))
    image = image.to(device, TYPES[precision], memory_format=torch.channels_last)
    quickest: dict[str, float] = {}
    for repeat in range(repeats + 1):
        began = time.perf_counter()
        for step in network.walk(image):
            if device.type == "cuda":
                torch.cuda.synchronize()
            if repeat and step.kind in ("conv", "linear"):
                taken = (time.perf_counter() - began) * 1000
                quickest[step.name] = min(quickest.get(step.name, taken), taken)
            began = time.perf_counter()
    return quickest


def named(network: VGG, batch: Tensor, output: str) -> Tensor:
    """The output of one layer; later layers are not computed."""
    found = next(step.output for step in network.walk(batch) if step.name == output)
    return found.flatten(1) if output == "avgpool" else found


def with_average(network: VGG, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The logits that `function` computes by this network, joined with the average of the pool5 that it passes through.

    Either is (N, ·), or (N, ·, rows, columns) of a dense network.
    """
    passed: dict[str, Tensor] = {}
    network.get_submodule("pool5").register_forward_hook(lambda _module, _given, output: passed.update(pool5=output))

    def run(batch: Tensor) -> Tensor:
        logits = function(batch)
        average = F.avg_pool2d(passed.pop("pool5"), network.architecture.head_kernel, stride=1)
        return torch.cat([logits, average.reshape(average.shape[: logits.ndim])], dim=1)

    return run


def halving(run: Callable[[Pixels], NDArray[np.float32]]) -> Callable[[Pixels], NDArray[np.float32]]:
    """Wrap `run` to split batches: on out-of-memory the maximum size is halved, with a warning, and kept.

    A single image that does not fit raises torch.OutOfMemoryError.
    """
    largest = 0  # maximum batch size; 0 until memory runs out

    def parts(images: Pixels) -> NDArray[np.float32]:
        nonlocal largest
        done: list[NDArray[np.float32]] = []
        start = 0
        while start < len(images):
            size = min(largest or len(images), len(images) - start)
            try:
                done.append(run(images[start : start + size]))
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                largest = size // 2
                torch.cuda.empty_cache()
                warnings.warn(
                    f"the GPU's memory is too small for {size} images at a time: going on with {largest}", stacklevel=2
                )
                continue
            start += size
        return np.concatenate(done) if len(done) != 1 else done[0]

    return parts
