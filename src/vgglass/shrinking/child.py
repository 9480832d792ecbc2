"""A smaller model as a file: its record names the parent, and what was made of it."""

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from vgglass import __version__
from vgglass.model import VGG
from vgglass.modelfile import ModelFile, Record, weights_digest
from vgglass.shrinking.channels import Indices, widths


def descendant(parent: ModelFile, network: VGG, shrunk: Mapping[str, Any], **about: Any) -> ModelFile:
    """A network made from a model, with golden logits of its own.

    shrunk  what was done, for the record; `about` are fields of the record in place of the parent's
    It keeps classes, preprocessing, the record of the training data and the recipe. Temperature, reject threshold and
    metrics are dropped: they were measured on the parent.
    """
    record = parent.record
    made = {"from": record.digest or weights_digest(parent.weights), **shrunk}
    if "shrunk" in record.recipe:
        made["before"] = record.recipe["shrunk"]
    kept = {
        "data": {name: value for name, value in record.data.items() if name != "calibration"},
        "recipe": {**record.recipe, "shrunk": made},
        "versions": {"vgglass": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    return network.to_file(record.classes, record.preprocessing, **kept | about)


def kept_of(parent: Record, child: Record) -> dict[str, Indices]:
    """The channels of the parent that a child of it has, by its record; all where it is the parent itself."""
    gone = child.recipe["shrunk"]["removed"] if child.digest != parent.digest else {}
    return {
        name: np.setdiff1d(np.arange(count), gone.get(name, [])) for name, count in widths(parent.architecture).items()
    }
