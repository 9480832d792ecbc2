"""Where servers stand: below a prefix, behind TLS, asked by a page elsewhere or by HEAD."""

import base64
import http.client
import re
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from glass_subjects import photograph
from pages import DROP
from proxied import proxied
from served import JPEG, Reply, Served, encoded, photographs, save_model
from vgglass.errors import UsageError
from vgglass.server.access import access_rules, origin

TOKEN = "correct-horse-battery-staple"  # noqa: S105
GUEST = "https://app.example"
IMAGE = photographs(1)[0]
# As a browser asks before a page elsewhere may send a token.
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("proxies") / "tiny.safetensors")


@pytest.fixture(scope="module")
def local(file: Path) -> Iterator[Served]:
    """As a proxy on the same machine needs it: two names, one with a port; a prefix; a page elsewhere."""
    names = ("--allow-host", "photos.example", "--allow-host", "tls.example:8443", "--root-path", "vgg/")
    with Served(file.parent, file, *names, "--allow-origin", GUEST) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of a page that is not the server's."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def guarded(file: Path, elsewhere: int) -> Iterator[Served]:
    """With a token, for two pages elsewhere."""
    secret = file.with_name("token")
    secret.write_text(TOKEN)
    guests = ("--allow-origin", f"{GUEST}/", "--allow-origin", f"http://127.0.0.1:{elsewhere}")
    with Served(file.parent, file, "--token-file", secret, *guests) as server:
        yield server


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    return Reply(*_answered(http.client.HTTPConnection("127.0.0.1", port, timeout=60), method, path, body, headers))


def _answered(
    asking: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
) -> tuple[int, dict[str, str], bytes]:
    asking.request(method, path, body, dict(headers or {}))
    answer = asking.getresponse()
    try:
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        asking.close()


@pytest.mark.parametrize("stripped", [True, False])
def test_below_a_prefix_all_is_found(local: Served, stripped: bool) -> None:
    before = local.metrics()
    with proxied(local.port, "/vgg", stripped=stripped) as port:
        for path in ("/", "/docs", "/openapi.json", "/static/main.js", "/health/ready", "/v2/models/tiny", "/metrics"):
            assert ask(port, "GET", f"/vgg{path}").status == 200
        own = {"Origin": f"http://127.0.0.1:{port}", "Host": f"127.0.0.1:{port}"}
        assert ask(port, "POST", "/vgg/predict", IMAGE, JPEG | own).status == 200
    name = 'vgglass_requests_total{method="POST",path="/predict",status="200"}'
    assert local.metrics()[name] == before.get(name, 0) + 1, "a route is counted without the prefix"


def test_a_prefix_without_its_slash_leads_to_the_page(local: Served) -> None:
    reply = local.ask("GET", "/vgg")
    assert (reply.status, reply.headers["location"]) == (307, "vgg/")
    assert local.ask("GET", "/vgg/").body == local.ask("GET", "/").body
    assert [local.ask("POST", "/vgg", b"x").status, local.ask("GET", "/vggx/docs").status] == [404, 404]


def test_no_address_of_the_page_begins_at_the_root() -> None:
    for part in (files("vgglass.server") / "static").iterdir():
        assert not re.search(r"""["'`(]/(static|glass|predict|docs|v2)\b""", part.read_text(encoding="utf-8")), (
            part.name
        )


def test_documents_name_addresses_from_where_they_stand(local: Served) -> None:
    assert local.ask("GET", "/openapi.json").json["servers"] == [{"url": "."}]
    assert b'href="openapi.json"' in local.ask("GET", "/docs").body
    assert "location" not in local.ask("GET", "/docs/").headers, "a redirect would lead out of the prefix"


def test_the_page_works_below_a_prefix(browser: Browser, local: Served) -> None:
    with proxied(local.port, "/vgg", stripped=True) as port:
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{port}/vgg/")
        page.wait_for_selector("#arithmetic[data-layer=conv1_1]")
        page.evaluate(DROP, [base64.b64encode(encoded(photograph(70, 75))).decode(), "own.jpg"])
        expect(page.locator("#photo")).to_have_attribute("aria-label", "The image, 75 × 70 pixels")
        noise = np.random.default_rng(0).integers(0, 256, (650, 650, 3), np.uint8)
        page.evaluate(DROP, [base64.b64encode(encoded(noise, "PNG")).decode(), "large.png"])
        expect(page.locator("failure-note[place=photo]")).to_contain_text(
            "A proxy before the server answered 413: its limit on bodies"
        )
        page.click("#info")
        page.click("a[data-text=docs]")
        page.click("text=openapi.json")
        assert page.url == f"http://127.0.0.1:{port}/vgg/openapi.json"
        assert all(url.startswith((f"http://127.0.0.1:{port}/vgg/", "blob:", "data:")) for url in asked), asked
        page.close()


