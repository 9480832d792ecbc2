"""Access control: Host checks against DNS rebinding, Origin checks and CORS, a bearer token, and the root path."""

import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vgglass.errors import UsageError
from vgglass.server.refusals import RefusedError

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
READING = ("GET", "HEAD", "OPTIONS")
# Routes without secrets that probes and a browser's address bar request: neither can send a token.
HEALTH = ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
OPEN = ("/", "/docs", "/openapi.json", *HEALTH)
OPEN_FOLDER = "/static/"
PROXY = "behind a proxy, let it pass on the Host that the browser sent (nginx: proxy_set_header Host $http_host)"


@dataclass(frozen=True)
class Access:
    """Which requests to accept.

    hosts      names allowed in the Host header
    addresses  whether any IP address is allowed there too: DNS rebinding needs a name
    pages      origins of this server's own page, in addition to the one given by the request's Host
    guests     origins of other pages that are allowed (CORS)
    token      the bearer token to require, or None
    """

    hosts: frozenset[str]
    addresses: bool
    pages: frozenset[str]
    guests: frozenset[str]
    token: str | None

    def check(self, scope: Scope) -> None:
        """Check Host, Origin and token. Raises RefusedError."""
        host = self._check_host(scope)
        preflight = is_preflight(scope)
        if scope["method"] not in READING or preflight:
            self._check_origin(scope, host)
        path = scope["path"]
        if self.token is not None and not preflight and path not in OPEN and not path.startswith(OPEN_FOLDER):
            self._check_token(_header_values(scope["headers"], b"authorization"))

    def guest(self, scope: Scope) -> str:
        """Return the request's Origin if it is an allowed foreign one, else ''."""
        given = _header_values(scope["headers"], b"origin")
        name = origin(given[0]) if len(given) == 1 else ""
        return name if name in self.guests else ""

    def _check_host(self, scope: Scope) -> str:
        """Return the checked Host header; '' for a health probe over HTTP/1.0, which browsers never use."""
        values = _header_values(scope["headers"], b"host")
        if not values and scope["http_version"] == "1.0" and scope["path"] in HEALTH:
            return ""
        value = values[0] if len(values) == 1 else ""
        name = _hostname(value)
        if name in self.hosts or (self.addresses and _is_address(name)):
            return value
        shown = f"Host {value[:100]!r}"
        remedy = f"add it with --allow-host if it is one; {PROXY}"
        raise RefusedError(421, "foreign host", shown, "is no name of this server", remedy)

    def _check_origin(self, scope: Scope, host: str) -> None:
        """Require Origin, which only browsers send, to be this server's own or an allowed foreign one."""
        if self.guest(scope):
            return
        for each in _header_values(scope["headers"], b"origin"):
            name = origin(each)
            scheme, _, place = name.partition("://")
            if not name or name not in self.pages | {origin(f"{scheme}://{host}")}:
                shown, rule = f"Origin {each[:100]!r}", f"is not this server's, {host[:100]!r}"
                remedy = "ask from its own page, or from no page"
                if name:
                    remedy = (
                        f"{PROXY}, or start with --allow-host {place} if that is this server,"
                        f" --allow-origin {name} if it is a page elsewhere"
                    )
                raise RefusedError(403, "foreign origin", shown, rule, remedy)
        if "cross-site" in _header_values(scope["headers"], b"sec-fetch-site"):
            shown, rule = "Sec-Fetch-Site: cross-site", "comes from another site's page"
            raise RefusedError(403, "foreign origin", shown, rule, "ask from no page")

    def _check_token(self, values: list[str]) -> None:
        assert self.token is not None
        scheme, _, given = (values[0] if len(values) == 1 else "").partition(" ")
        good = hmac.compare_digest(given.strip().encode(), self.token.encode())
        if scheme.lower() != "bearer" or not good:
            headers = {"WWW-Authenticate": "Bearer"}
            remedy = "send 'Authorization: Bearer' and the token that the server was started with"
            raise RefusedError(401, "no token", "the token", "is missing or another one", remedy, headers)


def with_access_checks(app: ASGIApp, access: Access) -> ASGIApp:
    """Wrap `app` with `access.check`, and add security and CORS headers to every response."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        guest = access.guest(scope)
        added = [*_RAW_HEADERS, *([(b"vary", b"Origin")] if access.guests else []), *headers(guest)]

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in added if pair[0] not in given)]
            await send(message)

        try:
            access.check(scope)
        except RefusedError as refusal:
            scope["state"]["log_fields"]["reason"] = refusal.reason
            await refusal.response(scope)(scope, receive, sending)
            return
        if guest and is_preflight(scope):
            await Response(status_code=204, headers=PREFLIGHT)(scope, receive, sending)
            return
        await app(scope, receive, sending)

    return call


def is_preflight(scope: Scope) -> bool:
    """Whether a request is a CORS preflight, which can't carry the token."""
    return scope["method"] == "OPTIONS" and bool(_header_values(scope["headers"], b"access-control-request-method"))


