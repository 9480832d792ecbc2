"""Build the network as a graph of any runtime: shared by OpenVINO and ONNX.

The graph takes uint8 images (N, H, W, C): it includes channel order and normalisation, and batch norm is folded into
the preceding convolution. N and, in a dense graph, H and W are dynamic.
"""

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from vgglass.architecture import Layer
from vgglass.engines import Output
from vgglass.modelfile import ModelFile, Weights
from vgglass.preprocess import Preprocessing

BATCH_NORM_EPSILON = 1e-5  # torch's
Node = TypeVar("Node")
Array = NDArray[np.float32]


class Operations(Protocol[Node]):
    """The operations that a runtime must provide."""

    def normalised(self, side: int | None, record: Preprocessing) -> Node:
        """The graph's input, images of `side` pixels (None: any size), normalised to float32 (N, C, H, W)."""

    def convolution(self, x: Node, name: str, weight: Array, bias: Array, padding: int) -> Node: ...

    def linear(self, x: Node, name: str, weight: Array, bias: Array) -> Node: ...

    def flatten(self, x: Node, name: str, features: int) -> Node: ...

    def relu(self, x: Node, name: str) -> Node: ...

    def response_norm(self, x: Node, name: str) -> Node: ...

    def max_pool(self, x: Node, name: str) -> Node: ...

    def average_pool(self, x: Node, name: str, side: int) -> Node: ...

    def joined(self, parts: Sequence[Node], name: str) -> Node:
        """One after the other along axis 1, the channels."""


def build(operations: Operations[Node], model: ModelFile, output: Output = "fc8", *, dense: bool = False) -> Node:
    """Build the network layer by layer up to the named output; dense: as in section 3.2 of the paper."""
    record = model.record
    weights = fold_batch_norm(model)
    x = operations.normalised(None if dense else record.preprocessing.size, record.preprocessing)
    for layer in record.architecture.layers():
        if layer.kind in ("batchnorm", "dropout"):
            continue  # folded; identity at inference
        x = _layer(operations, x, layer, weights, dense)
        if layer.name == "pool5" and output == "fc8+average":
            average = operations.average_pool(x, "pool5_average", record.architecture.head_kernel)
            if not dense:
                average = operations.flatten(average, "pool5_flat", layer.output_shape[0])
        if layer.name == output.removesuffix("+average"):
            break
    return operations.joined([x, average], output) if output == "fc8+average" else x


def fold_batch_norm(model: ModelFile) -> Weights:
    """Weights with each batch norm folded into the preceding convolution, computed in float64."""
    weights = dict(model.weights)
    for layer in model.record.architecture.layers():
        if layer.kind != "batchnorm":
            continue
        conv = layer.name.replace("bn", "conv")
        norm = {name: weights.pop(f"{layer.name}.{name}").astype(np.float64) for name in layer.tensors}
        scale = norm["weight"] / np.sqrt(norm["running_var"] + BATCH_NORM_EPSILON)
        kernel, bias = weights[f"{conv}.weight"], weights[f"{conv}.bias"]
        weights[f"{conv}.weight"] = (kernel * scale[:, None, None, None]).astype(np.float32)
        weights[f"{conv}.bias"] = ((bias - norm["running_mean"]) * scale + norm["bias"]).astype(np.float32)
    return weights


def _layer(operations: Operations[Node], x: Node, layer: Layer, weights: Weights, dense: bool) -> Node:
    name = layer.name
    if layer.kind == "relu":
        return operations.relu(x, name)
    if layer.kind == "lrn":
        return operations.response_norm(x, name)
    if layer.kind == "maxpool":
        return operations.max_pool(x, name)
    if layer.kind == "avgpool":
        if dense:
            return operations.average_pool(x, name, layer.kernel)
        return operations.flatten(operations.average_pool(x, "average", layer.kernel), name, layer.output_shape[0])
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if layer.kind == "conv":
        return operations.convolution(x, name, weight, bias, layer.padding)
    assert layer.kind == "linear", layer.kind
    if dense:
        kernel = weight.reshape(len(weight), -1, layer.kernel, layer.kernel)
        return operations.convolution(x, name, kernel, bias, 0)
    if name in ("fc6", "fc6_1"):
        x = operations.flatten(x, "flatten", math.prod(layer.input_shape))
    return operations.linear(x, name, weight, bias)
