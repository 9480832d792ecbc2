"""Error responses: an HTTP status, a reason for the metrics, and a sentence with value, rule and remedy."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.responses import Response

from vgglass.errors import UserError


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

    def response(self) -> Response:
        """Return the JSON response; 'error' is a string, as the Open Inference Protocol requires."""
        return json_response({"error": str(self), "type": self.reason}, self.status, self.headers)


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
