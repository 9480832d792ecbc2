"""Write a Look to files: its pictures, and one HTML page that opens from disk, with the numbers inlined."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgglass import locale, web
from vgglass.files import replacing
from vgglass.glass import sheets
from vgglass.glass.layers import LayerView
from vgglass.glass.look import Look
from vgglass.glass.parent import Comparison
from vgglass.glass.receptive_field import on_original
from vgglass.glass.sheets import Order, Parents, Scale, Sheet
from vgglass.locale import words
from vgglass.plotting import missing_font

DIGITS = 4  # significant digits of per-channel statistics
RANKED = 20  # maximum channels of a ranking to show


def write(
    seen: Look,
    out: str | Path,
    *,
    scale: Scale = "map",
    order: Order = "channel",
    lang: str = "en",
    arrays: bool = False,
) -> str:
    """Write the pictures under `out` and, last, index.html.

    arrays  also write every layer's maps as .npy files (C, H, W)
    Returns a sentence if this machine has no font for the legends in `lang`, which are then in English.
    """
    out = Path(out)
    for folder in ("layers", *(["removed"] if seen.parent and seen.parent.removed else [])):
        (out / folder).mkdir(parents=True, exist_ok=True)
    said = sheets.legend(scale, order, lang, importance=True, parents=True)
    sentence = missing_font(tuple(said.split("\n")))
    drawn = "en" if sentence else lang
    grids = {}
    # The image (0..255) and prob (0..1) have other units, so they are excluded from the scale over all layers.
    apart = ("image", "softmax")
    theirs = seen.parent.maps if seen.parent else {}
    drawn_maps = [
        maps for layer in seen.layers if layer.kind not in apart for maps in (layer.maps, theirs.get(layer.name))
    ]
    limit = max((float(sheets.reach(maps).max()) for maps in drawn_maps if maps is not None), default=None)
    for layer in seen.layers:
        title = f"{layer.name}   {'×'.join(map(str, layer.shape))}"
        single = layer.maps.shape[1:] == (1, 1)  # on a per-map scale every single number would look equally bright
        own: Scale = "layer" if layer.kind in apart or (single and scale == "map") else scale
        grids[layer.name] = sheets.grid(
            layer.maps, title, scale=own, order=order, limit=limit, importance=seen.importance.get(layer.name),
            parents=_parents(seen, layer), lang=drawn,
        )  # fmt: skip
        sheets.save(grids[layer.name].image, out / "layers" / f"{layer.name}.png")
        if arrays:
            with replacing(out / "layers" / f"{layer.name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, layer.maps, allow_pickle=False)
    for name, picture in _pictures(seen, drawn):
        sheets.save(picture, out / f"{name}.png")
    _write_page(seen, grids, out / "index.html", scale=scale, order=order, lang=lang)
    return sentence


def _parents(seen: Look, layer: LayerView) -> Parents | None:
    if seen.parent is None or layer.name not in seen.parent.kin:
        return None
    return Parents(seen.parent.maps[layer.name], seen.parent.kin[layer.name].kept)


def _pictures(seen: Look, lang: str) -> Iterator[tuple[str, Image.Image]]:
    """Yield every picture other than the layers', with the name that the page uses."""
    subject = seen.subject
    yield "image", sheets.photograph(subject.original)
    yield "square", sheets.photograph(subject.square)
    weights = subject.network.get_parameter("conv1_1.weight").detach().numpy()
    if subject.record.preprocessing.channel_order == "BGR":
        weights = weights[:, ::-1]  # BGR to RGB
    yield "kernels", sheets.kernels(weights, "conv1_1", lang).image
    for found in seen.attributions:
        yield found.name, sheets.overlay(found.map, subject.square, signed=found.signed)
    for check in seen.checks:
        found = check.randomised
        yield f"{found.name}-randomised", sheets.overlay(found.map, subject.square, signed=found.signed)
    for field_ in seen.fields:
        yield f"field-{field_.layer}", sheets.overlay(np.sqrt(field_.gradient), subject.square)
    if seen.class_model is not None:
        yield "class-model", sheets.photograph(seen.class_model)
    if seen.scores is not None:
        yield "scores", seen.scores.picture()
    for removed in seen.parent.removed if seen.parent else ():
        title = words(lang, "glass")["sheets"]["removed"].format(layer=removed.layer, count=len(removed.channels))
        single: Scale = "layer" if removed.maps.shape[1:] == (1, 1) else "map"
        sheet = sheets.grid(
            removed.maps, title, scale=single, order="importance", importance=removed.shares,
            numbers=removed.channels, lang=lang,
        )  # fmt: skip
        yield f"removed/{removed.layer}", sheet.image


