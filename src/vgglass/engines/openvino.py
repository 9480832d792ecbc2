"""OpenVINO, the default engine on a CPU; graphs are built from the model file's arrays, without torch."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset1
from openvino import opset13 as ops

from vgglass import architecture as family
from vgglass.engines import Engine, Output, Precision
from vgglass.engines.artifact import AGAIN, KEY, Artifact, digest
from vgglass.engines.graph import Array, build
from vgglass.errors import ModelFileError
from vgglass.images import Pixels
from vgglass.modelfile import ModelFile
from vgglass.preprocess import Preprocessing

HINTS = {"float32": "f32", "bfloat16": "bf16"}


@cache
def core() -> openvino.Core:
    """The single core of this process.

    Each core installs an alternate signal stack on its thread and restores the previous one on destruction, even if
    that no longer exists: after two cores the next signal would crash the process (seen with OpenVINO 2026.4).
    """
    return openvino.Core()


def open_engine(
    source: ModelFile | Artifact, output: Output = "fc8", precision: Precision = "float32", *, dense: bool = False
) -> Engine:
    """Open a model file, or an artifact in OpenVINO or ONNX format, on the CPU, for batches of any size.

    Output, precision (float32 or int8) and density of an artifact are fixed.
    """
    if isinstance(source, Artifact):
        return engine_of(core().read_model(source.path), precision)
    return engine_of(build_graph(source, output, dense=dense), precision)


def engine_of(graph: openvino.Model, precision: Precision) -> Engine:
    """Compile a graph for the CPU."""
    compiled = compile_for(graph, precision)

    def run(images: Pixels) -> NDArray[np.float32]:
        found: NDArray[np.float32] = compiled(np.ascontiguousarray(images))[0]
        return found

    return Engine("openvino", "CPU", precision, run)


def compile_for(graph: openvino.Model, precision: Precision) -> openvino.CompiledModel:
    """Compile a graph for the shortest time of one call; a graph in int8 has its precision in its own nodes."""
    hint = HINTS["float32" if precision == "int8" else precision]
    return core().compile_model(graph, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint})


def build_graph(model: ModelFile, output: Output = "fc8", *, dense: bool = False) -> openvino.Model:
    """Graph from uint8 images (N, H, W, C) to the named output; it shares the model file's arrays."""
    operations = OpenVINO()
    result = build(operations, model, output, dense=dense)
    result.output(0).get_tensor().set_names({output})
    return openvino.Model([result], [operations.images], model.record.architecture.name)


def write(graph: openvino.Model, path: Path, text: str) -> None:
    """Write a graph as .xml and .bin (weights), with the artifact's metadata text."""
    graph.set_rt_info(text, [KEY])
    openvino.save_model(graph, path, compress_to_fp16=False)


def constants_digest(graph: openvino.Model) -> str:
    return digest(node.data for node in graph.get_ops() if node.get_type_name() == "Constant")


