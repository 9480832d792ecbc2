"""The glass under people who ask for too much, for what is not there, and who leave."""

import asyncio
import gc
import itertools
import signal
import threading
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.requests import Request

from glass_subjects import CLASSES, model, photograph
from served import JPEG, Served, burst, encoded, memory, photographs, save_model
from vgglass import glass, modelfile, workflows
from vgglass.glass import Subject
from vgglass.model import VGG
from vgglass.preprocess import normalise
from vgglass.server import middleware, sessions
from vgglass.server.decoding import DecodedUpload
from vgglass.server.model_store import ModelStore, Options
from vgglass.server.monitoring import Metrics
from vgglass.server.refusals import RefusedError
from vgglass.server.sessions import WAITING, WALKS, ModelSession, Sessions

NOTHING = "0" * 32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("glass-hostile")
    with Served(folder, save_model(folder / "tiny.safetensors")) as server:
        yield server
        assert not server.lines("error"), "nothing was our mistake"
        assert {line["status"] for line in server.lines("request") if line["status"] >= 500} <= {503}
        assert server.stop() == 0


@pytest.fixture(autouse=True)
def still_ready(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        server: Served = request.getfixturevalue("server")
        assert server.ask("GET", "/health/ready").status == 200
        assert server.ask("GET", f"/glass/images/{put(server)}/layers").status == 200


def put(server: Served, image: bytes | None = None) -> str:
    reply = server.ask("POST", "/glass/images", image or photographs(1)[0], JPEG)
    assert reply.status == 200, reply.body
    return str(reply.json["id"])


LARGE = "9" * 5000  # more digits than Python turns into a number
BAD: list[tuple[str, int, str]] = [
    (f"/glass/images/{NOTHING}/layers", 404, f"image '{NOTHING}': is not kept here any more; send it again."),
    (f"/glass/images/{NOTHING}/scores", 404, "is not kept here any more"),
    (f"/glass/images/{NOTHING}/effects/conv1_1", 404, "is not kept here any more"),
    ("/glass/images/../layers", 422, "digest '..'"),
    ("/glass/images/0/layers", 422, "digest '0'"),
    (f"/glass/images/{NOTHING}%0A/layers", 422, "digest"),
    (f"/glass/images/{'G' * 32}/picture", 422, "digest"),
    ("ID/layers/conv9_9", 422, "did you mean"),
    ("ID/layers/%F0%9F%92%A5", 422, "layer '💥'"),
    (f"ID/layers/{'a' * 17}", 422, "should have at most 16 characters"),
    ("ID/layers/..%2F..", 404, "Not Found"),
    ("ID/maps/conv1_1?channel=8", 422, "channel 8 of conv1_1: it has 8, numbered 0 to 7; the nearest is 7."),
    ("ID/maps/image?channel=3", 422, "channel 3 of image: it has 3, numbered 0 to 2; the nearest is 2."),
    ("ID/maps/conv1_1?channel=-1", 422, "greater than or equal to 0"),
    (f"ID/maps/conv1_1?channel={LARGE}", 422, "channel"),
    ("ID/maps/conv1_1?channel=nan", 422, "valid integer"),
    ("ID/maps/conv1_1?channel=1.5", 422, "valid integer"),
    ("ID/steps/image?channel=0", 422, "layer 'image'"),
    ("ID/steps/conv1_1", 422, "channel"),
    ("ID/steps/conv1_1?channel=99", 422, "channel 99 of conv1_1"),
    ("ID/steps/conv1_1?channel=0&row=64", 422, "position 64,0 of conv1_1: its maps have rows 0 to 63"),
    ("ID/steps/fc6?channel=0&column=1", 422, "position 0,1 of fc6"),
    ("ID/steps/conv1_1?channel=0&row=-1", 422, "greater than or equal to 0"),
    (f"ID/steps/conv1_1?channel=0&row={LARGE}", 422, "row"),
    ("ID/steps/conv1_1?channel=0&row=inf", 422, "valid integer"),
    ("ID/fields/image", 422, "layer 'image'"),
    ("ID/fields/pool5?row=2", 422, "position 2,0 of pool5"),
    ("ID/attributions/magic", 422, "attribution 'magic': not one of class-map, saliency"),
    (f"ID/attributions/{'m' * 33}", 422, "at most 32 characters"),
    ("ID/attributions/saliency?target=7", 422, "class 7: the classes are numbered 0 to 6"),
    ("ID/attributions/saliency?target=-1", 422, "greater than or equal to 0"),
    ("ID/attributions/saliency?layer=conv1_1", 422, "saliency looks at the image alone"),
    ("ID/attributions/gradcam?layer=fc6", 422, "has no map for Grad-CAM to weigh"),
    ("ID/effects/prob", 422, "layer prob: comes after the logits"),
    ("ID/effects/image", 422, "layer 'image'"),
    ("ID/scores?target=7", 422, "class 7"),
    ("ID/importance?target=7", 422, "class 7: the classes are numbered 0 to 6"),
    ("ID/importance?target=nan", 422, "valid integer"),
    (f"/glass/images/{NOTHING}/importance", 404, "is not kept here any more"),
    (
        "ID/parent/maps/conv1_1",
        404,
        "the model: has no parent here: it was not shrunk, or its parent's file is not there",
    ),
    ("ID/parent/layers/conv1_1", 404, "serve a shrunk model with --parent"),
    ("ID/parent/importance", 404, "has no parent here"),
    ("ID/parent/removed/relu1_1", 404, "has no parent here"),
    ("ID/without", 422, "channels"),
    ("ID/without?channels=conv1_1", 422, "is not LAYER:CHANNEL"),
    ("ID/without?channels=:", 422, "is not LAYER:CHANNEL"),
    ("ID/without?channels=conv1_1:-1", 422, "is not LAYER:CHANNEL"),
    (f"ID/without?channels=conv1_1:{LARGE}", 422, "is not LAYER:CHANNEL"),
    ("ID/without?channels=conv1_1:%C2%B2", 422, "is not LAYER:CHANNEL"),
    ("ID/without?channels=conv1_1:8", 422, "channel 8 of conv1_1"),
    ("ID/without?channels=prob:0", 422, "comes after the logits"),
    ("ID/without/stages?channels=conv1_1:8", 422, "channel 8 of conv1_1"),
    ("ID/without/stages?channels=prob:0", 422, "comes after the logits"),
    ("ID/preferences/conv1_1?channel=8", 422, "channel 8 of conv1_1"),
    ("ID/without?" + "&".join(["channels=conv1_1:1"] * 65), 422, "at most 64 items"),
    ("ID/softmax?temperature=0", 422, "greater than 0"),
    ("ID/softmax?temperature=-1", 422, "greater than 0"),
    ("ID/softmax?temperature=nan", 422, "temperature"),
    ("ID/softmax?temperature=inf", 422, "temperature"),
    ("ID/softmax?temperature=1e-320", 422, "must be finite, divided by the temperature too"),
    ("ID/softmax?channel=7", 422, "class 7"),
    ("/glass/playground?size=0", 422, "greater than or equal to 1"),
    ("/glass/playground?size=25", 422, "less than or equal to 24"),
    ("/glass/playground?operation=sum", 422, "operation 'sum'"),
    ("/glass/playground?image=x", 422, "image 'x'"),
    ("/glass/samples/..%2F..%2Fetc", 404, "Not Found"),
    ("/glass/samples/%2e%2e", 404, "sample '..': is none"),
    (f"/glass/samples/{'a' * 21}", 422, "at most 20 characters"),
]


@pytest.mark.parametrize(("path", "status", "message"), BAD)
def test_what_is_not_there_is_refused(server: Served, path: str, status: int, message: str) -> None:
    reply = server.ask("GET", path.replace("ID", f"/glass/images/{put(server)}"))
    assert reply.status == status
    assert message in reply.json["error"]
    assert len(reply.body) < 3000


def test_what_merely_looks_odd_is_answered(server: Served) -> None:
    image = f"/glass/images/{put(server)}"
    every = ",".join(["0", "%207", *(str(each % 8) for each in range(2000))])
    for path in (
        "without?channels=conv1_1:" + every, "softmax?temperature=1e-300", "softmax?temperature=1000",
        "steps/conv1_1?channel=0&row=63&column=63", "effects/fc8", "maps/prob",
    ):  # fmt: skip
        assert server.ask("GET", f"{image}/{path}").status == 200
    assert server.ask("GET", "/glass/playground?size=24&kernel=24&padding=12&dilation=1&row=65536").status == 200


def test_the_largest_image_is_shown_small(server: Served) -> None:
    """49 of the 50 million pixels that are allowed, in some kilobytes."""
    image = put(server, encoded(np.zeros((7000, 7000), np.bool_), "PNG"))
    assert len(server.ask("GET", f"/glass/images/{image}/picture").body) < 1 << 20


def test_every_small_window_is_played_or_explained(server: Served) -> None:
    for operation in ("max", "min", "avg", "conv"):
        for size, kernel, padding, dilation in (
            (1, 2, 1, 2),
            (11, 2, 1, 12),
            (1, 1, 0, 12),
            (1, 2, 12, 1),
            (3, 2, 1, 4),
        ):
            query = f"operation={operation}&size={size}&kernel={kernel}&padding={padding}&dilation={dilation}&stride=1"
            assert server.ask("GET", f"/glass/playground?{query}").status == 200


# The least recently used


def fresh() -> ModelSession:
    file = model("A", image_size=32)
    return ModelSession(workflows.predictor(file), file, threading.Event())


def whole(seed: int, side: int = 32) -> DecodedUpload:
    pixels = photograph(side, side, seed=seed)
    return DecodedUpload(pixels, pixels[:32, :32], (32, 32))


def test_few_walks_are_kept_and_a_dropped_one_comes_back_the_same() -> None:
    looked = fresh()
    names = [looked.keep(bytes([seed]), whole(seed)) for seed in range(WALKS + 1)]
    first = looked.walk(names[0])
    maps = first.views["conv5_2"].maps.copy()
    assert looked.walk(names[0]) is first
    for name in names[1:]:
        looked.walk(name)
    assert len(looked._walks) == WALKS
    again = looked.walk(names[0])
    assert again is not first
    np.testing.assert_array_equal(again.views["conv5_2"].maps, maps)
    assert names[1] not in looked._walks, "the one that was used least lately"


def test_a_walk_keeps_each_number_once() -> None:
    looked = fresh()
    walk = looked.walk(looked.keep(b"", whole(1)))
    for name, step in walk.steps.items():
        assert np.shares_memory(step.output.numpy(), walk.views[name].maps), name
    for before, after in itertools.pairwise(walk.steps.values()):
        assert np.shares_memory(before.output.numpy(), after.input.numpy()), after.name


def test_pictures_over_the_budget_are_dropped_with_their_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = fresh()
    size = 64 * 64 * 3 + 32 * 32 * 3
    monkeypatch.setattr(sessions, "PICTURES", 3 * size)
    names = [looked.keep(bytes([seed]), whole(seed, 64)) for seed in range(3)]
    looked.walk(names[1])
    for name in (names[2], names[0]):  # used since: not the next to go
        looked.picture(name)
    names.append(looked.keep(b"another", whole(3, 64)))
    with pytest.raises(RefusedError, match="is not kept here any more; send it again"):
        looked.walk(names[1])
    assert names[1] not in looked._walks
    assert [name in looked._pictures for name in names] == [True, False, True, True]
    alone = looked.keep(b"large", whole(4, 256))
    assert list(looked._pictures) == [alone], "one is kept whatever its size"


@pytest.mark.slow
def test_another_model_has_not_seen_the_old_ones_pictures(tmp_path: Path) -> None:
    path = save_model(tmp_path / "live.safetensors")
    with Served(tmp_path, path) as server:
        image = put(server)
        before = server.ask("GET", f"/glass/images/{image}/maps/fc8").body
        save_model(path, seed=5)
        server.process.send_signal(signal.SIGHUP)
        digest = server.lines("model", 2)[1]["digest"]
        assert server.ask("GET", f"/glass/images/{image}/maps/fc8").status == 404
        assert server.ask("GET", f"/glass/playground?image={image}").status == 404
        assert server.ask("GET", "/glass/model").json["digest"] == digest
        assert put(server) == image
        after = server.ask("GET", f"/glass/images/{image}/maps/fc8").body
        assert (len(after), after == before) == (len(before), False)


@pytest.mark.slow
def test_fifty_images_leave_little_behind(tmp_path: Path) -> None:
    path = save_model(tmp_path / "wide.safetensors", image_size=224, width=0.5)  # a walk takes some 30 MB
    with Served(tmp_path, path) as server:
        held = []
        for image in photographs(50):
            name = put(server, image)
            assert server.ask("GET", f"/glass/images/{name}/layers").status == 200
            held.append(memory(server.process.pid))
        assert max(held) - held[WALKS + 5] < 150 << 20


# Many at once, and those who leave


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


SLOWER = ("attributions/occlusion", "effects/conv3_1", "scores")


@pytest.mark.parametrize("path", ["layers", *(pytest.param(path, marks=pytest.mark.slow) for path in SLOWER)])
def test_two_hundred_at_once(server: Served, path: str) -> None:
    """Each is answered in full or refused at once; what is answered is what one alone is told."""
    target = f"/glass/images/{put(server)}/{path}"
    alone = server.ask("GET", target).body
    replies = asyncio.run(burst(server.port, [get(target)] * 200))
    assert all(reply is not None for reply in replies)
    statuses = [reply.status for reply in replies if reply]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= WAITING
    for reply in replies:
        assert reply is not None
        if reply.status == 503:
            assert (reply.json["type"], reply.headers["retry-after"]) == ("glass full", "1")
        elif reply.headers.get("transfer-encoding") == "chunked":
            assert reply.body.endswith(b"\r\n0\r\n\r\n")
            assert reply.body.count(b'"channel"') == alone.count(b'"channel"')
        else:
            assert reply.body == alone


def test_many_people_with_images_of_their_own(server: Served) -> None:
    """More images than walks are kept: each is told of its own."""
    file = modelfile.load(next(server.log.parent.glob("*.safetensors")))
    images = photographs(WALKS + 3)
    expected = [glass.open_subject(file, image) for image in images]
    names = [put(server, image) for image in images]

    def look(index: int) -> tuple[bytes, list[int], int]:
        path = f"/glass/images/{names[index]}"
        maps = server.ask("GET", f"{path}/maps/conv2_1").body
        scores = server.ask("GET", f"{path}/scores").json
        saliency = server.ask("GET", f"{path}/attributions/saliency").json
        return maps, [scores["height"], scores["width"]], saliency["target"]

    with ThreadPoolExecutor(6) as people:
        for index, (maps, size, target) in enumerate(people.map(look, list(range(len(images))) * 3)):
            subject = expected[index % len(images)]
            view = next(view for view in glass.walk(subject) if view.name == "conv2_1")
            assert maps == view.maps.tobytes()
            assert size == list(subject.original.shape[:2])
            assert target == int(subject.logits().argmax())


async def gone_after(port: int, data: bytes, seconds: float) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    await asyncio.sleep(seconds)
    writer.close()


def test_clients_who_leave_while_they_wait(server: Served) -> None:
    image = f"/glass/images/{put(server)}"

    async def flood() -> None:
        paths = [f"{image}/{path}" for path in ("attributions/occlusion", "effects/conv1_1", "scores", "layers")] * 10
        await asyncio.gather(*(gone_after(server.port, get(path), 0.02) for path in paths))

    count = len(server.lines("request"))
    asyncio.run(flood())
    lines = server.lines("request", count + 40)[count:]
    assert {line["status"] for line in lines} <= {200, 499, 503}
    assert any(line["status"] == 499 for line in lines)
    assert server.ask("GET", f"{image}/attributions/occlusion").status == 200


class Client:
    """Someone who asks, and may leave: a request as starlette makes it."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self._asked = False

    async def receive(self) -> MutableMapping[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    @property
    def request(self) -> Request:
        return Request({"type": "http"}, self.receive)


@pytest.fixture
def looks(tmp_path: Path) -> Iterator[Sessions]:
    models = ModelStore(save_model(tmp_path / "tiny.safetensors"), Options(), Metrics())
    looks = Sessions(models)
    yield looks
    looks.stop()


def test_work_stops_when_its_client_has_left(looks: Sessions) -> None:
    """It would never end: the network is what stops it. The next one is computed, with nothing left over."""

    async def session() -> None:
        name = looks.session.keep(b"", decoded())
        client, other, begun = Client(), Client(), threading.Event()

        def endless(subject: Subject) -> None:
            while True:
                glass.attribute(subject, "gradcam")
                begun.set()

        task = asyncio.create_task(looks.run_slow(client.request, name, endless))
        await asyncio.to_thread(begun.wait)
        client.leaves.set()
        with pytest.raises(middleware.ClientLeftError, match="the client: left before its answer"):
            await task
        found = await looks.run_slow(other.request, name, lambda subject: glass.attribute(subject, "gradcam"))
        expected = glass.attribute(looks.session.subject(name), "gradcam")
        np.testing.assert_array_equal(found.map, expected.map)

    asyncio.run(session())


def test_work_stops_when_it_is_cancelled(looks: Sessions) -> None:
    """As the server does at the end of its grace."""

    async def session() -> None:
        name = looks.session.keep(b"", decoded())
        begun = threading.Event()

        def endless(subject: Subject) -> None:
            while True:
                subject.logits()
                begun.set()

        task = asyncio.create_task(looks.run_slow(Client().request, name, endless))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(session())


def test_who_leaves_a_stream_stops_nobody_else(looks: Sessions) -> None:
    """A stream whose client left is cancelled again and again, until it ends; what it had begun is still put right."""

    async def session() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        name = looks.session.keep(b"", decoded())
        client, begun = Client(), threading.Event()

        def endless(subject: Subject) -> None:
            while True:
                subject.logits()
                begun.set()

        task = asyncio.create_task(looks.run_slow(client.request, name, endless))
        await asyncio.to_thread(begun.wait)
        client.leaves.set()
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        del task
        assert await looks.run_slow(Client().request, name, lambda subject: subject.logits().shape) == (len(CLASSES),)
        gc.collect()
        await asyncio.sleep(0)
        assert not told, "an exception that nobody retrieved becomes a traceback in the log"

    asyncio.run(session())


def test_no_batch_is_computed_for_a_client_who_left(looks: Sessions) -> None:
    async def session() -> None:
        client, computed = Client(), []

        def batches() -> Iterator[int]:
            for index in range(1000):
                computed.append(index)
                yield index

        async for _ in looks.iterate(client.request, batches()):
            client.leaves.set()
        assert computed == [0]

    asyncio.run(session())


def test_what_has_begun_to_be_answered_is_not_refused(looks: Sessions) -> None:
    """Every place is taken while a stream is on its way."""

    async def session() -> None:
        free = threading.Event()
        waiting: list[asyncio.Task[bool]] = []
        found = []
        async for each in looks.iterate(Client().request, iter(range(5))):
            found.append(each)
            while len(waiting) < WAITING:
                waiting.append(asyncio.create_task(looks.run(Client().request, free.wait)))
                await asyncio.sleep(0)
        with pytest.raises(RefusedError, match=f"the glass: full: {WAITING} looks wait; try again in 1 s") as caught:
            await looks.run(Client().request, free.wait)
        assert caught.value.status == 503
        assert found == list(range(5))
        free.set()
        assert all(await asyncio.gather(*waiting))

    asyncio.run(session())


def decoded() -> DecodedUpload:
    pixels = photograph(64, 64)
    return DecodedUpload(pixels, pixels, (64, 64))


# Numbers that are none


@pytest.mark.slow
def test_weights_that_overflow_on_an_image_are_no_answer(tmp_path: Path) -> None:
    """One number of fc7 is zero on the golden inputs and 5 on a white image, and 5 times 3e38 is infinite."""
    small = model("A")
    network = VGG.from_file(small)
    white = np.full((64, 64, 3), 255, np.uint8)
    inputs = normalise(np.concatenate([white[None], small.golden_images]), small.record.preprocessing)
    with torch.no_grad():
        seen = next(step.output for step in network.walk(torch.from_numpy(inputs)) if step.name == "relu6")
        apart = seen[0] - torch.linalg.pinv(seen[1:]) @ seen[1:] @ seen[0]  # what of white the others have nothing of
        network.get_parameter("fc7.weight")[0] = 10 * apart / apart.square().sum()
        network.get_parameter("fc7.bias")[0] = -5
        network.get_parameter("fc8.weight")[0, 0] = 3e38
    modelfile.save(network.to_file(CLASSES, small.record.preprocessing), tmp_path / "overflow.safetensors")
    image = encoded(white, "PNG")
    with Served(tmp_path, tmp_path / "overflow.safetensors") as server:
        for reply in (server.ask("POST", "/glass/images", image, JPEG), server.predict(image)):
            assert reply.status == 503
            assert "answers with numbers that are infinite or not a number (NaN)" in reply.json["error"]
        assert server.predict(encoded(small.golden_images[0], "PNG")).status == 200
        assert not server.lines("error")
