"""vgglass: VGG image classification that you can see through.

    vgglass.check(folder)                       find broken, unusual, duplicate and leaked images
    vgglass.check_labels(folder, weights)       find labels that are probably wrong
    vgglass.train(folder, out="runs/mine")      train on a folder of class folders
    vgglass.clip("runs/mine", "learning.gif")   how it learned, of a run trained with watch=True
    vgglass.clip("cat.jpg", "conv.gif", layer="conv1_1")   a layer's arithmetic on an image, output by output
    vgglass.evaluate(model, folder)             compute metrics on held-out images
    vgglass.report(model, folder, "report.html")   as evaluate, with a page that shows the images behind each metric
    vgglass.curve(folder, weights)              accuracy by images a class, and what more of them would bring
    vgglass.compare(one, other, folder)         test whether the difference of two models is significant
    vgglass.calibrate(model, folder)            fit a temperature, and optionally a reject threshold
    vgglass.predict(model, paths)               class names and probabilities
    vgglass.paper(folder)                       replicate the paper's columns and its Tables 3 to 5
    vgglass.shrink(model, folder, out="small.safetensors")   remove channels until it is four times as quick
    vgglass.export(model, "model.onnx")         a graph for another runtime; vgglass.verify(graph) checks it
    vgglass.engine(model)                       a function: uint8 images in, logits or features out
    vgglass.load(model), vgglass.pretrained(name), vgglass.VGG

Heavy dependencies are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = [
    "VGG", "calibrate", "check", "check_labels", "clip", "compare", "curve", "engine", "evaluate", "export", "load",
    "paper", "predict", "pretrained", "report", "shrink", "train", "verify",
]  # fmt: skip

if TYPE_CHECKING:
    from vgglass.model import VGG
    from vgglass.workflows.calibrate import calibrate
    from vgglass.workflows.check import check
    from vgglass.workflows.clip import clip
    from vgglass.workflows.curve import curve
    from vgglass.workflows.evaluate import compare, evaluate
    from vgglass.workflows.export import export, verify
    from vgglass.workflows.labels import check_labels
    from vgglass.workflows.models import engine, load, pretrained
    from vgglass.workflows.paper import paper
    from vgglass.workflows.predict import predict
    from vgglass.workflows.report import report
    from vgglass.workflows.shrink import shrink
    from vgglass.workflows.train import train


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'vgglass' has no attribute {name!r}")
    return getattr(import_module("vgglass.model" if name == "VGG" else "vgglass.workflows"), name)
