"""Weights by name, fetched from a real HTTP server on this machine: whole, broken, resumed, wrong, refused."""

import hashlib
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from vgglass import modelfile
from vgglass.architecture import Architecture
from vgglass.errors import MissingExtraError, WeightsError
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing
from vgglass.weights import to_foreign, zoo

CLASSES = ("ant", "bee", "crane", "crane")


@dataclass
class Mirror:
    """What the server serves, how it misbehaves, and what it was asked."""

    data: bytes
    break_after: int | None = None  # bytes of the first answer before it hangs up
    always: bool = False  # break every answer, not the first alone
    ranges: bool = True
    status: int = 200
    sized: bool = True
    asked: list[str | None] = field(default_factory=list)
    sent: int = 0
    address: str = ""

    @property
    def name(self) -> str:
        return f"vgg11-{hashlib.sha256(self.data).hexdigest()[:8]}.pth"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A narrow VGG-11 in torchvision's format."""
    network = VGG(Architecture.named("vgg11", classes=4, width=1 / 64, hidden=8))
    record = Preprocessing(224, 256, (0.0,) * 3, (1.0,) * 3)
    path = tmp_path_factory.mktemp("weights") / "vgg11.pth"
    to_foreign(network.to_file(("a", "b", "c", "d"), record), path, "torchvision")
    assert torch.load(path, weights_only=True)
    return path.read_bytes()


@pytest.fixture
def mirror(weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    served = Mirror(weights)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            served.asked.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and served.ranges else 0
            body = served.data[start:]
            if start > len(served.data):
                self.send_error(416)
                return
            self.send_response(served.status if served.status != 200 else 206 if start else 200)
            if served.sized:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if served.break_after is not None and (served.always or len(served.asked) == 1):
                body = body[: served.break_after]
            self.wfile.write(body)
            served.sent += len(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_port}/mirror/"
    monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path))
    monkeypatch.setenv("VGGLASS_WEIGHTS_URL", served.address)
    monkeypatch.setattr(zoo, "published", lambda name: (f"https://example.invalid/{served.name}", CLASSES))
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def yes(address: str, size: int) -> bool:
    return True


def test_fetched_once_with_one_question(mirror: Mirror, tmp_path: Path) -> None:
    questions: list[tuple[str, int]] = []
    progress: list[tuple[int, int]] = []
    path = zoo.pretrained(
        "vgg11",
        lambda address, size: not questions.append((address, size)),  # type: ignore[func-returns-value]
        lambda done, total: progress.append((done, total)),
    )
    assert questions == [(mirror.address + mirror.name, len(mirror.data))]
    assert progress[-1] == (len(mirror.data), len(mirror.data))
    assert modelfile.load_record(path).classes == ("ant", "bee", "crane (2)", "crane (3)")
    assert not list(tmp_path.glob("*.pth*"))
    assert zoo.pretrained("vgg11", lambda address, size: False) == path  # no network, no question
    assert len(mirror.asked) == 1


def test_a_broken_transfer_goes_on_where_it_stopped(mirror: Mirror) -> None:
    mirror.break_after = 10_000
    assert zoo.pretrained("vgg11", yes).exists()
    assert mirror.asked == [None, "bytes=10000-"]
    assert mirror.sent == len(mirror.data)


def test_a_server_that_cannot_resume_sends_it_again(mirror: Mirror) -> None:
    mirror.break_after, mirror.ranges = 10_000, False
    assert zoo.pretrained("vgg11", yes).exists()
    assert mirror.sent == len(mirror.data) + 10_000


def test_broken_off_for_good(mirror: Mirror, tmp_path: Path) -> None:
    mirror.break_after, mirror.always = 1000, True
    with pytest.raises(WeightsError, match=r"the transfer broke off 3 times .* try again, it goes on from there"):
        zoo.pretrained("vgg11", yes)
    assert (tmp_path / f"{mirror.name}.part").stat().st_size == 3000


