"""ONNX graphs, and the engine ONNX Runtime (extra: vgglass[onnx])."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vgglass import architecture as family
from vgglass.engines import Engine, Output, Precision
from vgglass.engines.artifact import AGAIN, KEY, Artifact, digest
from vgglass.engines.graph import Array, build
from vgglass.errors import ModelFileError
from vgglass.images import Pixels
from vgglass.modelfile import ModelFile
from vgglass.preprocess import Preprocessing

OPSET, IR_VERSION = 17, 8  # of 2022: supported by most runtimes in use


def open_engine(
    source: ModelFile | Artifact, output: Output = "fc8", precision: Precision = "float32", *, dense: bool = False
) -> Engine:
    """Open a model file or an .onnx artifact with ONNX Runtime on the CPU, for batches of any size."""
    import onnxruntime  # not needed for reading graphs

    graph = (
        build_graph(source, output, dense=dense).SerializeToString() if isinstance(source, ModelFile) else source.path
    )
    with _runtime_errors():
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def run(images: Pixels) -> NDArray[np.float32]:
        with _runtime_errors():
            found: NDArray[np.float32] = session.run(None, {"images": images})[0]
        return found

    return Engine("onnxruntime", "CPU", precision, run)


@contextmanager
def _runtime_errors() -> Iterator[None]:
    """Translate ONNX Runtime's exceptions, which have no common base class, to RuntimeError."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    try:
        yield
    except (
        state.EPFail, state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoModel,
        state.NotImplemented, state.RuntimeException,
    ) as error:  # fmt: skip
        raise RuntimeError(str(error)) from error


def build_graph(model: ModelFile, output: Output = "fc8", *, dense: bool = False) -> onnx.ModelProto:
    """Graph from uint8 images (N, H, W, C) to the named output."""
    operations = ONNX()
    last = build(operations, model, output, dense=dense)
    assert last == output, "a node's output is named as its layer"
    places: list[str | int | None] = ["N", None, None, None] if dense or output == "pool5" else ["N", None]
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, places)
    name = model.record.architecture.name
    graph = helper.make_graph(operations.nodes, name, [operations.images], [result], operations.weights)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="vgglass")


def write(graph: onnx.ModelProto, path: Path, text: str) -> None:
    """Write a graph with the artifact's metadata text."""
    helper.set_model_props(graph, {KEY: text})
    onnx.save_model(graph, path)


def constants_digest(graph: onnx.ModelProto) -> str:
    return digest(map(numpy_helper.to_array, graph.graph.initializer))


def read_text(path: Path) -> tuple[str | None, str]:
    """The metadata text of an .onnx (None if there is none) and the digest of its constants.

    Raises ModelFileError for a damaged file.
    """
    try:
        graph = onnx.load_model(path, load_external_data=False)
    except DecodeError as error:
        raise ModelFileError(path, f"not an ONNX graph, or damaged ({error})", AGAIN) from error
    if not _is_self_contained(graph):
        raise ModelFileError(path, "holds what vgglass export does not write, or its weights lie in other files", AGAIN)
    text = next((item.value for item in graph.metadata_props if item.key == KEY), None)
    return text, constants_digest(graph)


def _is_self_contained(graph: onnx.ModelProto) -> bool:
    """Whether all weights are initialisers in the file; external data could reference any other file."""
    attributes = [part for node in graph.graph.node for part in node.attribute]
    nested = any(part.HasField("t") or part.HasField("g") or part.tensors or part.graphs for part in attributes)
    elsewhere = any(tensor.data_location == TensorProto.EXTERNAL for tensor in graph.graph.initializer)
    return not (nested or elsewhere or graph.graph.sparse_initializer or graph.functions)


class ONNX:
    """`Operations` as ONNX nodes; a node is identified by the name of its output."""

    images: onnx.ValueInfoProto

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def normalised(self, side: int | None, record: Preprocessing) -> str:
        places: list[str | int | None] = (
            ["N", "H", "W", record.channels] if side is None else ["N", side, side, record.channels]
        )
        self.images = helper.make_tensor_value_info("images", TensorProto.UINT8, places)
        x = self.add("Cast", ["images"], "pixels", to=TensorProto.FLOAT)
        if record.channel_order == "BGR":
            order = self.constant("channel_order", np.array([2, 1, 0]))
            x = self.add("Gather", [x, order], "reordered", axis=3)
        mean, std = (np.array(numbers, np.float32) for numbers in (record.mean, record.std))
        x = self.add("Sub", [x, self.constant("mean", mean)], "centred")
        x = self.add("Div", [x, self.constant("std", std)], "scaled")
        return self.add("Transpose", [x], "normalised", perm=[0, 3, 1, 2])

    def convolution(self, x: str, name: str, weight: Array, bias: Array, padding: int) -> str:
        inputs = [x, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.add("Conv", inputs, name, kernel_shape=list(weight.shape[2:]), pads=[padding] * 4)

    def linear(self, x: str, name: str, weight: Array, bias: Array) -> str:
        inputs = [x, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.add("Gemm", inputs, name, transB=1)

    def flatten(self, x: str, name: str, features: int) -> str:
        return self.add("Flatten", [x], name, axis=1)

    def relu(self, x: str, name: str) -> str:
        return self.add("Relu", [x], name)

    def response_norm(self, x: str, name: str) -> str:
        # As in torch, alpha is divided by the size here; in Krizhevsky's formula it is not.
        alpha = family.LRN_ALPHA * family.LRN_SIZE
        return self.add("LRN", [x], name, alpha=alpha, beta=family.LRN_BETA, bias=family.LRN_K, size=family.LRN_SIZE)

    def max_pool(self, x: str, name: str) -> str:
        return self.add("MaxPool", [x], name, kernel_shape=[2, 2], strides=[2, 2])

    def joined(self, parts: Sequence[str], name: str) -> str:
        return self.add("Concat", list(parts), name, axis=1)

    def average_pool(self, x: str, name: str, side: int) -> str:
        return self.add("AveragePool", [x], name, kernel_shape=[side, side])
