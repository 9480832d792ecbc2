"""vgglass: VGG image classification that you can see through.

    vgglass.check(folder)                       what is broken, odd, doubled or leaked in a folder
    vgglass.train(folder, out="runs/mine")      learn from a folder of class folders
    vgglass.evaluate(model, folder)             judge on images that the model has not seen
    vgglass.predict(model, paths)               class names and probabilities
    vgglass.load(model), vgglass.pretrained(name), vgglass.VGG

Nothing heavy is imported until it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["VGG", "check", "evaluate", "load", "predict", "pretrained", "train"]

if TYPE_CHECKING:
    from vgglass.api import check, evaluate, load, predict, pretrained, train
    from vgglass.model import VGG


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'vgglass' has no attribute {name!r}")
    return getattr(import_module("vgglass.model" if name == "VGG" else "vgglass.api"), name)
