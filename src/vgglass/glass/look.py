"""One look at an image through a network: everything that the page shows, and the folder it is written to."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgglass.files import replacing
from vgglass.glass import attribution, report, sanity, sheets
from vgglass.glass.ablation import Ablation, Effect, rank, require_before_prob
from vgglass.glass.attribution import Attribution, ClassMap, class_map
from vgglass.glass.dense import ScoreMap, score_map, scored_size
from vgglass.glass.layers import LayerView, Silenced, silence, walk
from vgglass.glass.receptive_field import EffectiveField, effective_fields
from vgglass.glass.sanity import Sanity
from vgglass.glass.sheets import Order, Scale
from vgglass.glass.subject import Subject
from vgglass.images import Pixels
from vgglass.plotting import missing_font

TOP = 5


@dataclass(frozen=True)
class LookOptions:
    """What a look is to contain beyond the layers' figures.

    layers        names to keep; all without
    attributions  methods, Grad-CAM's layer after a colon ('gradcam:conv4_3'); saliency and the usual one without
    target        class to explain; the predicted one without
    position      (row, column) whose receptive fields to measure; the middle one of each layer without
    without       channels to silence, by layer
    ranked        a layer whose channels to rank
    """

    layers: tuple[str, ...] = ()
    attributions: tuple[str, ...] | None = None
    target: int | None = None
    sanity: bool = False
    class_model: bool = False
    dense: bool = False
    position: tuple[int, int] | None = None
    without: Silenced = field(default_factory=dict)
    ranked: str | None = None


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen. `logits` (K,) are those of the untouched network; `layers` those with `without` silenced."""

    subject: Subject
    layers: tuple[LayerView, ...]
    logits: NDArray[np.float32]
    target: int
    attributions: tuple[Attribution, ...] = ()
    class_map: ClassMap | None = None
    checks: tuple[Sanity, ...] = ()
    fields: tuple[EffectiveField, ...] = ()
    class_model: Pixels | None = None
    scores: ScoreMap | None = None
    ablation: Ablation | None = None
    ranked: str | None = None
    ranking: tuple[Effect, ...] = ()

    @property
    def top(self) -> list[tuple[str, float]]:
        """The likeliest classes of the untouched network and their probabilities, after the model's temperature."""
        return self.ranked_classes(self.logits)

    def ranked_classes(self, logits: NDArray[np.float32]) -> list[tuple[str, float]]:
        """The same of any logits (K,)."""
        shares = self.subject.record.probabilities(logits)
        return [
            (self.subject.record.classes[index], float(shares[index]))
            for index in np.argsort(-shares, kind="stable")[:TOP]
        ]

    def as_json(self) -> dict[str, Any]:
        """The numbers alone."""
        classes = self.subject.record.classes
        result: dict[str, Any] = {
            "image": self.subject.name,
            "architecture": self.subject.network.architecture.name,
            "top": [{"class": name, "probability": share} for name, share in self.top],
            "target": classes[self.target],
            "layers": [layer.as_json() for layer in self.layers],
            "effective_fields": [
                {"layer": found.layer, "position": found.position, "size": found.theory.size, "side": found.side}
                for found in self.fields
            ],
        }
        if self.checks:
            result["sanity"] = {
                found.name: {"correlation": check.correlation, **check.areas()}
                for found, check in zip(self.attributions, self.checks, strict=True)
            }
        if self.class_map:
            result["class_map"] = _plain(self.class_map)
        if self.scores:
            shares = self.scores.probabilities[self.scores.target]
            result["scores"] = {"class": classes[self.scores.target], "probabilities": shares.tolist()}
        if self.ablation:
            result["top_without"] = [
                {"class": name, "probability": share} for name, share in self.ranked_classes(self.ablation.after)
            ]
            result["without"] = {name: list(channels) for name, channels in self.ablation.without.items()}
            result["logit_moves"] = {name: float(move) for name, move in zip(classes, self.ablation.moves, strict=True)}
        if self.ranked:
            result["ranking"] = {"layer": self.ranked, "channels": [vars(effect) for effect in self.ranking]}
        return result

    def _repr_png_(self) -> bytes:
        return sheets.as_png(sheets.photograph(self.subject.square))


