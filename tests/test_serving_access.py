"""Who may ask: Host, Origin, token; and what `vgglass serve` refuses to start with."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from served import JPEG, Served, parsed, photographs, save_model
from typed import vgglass
from vgglass.server.access import access_rules, is_loopback

TOKEN = "correct-horse-battery-staple"  # noqa: S105


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("access") / "tiny.safetensors")


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[Served]:
    """Open to all addresses, behind a token, by two names."""
    secret = file.with_name("token")
    secret.write_text(TOKEN + "\n")
    names = ("--allow-host", "photos.example", "--allow-host", "Other.example")
    with Served(file.parent, file, "--host", "0.0.0.0", "--token-file", secret, *names) as server:  # noqa: S104
        yield server


@pytest.fixture(scope="module")
def local(file: Path) -> Iterator[Served]:
    with Served(file.parent, file) as server:
        yield server


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST", "[::1]", "localhost:80"])
def test_own_names_are_answered(local: Served, host: str) -> None:
    assert local.ask("GET", "/health/live", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "192.0.2.1", "", "a@b", "[", "localhost@evil"],
)
@pytest.mark.parametrize("path", ["/health/live", "/predict", "/", "/nothing"])
def test_foreign_hosts_are_refused(local: Served, host: str, path: str) -> None:
    reply = local.ask("GET", path, headers={"Host": host})
    assert reply.status == 421
    assert f"Host {host!r}: is no name of this server; add it with --allow-host if it is one; " in reply.json["error"]


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"])
def test_probes_need_no_host_in_http_1_0(local: Served, path: str) -> None:
    for method in ("GET", "HEAD"):
        assert local.send(f"{method} {path} HTTP/1.0\r\n\r\n".encode()).startswith(b"HTTP/1.1 200 ")
    assert parsed(local.send(f"GET {path} HTTP/1.1\r\n\r\n".encode())).status == 400


@pytest.mark.parametrize("path", ["/", "/metrics", "/predict", "/health/other", "/v2"])
def test_any_other_request_without_a_host_is_refused(local: Served, path: str) -> None:
    assert parsed(local.send(f"GET {path} HTTP/1.0\r\n\r\n".encode())).status == 421


def test_a_server_for_others_goes_by_its_names_and_by_addresses(server: Served) -> None:
    for host in ("photos.example", "other.example:443", "192.0.2.1", "[2001:db8::1]:8000", "localhost"):
        assert server.ask("GET", "/health/live", headers={"Host": host}).status == 200
    for host in ("evil.example", "0x7f000001", "2130706433"):
        assert server.ask("GET", "/health/live", headers={"Host": host}).status == 421


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://localhost:1", "file://", "http://[", "", "x"]
)
def test_foreign_origins_may_not_post(local: Served, origin: str) -> None:
    for path in ("/predict", "/v2/models/tiny/infer", "/glass/images", "/nothing"):
        reply = local.ask("POST", path, photographs(1)[0], JPEG | {"Origin": origin})
        assert reply.status == 403
        shown = f"Origin {origin!r}: is not this server's, '127.0.0.1:{local.port}'; "
        assert reply.json["error"].startswith(shown)
    assert local.ask("GET", "/health/live", headers={"Origin": origin}).status == 200, "nothing is changed by reading"


def test_its_own_page_and_programs_may_post(local: Served) -> None:
    own = {"Origin": f"http://127.0.0.1:{local.port}", "Sec-Fetch-Site": "same-origin"}
    assert local.ask("POST", "/predict", photographs(1)[0], JPEG | own).status == 200
    reply = local.ask("POST", "/predict", photographs(1)[0], JPEG | {"Sec-Fetch-Site": "cross-site"})
    assert (reply.status, reply.json["type"]) == (403, "foreign origin")
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    preflight = local.ask("OPTIONS", "/predict", headers=asked)
    assert preflight.status == 403
    assert "access-control-allow-origin" not in preflight.headers


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer 猫"]
)
def test_without_the_token_nothing_is_answered(server: Served, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given.encode().decode("latin-1")}
    for method, path in (
        ("POST", "/predict"), ("GET", "/metrics"), ("GET", "/v2"), ("GET", "/nothing"), ("GET", "//"),
        ("POST", "/glass/images"), ("GET", "/glass/model"), ("GET", "/glass/samples/flower"),
        ("GET", "/glass/playground"), ("GET", f"/glass/images/{'0' * 32}/picture"),
    ):  # fmt: skip
        reply = server.ask(method, path, photographs(1)[0] if method == "POST" else None, JPEG | headers)
        assert reply.status == 401
        assert reply.headers["www-authenticate"] == "Bearer"
        assert "the token: is missing or another one; send 'Authorization: Bearer' and the token" in reply.json["error"]


def test_with_the_token_all_is_answered_and_probes_need_none(server: Served) -> None:
    headers = JPEG | {"Authorization": f"bearer {TOKEN}"}
    assert server.ask("POST", "/predict", photographs(1)[0], headers).status == 200
    for path in ("/metrics", "/glass/playground"):
        assert server.ask("GET", path, headers=headers).status == 200
    assert server.ask("GET", "/static/../glass/playground").status == 404, "below the open folder there is nothing else"
    for path in ("/", "/docs", "/openapi.json", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"):
        assert server.ask("GET", path).status == 200
    assert TOKEN not in server.log.read_text()


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.7", "example.org", "")))  # noqa: S104
    assert not access_rules("127.0.0.1", (), None).addresses


def refused(*options: object, status: int = 2) -> str:
    return " ".join(vgglass("serve", *options, status=status).stderr.split())


def test_what_it_does_not_start_with(file: Path, local: Served, tmp_path: Path) -> None:
    short, other = tmp_path / "short", tmp_path / "no.safetensors"
    short.write_text("secret")
    cases = [
        (("--host", "0.0.0.0"), "lets others than this machine ask, and asks them for no token; add --token-file FILE"),  # noqa: S104
        (("--token-file", short), "holds no token of 16 characters or more; make one: openssl rand -hex 32"),
        (("--token-file", other), "can't be read ([Errno 2] No such file or directory"),
        (("--port", local.port), "Address already in use; choose another place"),
        (("--host", "192.0.2.1", "--insecure"), "annot assign requested address; choose another place"),
        (("--port", 0, "--views", "other"), "--views other: is none of centre, dense, crops, scales"),
    ]
    for options, message in cases:
        assert message in refused("--model", file, *options)
    assert "No such file or directory" in refused("--model", other, "--port", 0, status=1)
    other.write_bytes(file.read_bytes()[:-1000])
    assert f"{other}: truncated or damaged" in refused("--model", other, "--port", 0, status=1)


@pytest.mark.slow
def test_insecure_is_said(file: Path) -> None:
    with Served(file.parent, file, "--host", "0.0.0.0", "--insecure") as server:  # noqa: S104
        assert server.predict(photographs(1)[0]).status == 200


def test_a_missing_extra_prints_the_line_to_run() -> None:
    """As after `pip install vgglass`: the four packages are hidden from the process."""
    code = (
        "import importlib.util, sys; real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'fastapi' else real(name, *rest)\n"
        "sys.argv = ['vgglass', 'serve']; from vgglass.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "fastapi: needed for serving, is not installed; run: pip install 'vgglass[serve]'." in result.stderr
