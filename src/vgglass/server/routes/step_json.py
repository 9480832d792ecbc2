"""JSON responses for one number of a layer: its arithmetic term by term, and the softmax.

Every number that the page shows is computed on the server.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from vgglass.glass.steps import Arithmetic
    from vgglass.server.sessions import ForwardPass

WINDOWS = 16  # channels of pool5 whose kernel to send, of a fully connected output that spans it
LARGEST = 40  # number of contributions to a fully connected output to send


def arithmetic(walk: "ForwardPass", name: str, channel: int, position: tuple[int, int]) -> dict[str, Any]:
    """Return the terms of one output; for a fully connected layer the largest and the sum of the rest.

    Raises UsageError for a channel or position out of range.
    """
    from vgglass.glass.operations import pooled, winners
    from vgglass.glass.steps import AveragePooling, Convolution, FullyConnected, MaxPooling, Share, arithmetic

    subject = walk.subject
    subject.require_channel(subject.layer(name), channel)
    subject.require_position(subject.layer(name), position)
    found = arithmetic(subject.network, walk.steps[name], channel, position)
    terms = found.terms
    result = {
        "layer": found.layer.name, "kind": found.layer.kind, "channel": found.channel, "position": found.position,
        "recomputed": found.recomputed, "network": found.network, "difference": found.difference,
        "bound": found.bound, "agrees": found.agrees, "text": str(found),
    }  # fmt: skip
    if isinstance(terms, Convolution):
        shown: dict[str, Any] = {
            "values": terms.seen.values, "inside": terms.seen.inside, "top": terms.seen.top, "left": terms.seen.left,
            "kernel": terms.kernel, "products": terms.products, "channel_sums": terms.channel_sums,
            "sum": terms.products.sum(), "bias": terms.bias,
        }  # fmt: skip
    elif isinstance(terms, FullyConnected):
        shown = _contributions(walk, found, terms)
    elif isinstance(terms, MaxPooling):
        shown = {
            "values": terms.seen.values, "inside": terms.seen.inside, "top": terms.seen.top, "left": terms.seen.left,
            "poolings": {
                kind: {
                    "result": float(pooled(terms.seen, kind)[0]),
                    "winner": winners(terms.seen, kind)[0] if kind != "avg" else None,
                }
                for kind in ("max", "min", "avg")
            },
        }  # fmt: skip
    elif isinstance(terms, AveragePooling):
        shown = {
            "values": terms.seen.values, "inside": terms.seen.inside, "top": terms.seen.top, "left": terms.seen.left,
            "total": terms.total, "count": terms.count,
        }  # fmt: skip
    elif isinstance(terms, Share):
        shown = {
            "logit": terms.logits[terms.index], "largest": terms.logits.max(),
            "exponential": terms.exponentials[terms.index], "total": terms.total,
        }  # fmt: skip
    else:
        shown = asdict(terms) | {  # type: ignore[call-overload]
            name: getattr(terms, name) for name in ("slope", "squares", "divisor") if hasattr(terms, name)
        }
    after = _after(walk, found)
    return result | {"terms": shown, "after": after}


def _after(walk: "ForwardPass", found: "Arithmetic") -> dict[str, Any] | None:
    """Return the next layer's output for this number if that layer is a ReLU, else None."""
    names = list(walk.steps)
    following = names[names.index(found.layer.name) + 1 :][:1]
    if not following or walk.steps[following[0]].kind != "relu":
        return None
    return {
        "layer": following[0],
        "recomputed": max(0.0, found.recomputed),
        "network": float(walk.views[following[0]].maps[found.channel, *found.position]),
    }


def _contributions(walk: "ForwardPass", found: "Arithmetic", terms: Any) -> dict[str, Any]:
    """Return the largest of thousands of products, and the position of each input in the preceding layer's maps."""
    largest, products = terms.largest[:LARGEST], terms.products
    names = list(walk.views)
    before = walk.views[names[names.index(found.layer.name) - 1]]
    places = np.unravel_index(largest, before.maps.shape)
    rows = zip(largest, *places, strict=True)
    return _windows(before.maps, terms) | {
        "before": before.name,
        "count": len(products),
        "largest": [
            {
                "index": index, "channel": channel, "row": row, "column": column,
                "input": terms.inputs[index], "weight": terms.weights[index], "product": products[index],
            }
            for index, channel, row, column in rows
        ],
        "rest": products.sum() - products[largest].sum(),
        "positive": products[products > 0].sum(), "negative": products[products < 0].sum(),
        "sum": products.sum(), "bias": terms.bias,
    }  # fmt: skip


def _windows(maps: NDArray[np.float32], terms: Any) -> dict[str, Any]:
    """Return fc6 as a kernel over pool5: sums of the products by channel and by place, and the largest channels."""
    if maps.shape[1:] == (1, 1):
        return {"channel_sums": None, "places": None, "windows": None}
    values, weights, products = (
        np.asarray(each).reshape(maps.shape) for each in (terms.inputs, terms.weights, terms.products)
    )
    sums = products.sum(axis=(1, 2))
    largest = np.argsort(-np.abs(sums), kind="stable")[:WINDOWS].tolist()
    return {
        "channel_sums": sums,
        "places": products.sum(axis=0),
        "windows": [
            {"channel": index, "values": values[index], "kernel": weights[index], "products": products[index]}
            for index in largest
        ],
    }


def softmax(walk: "ForwardPass", temperature: float, channel: int) -> dict[str, Any]:
    """Return logits, exponentials and probabilities of the top 10 classes and of `channel`, at a temperature."""
    from vgglass.glass import softmax as softmax_terms

    walk.subject.require_class(channel)
    classes = walk.subject.record.classes
    found = softmax_terms(walk.views["fc8"].maps.ravel().tolist(), temperature)
    order = np.argsort(-found.probabilities, kind="stable")[:10].tolist()
    chosen = order if channel in order else [*order, channel]
    return {
        "temperature": temperature, "largest": found.scaled.max(), "total": found.total,
        "rows": [
            {
                "index": index, "class": classes[index], "logit": found.logits[index],
                "scaled": found.scaled[index], "shifted": found.shifted[index],
                "exponential": found.exponentials[index], "probability": found.probabilities[index],
            }
            for index in chosen
        ],
    }  # fmt: skip
