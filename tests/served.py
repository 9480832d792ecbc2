"""A real server in a process of its own, and clients that talk to it over sockets."""

import asyncio
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glass_subjects import model, photograph
from vgglass import modelfile

MAIN = "from vgglass.cli import main; main()"
JPEG = {"Content-Type": "image/jpeg"}


@dataclass(frozen=True)
class Reply:
    """A response, and the seconds from the last byte of the request to its last byte."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float = 0.0

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """`vgglass serve` with these options, on a free port; `code` is what its process runs."""

    def __init__(self, folder: Path, file: Path, *options: object, code: str = MAIN, ready: bool = True) -> None:
        self.log = folder / f"{file.stem}-{time.monotonic_ns()}.log"
        command = [sys.executable, "-c", code, *self.command(file), "--port", 0, *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=log)
        started = self.lines("serving", 1) if ready else []
        self.port = int(started[0]["addresses"][0].rstrip("/").rpartition(":")[2]) if started else 0

    def command(self, file: Path) -> list[object]:
        return ["serve", "--model", file]

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def predict(self, image: bytes, query: str = "") -> Reply:
        return self.ask("POST", "/predict" + query, image, JPEG)

    def send(self, data: bytes, *, wait: float = 30) -> bytes:
        """Raw bytes, and all that comes back until the server closes or nothing comes for a while."""
        return asyncio.run(_exchanged(self.port, data, wait))

    def metrics(self) -> dict[str, float]:
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines if not x.startswith("#"))}

    def metric(self, name: str) -> float:
        return sum(value for key, value in self.metrics().items() if key.partition("{")[0] == name)

    def lines(self, event: str, count: int = 0, within: float = 60) -> list[dict[str, Any]]:
        """The log's lines of this event, once there are so many."""
        until = time.monotonic() + within
        while True:
            text = self.log.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]  # the last line may be in the making
            lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
            found = [line for line in lines if line["event"] == event]
            if len(found) >= count:
                return found
            assert time.monotonic() < until, text
            assert self.process.poll() is None, text
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


class Teaching(Served):
    """`vgglass teach` with this folder, whose convolutions are the model's."""

    def __init__(self, folder: Path, file: Path, taught: Path, *options: object) -> None:
        self.taught = taught
        super().__init__(folder, file, *options)

    def command(self, file: Path) -> list[object]:
        return ["teach", self.taught, "--from", file]

    def post(self, path: str, body: object = None) -> Reply:
        return self.ask("POST", f"/teach/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})

    def act(self, what: str, **about: object) -> Reply:
        return self.post("actions", {"what": what, **about})

    def add(self, image: bytes, label: str | None = None, name: str = "photo.jpg", gesture: str = "") -> Reply:
        given = {"name": name, "gesture": gesture} | ({} if label is None else {"label": label})
        return self.ask("POST", f"/teach/images?{urlencode(given)}", image)

    def state(self) -> dict[str, Any]:
        """Once all images are seen, and what was learned is of now."""
        until = time.monotonic() + 60
        while True:
            found: dict[str, Any] = self.ask("GET", "/teach/state").json
            if found["current"] and not found["waiting"]:
                return found
            assert time.monotonic() < until, found
            time.sleep(0.02)


def save_model(path: Path, seed: int = 0, threshold: float | None = None, **options: object) -> Path:
    file = model("A", seed, **options)  # type: ignore[arg-type]
    modelfile.save(replace(file, record=replace(file.record, reject_threshold=threshold)), path)
    return path


def encoded(pixels: NDArray[np.uint8], kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def photographs(count: int) -> list[bytes]:
    return [encoded(photograph(80 + index, 100, seed=index)) for index in range(count)]


def form(files: Sequence[tuple[str, bytes]], boundary: str = "limit") -> tuple[bytes, dict[str, str]]:
    """A body of multipart/form-data, and its header."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def request(image: bytes, path: str = "/predict", *headers: str) -> bytes:
    """A request's bytes, on a connection of its own."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: image/jpeg", f"Content-Length: {len(image)}"]
    return "\r\n".join([*lines, *headers, "Connection: close", "", ""]).encode() + image


async def burst(port: int, requests: Sequence[bytes]) -> list[Reply | None]:
    """All at once, each on a connection that is open already; None where it was closed without a byte."""
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in requests]
    return await asyncio.gather(*(_asked(stream, data) for stream, data in zip(streams, requests, strict=True)))


async def ask(port: int, data: bytes) -> Reply | None:
    try:
        stream = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return None
    return await _asked(stream, data)


async def _asked(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes) -> Reply | None:
    reader, writer = stream
    began = time.perf_counter()
    answer = b""
    try:
        writer.write(data)
        await writer.drain()
        while part := await reader.read(1 << 16):
            answer += part
    except ConnectionError:
        pass
    finally:
        writer.close()
    if not answer:
        return None
    return parsed(answer, time.perf_counter() - began)


def parsed(answer: bytes, seconds: float = 0.0) -> Reply:
    head, separator, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    assert separator, answer
    assert len(body) == int(headers.get("content-length", len(body))), "the response was cut off"
    return Reply(int(first.split()[1]), headers, body, seconds)


async def _exchanged(port: int, data: bytes, wait: float) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(data)
        async with asyncio.timeout(wait):
            await writer.drain()
            while part := await reader.read(1 << 16):
                answer += part
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return answer


def memory(process: int) -> int:
    """Bytes that a process and its children hold."""
    import psutil

    root = psutil.Process(process)
    return sum(each.memory_info().rss for each in (root, *root.children(recursive=True)))


SECONDS = float(os.environ.get("VGGLASS_SOAK", "30"))  # `make soak` says 600
