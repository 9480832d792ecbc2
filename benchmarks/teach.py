"""The view Teach with thousands of photographs: an image moved to new answers for all, and the server's memory.

512 features an image, as VGG-16 has, drawn around a centre for each of ten classes and put into the features' cache,
so that what is timed is learning and answering, not seeing. Medians of several turns, beside what issue 22 asks.
"""

import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from serving import listening
from vgglass import modelfile, workflows
from vgglass.architecture import Architecture
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing
from vgglass.teaching.choosing import SMALL

SIZES, CLASSES, FEATURES, TURNS = (500, 5_000, 20_000), 10, 512, 7
WIDTHS = (8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, FEATURES)  # of VGG-16: 512 features, and little else


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.environ["VGGLASS_CACHE"] = str(Path(name) / "cache")
        model = Path(name) / "start.safetensors"
        record = Preprocessing(32, 36, (127.5,) * 3, (63.75,) * 3)
        network = VGG(Architecture.named("vgg16", widths=WIDTHS, head="pooled", classes=2, image_size=32))
        modelfile.save(network.to_file(("one", "other"), record), model)
        for size in SIZES:
            folder = Path(name) / str(size)
            fill(folder, model, size)
            measure(folder, model, size)


def fill(folder: Path, model: Path, size: int) -> None:
    """Write so many small files, a seventh of them still in the tray, and their features into the cache."""
    generator = np.random.default_rng(0)
    centres = generator.normal(0, 1, (CLASSES, FEATURES))
    room = workflows.classroom(folder, model)
    files, digests = room.lesson.folder, []
    for label in range(CLASSES):
        files.add_class(f"class {label}", "begin")
    for index in range(size):
        data = tiny(generator)
        files.add(data, f"{index}.png", None if index % 7 == 6 else f"class {index % CLASSES}", "begin")
        digests.append(hashlib.sha256(data).digest())
    vectors = centres[np.arange(size) % CLASSES] + generator.normal(0, 4, (size, FEATURES))
    pictures = generator.random((size, SMALL**2))
    room.vectors.put(digests, np.concatenate([vectors, pictures], 1).astype(np.float32))
    room.close()


def tiny(generator: np.random.Generator) -> bytes:
    file = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def measure(folder: Path, model: Path, size: int) -> None:
    log = folder.with_suffix(".log")
    with log.open("wb") as err:
        command = [sys.executable, "-m", "vgglass", "teach", str(folder), "--from", str(model), "--port", "0"]
        server = subprocess.Popen(command, stderr=err, stdout=subprocess.DEVNULL)
    try:
        connection = HTTPConnection("127.0.0.1", listening(log), timeout=600)
        learned(connection)
        times = []
        for turn in range(TURNS):
            number = state(connection)["numbers"][-1 - 5 * turn]
            began = time.perf_counter()
            ask(connection, "POST", "/teach/actions", {"what": "move", "images": [number], "label": "class 3"})
            learned(connection)
            times.append(time.perf_counter() - began)
        process = psutil.Process(server.pid)
        memory = sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True)))
    finally:
        server.terminate()
        server.wait()
    print(
        f"{size:>6,} photographs: an image moved to new answers for all {statistics.median(times):.2f} s"
        f" (asked: 0.5 s at 500, 2 s at 5,000); server {memory / 1e6:,.0f} MB (asked: 3 GB at 20,000)"
    )


def learned(connection: HTTPConnection) -> None:
    while not (found := state(connection))["current"] or found["waiting"]:
        time.sleep(0.01)


def state(connection: HTTPConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(connection, "GET", "/teach/state"))
    return found


def ask(connection: HTTPConnection, method: str, path: str, body: object = None) -> bytes:
    connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    data = reply.read()
    assert reply.status == 200, data
    return data


if __name__ == "__main__":
    main()
