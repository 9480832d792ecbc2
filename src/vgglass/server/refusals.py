"""What a request is refused with: a status, a reason for the metrics, and a sentence with value, rule and remedy."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.responses import Response

from vgglass.errors import UserError


class RefusedError(UserError):
    """A request that gets no answer.

    status  of HTTP: 4xx where the client must change something, 503 and 504 where it may come again
    reason  a few words, the label in the metrics; the same for all refusals of a kind
    """

    def __init__(
        self, status: int, reason: str, value: object, rule: str, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(value, rule, remedy)
        self.status, self.reason, self.headers = status, reason, headers or {}

    def response(self) -> Response:
        """`error` is a string: clients of the Open Inference Protocol read it."""
        return json_response({"error": str(self), "type": self.reason}, self.status, self.headers)


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """ASCII, because class names and file names may hold what UTF-8 has no bytes for (half a surrogate pair)."""
    text = json.dumps(plain(value), allow_nan=False)
    return Response(text, status, dict(headers or {}), media_type="application/json")


def plain(value: Any) -> Any:
    """As JSON holds it; a number that is none (NaN, infinity: weights may overflow on some image) is null."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist() if np.isfinite(value).all() else plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