def read_text(path: Path) -> tuple[str | None, str]:
    """The metadata text of an .xml (None if there is none) and the digest of its constants.

    Raises ModelFileError for a damaged file.
    """
    try:
        graph = core().read_model(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ModelFileError(path, f"OpenVINO can't read it or its .bin ({reason})", AGAIN) from error
    text = str(graph.get_rt_info([KEY]).value) if graph.has_rt_info([KEY]) else None
    return text, constants_digest(graph)


class OpenVINO:
    """`Operations` as OpenVINO nodes; `images`: the input, set by `normalised`."""

    images: openvino.Node

    def normalised(self, side: int | None, record: Preprocessing) -> openvino.Node:
        height_width = [-1, -1] if side is None else [side, side]
        self.images = ops.parameter([-1, *height_width, record.channels], np.uint8, name="images")
        self.images.output(0).get_tensor().set_names({"images"})
        x = ops.transpose(ops.convert(self.images, np.float32), np.array([0, 3, 1, 2]))
        if record.channel_order == "BGR":
            x = ops.gather(x, np.array([2, 1, 0]), np.array(1))
        shape = (1, record.channels, 1, 1)
        mean, std = (np.array(numbers, np.float32).reshape(shape) for numbers in (record.mean, record.std))
        return ops.divide(ops.subtract(x, mean), std)

    def convolution(self, x: openvino.Node, name: str, weight: Array, bias: Array, padding: int) -> openvino.Node:
        pads = [padding, padding]
        product = ops.convolution(x, _constant(weight), [1, 1], pads, pads, [1, 1])
        return ops.add(product, _constant(bias.reshape(1, -1, 1, 1)), name=name)

    def linear(self, x: openvino.Node, name: str, weight: Array, bias: Array) -> openvino.Node:
        product = ops.matmul(x, _constant(weight), transpose_a=False, transpose_b=True)
        return ops.add(product, _constant(bias.reshape(1, -1)), name=name)

    def flatten(self, x: openvino.Node, name: str, features: int) -> openvino.Node:
        return ops.reshape(x, np.array([0, features]), special_zero=True, name=name)

    def relu(self, x: openvino.Node, name: str) -> openvino.Node:
        return ops.relu(x, name=name)

    def response_norm(self, x: openvino.Node, name: str) -> openvino.Node:
        # As in torch, alpha is divided by the size here; in Krizhevsky's formula it is not.
        alpha = family.LRN_ALPHA * family.LRN_SIZE
        return ops.lrn(x, np.array([1]), alpha, family.LRN_BETA, family.LRN_K, family.LRN_SIZE, name=name)

    def max_pool(self, x: openvino.Node, name: str) -> openvino.Node:
        return opset1.max_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], name=name)  # later opsets return indices as well

    def joined(self, parts: Sequence[openvino.Node], name: str) -> openvino.Node:
        return ops.concat(list(parts), 1, name=name)

    def average_pool(self, x: openvino.Node, name: str, side: int) -> openvino.Node:
        return opset1.avg_pool(x, [1, 1], [0, 0], [0, 0], [side, side], exclude_pad=True, name=name)


def _constant(array: Array) -> openvino.Node:
    return ops.constant(array, shared_memory=True)  # copying VGG-16's takes 15 s


def layer_milliseconds(model: ModelFile, precision: str, repeats: int) -> dict[str, float]:
    """What each convolution and fully connected layer takes for one image, by OpenVINO's own clock: the quickest of
    `repeats`, after one that sets things up. A layer's ReLU, and mostly its pooling, is computed with it."""
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": HINTS[precision], "PERF_COUNT": True}
    request = core().compile_model(build_graph(model), "CPU", options).create_infer_request()
    names = [layer.name for layer in model.record.architecture.layers() if layer.kind in ("conv", "linear")]
    quickest = dict.fromkeys(names, float("inf"))
    for repeat in range(repeats + 1):
        request.infer([model.golden_images[:1]])
        executed = [node for node in request.profiling_info if node.node_type in ("Convolution", "FullyConnected")]
        for name, node in zip(names, executed, strict=True):
            if repeat:
                quickest[name] = min(quickest[name], node.real_time.total_seconds() * 1000)
    return quickest


def convolutions(channels: int, side: int, count: int, precision: Precision) -> Callable[[Array], object]:
    """A compiled stack of 3x3 convolutions on one image (1, C, side, side), as a benchmark of a precision."""
    weight = np.full((channels, channels, 3, 3), 1 / (9 * channels), np.float32)
    x = image = ops.parameter([1, channels, side, side], np.float32)
    for _ in range(count):
        x = ops.relu(ops.convolution(x, _constant(weight), [1, 1], [1, 1], [1, 1], [1, 1]))
    work: Callable[[Array], object] = compile_for(openvino.Model([x], [image]), precision)
    return work


def product(side: int, precision: Precision) -> openvino.CompiledModel:
    """A compiled product of two (side, side) matrices, one of them constant, as a measure of the machine's peak."""
    matrix = ops.parameter([side, side], np.float32)
    weight = np.random.default_rng(0).uniform(-1, 1, (side, side)).astype(np.float32)
    x, y = matrix, ops.constant(weight)
    if precision == "int8":
        x = _rounded(x, 1.0, 256)
        y = _rounded(y, 2.0, 255)  # half of the steps: without VNNI a sum of two products would overflow
    return compile_for(openvino.Model([ops.matmul(x, y, False, True)], [matrix]), precision)


def _rounded(x: openvino.Node, most: float, levels: int) -> openvino.Node:
    low, high = np.float32(-most), np.float32(most)
    return ops.fake_quantize(x, low, high, low, high, levels)