def test_a_wrong_hash_is_refused(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "published", lambda name: ("https://example.invalid/vgg11-00000000.pth", CLASSES))
    with pytest.raises(WeightsError, match=r"its SHA-256 should begin with 00000000 and is [0-9a-f]{64}"):
        zoo.pretrained("vgg11", yes)
    assert not list(tmp_path.glob("*.p*"))


def test_refused_approval_says_how_to_go_on(mirror: Mirror) -> None:
    with pytest.raises(WeightsError, match="was not approved; add --download, or fetch it by hand and run"):
        zoo.pretrained("vgg11", lambda address, size: False)


def test_no_network_says_what_to_do(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGGLASS_WEIGHTS_URL", "http://127.0.0.1:9/")  # the discard port: nobody answers
    with pytest.raises(WeightsError, match=r"cannot be reached .* go online, or fetch it by hand"):
        zoo.pretrained("vgg11", yes)


def test_other_refusals(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.sized = False
    with pytest.raises(WeightsError, match="the server does not say how large the file is; fetch it by hand"):
        zoo.pretrained("vgg11", yes)
    mirror.status, mirror.sized = 404, True
    with pytest.raises(WeightsError, match="the server answers 404 Not Found"):
        zoo.pretrained("vgg11", yes)
    for base in ("ftp://127.0.0.1/", "http://[::1/", "http://host:port/", "https://", "mirror"):
        monkeypatch.setenv("VGGLASS_WEIGHTS_URL", base)
        with pytest.raises(WeightsError, match=f"VGGLASS_WEIGHTS_URL={re.escape(base)}: weights are fetched over http"):
            zoo.pretrained("vgg11", yes)
    with pytest.raises(WeightsError, match="model 'vgg12': not one of vgg11, vgg11_bn"):
        zoo.pretrained("vgg12", yes)


def test_a_part_that_goes_past_the_end_is_fetched_anew(mirror: Mirror, tmp_path: Path) -> None:
    beyond = len(mirror.data) + 1
    (tmp_path / f"{mirror.name}.part").write_bytes(b"?" * beyond)
    assert zoo.pretrained("vgg11", yes).exists()
    assert mirror.asked == [f"bytes={beyond}-", None]


def test_a_checked_file_is_converted_without_fetching(mirror: Mirror, tmp_path: Path) -> None:
    """A process that died between the check and the conversion leaves the whole file behind."""
    (tmp_path / mirror.name).write_bytes(mirror.data)
    assert zoo.pretrained("vgg11", yes).exists()
    assert mirror.asked == []


def test_of_several_at_once_one_fetches(mirror: Mirror) -> None:
    """Threads show what processes do: the lock belongs to each opening of the file."""
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(zoo.pretrained, ["vgg11"] * 3, [yes] * 3))
    assert mirror.asked == [None]
    assert modelfile.load(paths[0]).record.architecture.classes == 4


def test_a_cached_model_needs_no_torch(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zoo.pretrained("vgg11", yes)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    assert zoo.pretrained("vgg11", yes) == path


def test_missing_torchvision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(MissingExtraError, match=r"torchvision: needed for converting.*vgglass\[torch\]"):
        zoo.pretrained("vgg16", yes)


def test_a_folder_that_cannot_be_made(mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(WeightsError, match=r"cannot be written .*; name another folder in VGGLASS_CACHE"):
        zoo.pretrained("vgg11", yes)


def test_416_for_a_whole_file_is_a_broken_transfer(mirror: Mirror) -> None:
    mirror.status = 416
    with pytest.raises(WeightsError, match=r"broke off 3 times \(the server refuses to resume\)"):
        zoo.pretrained("vgg11", yes)


def test_torchvisions_registry_has_what_the_zoo_counts_on() -> None:
    for name in zoo.names():
        address, categories = zoo.published(name)
        assert re.search(rf"/{name}-[0-9a-f]{{8}}\.pth$", address)
        assert len(set(zoo.unique(categories))) == 1000
    assert zoo.unique(("a", "b", "a")) == ("a (0)", "b", "a (2)")
