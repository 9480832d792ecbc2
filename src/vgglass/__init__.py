"""vgglass: VGG image classification that you can see through.

    vgglass.check(folder)                       what is broken, odd, doubled or leaked in a folder
    vgglass.train(folder, out="runs/mine")      learn from a folder of class folders
    vgglass.evaluate(model, folder)             judge on images that the model has not seen
    vgglass.report(model, folder, "report.html")   as evaluate, and a page with the images behind each figure
    vgglass.compare(one, other, folder)         whether one of two models is better, or only luckier
    vgglass.calibrate(model, folder)            probabilities that mean what they say, and when not to answer
    vgglass.predict(model, paths)               class names and probabilities
    vgglass.paper(folder)                       the paper's columns trained alike, its Tables 3 to 5 of them
    vgglass.export(model, "model.onnx")         a graph for another runtime; vgglass.verify(graph) proves it
    vgglass.engine(model)                       a function: uint8 images in, logits or features out
    vgglass.load(model), vgglass.pretrained(name), vgglass.VGG

Nothing heavy is imported until it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = [
    "VGG", "calibrate", "check", "compare", "engine", "evaluate", "export", "load", "paper", "predict", "pretrained",
    "report", "train", "verify",
]  # fmt: skip

if TYPE_CHECKING:
    from vgglass.model import VGG
    from vgglass.workflows.calibrate import calibrate
    from vgglass.workflows.check import check
    from vgglass.workflows.evaluate import compare, evaluate
    from vgglass.workflows.export import export, verify
    from vgglass.workflows.models import engine, load, pretrained
    from vgglass.workflows.paper import paper
    from vgglass.workflows.predict import predict
    from vgglass.workflows.report import report
    from vgglass.workflows.train import train


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'vgglass' has no attribute {name!r}")
    return getattr(import_module("vgglass.model" if name == "VGG" else "vgglass.workflows"), name)