@pytest.mark.parametrize(
    ("host", "page"),
    [
        ("photos.example", "https://photos.example"),  # TLS ends at the proxy, which passes Host on
        ("photos.example:8443", "https://photos.example:8443"),
        ("PHOTOS.example", "https://photos.EXAMPLE:443"),
        ("127.0.0.1:8000", "https://photos.example"),  # and one that does not
        ("127.0.0.1:8000", "http://photos.example"),
        ("tls.example", "https://tls.example:8443"),  # nginx's $host has no port
        ("localhost", "https://tls.example:8443"),
    ],
)
def test_behind_tls_its_own_page_may_post(local: Served, host: str, page: str) -> None:
    own = {"Host": host, "Origin": page, "Sec-Fetch-Site": "same-origin"}
    reply = local.ask("POST", "/predict", IMAGE, JPEG | own)
    assert reply.status == 200
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize(
    ("host", "page"),
    [
        ("127.0.0.1:8000", "https://photos.example:8443"),  # another port may be another's
        ("tls.example", "https://tls.example"),
        ("127.0.0.1", "https://photos.example.evil.example"),
        ("127.0.0.1", "http://localhost"),
        ("photos.example", "ftp://photos.example"),
        ("photos.example", "null"),
        ("127.0.0.1:8000", "https://photos.example@evil.example"),
    ],
)  # fmt: skip
def test_behind_tls_other_pages_may_not(local: Served, host: str, page: str) -> None:
    if host.startswith("tls") and page == "https://tls.example":
        host = "localhost"
    reply = local.ask("POST", "/predict", IMAGE, JPEG | {"Host": host, "Origin": page})
    assert reply.status == 403
    assert f"Origin {page!r}: is not this server's, {host!r}; " in reply.json["error"]


def test_a_refusal_names_the_proxys_header_and_the_option(local: Served) -> None:
    reply = local.ask("POST", "/predict", IMAGE, JPEG | {"Host": "127.0.0.1", "Origin": "https://other.example:444"})
    proxy = "behind a proxy, let it pass on the Host that the browser sent (nginx: proxy_set_header Host $http_host)"
    assert reply.json["error"] == (
        f"Origin 'https://other.example:444': is not this server's, '127.0.0.1'; {proxy}, or start with --allow-host "
        "other.example:444 if that is this server, --allow-origin https://other.example:444 if it is a page elsewhere."
    )
    reply = local.ask("GET", "/", headers={"Host": "backend"})
    told = f"Host 'backend': is no name of this server; add it with --allow-host if it is one; {proxy}."
    assert (reply.status, reply.json["error"]) == (421, told)


@pytest.mark.parametrize("token", [False, True])
def test_a_page_elsewhere_is_answered(local: Served, guarded: Served, token: bool) -> None:
    server = guarded if token else local
    preflight = server.ask("OPTIONS", "/predict", headers=PREFLIGHT | {"Origin": GUEST, "Sec-Fetch-Site": "cross-site"})
    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == GUEST
    assert preflight.headers["access-control-allow-methods"] == "GET, HEAD, POST"
    assert {"Authorization", "Content-Type"} < set(preflight.headers["access-control-allow-headers"].split(", "))
    sent = {"Origin": GUEST, "Sec-Fetch-Site": "cross-site"} | ({"Authorization": f"Bearer {TOKEN}"} if token else {})
    reply = server.ask("POST", "/predict", IMAGE, JPEG | sent)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, GUEST)
    assert reply.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in reply.headers
    for path, status in (("/health/live", 200), ("/nothing", 404), ("/v2/models/other", 404)):
        reply = server.ask("GET", path, headers=sent)
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (status, GUEST), "refusals can be read"


def test_the_token_is_asked_of_a_page_elsewhere_too(guarded: Served) -> None:
    reply = guarded.ask("POST", "/predict", IMAGE, JPEG | {"Origin": GUEST})
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (401, GUEST)


@pytest.mark.parametrize("page", ["http://app.example", "https://app.example:8443", "https://x.app.example", "null"])
def test_no_other_page_is_answered(guarded: Served, page: str) -> None:
    for method, headers in (("OPTIONS", PREFLIGHT), ("POST", {"Authorization": f"Bearer {TOKEN}"}), ("GET", {})):
        reply = guarded.ask(method, "/predict", IMAGE if method == "POST" else None, {**headers, "Origin": page})
        assert reply.status == (401 if method == "GET" else 403)
        assert "access-control-allow-origin" not in reply.headers
        assert reply.headers["vary"] == "Origin", "what a cache keeps for one page is not for another"


