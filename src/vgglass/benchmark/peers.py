"""What a model is compared with: the same layers in eager PyTorch, and the networks that a person would take instead.

All of them have random weights: they are timed, and their answers mean nothing.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from vgglass.architecture import Architecture
from vgglass.benchmark.candidates import Candidate
from vgglass.benchmark.timing import Work
from vgglass.engines import Precision
from vgglass.engines.selection import has_gpu
from vgglass.weights import zoo

if TYPE_CHECKING:
    import torch

PEERS = ("resnet18", "mobilenet_v3_large", "efficientnet_b0")


def eager(architecture: Architecture) -> Candidate:
    """The same layers as a plain float32 module on normalised images: torchvision's own where it has them."""
    import torch

    device = "cuda" if has_gpu() else "cpu"
    name, network = _module(architecture)
    network.eval().to(device)

    def prepare(batch: int) -> Work:
        side = architecture.image_size
        return _in_torch(network, torch.rand(batch, architecture.channels, side, side, device=device))

    return Candidate(architecture.name, name, device.upper(), "float32", prepare)


def peers(side: int, precisions: Sequence[Precision]) -> Iterator[Candidate]:
    """torchvision's small networks for images (3, side, side), already floats: on OpenVINO, on a GPU on torch."""
    from torchvision.models import get_model

    on_device = _on_gpu if has_gpu() else _on_cpu
    for name in PEERS:
        network = get_model(name, weights=None).eval()
        yield from (on_device(name, network, side, precision) for precision in precisions)


def _module(architecture: Architecture) -> "tuple[str, torch.nn.Module]":
    from vgglass.model import VGG

    published = architecture == Architecture.named(architecture.name, classes=architecture.classes)
    if published and architecture.name in zoo.names() and find_spec("torchvision"):
        from torchvision.models import get_model

        options = {"weights": None, "init_weights": False, "num_classes": architecture.classes}
        return "torchvision eager", get_model(architecture.name, **options)
    return "torch eager", VGG(architecture)


def _on_cpu(name: str, network: "torch.nn.Module", side: int, precision: Precision) -> Candidate:
    import openvino
    import torch

    from vgglass.engines.openvino import compile_for

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # OpenVINO traces, and torch would rather it exported
        graph = openvino.convert_model(network, input=[-1, 3, side, side], example_input=torch.rand(1, 3, side, side))
    compiled = compile_for(graph, precision)

    def prepare(batch: int) -> Work:
        return partial(compiled, np.random.default_rng(0).random((batch, 3, side, side), np.float32))

    return Candidate(name, "openvino", "CPU", precision, prepare)


def _on_gpu(name: str, network: "torch.nn.Module", side: int, precision: Precision) -> Candidate:
    import torch

    from vgglass.engines.torch import TYPES

    moved = copy.deepcopy(network).to("cuda", TYPES[precision]).to(memory_format=torch.channels_last)

    def prepare(batch: int) -> Work:
        images = torch.rand(batch, 3, side, side, device="cuda", dtype=TYPES[precision])
        return _in_torch(moved, images.contiguous(memory_format=torch.channels_last))

    return Candidate(name, "torch", "CUDA", precision, prepare)


def _in_torch(network: "torch.nn.Module", images: "torch.Tensor") -> Work:
    import torch

    @torch.inference_mode()
    def work() -> object:
        return network(images).cpu()  # waits for a GPU

    return work
