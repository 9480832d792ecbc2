"""Who may ask: Host against DNS rebinding, Origin against other people's pages, a token; and headers for browsers.

A server on 127.0.0.1 is reachable for every page that this machine's browser has open. A page of evil.example whose
name is made to point here sends `Host: evil.example`; one that posts a form here sends its own `Origin`.
"""

import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vgglass.errors import UsageError
from vgglass.serving.refusals import RefusedError

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
# What holds no secret, and what a probe or a browser's address bar asks for: they can't send a token.
OPEN = ("/", "/docs", "/openapi.json", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
OPEN_FOLDER = "/static/"


@dataclass(frozen=True)
class Access:
    """Whom to answer.

    hosts      names that a Host header may bear
    addresses  whether it may also be any IP address: a name that was made to point here is never one
    token      what 'Authorization: Bearer' must bear, or None
    """

    hosts: frozenset[str]
    addresses: bool
    token: str | None

    def check(self, scope: Scope) -> None:
        """Raises RefusedError."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        host = self._host(_values(headers, b"host"))
        if scope["method"] not in READING:
            _check_origin(headers, host)
        path = scope["path"]
        if self.token is not None and path not in OPEN and not path.startswith(OPEN_FOLDER):
            self._check_token(_values(headers, b"authorization"))

    def _host(self, values: list[str]) -> str:
        """The Host header, which is one of ours."""
        value = values[0] if len(values) == 1 else ""
        name = _hostname(value)
        if name in self.hosts or (self.addresses and _is_address(name)):
            return value
        shown = f"Host {value[:100]!r}"
        raise RefusedError(
            421, "foreign host", shown, "is no name of this server", "add it with --allow-host if it is one"
        )

    def _check_token(self, values: list[str]) -> None:
        assert self.token is not None
        scheme, _, given = (values[0] if len(values) == 1 else "").partition(" ")
        good = hmac.compare_digest(given.strip().encode(), self.token.encode())
        if scheme.lower() != "bearer" or not good:
            headers = {"WWW-Authenticate": "Bearer"}
            remedy = "send 'Authorization: Bearer' and the token that the server was started with"
            raise RefusedError(401, "no token", "the token", "is missing or another one", remedy, headers)


def accessible(app: ASGIApp, access: Access) -> ASGIApp:
    """`app` for those who may ask; every response bears the headers that a browser heeds."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in _RAW_HEADERS if pair[0] not in given)]
            await send(message)

        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        try:
            access.check(scope)
        except RefusedError as refusal:
            scope["state"]["told"]["reason"] = refusal.reason
            await refusal.response()(scope, receive, sending)
            return
        await app(scope, receive, sending)

    return call


def allowed(host: str, others: Iterable[str], token: str | None) -> Access:
    """For a server that is bound to `host`, and goes by these other names too."""
    names = LOOPBACK | {name.lower() for name in (host, *others)}
    return Access(frozenset(names), not is_loopback(host), token)


def is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _check_origin(headers: list[tuple[bytes, bytes]], host: str) -> None:
    """Only a browser sends an Origin; what it names must be the very page that this server gave it."""
    for origin in _values(headers, b"origin"):
        if origin == "null" or urlsplit_netloc(origin) != host.lower():
            shown = f"Origin {origin[:100]!r}"
            raise RefusedError(
                403, "foreign origin", shown, "is not this server", "ask from its own page, or from no page"
            )
    if "cross-site" in _values(headers, b"sec-fetch-site"):
        raise RefusedError(
            403, "foreign origin", "Sec-Fetch-Site: cross-site", "comes from another site's page", "ask from no page"
        )


def urlsplit_netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _hostname(value: str) -> str:
    """Without the port, in lower case; '' for what is no host."""
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


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]


def read_token(path: Path | None) -> str | None:
    """What a token file holds: a file, as every process of this machine sees a command line. Raises UsageError."""
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