def test_a_browser_lets_a_page_elsewhere_ask(browser: Browser, guarded: Served, elsewhere: int) -> None:
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{elsewhere}/")
    asked = """async ([port, token, bytes]) => {
      const body = Uint8Array.from(atob(bytes), c => c.charCodeAt(0));
      const reply = await fetch(`http://127.0.0.1:${port}/predict`, { method: "POST", body, headers: {
        Authorization: "Bearer " + token, "Content-Type": "image/jpeg" } });
      return [reply.status, (await reply.json()).type ?? "images"];
    }"""
    image = base64.b64encode(IMAGE).decode()
    assert page.evaluate(asked, [guarded.port, TOKEN, image]) == [200, "images"]
    assert page.evaluate(asked, [guarded.port, "wrong", image]) == [401, "no token"]
    page.close()


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/openapi.json", "/health/live", "/metrics", "/static/main.js", "/v2", "/v2/models/tiny/ready"],
)
def test_head_is_get_without_the_body(local: Served, path: str) -> None:
    head, whole = local.ask("HEAD", path), local.ask("GET", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    if path != "/metrics":  # which has counted the first
        assert head.headers["content-length"] == str(len(whole.body))


def test_head_of_what_is_not_there(local: Served) -> None:
    assert [local.ask("HEAD", path).status for path in ("/nothing", "/predict", "/v2/models/other")] == [404, 405, 404]
    before = local.metrics()
    local.ask("HEAD", "/static/style.css")
    name = 'vgglass_requests_total{method="HEAD",path="/static/{name}",status="200"}'
    assert local.metrics()[name] == before.get(name, 0) + 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTPS://App.Example", "https://app.example"), ("http://a:80", "http://a"), ("https://a:80", "https://a:80"),
        ("https://[::1]:443", "https://[::1]"), ("http://a:99999", ""), ("ftp://a", ""), ("null", ""), ("http://[", ""),
    ],
)  # fmt: skip
def test_origins_are_written_as_browsers_do(text: str, expected: str) -> None:
    assert origin(text) == expected


@pytest.mark.parametrize(
    "text", ["*", "null", "app.example", "https://app.example/page", "https://*.example", "file:///x", "https://a?b"]
)
def test_wrong_origins_are_refused_at_the_start(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no origin of a page; give each as .*https://app\.example") as error:
        access_rules("127.0.0.1", (), None, [text])
    assert f"--allow-origin {text}" in str(error.value)


@pytest.mark.parametrize("text", ["https://photos.example", "photos.example/vgg", "*.example", "a@b", "", "a b", "a:x"])
def test_wrong_names_are_refused_at_the_start(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no host's name; give NAME or NAME:PORT: photos\.example") as error:
        access_rules("127.0.0.1", [text], None)
    assert f"--allow-host {text}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "name", "page"),
    [
        ("Photos.Example:8443", "photos.example", "https://photos.example:8443"),
        ("照片.example", "xn--2uxqs.example", "https://xn--2uxqs.example"),
        ("2001:db8::1", "2001:db8::1", "https://[2001:db8::1]"),
        ("[2001:db8::1]:8443", "2001:db8::1", "https://[2001:db8::1]:8443"),
        ("192.0.2.7", "192.0.2.7", "http://192.0.2.7"),
        ("my_host", "my_host", "http://my_host"),
    ],
)
def test_names_with_and_without_a_port(text: str, name: str, page: str) -> None:
    access = access_rules("127.0.0.1", [text], None)
    assert name in access.hosts
    assert page in access.pages


NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}
http {{
  access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
  fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/c.pem; ssl_certificate_key {folder}/k.pem;
    client_max_body_size 32m;
    location /vgg/ {{ proxy_pass http://127.0.0.1:{backend}/; proxy_set_header Host $http_host; }}
    location /bare/ {{ proxy_pass http://127.0.0.1:{backend}/; }}
  }}
}}
"""


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("openssl")), reason="no nginx on this machine")
def test_behind_nginx_as_the_documentation_has_it(local: Served, tmp_path: Path) -> None:
    key = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=photos.example", "-days", "2")
    subprocess.run(
        ["openssl", *key, "-keyout", tmp_path / "k.pem", "-out", tmp_path / "c.pem"], check=True, capture_output=True
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as free:
        port = free.server_port
    (tmp_path / "nginx.conf").write_text(NGINX.format(folder=tmp_path, port=port, backend=local.port))
    nginx = subprocess.Popen(["nginx", "-c", tmp_path / "nginx.conf", "-p", tmp_path], stderr=subprocess.DEVNULL)
    try:
        for folder in ("vgg", "bare"):
            own = JPEG | {"Host": "photos.example", "Origin": "https://photos.example"}
            assert _by_tls(port, f"/{folder}/predict", IMAGE, own) == 200
            evil = JPEG | {"Host": "photos.example", "Origin": "https://evil.example"}
            assert _by_tls(port, f"/{folder}/predict", IMAGE, evil) == 403
        assert _by_tls(port, "/vgg", None, {"Host": "photos.example"}) == 301
    finally:
        nginx.terminate()
        nginx.wait()


def _by_tls(port: int, path: str, body: bytes | None, headers: Mapping[str, str]) -> int:
    context = ssl._create_unverified_context()  # noqa: S323 (its own certificate)
    for _ in range(50):
        asking = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
        try:
            return _answered(asking, "POST" if body else "GET", path, body, headers)[0]
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError("nginx does not answer")
