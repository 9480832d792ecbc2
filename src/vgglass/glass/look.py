"""Everything that the page of `vgglass look` shows of one image, computed in one call."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass import notebook
from vgglass.glass import attribution, sanity
from vgglass.glass.ablation import Ablation, Effect, rank, require_before_prob
from vgglass.glass.attribution import Attribution, ClassMap, class_map
from vgglass.glass.dense import ScoreMap, score_map, scored_size
from vgglass.glass.importance import Shares, importance
from vgglass.glass.layers import LayerView, Silenced, silence, walk
from vgglass.glass.parent import Comparison, compare, parent_subject
from vgglass.glass.receptive_field import EffectiveField, effective_fields
from vgglass.glass.sanity import Sanity
from vgglass.glass.subject import Subject
from vgglass.images import Pixels
from vgglass.lineage import require_parent
from vgglass.modelfile import ModelFile

TOP = 5


@dataclass(frozen=True)
class LookOptions:
    """What to compute in addition to the layers' statistics.

    layers        names to keep; default: all
    attributions  methods, Grad-CAM's layer after a colon ('gradcam:conv4_3'); default: saliency and `usual`
    target        class to explain; default: the predicted one
    position      (row, column) whose receptive fields to measure; default: the middle of each layer
    without       channels to ablate, by layer
    ranked        a layer whose channels to rank
    parent        the network that this one was shrunk from
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
    parent: ModelFile | None = None


@dataclass(frozen=True, eq=False)
class Look:
    """The results.

    `logits` (K,) are of the unmodified network; `layers` and `importance` with the channels of `without` ablated.
    """

    subject: Subject
    layers: tuple[LayerView, ...]
    logits: NDArray[np.float32]
    target: int
    importance: Shares
    attributions: tuple[Attribution, ...] = ()
    class_map: ClassMap | None = None
    checks: tuple[Sanity, ...] = ()
    fields: tuple[EffectiveField, ...] = ()
    class_model: Pixels | None = None
    scores: ScoreMap | None = None
    ablation: Ablation | None = None
    ranked: str | None = None
    ranking: tuple[Effect, ...] = ()
    parent: Comparison | None = None

    @property
    def top(self) -> list[tuple[str, float]]:
        """The top classes of the unmodified network with their calibrated probabilities."""
        return self.ranked_classes(self.logits)

    def ranked_classes(self, logits: NDArray[np.float32]) -> list[tuple[str, float]]:
        """Return the same for any logits (K,)."""
        shares = self.subject.record.probabilities(logits)
        return [
            (self.subject.record.classes[index], float(shares[index]))
            for index in np.argsort(-shares, kind="stable")[:TOP]
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the numbers without pictures."""
        classes = self.subject.record.classes
        result: dict[str, Any] = {
            "image": self.subject.name,
            "architecture": self.subject.network.architecture.name,
            "top": [{"class": name, "probability": share} for name, share in self.top],
            "target": classes[self.target],
            "layers": [layer.as_json() for layer in self.layers],
            "importance": {
                layer.name: self.importance[layer.name].tolist() for layer in self.layers if layer.kind == "relu"
            },
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
            result["class_map"] = _class_map_json(self.class_map)
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
        if self.parent:
            result["parent"] = self.parent.as_json()
        return result

    def _repr_html_(self) -> str:
        rows = {
            "image": self.subject.name,
            "architecture": self.subject.network.architecture.name,
            "layers": len(self.layers),
            "target": self.subject.record.classes[self.target],
        }
        top = [[name, notebook.percent(share)] for name, share in self.top]
        return notebook.panel("look", rows, [["class", "probability"], *top], self.subject.square)


def look(subject: Subject, wanted: LookOptions | None = None) -> Look:
    """Compute layers, attributions and receptive fields. Raises UsageError, before computing, for invalid options."""
    wanted = wanted or LookOptions()
    measured = _validated_layers(subject, wanted)
    logits = subject.logits()
    target = int(logits.argmax()) if wanted.target is None else wanted.target
    chosen = [_parse_method(text) for text in _attributions(subject, wanted)]
    attributions = [attribution.attribute(subject, method, target, layer) for method, layer in chosen]
    views = walk(subject, wanted.without)
    after = next(layer for layer in views if layer.name == "fc8").maps.ravel()
    shown = tuple(layer for layer in views if not wanted.layers or layer.name in wanted.layers)
    return Look(
        subject,
        shown,
        logits,
        target,
        importance(subject, target, wanted.without),
        attributions=tuple(attributions),
        class_map=class_map(subject, target) if ("class-map", None) in chosen else None,
        checks=tuple(sanity.check(subject, found) for found in attributions) if wanted.sanity else (),
        fields=tuple(effective_fields(subject, dict.fromkeys(measured, wanted.position))),
        class_model=attribution.class_model(subject, target) if wanted.class_model else None,
        scores=score_map(subject, wanted.target) if wanted.dense else None,
        ablation=Ablation(wanted.without, logits, after) if wanted.without else None,
        ranked=wanted.ranked,
        ranking=tuple(rank(subject, wanted.ranked)) if wanted.ranked else (),
        parent=_compared(subject, wanted.parent, target, shown) if wanted.parent else None,
    )


def _compared(subject: Subject, parent: ModelFile, target: int, shown: tuple[LayerView, ...]) -> Comparison:
    return compare(subject, parent_subject(subject, parent), target, [layer.name for layer in shown])


def _validated_layers(subject: Subject, wanted: LookOptions) -> list[str]:
    """Validate the options; return the layers to measure: the wanted ones with maps, else the poolings.

    Raises UsageError.
    """
    for name in wanted.layers:
        if name != "image":
            subject.layer(name)
    if wanted.target is not None:
        subject.require_class(wanted.target)
    for text in _attributions(subject, wanted):
        attribution.layer_of(subject, *_parse_method(text))
    silence(subject, wanted.without)
    for name in (*wanted.without, *([wanted.ranked] if wanted.ranked else [])):
        require_before_prob(subject, name)
    if wanted.dense:
        scored_size(subject)
    if wanted.parent:
        require_parent(subject.record, wanted.parent.record, "the parent")
    spatial = [layer.name for layer in subject.layers if layer.kind == "maxpool"]
    measured = [name for name in wanted.layers if name in _spatial_layers(subject)] if wanted.layers else spatial
    for name in measured:
        if wanted.position:
            subject.require_position(subject.layer(name), wanted.position)
    return measured


def _attributions(subject: Subject, wanted: LookOptions) -> tuple[str, ...]:
    if wanted.attributions is None:
        return "saliency", attribution.usual(subject.network.architecture)
    return wanted.attributions


def _class_map_json(found: ClassMap) -> dict[str, Any]:
    """Convert a class map to JSON types."""
    names = ("bias", "mean", "recomputed", "logit", "difference", "bound", "agrees")
    return {"scores": found.scores.tolist()} | {name: getattr(found, name) for name in names}


def _parse_method(text: str) -> tuple[str, str | None]:
    """Split 'gradcam:conv4_3' into method and layer."""
    method, _, layer = text.partition(":")
    return method, layer or None


def _spatial_layers(subject: Subject) -> set[str]:
    """Return the names of the layers before the head, which have spatial maps."""
    names = [layer.name for layer in subject.layers]
    return set(names[: names.index(subject.network.architecture.head_layer)])
