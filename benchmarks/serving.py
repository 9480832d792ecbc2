"""Images a second over HTTP beside the bare engine at the same batch size, in one run.

VGG-16 at 224 with random weights, which cost what trained ones do, and 500x375 JPEGs. Clients keep the connection and
ask again as soon as they are answered; twice as many as a batch holds, so that one gathers while another is computed.
"""

import argparse
import asyncio
import http.client
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from timing import seconds
from vgglass import modelfile, workflows
from vgglass.architecture import Architecture
from vgglass.engines import Engine
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--precision", default="auto")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "vgg16.safetensors"
        record = Preprocessing(224, 256, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), jpeg_scaled=True)
        modelfile.save(VGG(Architecture.named("vgg16")).to_file(tuple(map(str, range(1000))), record), file)
        predictor = workflows.predictor(file, precision=chosen.precision)
        with (Path(name) / "log").open("wb") as log:
            command = [sys.executable, "-m", "vgglass", "serve", "--model", str(file), "--port", "0"]
            server = subprocess.Popen(
                [*command, "--precision", chosen.precision], stderr=log, stdout=subprocess.DEVNULL
            )
        try:
            port = listening(Path(log.name))
            print(predictor.about)
            compare(predictor.engines[False], predictor.window, port, chosen.seconds, chosen.runs)
        finally:
            server.terminate()
            server.wait()


def compare(engine: Engine, batch: int, port: int, length: float, runs: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8)
    photographs = [photograph(seed) for seed in range(8)]
    ratios = []
    print(f"batches of {batch}: bare engine, then {2 * batch} clients, images a second")
    for _ in range(runs):
        turns = [seconds(lambda: engine(images)) for _ in range(4)]
        before = figures(port)
        times, waits = asyncio.run(load(port, photographs, 2 * batch, length))
        after = figures(port)
        turns += [seconds(lambda: engine(images)) for _ in range(4)]
        bare = batch / statistics.median(turns)
        served = rate(times, 2 * batch, statistics.median(turns))
        size = (after["sum"] - before["sum"]) / (after["count"] - before["count"])
        ratios.append(served / bare)
        print(
            f"  bare {bare:7.1f}   served {served:7.1f}   ratio {ratios[-1]:.2f}   mean batch {size:.1f}"
            f"   latency median {statistics.median(waits):.2f} s, largest {max(waits):.2f} s"
        )
    print(f"median ratio {statistics.median(ratios):.2f}")


async def load(port: int, photographs: list[bytes], clients: int, length: float) -> tuple[list[float], list[float]]:
    """When each answer came, and what it took."""
    began = time.perf_counter()
    answers: list[tuple[float, float]] = []

    async def client(index: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        image = photographs[index % len(photographs)]
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}"
        while (start := time.perf_counter()) < began + length:
            writer.write(head.encode() + b"\r\n\r\n" + image)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            answers.append((time.perf_counter(), time.perf_counter() - start))
        writer.close()

    await asyncio.gather(*(client(index) for index in range(clients)))
    return sorted(end for end, _ in answers), [wait for _, wait in answers]


def rate(times: list[float], skipped: int, step: float) -> float:
    """Answers a second once so many have come. They come a batch at a time: counted is from one step to another."""
    start = times[skipped]
    while (after := next(time for time in times if time > start)) < start + step / 2:
        start = after
    return sum(time > start for time in times) / (times[-1] - start)


def photograph(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def figures(port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    found = dict(line.rsplit(" ", 1) for line in lines)
    return {name: float(found[f"vgglass_batch_images_{name}"]) for name in ("sum", "count")}


def listening(log: Path) -> int:
    while True:
        for line in log.read_text().splitlines():
            if line.startswith("{") and (event := json.loads(line))["event"] == "serving":
                return int(event["addresses"][0].rstrip("/").rpartition(":")[2])
        threading.Event().wait(0.1)


if __name__ == "__main__":
    main()
