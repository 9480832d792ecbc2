"""The page of a look: one HTML file that opens from disk, its numbers inside it, its pictures beside it."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgglass.files import replacing
from vgglass.glass.layers import LayerView
from vgglass.glass.receptive_field import on_original, receptive_field
from vgglass.glass.sheets import Sheet
from vgglass.glass.words import both
from vgglass.web import script

if TYPE_CHECKING:
    from vgglass.glass.look import Look

DIGITS = 4  # of the figures of a single channel
RANKED = 20  # channels of a ranking that are shown


def write(seen: "Look", grids: Mapping[str, Sheet], path: Path, **how: str) -> None:
    """Fill the template with a look's numbers and the words of both languages.

    how  'scale' and 'order' of the grids, and 'lang', the language that the page opens in
    """
    template = files("vgglass.glass").joinpath("page.html").read_text(encoding="utf-8")
    page = template.replace("/*WORDS*/null", script(both()))
    page = page.replace("/*FACTS*/null", script(facts(seen, grids) | how))
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def facts(seen: "Look", grids: Mapping[str, Sheet]) -> dict[str, Any]:
    """What the page draws."""
    subject = seen.subject
    classes = subject.record.classes
    height, width = subject.original.shape[:2]
    return seen.as_json() | {
        "original": [width, height],
        "classes": classes,
        "temperature": subject.record.temperature,
        "size": subject.record.preprocessing.size,
        "placement": vars(subject.place),
        "layers": [_layer(seen, layer, grids[layer.name]) for layer in seen.layers],
        "attributions": [
            {"name": found.name, "method": found.method, "layer": found.layer} for found in seen.attributions
        ],
        "curves": [_curves(check) for check in seen.checks],
        "fields": [
            vars(on_original(subject, found.theory.box(found.position)))
            | {"layer": found.layer, "position": found.position, "size": found.theory.size, "jump": found.theory.jump}
            | {"side": found.side}
            for found in seen.fields
        ],
        "class_model": seen.class_model is not None,
        "scores": _scores(seen),
        "moves": _moves(seen),
        "ranking": [vars(effect) | {"winner": classes[effect.winner]} for effect in seen.ranking[:RANKED]],
        "ranked": seen.ranked,
    }


def _layer(seen: "Look", layer: LayerView, sheet: Sheet) -> dict[str, Any]:
    """A layer's figures, and those of its channels in the order of the sheet's tiles."""
    chosen = list(sheet.channels)
    whole = layer.maps[chosen]
    figures = layer.as_json()
    figures.pop("channel_zeros", None)
    spatial = layer.maps.shape[1:] != (1, 1)
    first = (
        0.5 if layer.kind == "image" else receptive_field(seen.subject.network.architecture, layer.name).first_centre
    )
    return figures | {
        "tile": sheet.tile,
        "corners": sheet.corners,
        "sheet": sheet.image.size,
        "channels": chosen,
        "first_centre": first,
        "minima": _rounded(whole.min(axis=(1, 2))) if spatial else [],
        "means": _rounded(whole.mean(axis=(1, 2))),
        "maxima": _rounded(whole.max(axis=(1, 2))) if spatial else [],
        "zeros_each": _rounded(layer.channel_zeros[chosen]) if layer.kind == "relu" else [],
    }


def _rounded(numbers: NDArray[Any]) -> list[float]:
    return [float(f"{number:.{DIGITS}g}") for number in np.asarray(numbers, np.float64)]


def _curves(check: Any) -> dict[str, Any]:
    names = ("deletion", "random_deletion", "insertion", "random_insertion")
    return {name: _rounded(getattr(check, name)) for name in names} | {
        "correlation": check.correlation, "areas": check.areas(), "randomised": f"{check.randomised.name}-randomised"
    }  # fmt: skip


def _scores(seen: "Look") -> dict[str, Any] | None:
    if seen.scores is None:
        return None
    share = seen.scores.probabilities[seen.scores.target]
    rows, columns = share.shape
    return {
        "class": seen.subject.record.classes[seen.scores.target], "rows": rows, "columns": columns,
        "largest": float(share.max()), "mean": float(share.mean()), "side": seen.scores.side,
    }  # fmt: skip


def _moves(seen: "Look") -> list[dict[str, Any]]:
    """The classes whose logits move most when channels are silenced."""
    if seen.ablation is None:
        return []
    found = seen.ablation
    classes = seen.subject.record.classes
    return [
        {"class": classes[index], "before": float(found.before[index]), "after": float(found.after[index])}
        for index in np.argsort(-np.abs(found.moves), kind="stable")[:RANKED]
    ]
