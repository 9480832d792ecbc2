"""The /teach routes of a real server, with a small network: what is learned, refused and downloaded, and a kill."""

import csv
import io
import json
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from served import JPEG, Teaching, encoded, save_model
from vgglass import modelfile, workflows
from vgglass.engines.verify import check
from vgglass.inference.predictor import predict

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (50, 70, 200)}


def coloured(name: str, seed: int) -> bytes:
    """A noisy photograph of one colour: classes that even an untrained network tells apart."""
    noise = np.random.default_rng(seed).integers(-30, 30, (70, 70, 3))
    return encoded(np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8), "PNG")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("start") / "small.safetensors")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Teaching]:
    folder = tmp_path_factory.mktemp("teach")
    with Teaching(folder, model, folder / "taught") as server:
        yield server
        assert not server.lines("error")


@pytest.fixture
def taught(server: Teaching) -> Iterator[Teaching]:
    """Six photographs in each of three baskets; afterwards all is taken back, so that tests share one server."""
    for name in COLOURS:
        assert server.act("add-class", label=name, gesture="begin").status == 200
        for seed in range(6):
            assert server.add(coloured(name, seed), name, f"{seed}.png", "begin").status == 200
    yield server
    while server.post("undo").status == 200:
        pass
    assert server.state()["numbers"] == []


def numbers_of(state: dict[str, Any], label: str | None) -> list[int]:
    place = -1 if label is None else [each["name"] for each in state["classes"]].index(label)
    return [number for number, own in zip(state["numbers"], state["labels"], strict=True) if own == place]


def test_what_was_taught_is_told_judged_and_explained(taught: Teaching) -> None:
    state = taught.state()
    assert [(each["name"], each["images"]) for each in state["classes"]] == [("blue", 6), ("green", 6), ("red", 6)]
    accuracy = state["accuracy"]
    assert accuracy["groups"] <= 18
    assert accuracy["low"] < accuracy["share"] <= 1
    found = taught.ask("POST", "/teach/answers", coloured("green", 99)).json
    assert max(found["answers"], key=lambda each: each["probability"])["class"] == "green"
    assert np.sum(found["map"]["scores"]) == pytest.approx(found["map"]["logit"])
    assert found["nearest"][0]["class"] == "green"
    number = numbers_of(state, "red")[0]
    why = taught.ask("GET", f"/teach/images/{number}/why?label=blue").json
    assert why["map"]["class"] == "blue"
    assert number not in [each["number"] for each in why["nearest"]]
    for kind in ("thumbnail", "square"):
        reply = taught.ask("GET", f"/teach/images/{number}/{kind}")
        assert (reply.status, reply.headers["content-type"], reply.body[:2]) == (200, "image/jpeg", b"\xff\xd8")
    points = taught.ask("GET", "/teach/curve").json["points"]
    assert points[0]["images"] == 1
    assert points[-1]["accuracy"] == pytest.approx(accuracy["share"])


def test_a_wrong_label_is_suspected_until_it_is_moved(taught: Teaching) -> None:
    number = numbers_of(taught.state(), "red")[0]
    taught.act("move", images=[number], label="blue")
    assert taught.state()["suspects"][0] == number
    taught.act("move", images=[number], label="red")
    assert number not in taught.state()["suspects"]


def test_the_tray_asks_and_is_sorted(taught: Teaching) -> None:
    images = [coloured(name, 40 + seed) for seed in range(3) for name in COLOURS]
    for image in images:
        taught.add(image, None)
    state = taught.state()
    tray = numbers_of(state, None)
    assert len(tray) == 9
    assert sorted(state["asked"]) == sorted(tray)
    taught.act("move", images=[state["asked"][0]], label="red")
    assert len(taught.state()["asked"]) == 8


def test_a_photograph_is_there_once(taught: Teaching) -> None:
    again = taught.add(coloured("red", 0), "blue").json
    assert (again["present"], again["label"]) == (True, "red")
    assert len(taught.state()["numbers"]) == 18


