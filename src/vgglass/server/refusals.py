"""Error responses: an HTTP status, a reason for the metrics, and a sentence with value, rule and remedy.

The sentence is English, or Chinese where Accept-Language asks for it first.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from vgglass.errors import UserError
from vgglass.locale.messages import of_error


class RefusedError(UserError):
    """A refused request.

    status  HTTP status: 4xx if the client must change the request, 503 and 504 if it may retry
    reason  a short label for the metrics, the same for all refusals of a kind
    """

    def __init__(
        self, status: int, reason: str, value: object, rule: str, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(value, rule, remedy)
        self.status, self.reason, self.headers = status, reason, headers or {}

    def response(self, scope: Scope) -> Response:
        """Return the JSON response to a request; 'error' is a string, as the Open Inference Protocol requires."""
        sentence = of_error(self, asked_language(scope))
        return json_response({"error": sentence, "type": self.reason}, self.status, self.headers)


def asked_language(scope: Scope) -> str:
    """Return 'zh' if Accept-Language names Chinese first, else 'en'."""
    return "zh" if Headers(scope=scope).get("accept-language", "").strip().lower().startswith("zh") else "en"


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return ASCII JSON: class and file names may hold lone surrogates, which UTF-8 can't encode."""
    text = json.dumps(plain(value), allow_nan=False)
    return Response(text, status, dict(headers or {}), media_type="application/json")


def plain(value: Any) -> Any:
    """Convert to JSON types; NaN and infinity (weights may overflow on some image) become null."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist() if np.isfinite(value).all() else plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
