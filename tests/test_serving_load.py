"""More than it can do: refused at once, never lost; clients that leave; a stop and a reload in the midst of it."""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import served
from served import JPEG, Reply, Served, form, photographs, request, save_model
from vgglass import modelfile

# A small network shown fifty crops of each image: slow enough to be overrun.
SLOW = ("--views", "crops@144", "--queue", 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("load")


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    return save_model(folder / "tiny.safetensors", image_size=128)


@pytest.fixture
def slow(folder: Path, file: Path) -> Iterator[Served]:
    with Served(folder, file, *SLOW) as server:
        yield server


def test_two_hundred_at_once_are_answered_or_refused(slow: Served) -> None:
    replies = asyncio.run(served.burst(slow.port, [request(image) for image in photographs(10) * 20]))
    counts = Counter(reply.status for reply in replies if reply)
    assert set(counts) == {200, 503}
    assert counts[200] + counts[503] == 200
    assert counts[200] >= 16
    refusals = [reply for reply in replies if reply and reply.status == 503]
    waits = [reply.seconds * 1000 for reply in refusals]
    own = max(line["seconds"] * 1000 for line in slow.lines("request") if line["status"] == 503)
    print(
        f"{counts[200]} answered, {counts[503]} refused: a client waits {statistics.median(waits):.0f} ms, at most"
        f" {max(waits):.0f}; the server itself takes {own:.0f} ms at most"
    )
    for reply in refusals:
        assert int(reply.headers["retry-after"]) >= 1
        assert "the queue: full: 16 of 16 images wait; try again in" in reply.json["error"]
    metrics = slow.metrics()
    assert metrics['vgglass_requests_total{method="POST",path="/predict",status="200"}'] == counts[200]
    assert metrics['vgglass_requests_total{method="POST",path="/predict",status="503"}'] == counts[503]
    assert metrics['vgglass_refused_total{reason="queue full"}'] == counts[503]
    assert metrics["vgglass_batch_images_sum"] == counts[200]
    assert metrics["vgglass_queue_images_peak"] == 16
    assert metrics["vgglass_queue_images"] == 0
    assert own < 100
    assert max(waits) < 2000, "the clients share the machine with the server"


def leave(port: int, data: bytes, reset: bool) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(data)
        time.sleep(random.uniform(0, 0.004))
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_a_thousand_clients_that_leave_are_not_computed(slow: Served) -> None:
    image = photographs(1)[0]
    for index in range(1000):
        leave(slow.port, request(image) if index % 3 else request(image)[:-50], reset=index % 2 == 0)
    until = time.monotonic() + 5
    while slow.metric("vgglass_queue_images") and time.monotonic() < until:
        time.sleep(0.05)
    metrics = slow.metrics()
    assert metrics["vgglass_queue_images"] == 0
    computed = metrics["vgglass_batch_images_sum"]
    lines = slow.lines("request")
    statuses = Counter(line["status"] for line in lines if line["path"] == "/predict")
    print(f"of 1,000: {computed:.0f} computed, {dict(statuses)}")
    left = sum(line.get("reason") == "client left" for line in lines)
    assert left + statuses[503] > 900, "a slow machine's queue is full for some"
    assert left > 100
    # Computed are those whose batch had begun when they left, and no others.
    assert computed <= 1000 - left + statuses[499]
    assert computed < 300
    time.sleep(0.5)
    assert slow.metric("vgglass_batch_images_sum") == computed, "nothing goes on for those who left"
    assert all("traceback" not in json.loads(line) for line in slow.log.read_text().splitlines()), "nor is it a mistake"
    assert slow.predict(image).status == 200


@pytest.mark.slow
def test_what_waits_for_its_batch_is_not_computed_for_who_left(slow: Served) -> None:
    """Sixteen images of one client are decoded at once and computed a few at a time; it leaves in between."""

    async def leaving() -> None:
        body, headers = form([(str(index), image) for index, image in enumerate(photographs(16))])
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", slow.port)
        writer.write(f"{head}Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
        while not await asyncio.to_thread(slow.metric, "vgglass_batch_images_sum"):
            await asyncio.sleep(0.005)
        writer.transport.abort()

    asyncio.run(leaving())
    time.sleep(1.5)  # time enough to compute them all
    computed = slow.metric("vgglass_batch_images_sum")
    print(f"{computed:.0f} of 16 were computed")
    assert computed < 16
    assert slow.metric("vgglass_queue_images") == 0


def test_who_left_the_queue_leaves_room_at_once(slow: Served) -> None:
    """Sixteen wait behind a batch; they leave, and before that batch ends sixteen others are let in."""

    async def scene() -> list[Reply | None]:
        image = photographs(1)[0]
        streams = [await asyncio.open_connection("127.0.0.1", slow.port) for _ in range(16)]
        for _, writer in streams:
            writer.write(request(image))
        await asyncio.sleep(0.1)
        for _, writer in streams:
            writer.close()
        await asyncio.sleep(0.1)
        return await served.burst(slow.port, [request(image)] * 15)

    assert [reply.status if reply else None for reply in asyncio.run(scene())] == [200] * 15


@pytest.mark.slow
def test_bodies_together_have_a_limit(slow: Served) -> None:
    """Twelve clients send 30 MiB each and then stall: those beyond 256 MiB are refused, and the room comes back."""

    async def scene() -> list[bytes]:
        head = request(bytes(31 << 20))[: 30 << 20]
        streams = [await asyncio.open_connection("127.0.0.1", slow.port) for _ in range(12)]

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            writer.write(head)
            try:
                return await asyncio.wait_for(reader.readuntil(b"}"), 6)
            except TimeoutError:
                return b""

        answers = await asyncio.gather(*(send(*stream) for stream in streams))
        for _, writer in streams:
            writer.transport.abort()
        return answers

    refused = [answer for answer in asyncio.run(scene()) if answer]
    assert 1 <= len(refused) <= 4
    assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in refused)
    assert all(b"the memory for bodies: holds 256 MiB, and they are taken; try again" in answer for answer in refused)
    assert slow.predict(photographs(1)[0] + bytes(31 << 20)).status == 200


def test_an_answer_that_takes_too_long(folder: Path, file: Path) -> None:
    with Served(folder, file, "--views", "crops@144", "--queue", 4096, "--timeout", 1) as server:
        replies = asyncio.run(served.burst(server.port, [request(image) for image in photographs(10) * 30]))
        counts = Counter(reply.status for reply in replies if reply)
        assert 504 in counts
        assert counts.keys() <= {200, 504}, "on a slow machine none is in time"
        late = next(reply for reply in replies if reply and reply.status == 504)
        assert "the answer: took longer than 1 s; send fewer images at a time, or try later." in late.json["error"]
        assert server.metric("vgglass_queue_images") == 0
        assert server.metric("vgglass_batch_images_sum") < 300, "those that gave up were not computed"


def test_shared_batches_answer_as_single_ones(folder: Path, file: Path) -> None:
    with Served(folder, file) as server:
        images = photographs(40)
        alone = [server.predict(image, "?top=7").json["images"][0]["top"] for image in images]
        replies = asyncio.run(served.burst(server.port, [request(image, "/predict?top=7") for image in images]))
        assert server.metric("vgglass_batch_images_count") < 80, "some shared a batch"
        for reply, top in zip(replies, alone, strict=True):
            assert reply is not None
            together = reply.json["images"][0]["top"]
            assert [each["class"] for each in together] == [each["class"] for each in top]
            np.testing.assert_allclose(
                [each["probability"] for each in together], [each["probability"] for each in top], rtol=1e-5
            )


async def hammer(server: Served, clients: int, during: Callable[[], None], seconds: float) -> list[Reply | None]:
    """Clients that ask again and again while something happens; every outcome."""
    images = photographs(4)
    outcomes: list[Reply | None] = []
    until = time.monotonic() + seconds

    async def client(index: int) -> None:
        while time.monotonic() < until:
            outcomes.append(await served.ask(server.port, request(images[index % 4])))
            if outcomes[-1] is None:
                return

    tasks = [asyncio.create_task(client(index)) for index in range(clients)]
    await asyncio.to_thread(during)
    await asyncio.gather(*tasks)
    return outcomes


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_stop_under_load_answers_all_that_was_accepted(folder: Path, file: Path, number: int) -> None:
    with Served(folder, file, *SLOW) as server:

        def stop() -> None:
            time.sleep(1)
            server.process.send_signal(number)

        outcomes = asyncio.run(hammer(server, 24, stop, 60))
        assert server.process.wait(30) == 0
        lines = [line for line in server.lines("request") if line["path"] == "/predict"]
        answered = Counter(reply.status for reply in outcomes if reply)
        assert set(answered) <= {200, 503}
        assert answered[200] >= 16
        assert Counter(line["status"] for line in lines) == answered, "each that was accepted came back to its client"
        (stopping,), (stopped,) = server.lines("stopping"), server.lines("stopped")
        assert stopping["signal"] == signal.Signals(number).name
        assert stopped


def test_no_decoder_outlives_its_server(folder: Path, file: Path) -> None:
    import psutil

    with Served(folder, file) as server:
        children = psutil.Process(server.process.pid).children()
        assert len(children) >= 2
        server.process.kill()
        _, alive = psutil.wait_procs(children, 10)
        assert not alive


@pytest.mark.slow
def test_reloads_under_load_fail_nobody(folder: Path) -> None:
    serving, first, second = (folder / f"{name}.safetensors" for name in ("live", "first", "second"))
    digests = [modelfile.load_record(save_model(path, seed)).digest for path, seed in ((first, 1), (second, 2))]
    shutil.copyfile(first, serving)
    expected = {}
    for path, digest in zip((first, second), digests, strict=True):
        with Served(folder, path) as server:
            expected[digest] = [server.predict(image).json["images"] for image in photographs(4)]
    with Served(folder, serving) as server:

        def replace() -> None:
            for source, reloads in ((second, 2), (first, 3)):
                shutil.copyfile(source, folder / "new")
                (folder / "new").replace(serving)  # the watch sees it
                server.lines("model", reloads)
            shutil.copyfile(second, serving)  # onto the very file that was mapped
            server.process.send_signal(signal.SIGHUP)
            server.lines("model", 4)
            os.truncate(serving, 5000)  # would end a process that had it mapped
            server.process.send_signal(signal.SIGHUP)
            server.lines("reload refused", 1)

        outcomes = asyncio.run(hammer(server, 8, replace, 8))
        assert {reply.status if reply else None for reply in outcomes} == {200}
        seen = Counter(reply.json["model"]["digest"] for reply in outcomes if reply)
        assert set(seen) == set(digests)
        for reply in outcomes:
            assert reply is not None
            found, options = reply.json["images"][0]["top"], expected[reply.json["model"]["digest"]]
            assert any(
                np.allclose([x["probability"] for x in found], [x["probability"] for x in row["top"]], rtol=1e-5)
                for (row,) in options
            ), "answered by another model than the one it names"
        assert server.predict(photographs(1)[0]).json["model"]["digest"] == digests[1]
        metrics = server.metrics()
        assert metrics['vgglass_reloads_total{outcome="done"}'] >= 3
        assert metrics['vgglass_reloads_total{outcome="refused"}'] >= 1
        assert server.ask("POST", "/predict", photographs(1)[0], JPEG).status == 200
