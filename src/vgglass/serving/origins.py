"""Origins of pages: how they are written and compared, and what a browser is told of those that may ask (CORS).

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from urllib.parse import urlsplit

from vgglass.errors import UsageError

PORTS = {"http": 80, "https": 443}
# No cookie ever: who needs the token has it from its person, and sends it as a header of its own.
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Inference-Header-Content-Length",
    "Access-Control-Max-Age": "600",
}
EXPOSED = "Inference-Header-Content-Length, Retry-After"


def origin(text: str) -> str:
    """As browsers write it: in lower case, without the scheme's own port; '' for what is no page's of the web."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in PORTS or not parts.hostname:
        return ""
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{name}" + ("" if port in (None, PORTS[parts.scheme]) else f":{port}")


def allowed(text: str) -> str:
    """What --allow-origin says. Raises UsageError."""
    found = origin(text)
    parts = urlsplit(text) if found else None
    if parts is None or "*" in found or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        rule = "is no origin of a page"
        remedy = "give each as the browser's address bar begins: https://app.example, http://localhost:5173"
        raise UsageError(f"--allow-origin {text}", rule, remedy)
    return found


def headers(name: str) -> list[tuple[bytes, bytes]]:
    """What tells a browser that a page of this origin may see the answer; nothing for ''."""
    if not name:
        return []
    told = {"Access-Control-Allow-Origin": name, "Access-Control-Expose-Headers": EXPOSED}
    return [(key.lower().encode(), value.encode()) for key, value in told.items()]