def _write_page(seen: Look, grids: Mapping[str, Sheet], path: Path, **how: str) -> None:
    """Fill the template with the results and the texts of both languages.

    how  'scale' and 'order' of the grids, and 'lang', the page's initial language
    """
    template = files("vgglass.glass").joinpath("page.html").read_text(encoding="utf-8")
    page = web.filled(web.inlined(template), locale.of_page("glass"), facts(seen, grids) | how)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def facts(seen: Look, grids: Mapping[str, Sheet]) -> dict[str, Any]:
    """Return the data that the page draws, as JSON types."""
    subject = seen.subject
    classes = subject.record.classes
    height, width = subject.original.shape[:2]
    found = seen.as_json() | {
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
        "moves": _largest_logit_changes(seen),
        "ranking": [vars(effect) | {"winner": classes[effect.winner]} for effect in seen.ranking[:RANKED]],
        "ranked": seen.ranked,
    }
    found.pop("importance")  # each layer has its own, in the order of its tiles
    if seen.parent:
        found["parent"] = _parent(seen.parent)
    return found


def _layer(seen: Look, layer: LayerView, sheet: Sheet) -> dict[str, Any]:
    """Return a layer's statistics, and those of its channels in the order of the sheet's tiles."""
    chosen = list(sheet.channels)
    whole = layer.maps[chosen]
    figures = layer.as_json()
    figures.pop("channel_zeros", None)
    shares, parents = seen.importance.get(layer.name), _parents(seen, layer)
    spatial = layer.maps.shape[1:] != (1, 1)
    return figures | {
        "tile": sheet.tile,
        "corners": sheet.corners,
        "sheet": sheet.image.size,
        "channels": chosen,
        "first_centre": layer.receptive_field.first_centre,
        "minima": _rounded(whole.min(axis=(1, 2))) if spatial else [],
        "means": _rounded(whole.mean(axis=(1, 2))),
        "maxima": _rounded(whole.max(axis=(1, 2))) if spatial else [],
        "zeros_each": _rounded(layer.channel_zeros[chosen]) if layer.kind == "relu" else [],
        "importance": [] if shares is None else _rounded(shares[chosen]),
        "gap": sheet.gap,
        "parents": [parents.channels[channel] for channel in chosen] if parents else [],
    }


def _parent(found: Comparison) -> dict[str, Any]:
    """Return what the parent made of the image, and what the removed channels of each layer did."""
    return {
        "probability": found.probability,
        "without": found.without,
        "removed": [
            {
                "layer": layer.layer, "count": len(layer.channels), "probability": layer.probability,
                "importance": float(layer.shares.sum()),
            }
            for layer in found.removed
        ],
    }  # fmt: skip


def _rounded(numbers: NDArray[Any]) -> list[float]:
    return [float(f"{number:.{DIGITS}g}") for number in np.asarray(numbers, np.float64)]


def _curves(check: Any) -> dict[str, Any]:
    names = ("deletion", "random_deletion", "insertion", "random_insertion")
    return {name: _rounded(getattr(check, name)) for name in names} | {
        "correlation": check.correlation, "areas": check.areas(), "randomised": f"{check.randomised.name}-randomised"
    }  # fmt: skip


def _scores(seen: Look) -> dict[str, Any] | None:
    if seen.scores is None:
        return None
    share = seen.scores.probabilities[seen.scores.target]
    rows, columns = share.shape
    return {
        "class": seen.subject.record.classes[seen.scores.target], "rows": rows, "columns": columns,
        "largest": float(share.max()), "mean": float(share.mean()), "side": seen.scores.side,
    }  # fmt: skip


def _largest_logit_changes(seen: Look) -> list[dict[str, Any]]:
    """Return the classes whose logits change most when channels are ablated."""
    if seen.ablation is None:
        return []
    found = seen.ablation
    classes = seen.subject.record.classes
    return [
        {"class": classes[index], "before": float(found.before[index]), "after": float(found.after[index])}
        for index in np.argsort(-np.abs(found.moves), kind="stable")[:RANKED]
    ]
