"""JSON responses for the page: arrays and dataclasses of vgglass.glass, and maps as bytes for a canvas.

Every number that the page shows is computed on the server.
"""

import base64
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgglass.architecture import SMALLEST_IMAGE, ReceptiveField
from vgglass.images import Pixels
from vgglass.lineage import kin, origins

if TYPE_CHECKING:
    from vgglass.glass.ablation import Ablation
    from vgglass.glass.ablation import Stage as Ablated
    from vgglass.glass.attribution import Attribution, ClassMap, Stage
    from vgglass.glass.dense import BothWays, ScoreMap
    from vgglass.glass.layers import LayerView
    from vgglass.glass.operations import Play
    from vgglass.glass.preference import Stage as Preference
    from vgglass.glass.receptive_field import EffectiveField
    from vgglass.glass.subject import Subject
    from vgglass.lineage import Kin
    from vgglass.modelfile import Record
    from vgglass.server.sessions import ForwardPass

TOP = 5
THUMBNAIL = 56  # maximum side in pixels
TOGETHER = 0.03  # seconds
LEVELS = 127  # quantisation levels of a picture on either side of zero


def _field(field: ReceptiveField) -> dict[str, float]:
    return {"receptive_field": field.size, "jump": field.jump, "first_centre": field.first_centre}


def network(record: "Record", palettes: dict[str, bytes], parent: "Record | None" = None) -> dict[str, Any]:
    """Return the model's metadata and its layers, with what its parent has beside them."""
    from vgglass.glass.attribution import METHODS, methods

    architecture, preprocessing = record.architecture, record.preprocessing
    origin, beside = origins(architecture), kin(record, parent) if parent else {}
    image = {
        "name": "image", "kind": "image", "shape": [preprocessing.size, preprocessing.size, preprocessing.channels],
        "parameters": 0, **_field(ReceptiveField()), "kernel": 1, "stride": 1, "padding": 0,
        "origin": None, "parent": None,
    }  # fmt: skip
    layers = [
        {
            "name": layer.name, "kind": layer.kind, "shape": list(reversed(layer.output_shape)),
            "parameters": layer.parameters, **_field(layer.receptive_field),
            "kernel": layer.kernel, "stride": layer.stride, "padding": layer.padding, "origin": origin[layer.name],
            "parent": asdict(beside[layer.name]) if layer.name in beside else None,
        }
        for layer in architecture.layers()
    ]  # fmt: skip
    return {
        "architecture": architecture.name,
        "head": architecture.head,
        "head_layer": architecture.head_layer,
        "methods": methods(architecture),
        "layered_methods": [name for name in methods(architecture) if METHODS[name].layered],
        "digest": record.digest,
        "classes": record.classes,
        "temperature": record.temperature,
        "reject_threshold": record.reject_threshold,
        "size": preprocessing.size,
        "input": {"order": preprocessing.channel_order, "mean": preprocessing.mean, "std": preprocessing.std},
        "layers": [image, *layers],
        "palettes": {name: _base64(colours) for name, colours in palettes.items()},
    }


