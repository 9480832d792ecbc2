"""Engines: uint8 images in, one named output of the network out, on whatever runs it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import ModelFileError
from vgglass.images import Pixels

# OpenVINO and NNCF report their use to their makers' analytics, through this package; without it they are silent.
# Nothing that vgglass does leaves the machine unasked.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

Output = Literal["fc8", "fc7", "avgpool", "pool5"]
Precision = Literal["float32", "bfloat16", "int8"]
OUTPUTS, PRECISIONS = get_args(Output), get_args(Precision)


@dataclass(frozen=True)
class Registered:
    """What is known of an engine before anything of it is imported.

    module    of vgglass.engines, which has `open_engine`, and what `export` asks of a format's module
    packages  that it runs on
    extra     of vgglass that brings them; '' where the light base does
    suffix    of the graphs that it exports to; '' without
    """

    module: str
    packages: tuple[str, ...]
    extra: str = ""
    suffix: str = ""


ENGINES = {
    "openvino": Registered("openvino", ("openvino",), suffix=".xml"),
    "torch": Registered("torch", ("torch",), extra="torch"),
    "onnxruntime": Registered("onnx", ("onnxruntime", "onnx"), extra="onnx", suffix=".onnx"),
}
NAMES = tuple(ENGINES)
FORMATS = {engine.suffix: name for name, engine in ENGINES.items() if engine.suffix}


@dataclass(frozen=True)
class Engine:
    """A network that is ready to run: images (N, S, S, C) in, float32 out.

    fc8 is (N, K), fc7 (N, hidden) before its ReLU, avgpool (N, C), pool5 (N, C, k, k). A dense engine takes
    (N, H, W, C) of any size that the classifier fits on, and its fc8 is (N, K, rows, columns).
    """

    name: str
    device: str
    precision: Precision
    run: Callable[[Pixels], NDArray[np.float32]] = field(repr=False)

    def __call__(self, images: Pixels) -> NDArray[np.float32]:
        """Raises ModelFileError for an answer that is infinite or not a number."""
        return finite(self.run(images))


def finite(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    """A network's answer as it is. Raises ModelFileError for one that is infinite or not a number (NaN)."""
    if not np.isfinite(answer).all():
        rule = "answers with numbers that are infinite or not a number (NaN): its weights are damaged, or overflow"
        raise ModelFileError("the network", rule, "take another model, or the precision float32")
    return answer