def test_two_listeners_hear_of_every_change(taught: Teaching) -> None:
    version = taught.state()["version"]
    heard: list[int] = []

    def listen() -> None:
        connection = HTTPConnection("127.0.0.1", taught.port, timeout=30)
        connection.request("GET", f"/teach/events?after={version}")
        heard.append(json.loads(connection.getresponse().readline())["version"])
        connection.close()

    threads = [threading.Thread(target=listen) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    assert heard == []
    taught.act("add-class", label="new")
    for thread in threads:
        thread.join(30)
    assert [each > version for each in heard] == [True, True]


def test_the_model_answers_as_the_page_does(taught: Teaching, tmp_path: Path) -> None:
    taught.state()
    path = tmp_path / "taught.safetensors"
    path.write_bytes(taught.ask("GET", "/teach/download/model").body)
    file = modelfile.load(path)
    assert file.record.classes == ("blue", "green", "red")
    assert file.record.data == {"images": 18, "classes": dict.fromkeys(("blue", "green", "red"), 6)}
    predictor = workflows.predictor(file, precision="float32", engine="openvino")
    assert check(file, predictor.engines[False]).passed
    (tmp_path / "new.png").write_bytes(coloured("blue", 77))
    (row,) = predict([tmp_path / "new.png"], predictor)
    answers = taught.ask("POST", "/teach/answers", coloured("blue", 77)).json["answers"]
    expected = {each["class"]: each["probability"] for each in answers}
    assert dict(row.top) == pytest.approx(expected, abs=0.02)  # the page's engine may compute in bfloat16


def test_the_folder_is_downloaded_whole(taught: Teaching) -> None:
    taught.state()
    reply = taught.ask("GET", "/teach/download/folder")
    assert reply.headers["content-disposition"] == 'attachment; filename="taught.zip"'
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        assert archive.testzip() is None
        rows = list(csv.DictReader(io.StringIO(archive.read("manifest.csv").decode())))
        assert sorted(archive.namelist()) == sorted(["manifest.csv", *(row["path"] for row in rows)])
    assert Counter(row["label"] for row in rows) == dict.fromkeys(COLOURS, 6)


def test_onnx_is_what_was_taught(taught: Teaching, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    taught.state()
    path = tmp_path / "taught.onnx"
    path.write_bytes(taught.ask("GET", "/teach/download/onnx").body)
    assert workflows.open_source(path).record.classes == ("blue", "green", "red")


REFUSED = [
    ("add-class", {"label": "../x"}, 422, "name forbidden", "which a folder's name can't hold on every system; leave"),
    ("add-class", {"label": "con"}, 422, "name reserved", "is a name that systems keep for themselves; choose another"),
    ("add-class", {"label": "x" * 300}, 422, "name long", "is longer than 150 bytes; shorten it"),
    ("add-class", {"label": "RED"}, 422, "name taken", "is there already, as 'red'; choose another name, or merge"),
    ("add-class", {"label": "val"}, 422, "name part", "would make val parts of a data set"),
    ("add-class", {}, 422, "bad parameter", "label null: names no class; name one"),
    ("rename", {"label": "red", "to": ""}, 422, "name empty", "has no name; give it one"),
    ("merge", {"label": "red", "to": "red"}, 422, "bad parameter", "can't be merged into itself; choose another class"),
    ("merge", {"label": "red", "to": "gone"}, 422, "bad parameter", "class 'gone': is not there; it may have been"),
    ("delete-class", {"label": "gone"}, 422, "bad parameter", "class 'gone': is not there"),
    ("move", {"images": [1], "label": "red"}, 404, "no image", "some of the images: is not in the folder any more"),
    ("burn", {}, 422, "bad parameter", "what 'burn'"),
]


@pytest.mark.parametrize(("what", "about", "status", "kind", "said"), REFUSED)
def test_what_is_refused_changes_nothing(
    taught: Teaching, what: str, about: dict[str, object], status: int, kind: str, said: str
) -> None:
    before = taught.state()
    reply = taught.act(what, **about)
    assert (reply.status, reply.json["type"]) == (status, kind)
    assert said in reply.json["error"]
    assert taught.state()["numbers"] == before["numbers"]


def test_hostile_bytes_are_refused_and_leave_nothing(taught: Teaching) -> None:
    taught.state()
    files = sorted(taught.taught.rglob("*"))
    for body in (b"", b"hello", coloured("red", 0)[:200], b"\x89PNG\r\n\x1a\n" + bytes(100)):
        reply = taught.add(body, "red")
        assert (reply.status, reply.json["type"]) == (422, "bad image")
    large = taught.ask("POST", "/teach/images", None, JPEG | {"Content-Length": str(40 << 20)})
    assert (large.status, large.json["type"]) == (413, "body too large")
    assert [path for path in sorted(taught.taught.rglob("*")) if "sqlite" not in path.name] == [
        path for path in files if "sqlite" not in path.name
    ]


def test_others_files_are_neither_lost_nor_believed(taught: Teaching) -> None:
    state = taught.state()
    number = numbers_of(state, "red")[0]
    name = next(path for path in (taught.taught / "red").iterdir())
    name.unlink()
    refused = [taught.act("move", images=[each], label="blue") for each in numbers_of(state, "red")]
    assert Counter(reply.status for reply in refused) == {200: 5, 404: 1}
    assert len(taught.state()["numbers"]) == 17
    (taught.taught / "red" / "theirs.png").write_bytes(coloured("red", 50))
    assert taught.post("rescan").json == {"images": 18}
    assert len(numbers_of(taught.state(), "red")) == 1
    (taught.taught / "red" / "theirs.png").unlink()
    taught.post("rescan")
    assert taught.ask("GET", f"/teach/images/{number + 10**9}/why").status == 404


def test_the_page_of_another_site_changes_nothing(taught: Teaching) -> None:
    body = json.dumps({"what": "add-class", "label": "theirs"}).encode()
    headers = {"Content-Type": "application/json", "Origin": "https://evil.example"}
    for path in ("actions", "undo", "images", "rescan"):
        assert taught.ask("POST", f"/teach/{path}", body, headers).status == 403


def test_a_token_is_asked_for_and_a_stop_ends_streams(model: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("correct-horse-battery-staple")
    (tmp_path / "token").chmod(0o600)
    with Teaching(tmp_path, model, tmp_path / "taught", "--token-file", tmp_path / "token") as server:
        assert server.act("add-class", label="a").status == 401
        assert server.ask("GET", "/teach/state").status == 401
        headers = {"Authorization": "Bearer correct-horse-battery-staple"}
        stream = threading.Thread(target=server.ask, args=("GET", "/teach/events?after=100000", None, headers))
        stream.start()
        time.sleep(0.3)
        assert server.stop() == 0
        stream.join(10)
        assert not stream.is_alive()


def test_teaching_needs_no_torch(model: Path, tmp_path: Path) -> None:
    """In the interpreter itself: a lesson is opened, taught, and its model made."""
    code = f"""
import sys
from pathlib import Path
from vgglass import workflows
import vgglass.server.routes.teach
room = workflows.classroom({str(tmp_path / "taught")!r}, {str(model)!r})
import numpy as np
for name in "ab":
    room.lesson.folder.add_class(name, "")
    for seed in range(2):
        item = room.lesson.folder.add(f"{{name}}{{seed}}".encode(), f"{{seed}}.jpg", name, "")
        room.keep(item.digest, np.random.default_rng(seed).random(64, np.float32), np.zeros(256, np.float32))
room.lesson.learn()
print(room.model().record.classes, {{"torch", "sklearn", "matplotlib"}} & set(sys.modules))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "('a', 'b') set()\n"


# Gestures at random, the server killed between them: folder, manifest and page agree, and nothing is lost.


class Person:
    """Acts at random, and remembers the contents that must be there and those that were removed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.images = [coloured(name, 1000 + seed) for seed in range(40) for name in COLOURS]
        self.sent: set[bytes] = set()

    def gesture(self, server: Teaching) -> None:
        state = server.state()
        labels = [each["name"] for each in state["classes"]]
        some = self.random.sample(state["numbers"], min(len(state["numbers"]), self.random.randint(1, 4)))
        label = self.random.choice([*labels, None])
        kind = self.random.choice(["add", "add", "add", "move", "move", "class", "rename", "merge", "delete", "remove"])
        if kind == "add":
            image = self.random.choice(self.images)
            if server.add(image, label, f"{self.random.randint(0, 3)}.png").status == 200:
                self.sent.add(image)
        elif kind == "move":
            server.act("move", images=some, label=label)
        elif kind == "class":
            server.act("add-class", label=self.random.choice(["猫", "dog", "Dog", "🐟", "../x", "con", "bird"]))
        elif kind == "remove":
            server.act("remove", images=some[:1])
        elif labels:
            one, other = self.random.choice(labels), self.random.choice(labels)
            act = {"rename": "rename", "merge": "merge", "delete": "delete-class"}[kind]
            server.act(act, label=one, to=f"{other} {self.random.randint(0, 9)}" if kind == "rename" else other)


def require_agreement(server: Teaching, person: Person) -> None:
    """The page's state, the class folders with the tray, and the manifest, say the same; every image is on the disk."""
    state = server.state()
    names = [each["name"] for each in state["classes"]]
    shown = Counter(names[label] if label >= 0 else None for label in state["labels"])
    folder = server.taught
    on_disk = {path.name: list(path.iterdir()) for path in folder.iterdir() if path.is_dir()}
    on_disk.pop(".vgglass")
    assert sorted(names) == sorted(on_disk)
    assert {name: count for name, count in shown.items() if name is not None} == {
        name: len(files) for name, files in on_disk.items() if files
    }
    assert shown[None] == len(list((folder / ".vgglass" / "tray").iterdir()))
    rows = list(csv.DictReader(io.StringIO((folder / "manifest.csv").read_text(encoding="utf-8"))))
    assert sorted((row["label"], row["path"]) for row in rows) == sorted(
        (name, f"{name}/{file.name}") for name, files in on_disk.items() for file in files
    )
    kept = {path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert person.sent <= kept


def live_through(folder: Path, model: Path, gestures: int, kills: int, seed: int) -> None:
    person = Person(seed)
    spells = np.array_split(np.arange(gestures), kills + 1)
    for spell in spells:
        with Teaching(folder, model, folder / "taught") as server:
            for index in spell:
                if person.random.random() < 0.12:
                    server.post("undo")
                else:
                    person.gesture(server)
                if index % 25 == 0:
                    require_agreement(server, person)
            if spell is spells[-1]:
                require_agreement(server, person)
                return
            # Killed in the middle of an action
            hit = threading.Thread(target=lambda: _quietly(person, server))
            hit.start()
            time.sleep(person.random.random() * 0.03)
            server.stop(signal.SIGKILL)
            hit.join()


def _quietly(person: Person, server: Teaching) -> None:
    with suppress(OSError, AssertionError, HTTPException, ValueError):
        person.gesture(server)


@pytest.mark.slow
def test_gestures_at_random_and_a_kill_lose_nothing(model: Path, tmp_path: Path) -> None:
    live_through(tmp_path, model, 40, 1, 1)


@pytest.mark.slow
def test_300_gestures_at_random_and_kills_lose_nothing(model: Path, tmp_path: Path) -> None:
    live_through(tmp_path, model, 300, 12, 2)