def ranked(record: "Record", probabilities: NDArray[np.float64], top: int = TOP) -> list[dict[str, Any]]:
    """Return the `top` classes with their calibrated probabilities."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [
        {"index": int(index), "class": record.classes[index], "probability": float(probabilities[index])}
        for index in order
    ]


def strip(walk: "ForwardPass") -> list[dict[str, Any]]:
    """Return the statistics of every layer and a thumbnail of its strongest map."""
    return [summary(layer) for layer in walk.views.values()]


def summary(found: "LayerView") -> dict[str, Any]:
    """Return the statistics of a layer and a thumbnail of its strongest map."""
    return _statistics(found) | {"thumbnail": _thumbnail(found)}


def summaries(views: "Iterator[LayerView]") -> "Iterator[list[dict[str, Any]]]":
    """Yield the layers computed within TOGETHER seconds: a turn of the thread for each would take longer than it."""
    found, began = list[dict[str, Any]](), time.perf_counter()
    for view in views:
        found.append(summary(view))
        if time.perf_counter() - began > TOGETHER:
            yield found
            found, began = [], time.perf_counter()
    if found:
        yield found


def layer(found: "LayerView") -> dict[str, Any]:
    """Return the statistics of a layer and of each channel. `ends`: the limits of per-channel colour scales."""
    from vgglass.glass.sheets import reach

    maps = found.maps
    means = maps.mean(axis=(1, 2), dtype=np.float64)
    return _statistics(found) | {
        "ends": _rounded(reach(maps)),
        "minima": _rounded(maps.min(axis=(1, 2))),
        "means": _rounded(means),
        "maxima": _rounded(maps.max(axis=(1, 2))),
        "zeros_each": _rounded(found.channel_zeros),
        "by_activation": np.argsort(-means, kind="stable").tolist(),
    }


def floats(found: "LayerView", channel: int | None) -> bytes:
    """Return a layer's maps, or one channel's, as little-endian float32. Raises UsageError for an unknown channel."""
    from vgglass.glass.subject import require_channel

    chosen = found.maps
    if channel is not None:
        require_channel(found.name, len(chosen), channel)
        chosen = chosen[channel]
    return np.ascontiguousarray(chosen, "<f4").tobytes()


def limit(walk: "ForwardPass") -> float:
    """Return the limit of the colour scale shared by all layers but the image and prob, which have other units."""
    from vgglass.glass.sheets import reach

    return max(
        float(reach(layer.maps).max()) for layer in walk.views.values() if layer.kind not in ("image", "softmax")
    )


def field(found: "EffectiveField") -> dict[str, Any]:
    """Return the square root of the gradient as a picture, and the side of the square that holds 95 % of it."""
    return {"side": found.side, "size": found.theory.size, **picture(np.sqrt(found.gradient), signed=False)}


def attribution(found: "Attribution", classes: tuple[str, ...]) -> dict[str, Any]:
    about = {"method": found.method, "layer": found.layer, "target": found.target, "class": classes[found.target]}
    return about | picture(found.map, signed=found.signed)


def preference(found: "Preference") -> dict[str, Any]:
    """Return how far the search is, and at its end the patches and the image as PNG, in base64; red first."""
    told: dict[str, Any] = {"done": found.done, "total": found.total}
    if found.patches is None or found.image is None:
        return told
    patches = [{"name": each.name, "value": each.value, "png": _png(each.pixels)} for each in found.patches]
    return told | {"patches": patches, "png": _png(found.image)}


def _png(pixels: Pixels) -> str:
    from vgglass.glass import sheets

    return _base64(sheets.as_png(sheets.photograph(pixels)))


def stage(found: "Stage", classes: tuple[str, ...]) -> dict[str, Any]:
    """Return an attribution on its way, with the number of passes done and their total."""
    return attribution(found.attribution, classes) | {"done": found.done, "total": found.total}


def importance(subject: "Subject", target: int | None) -> dict[str, Any]:
    """Return each channel's share of its layer's importance, by the layer that the channels come from."""
    from vgglass.glass.importance import importance, relus

    target = explained(subject, target)
    shares, named = importance(subject, target), relus(subject.network.architecture).values()
    return {
        "target": target, "class": subject.record.classes[target],
        "shares": {name: _rounded(shares[name]) for name in named},
    }  # fmt: skip


def removed(subject: "Subject", beside: "Mapping[str, Kin]", name: str, target: int | None) -> dict[str, Any]:
    """Return a class's probability in the parent, and without the removed channels of one layer and of all."""
    from vgglass.glass.parent import probability, silenced

    subject.layer(name)
    target, gone = explained(subject, target), silenced(beside)
    return {
        "class": subject.record.classes[target],
        "before": probability(subject, target, {}),
        "without": probability(subject, target, {name: gone.get(name, ())}),
        "withoutAll": probability(subject, target, gone),
    }


def explained(subject: "Subject", target: int | None) -> int:
    """Return the class to explain: the predicted one for None. Raises UsageError for a number out of range."""
    if target is None:
        return int(subject.logits().argmax())
    subject.require_class(target)
    return target


def class_map(found: "ClassMap", record: "Record") -> dict[str, Any]:
    """Return the score of each position of pool5 in full precision, so that the page can sum them itself."""
    size = record.preprocessing.size
    names = ("scores", "bias", "logit", "bound", "target", "against")
    return {name: getattr(found, name) for name in names} | {
        "class": record.classes[found.target],
        "other": None if found.against is None else record.classes[found.against],
        "picture": picture(found.spread(size), signed=True),
        "cell": SMALLEST_IMAGE,
    }


