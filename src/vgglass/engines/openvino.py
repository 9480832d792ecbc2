"""OpenVINO, the default on a CPU: the graph is built from the model file's arrays, so torch is never needed.

Normalisation and channel order are part of the graph; batch norm is folded into the convolution before it.
"""

import math

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops

from vgglass import architecture as family
from vgglass.architecture import Layer
from vgglass.engines import Engine
from vgglass.images import Pixels
from vgglass.modelfile import ModelFile, Weights
from vgglass.preprocess import Preprocessing

BATCH_NORM_EPSILON = 1e-5  # torch's


def compile_model(model: ModelFile) -> Engine:
    """A float32 engine for any batch size."""
    graph = build_graph(model)
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(graph, "CPU", options)

    def engine(images: Pixels) -> NDArray[np.float32]:
        # A copy: the runtime reuses its output buffer at the next call.
        return np.array(compiled(np.ascontiguousarray(images))[0], np.float32)

    return engine


def build_graph(model: ModelFile) -> openvino.Model:
    """uint8 images (N, S, S, C) to logits (N, K)."""
    record = model.record
    size, channels = record.preprocessing.size, record.preprocessing.channels
    images = ops.parameter([-1, size, size, channels], np.uint8, name="images")
    x = _normalise(images, record.preprocessing)
    weights = fold_batch_norm(model)
    for layer in record.architecture.layers():
        if layer.kind in ("batchnorm", "dropout"):
            continue  # folded; the identity outside training
        if layer.kind == "softmax":
            break
        x = _layer(x, layer, weights)
    return openvino.Model([x], [images], record.architecture.name)


def fold_batch_norm(model: ModelFile) -> Weights:
    """Weights with each batch norm's scale and shift moved into the convolution before it, computed in float64."""
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


def _normalise(images: openvino.Node, record: Preprocessing) -> openvino.Node:
    """(N, H, W, C) uint8 to (N, C, H, W) float32."""
    x = ops.transpose(ops.convert(images, np.float32), np.array([0, 3, 1, 2]))
    if record.channel_order == "BGR":
        x = ops.gather(x, np.array([2, 1, 0]), np.array(1))
    shape = (1, record.channels, 1, 1)
    mean, std = (np.array(numbers, np.float32).reshape(shape) for numbers in (record.mean, record.std))
    return ops.divide(ops.subtract(x, mean), std)


def _layer(x: openvino.Node, layer: Layer, weights: Weights) -> openvino.Node:
    if layer.kind == "conv":
        pads = [layer.padding] * 2
        x = ops.convolution(x, weights[f"{layer.name}.weight"], [1, 1], pads, pads, [1, 1])
        return ops.add(x, weights[f"{layer.name}.bias"].reshape(1, -1, 1, 1))
    if layer.kind == "linear":
        if layer.name == "fc6":
            x = ops.reshape(x, np.array([0, math.prod(layer.input_shape)]), special_zero=True)
        x = ops.matmul(x, weights[f"{layer.name}.weight"], transpose_a=False, transpose_b=True)
        return ops.add(x, weights[f"{layer.name}.bias"])
    if layer.kind == "relu":
        return ops.relu(x)
    if layer.kind == "lrn":
        # As in torch, alpha is divided by the size here; in Krizhevsky's formula it is not.
        alpha = family.LRN_ALPHA * family.LRN_SIZE
        return ops.lrn(x, np.array([1]), alpha, family.LRN_BETA, family.LRN_K, family.LRN_SIZE)
    assert layer.kind == "maxpool", layer.kind
    return ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