def access_rules(host: str, others: Iterable[str], token: str | None, guests: Iterable[str] = ()) -> Access:
    """Build the Access of a server bound to `host`.
    others  further host names of the server, NAME or NAME:PORT
    guests  origins of other pages to allow

    Raises UsageError.
    """
    places = [_normalised_host(each) for each in others]
    names = LOOPBACK | {host.lower()} | {_hostname(place) for place in places}
    pages = {origin(f"{scheme}://{place}") for scheme in PORTS for place in places}
    return Access(
        frozenset(names), not is_loopback(host), frozenset(pages), frozenset(map(allowed_origins, guests)), token
    )


def _normalised_host(text: str) -> str:
    """Normalise NAME or NAME:PORT to the form of a Host header. Raises UsageError."""
    place = f"[{text}]" if ":" in text and _is_address(text) else text
    try:
        name, colon, port = place.rpartition(":") if urlsplit(f"//{place}").port else (place, "", "")
        found = name.encode("idna").decode() + colon + port
    except ValueError:
        found = ""
    if not _hostname(found) or urlsplit(f"//{found}").netloc != found or set(found) & set("*@ "):
        remedy = "give NAME or NAME:PORT: photos.example, photos.example:8443"
        raise UsageError(f"--allow-host {text}", "is no host's name", remedy)
    return found.lower()


def is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _hostname(value: str) -> str:
    """Return the host without its port, in lower case; '' if it is not valid."""
    try:
        return urlsplit(f"//{value}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _header_values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]


def read_token(path: Path | None) -> str | None:
    """Read a token from a file, because any process can read another's command line. Raises UsageError."""
    if path is None:
        return None
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"--token-file {path}", f"can't be read ({error})", "name a text file") from error
    if len(token) < 16 or not token.isprintable() or " " in token:
        rule = "holds no token of 16 characters or more"
        raise UsageError(f"--token-file {path}", rule, "make one: openssl rand -hex 32")
    return token


# Origins: normalisation, comparison and CORS response headers.
# https://fetch.spec.whatwg.org/#http-cors-protocol

PORTS = {"http": 80, "https": 443}
# No cookies and no Access-Control-Allow-Credentials: a page gets the token from its user and sends it as a header.
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Inference-Header-Content-Length",
    "Access-Control-Max-Age": "600",
}
EXPOSED = "Inference-Header-Content-Length, Retry-After"


def origin(text: str) -> str:
    """Serialise an origin as browsers do: lower case, no default port; '' unless it is a valid http(s) one."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in PORTS or not parts.hostname:
        return ""
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{name}" + ("" if port in (None, PORTS[parts.scheme]) else f":{port}")


def allowed_origins(text: str) -> str:
    """Parse the value of --allow-origin. Raises UsageError."""
    found = origin(text)
    parts = urlsplit(text) if found else None
    if parts is None or "*" in found or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        rule = "is no origin of a page"
        remedy = "give each as the browser's address bar begins: https://app.example, http://localhost:5173"
        raise UsageError(f"--allow-origin {text}", rule, remedy)
    return found


def headers(name: str) -> list[tuple[bytes, bytes]]:
    """Return the CORS response headers that allow an origin; none for ''."""
    if not name:
        return []
    allowed = {"Access-Control-Allow-Origin": name, "Access-Control-Expose-Headers": EXPOSED}
    return [(key.lower().encode(), value.encode()) for key, value in allowed.items()]


# Serving under a path prefix behind a proxy: https://photos.example/vgg/.


def with_root_path(app: ASGIApp, prefix: str) -> ASGIApp:
    """Strip `prefix` from request paths, whether or not the proxy has stripped it already.

    prefix  as '/vgg'; the ASGI server's own root_path (Ray Serve's route_prefix) takes precedence
    """
    own = f"/{prefix.strip('/')}".rstrip("/")

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        root = scope.get("root_path") or own
        if root and scope["type"] == "http":
            path: str = scope["path"]
            if path == root and scope["method"] in ("GET", "HEAD"):  # the page's URLs are relative to its folder
                await RedirectResponse(f"{root.rpartition('/')[2]}/")(scope, receive, send)
                return
            # In place: the outer middleware logs this same scope.
            scope.update(root_path="", path=path.removeprefix(root) if path.startswith(f"{root}/") else path)
        await app(scope, receive, send)

    return call