def ablation(found: "Ablation", record: "Record") -> dict[str, Any]:
    """Return the top classes of either output with both probabilities, and the top classes after ablation."""
    before, after = (record.probabilities(logits) for logits in (found.before, found.after))
    order = np.argsort(-np.maximum(before, after), kind="stable")[:TOP].tolist()
    rows = [
        {"index": index, "class": record.classes[index], "before": before[index], "after": after[index]}
        for index in order
    ]
    return {"rows": rows, "top": ranked(record, after)}


def ablated(found: "Ablated", record: "Record") -> dict[str, Any]:
    """Return how far an ablation is, and with its last layer what `ablation` returns."""
    told = {"done": found.done, "total": found.total}
    return told | ablation(found.ablation, record) if found.ablation else told


def scores(found: "ScoreMap", both: "BothWays", classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the class's probability and the top class per position, and the comparison of dense and convolution."""
    height, width = found.image.shape[:2]
    likeliest = found.probabilities.argmax(axis=0)
    return {
        "class": classes[found.target], "target": found.target, "height": height, "width": width,
        "side": found.side, "step": found.step, "probabilities": found.probabilities[found.target],
        "likeliest": likeliest, "names": {int(index): classes[index] for index in np.unique(likeliest)},
        "picture": picture(found.probabilities[found.target], signed=False, end=1.0),
        "largest": found.probabilities[found.target].max(), "mean": found.probabilities[found.target].mean(),
        "both": {
            "layer": both.layer, "input": both.input_shape, "outputs": len(both.connected),
            "difference": both.largest_difference, "largest": both.largest_output,
        },
    }  # fmt: skip


def playground(found: "Play", at: tuple[int, int]) -> dict[str, Any]:
    """Return the input, the output, and the window of the output nearest to `at`."""
    result: dict[str, Any] = {
        "operation": found.operation, "values": found.values, "outputs": found.outputs, "kernel": found.kernel,
        "problem": found.problem, "span": found.span, "room": found.room, "formula": found.formula,
    }  # fmt: skip
    if found.problem is None:
        place = min(at[0], len(found.outputs) - 1), min(at[1], len(found.outputs) - 1)
        seen = found.at(place)
        result["window"] = {
            "at": place, "top": seen.top, "left": seen.left, "inside": seen.inside, "values": seen.values[0],
            "products": None if found.kernel is None else seen.values[0] * found.kernel,
            "winner": found.winner(place), "result": found.outputs[place],
        }  # fmt: skip
    return result


def picture(values: NDArray[Any], *, signed: bool, end: float | None = None) -> dict[str, Any]:
    """Quantise a map (H, W) to int8: 0..127 for 0..`end` (default: `reach` of the map), or -127..127 if signed."""
    from vgglass.glass.sheets import reach

    end = end or float(reach(values[None])[0])
    kept = np.nan_to_num(np.clip(values, -end if signed else 0, end))
    levels = np.round(kept / end * LEVELS).astype(np.int8)
    height, width = values.shape
    return {"height": height, "width": width, "signed": signed, "end": end, "levels": _base64(levels.tobytes())}


def _statistics(found: "LayerView") -> dict[str, Any]:
    figures = {name: getattr(found, name) for name in ("name", "minimum", "mean", "maximum", "zeros", "dead")}
    return figures | {"strongest": _strongest(found)}


def _strongest(found: "LayerView") -> int:
    return int(found.maps.mean(axis=(1, 2)).argmax())


def _thumbnail(found: "LayerView") -> dict[str, Any]:
    """Return the map with the largest mean, downscaled; for maps of 1x1, all channels in a square."""
    maps = found.maps
    if maps.shape[1:] == (1, 1):
        side = math.ceil(math.sqrt(len(maps)))
        shown = np.zeros((side, side), np.float32)
        shown.flat[: len(maps)] = maps.ravel()
    else:
        shown = maps[_strongest(found)]
    step = math.ceil(max(shown.shape) / THUMBNAIL)
    rows, columns = (side // step * step for side in shown.shape)
    means = shown[:rows, :columns].reshape(rows // step, step, columns // step, step).mean(axis=(1, 3))
    return picture(means, signed=bool((means < 0).any()))


def _rounded(values: NDArray[Any]) -> list[float]:
    """Round to six significant digits, more than the page shows."""
    return [float(f"{value:.6g}") for value in np.asarray(values, np.float64).tolist()]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
