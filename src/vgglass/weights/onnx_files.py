"""Read the weights of an ONNX graph, layer by layer; external data are rejected."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vgglass.errors import MissingExtraError, WeightsError
from vgglass.weights.contents import DAMAGED, Array, Arrays, Contents, Part, damaged, require_size

EPSILON = 1e-5  # of batch norm in the networks here
NORM = ("weight", "bias", "running_mean", "running_var")
CHANNELS_LAST = [0, 2, 3, 1]


def read_onnx(path: Path) -> Contents:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as error:
        raise MissingExtraError("onnx", "onnx", "reading ONNX graphs") from error
    try:
        model = onnx.load(path, load_external_data=False)
        if model.producer_name == "vgglass":
            remedy = "convert the model file that it came of"
            raise WeightsError(path, "is a graph that vgglass export wrote", remedy)
        graph = Graph(path, onnx, model.graph)
        parts = tuple(graph.parts())
    except (DecodeError, *DAMAGED) as error:
        if isinstance(error, WeightsError):
            raise
        raise damaged(path, error) from error
    return Contents("onnx", parts, channels_last=graph.flattened_last)


class Graph:
    """The nodes of a graph and their constants.

    flattened_last  the output of the last pooling is transposed to channels last before it is flattened
    """

    def __init__(self, path: Path, onnx: Any, graph: Any) -> None:
        self.path, self.onnx, self.nodes = path, onnx, graph.node
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {output: node for node in graph.node for output in node.output}
        self.flattened_last = False

    def parts(self) -> Iterator[Part]:
        for node in self.nodes:
            options = {entry.name: self.onnx.helper.get_attribute_value(entry) for entry in node.attribute}
            if node.op_type == "MaxPool":
                self.flattened_last = False
                yield Part(node.name or "MaxPool", {})
            elif node.op_type == "Transpose" and self._constant(node.input[0]) is None:
                self.flattened_last = options.get("perm") == CHANNELS_LAST
            elif node.op_type == "Conv":
                yield self._layer(node, self._require_constant(node, 1), 2)
            elif node.op_type == "Gemm":
                weight = self._require_constant(node, 1)
                yield self._layer(node, weight if options.get("transB") else weight.T, 2)
            elif node.op_type == "MatMul" and (matrix := self._constant(node.input[1])) is not None:
                yield self._layer(node, matrix.T, 2)
            elif node.op_type == "BatchNormalization":
                tensors = dict(zip(NORM, (self._require_constant(node, number) for number in range(1, 5)), strict=True))
                excess = options.get("epsilon", EPSILON) - EPSILON  # only variance + epsilon matters
                yield Part(_key(node), tensors | {"running_var": tensors["running_var"] + np.float32(excess)})

    def _layer(self, node: Any, weight: Array, bias_place: int) -> Part:
        bias = self._constant(node.input[bias_place]) if len(node.input) > bias_place else self._added_bias(node)
        tensors: Arrays = {"weight": weight} | ({"bias": bias.reshape(-1)} if bias is not None else {})
        return Part(_key(node), tensors)

    def _added_bias(self, node: Any) -> Array | None:
        """The constant that a separate Add node adds to a node's output; None if there is none."""
        for other in self.nodes:
            if other.op_type == "Add" and node.output[0] in other.input:
                first, second = other.input
                return self._constant(second if first == node.output[0] else first)
        return None

    def _require_constant(self, node: Any, place: int) -> Array:
        found = self._constant(node.input[place])
        if found is None:
            rule = "computes its weights from the input, so that none are in the file"
            raise WeightsError(f"{node.op_type} {node.name} in {self.path}", rule, "export the network in eval mode")
        return found

    def _constant(self, name: str, depth: int = 4) -> Array | None:
        """The constant value of a tensor, followed through transposes; None if it depends on the input."""
        node = self.makers.get(name)
        if name in self.tensors:
            return self._values(self.tensors[name])
        if node is None or not depth:
            return None
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            return self._values(node.attribute[0].t)
        if node.op_type in ("Identity", "Transpose"):
            found = self._constant(node.input[0], depth - 1)
            order = next((list(entry.ints) for entry in node.attribute if entry.name == "perm"), None)
            return found if found is None or node.op_type == "Identity" else found.transpose(order)
        return None

    def _values(self, tensor: Any) -> Array:
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            rule = f"keeps its weights ({tensor.name}) in another file, which is not opened"
            remedy = "save it whole: onnx.save(onnx.load('vgg.onnx'), 'whole.onnx', save_as_external_data=False)"
            raise WeightsError(self.path, rule, remedy)
        numbers = 1
        for side in tensor.dims:
            numbers *= max(side, 0)
        require_size(self.path, tensor.name, numbers)
        return np.array(self.onnx.numpy_helper.to_array(tensor), np.float32)  # the graph's array is read-only


def _key(node: Any) -> str:
    """The module name of a node's weights: 'features.0'."""
    return str(node.input[1]).removesuffix(".weight")
