"""The server on Ray Serve: the same answers and refusals, by replicas."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from ray_job import ENVIRONMENT, needs_ray, network, pictures
from vgglass import workflows
from vgglass.cluster import connection, serve
from vgglass.errors import MissingExtraError, ModelFileError, UsageError

TOKEN = "0123456789abcdef" * 2
SERVE = """
import os, sys
from vgglass.cluster.connection import connected
with connected("local"):
    from ray import serve
    from vgglass.cluster.serve import Arguments, application
    serve.start(http_options={"port": int(sys.argv[1])})
    serve.run(application(Arguments(model=sys.argv[2], engine="openvino", precision="float32", token_file=sys.argv[3])))
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
"""


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    asking.request(method, path, body, {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/png", **sent})
    response = asking.getresponse()
    answer = response.status, response.read()
    asking.close()
    return answer


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "token").write_text(TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    served = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(port), network(tmp_path), tmp_path / "token"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT,
    )  # fmt: skip
    assert served.stdout is not None
    while line := served.stdout.readline():
        if line.strip() == b"ready":
            break
    children = psutil.Process(served.pid).children(recursive=True)
    yield port
    served.communicate(timeout=120)
    assert not psutil.wait_procs(children, timeout=30)[1], "processes of Ray live on"


@needs_ray
@pytest.mark.slow
def test_a_replica_answers_as_the_server_does_and_a_killed_one_is_replaced(port: int, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "images", 1)
    image = (folder / "000000.png").read_bytes()
    status, body = ask(port, "POST", "/predict?top=2", image)
    assert status == 200, body
    [expected] = workflows.predict(
        tmp_path / "small.safetensors", [folder], top=2, engine="openvino", precision="float32"
    )
    found = json.loads(body)["images"][0]["top"]
    assert [each["class"] for each in found] == [name for name, _ in expected.top]
    assert [each["probability"] for each in found] == pytest.approx([share for _, share in expected.top], abs=1e-6)
    assert ask(port, "POST", "/predict", b"no image")[0] == 422
    assert ask(port, "POST", "/predict", bytes(33 << 20))[0] == 413
    assert ask(port, "POST", "/predict", image, Authorization="Bearer wrong")[0] == 401
    assert ask(port, "POST", "/predict", image, Host="evil.example")[0] == 421
    assert ask(port, "GET", "/v2/health/ready")[0] == 200
    [replica] = [each for each in psutil.process_iter() if "ServeReplica:default:vgglass" in _line(each)]
    replica.kill()
    until = time.monotonic() + 120
    while (status := ask(port, "POST", "/predict", image)[0]) != 200:
        assert time.monotonic() < until, status
        time.sleep(0.2)


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@needs_ray
def test_wrong_arguments_are_told_before_any_replica_starts(tmp_path: Path) -> None:
    rule = r"hosts=models\.example: lets others than this machine ask, and asks them for no token; add token_file=FILE"
    with pytest.raises(UsageError, match=rule):
        serve.application(serve.Arguments(model="vgg16", hosts="models.example"))
    with pytest.raises(UsageError, match="can't be read"):
        serve.application(serve.Arguments(token_file=str(tmp_path / "none")))
    with pytest.raises(ModelFileError, match=r"none\.safetensors"):
        serve.application(serve.Arguments(model=str(tmp_path / "none.safetensors")))


def test_arguments_are_checked() -> None:
    for wrong in ({"replicas": 0}, {"timeout": 0}, {"images": 5000}, {"modell": "x"}, {"queue": -1}):
        with pytest.raises(ValidationError):
            serve.Arguments(**wrong)
    assert serve.Arguments.model_validate({"model": "m", "replicas": "8", "cpus": "2"}).replicas == 8


def test_names_and_pages_elsewhere_are_separated_by_commas() -> None:
    arguments = serve.Arguments(hosts="photos.example,other.example:8443", origins="https://a.example,http://b:81/")
    access = serve._access(arguments)
    assert {"photos.example", "other.example"} < access.hosts
    assert access.guests == {"https://a.example", "http://b:81"}


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"run: pip install 'vgglass\[ray\]'"):
        serve.application(serve.Arguments())
