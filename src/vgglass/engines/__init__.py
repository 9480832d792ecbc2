"""Inference engines: uint8 images in, one named output of the network out, on OpenVINO, torch or ONNX Runtime."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import ModelFileError
from vgglass.images import Pixels

# OpenVINO and NNCF send usage analytics through this package; blocking its import disables them. vgglass sends nothing
# over the network unasked.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

Output = Literal["fc8", "fc7", "fc7_2", "avgpool", "pool5", "fc8+average"]
Precision = Literal["float32", "bfloat16", "int8"]
OUTPUTS, PRECISIONS = get_args(Output), get_args(Precision)


@dataclass(frozen=True)
class Registered:
    """Registry entry of an engine, without importing it.

    module    in vgglass.engines, with `open_engine` and, if it has a graph format, the functions `export` calls
    packages  required packages
    extra     of vgglass that installs them; '' if the base install does
    suffix    of exported graphs; '' if export is not supported
    gpu       whether it runs on a GPU
    bfloat16  the device on which it computes in bfloat16; '' for none
    """

    module: str
    packages: tuple[str, ...]
    extra: str = ""
    suffix: str = ""
    gpu: bool = False
    bfloat16: Literal["", "cpu", "gpu"] = ""


ENGINES = {
    "openvino": Registered("openvino", ("openvino",), suffix=".xml", bfloat16="cpu"),
    "torch": Registered("torch", ("torch",), extra="torch", gpu=True, bfloat16="gpu"),
    "onnxruntime": Registered("onnx", ("onnxruntime", "onnx"), extra="onnx", suffix=".onnx"),
}
NAMES = tuple(ENGINES)
FORMATS = {engine.suffix: name for name, engine in ENGINES.items() if engine.suffix}


@dataclass(frozen=True)
class Engine:
    """A network ready for inference: images (N, S, S, C) in, float32 out.

    fc8 is (N, K), fc7 (fc7_2 if factorised) (N, hidden) before its ReLU, avgpool (N, C), pool5 (N, C, k, k);
    fc8+average is (N, K + C), the logits and then pool5's average, in one pass. A dense engine takes (N, H, W, C) of
    any size that the head fits, and its fc8 is (N, K, rows, columns), its fc8+average (N, K + C, rows, columns).
    """

    name: str
    device: str
    precision: Precision
    run: Callable[[Pixels], NDArray[np.float32]] = field(repr=False)

    def __call__(self, images: Pixels) -> NDArray[np.float32]:
        """Run the network. Raises ModelFileError for an output that is infinite or NaN."""
        return finite(self.run(images))


def finite(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an output unchanged. Raises ModelFileError if it is infinite or NaN."""
    if not np.isfinite(answer).all():
        rule = "answers with numbers that are infinite or not a number (NaN): its weights are damaged, or overflow"
        raise ModelFileError("the network", rule, "take another model, or the precision float32")
    return answer
