"""OpenAPI schemas that FastAPI can't infer, and the page at /docs: plain HTML without external resources."""

from html import escape
from typing import Any

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_ERROR = {
    "type": "object",
    "required": ["error", "type"],
    "properties": {"error": _TEXT, "type": _TEXT},
}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


_REASONS = {
    400: "Not what this route takes.",
    401: "The bearer token is missing or wrong.",
    403: "Asked from another site's page.",
    404: "There is no such thing here.",
    405: "Another method.",
    408: "The body did not arrive in time.",
    413: "Too many bytes, parts or images.",
    415: "Text in place of an image, or an encoded body.",
    421: "The Host header names another server.",
    422: "A parameter out of its range.",
    431: "Too large a head.",
    503: "The queue is full: come again after Retry-After.",
    504: "No answer within the time limit.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": _json(_ERROR)} for status, text in _REASONS.items()
}
GLASS_ERRORS: dict[int | str, dict[str, Any]] = ERRORS | {
    501: {"description": "The model that serves can't be looked into.", "content": _json(_ERROR)},
}

_IMAGE = _object(
    "name",
    name=_TEXT,
    top={"type": "array", "items": _object("class probability", **{"class": _TEXT, "probability": _NUMBER})},
    unsure={"type": "boolean", "description": "The likeliest class is below the model's threshold."},
    unfamiliar={"type": "boolean", "description": "The image is unlike those that the model was trained on."},
    distance=_NUMBER | {"description": "From the images trained on; above 1 an image is unfamiliar."},
    error=_object("type message", type=_TEXT, message=_TEXT),
)
_PREDICTION = _object(
    "model images timings",
    model=_object("name digest", name=_TEXT, digest=_TEXT),
    images={"type": "array", "items": _IMAGE},
    timings={"type": "object", "additionalProperties": _NUMBER},
)
_FILE = {"type": "string", "format": "binary"}
PREDICTION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": _object("image", image={"type": "array", "items": _FILE, "minItems": 1}),
            },
            "image/*": {"schema": _FILE},
            "application/octet-stream": {"schema": _FILE},
        },
    },
}
IMAGE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"image/*": {"schema": _FILE}, "application/octet-stream": {"schema": _FILE}},
    },
}
PREDICTIONS: dict[int | str, dict[str, Any]] = ERRORS | {
    200: {"description": "A row an image.", "content": _json(_PREDICTION)},
    422: {
        "description": "No image could be read, or a parameter is out of its range.",
        "content": _json({"anyOf": [_PREDICTION, _ERROR]}),
    },
}

_TENSOR = _object(
    "name shape datatype",
    name={"const": "image"},
    shape={"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 4},
    datatype={"enum": ["BYTES", "UINT8"]},
    parameters={"type": "object"},
    data={"type": "array", "description": "BYTES: files in base64. UINT8: numbers, row by row."},
)
INFERENCE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": _json(
            _object(
                "inputs",
                id=_TEXT,
                parameters={"type": "object"},
                inputs={"type": "array", "items": _TENSOR, "minItems": 1, "maxItems": 1},
                outputs={"type": "array", "items": _object("name", name={"const": "probabilities"})},
            )
        ),
    },
}
INFERENCES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Probabilities, FP32[N,K].",
        "content": {
            **_json(_object("model_name outputs", model_name=_TEXT, outputs={"type": "array"})),
            "application/octet-stream": {"schema": _FILE},
        },
    },
}
FIGURES: dict[int | str, dict[str, Any]] = ERRORS | {
    200: {"description": "In Prometheus's text format.", "content": {"text/plain": {"schema": _TEXT}}},
}


def page(document: dict[str, Any]) -> str:
    """Render an OpenAPI document as HTML: every route with its parameters and responses."""
    about = document["info"]
    rows = [
        _route(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return html(
        f"{about['title']} {about['version']}",
        f"<p>{escape(about['description'])} The whole of it for programs:"
        f' <a href="openapi.json">openapi.json</a>.</p>{"".join(rows)}',
    )


def html(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><h1>{escape(title)}</h1>{body}</html>"
    )


def _route(method: str, path: str, operation: dict[str, Any]) -> str:
    takes = [*operation.get("requestBody", {}).get("content", {})]
    takes += [f"{each['name']} (in the {each['in']})" for each in operation.get("parameters", [])]
    answers = "".join(
        f"<li>{escape(status)}: {escape(answer['description'])}</li>"
        for status, answer in operation["responses"].items()
    )
    taken = f"<p>Takes {escape(', '.join(takes))}.</p>" if takes else ""
    text = escape(operation.get("description", ""))
    return (
        f"<h2>{method.upper()} {escape(path)}</h2><p><b>{escape(operation['summary'])}.</b> {text}</p>{taken}"
        f"<ul>{answers}</ul>"
    )