def look(subject: Subject, wanted: LookOptions | None = None) -> Look:
    """Walk, explain and measure. Raises UsageError, first of all, for what the network has not."""
    wanted = wanted or LookOptions()
    measured = _checked(subject, wanted)
    logits = subject.logits()
    target = int(logits.argmax()) if wanted.target is None else wanted.target
    chosen = [_method(text) for text in _attributions(subject, wanted)]
    attributions = [attribution.attribute(subject, method, target, layer) for method, layer in chosen]
    views = walk(subject, wanted.without)
    after = next(layer for layer in views if layer.name == "fc8").maps.ravel()
    return Look(
        subject,
        tuple(layer for layer in views if not wanted.layers or layer.name in wanted.layers),
        logits,
        target,
        attributions=tuple(attributions),
        class_map=class_map(subject, target) if ("class-map", None) in chosen else None,
        checks=tuple(sanity.check(subject, found) for found in attributions) if wanted.sanity else (),
        fields=tuple(effective_fields(subject, dict.fromkeys(measured, wanted.position))),
        class_model=attribution.class_model(subject, target) if wanted.class_model else None,
        scores=score_map(subject, wanted.target) if wanted.dense else None,
        ablation=Ablation(wanted.without, logits, after) if wanted.without else None,
        ranked=wanted.ranked,
        ranking=tuple(rank(subject, wanted.ranked)) if wanted.ranked else (),
    )


def _checked(subject: Subject, wanted: LookOptions) -> list[str]:
    """The layers whose fields to measure: those wanted that have maps, else the poolings. Raises UsageError."""
    for name in wanted.layers:
        if name != "image":
            subject.layer(name)
    if wanted.target is not None:
        subject.require_class(wanted.target)
    for text in _attributions(subject, wanted):
        attribution.layer_of(subject, *_method(text))
    silence(subject, wanted.without)
    for name in (*wanted.without, *([wanted.ranked] if wanted.ranked else [])):
        require_before_prob(subject, name)
    if wanted.dense:
        scored_size(subject)
    spatial = [layer.name for layer in subject.layers if layer.kind == "maxpool"]
    measured = [name for name in wanted.layers if name in _maps(subject)] if wanted.layers else spatial
    for name in measured:
        if wanted.position:
            subject.require_position(subject.layer(name), wanted.position)
    return measured


def _attributions(subject: Subject, wanted: LookOptions) -> tuple[str, ...]:
    if wanted.attributions is None:
        return "saliency", attribution.usual(subject.network.architecture)
    return wanted.attributions


def _plain(found: ClassMap) -> dict[str, Any]:
    """A class map for a program."""
    names = ("bias", "mean", "recomputed", "logit", "difference", "bound", "agrees")
    return {"scores": found.scores.tolist()} | {name: getattr(found, name) for name in names}


def _method(text: str) -> tuple[str, str | None]:
    """'gradcam:conv4_3' as method and layer."""
    method, _, layer = text.partition(":")
    return method, layer or None


def _maps(subject: Subject) -> set[str]:
    """The layers that have maps, before the head."""
    names = [layer.name for layer in subject.layers]
    return set(names[: names.index(subject.network.architecture.head_layer)])


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

    arrays  also every layer's maps as .npy files (C, H, W)
    Returns a sentence when this machine has no font for the legends in `lang`: they are then in English.
    """
    out = Path(out)
    (out / "layers").mkdir(parents=True, exist_ok=True)
    sentence = missing_font((sheets.legend(scale, order, lang),))
    drawn = "en" if sentence else lang
    grids = {}
    # The image counts in 0..255 and prob in shares of 1: they have no part in a scale over all layers.
    apart = ("image", "softmax")
    limit = max(
        (float(sheets.reach(layer.maps).max()) for layer in seen.layers if layer.kind not in apart), default=None
    )
    for layer in seen.layers:
        title = f"{layer.name}   {'×'.join(map(str, layer.shape))}"
        single = layer.maps.shape[1:] == (1, 1)  # a scale of its own would make every number as bright as the next
        own: Scale = "layer" if layer.kind in apart or (single and scale == "map") else scale
        grids[layer.name] = sheets.grid(layer.maps, title, scale=own, order=order, limit=limit, lang=drawn)
        sheets.save(grids[layer.name].image, out / "layers" / f"{layer.name}.png")
        if arrays:
            with replacing(out / "layers" / f"{layer.name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, layer.maps, allow_pickle=False)
    for name, picture in _pictures(seen, drawn):
        sheets.save(picture, out / f"{name}.png")
    report.write(seen, grids, out / "index.html", scale=scale, order=order, lang=lang)
    return sentence


def _pictures(seen: Look, lang: str) -> Iterator[tuple[str, Image.Image]]:
    """Every picture that is not a layer's, under the name that the page knows it by."""
    subject = seen.subject
    yield "image", sheets.photograph(subject.original)
    yield "square", sheets.photograph(subject.square)
    weights = subject.network.get_parameter("conv1_1.weight").detach().numpy()
    if subject.record.preprocessing.channel_order == "BGR":
        weights = weights[:, ::-1]  # so that red is drawn as red
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
