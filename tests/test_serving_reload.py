"""Bad files leave the old model serving, and the log says why."""

import json
import os
import re
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from served import JPEG, Served, photographs, save_model
from vgglass import modelfile, workflows


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("reload") / "good.safetensors")


@pytest.fixture(scope="module")
def server(good: Path) -> Iterator[Served]:
    path = good.with_name("live.safetensors")
    path.write_bytes(good.read_bytes())
    with Served(good.parent, path) as server:
        yield server


def entries(data: bytes) -> bytes:
    """A header of 100,000 tensors."""
    header = {f"t{index}": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for index in range(100_000)}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(4)


def another_weight(data: bytes) -> bytes:
    """Bits turned in the middle of the file, where the weights are."""
    start = len(data) // 2
    return data[:start] + bytes(byte ^ 1 for byte in data[start : start + 5000]) + data[start + 5000 :]


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "not a vgglass model file"),
    "cut": (lambda data: data[:-1000], "truncated or damaged"),
    "half written": (
        lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
        "not those of its digest",
    ),
    "other bits": (another_weight, "not those of its digest"),
    "100,000 tensors": (entries, "holds 100,000 tensors, and no VGG has more than 1000"),
    "header of 2^63": (lambda data: struct.pack("<Q", 1 << 63) + data[8:], "not a vgglass model file"),
    "noise": (lambda data: os.urandom(5000), "not a vgglass model file"),
}


def refusals(server: Served, path: Path, data: bytes) -> str:
    count = len(server.lines("reload refused"))
    path.write_bytes(data)
    server.process.send_signal(signal.SIGHUP)
    return str(server.lines("reload refused", count + 1)[count]["error"])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_changes_nothing(server: Served, good: Path, name: str) -> None:
    change, message = BAD[name]
    path = good.with_name("live.safetensors")
    assert message in refusals(server, path, change(good.read_bytes()))
    assert server.predict(photographs(1)[0]).json["model"]["digest"] == modelfile.load_record(good).digest


def test_golden_inputs_that_come_out_wrong(server: Served, good: Path) -> None:
    """Weights and digest are sound; what the file says that they make of its golden inputs is not."""
    file = modelfile.load(good)
    file.golden_logits[:] += 1
    wrong = good.with_name("wrong.safetensors")
    modelfile.save(file, wrong)
    message = refusals(server, good.with_name("live.safetensors"), wrong.read_bytes())
    assert re.search(r"its golden inputs come out wrong \(openvino (float32|bfloat16) differs by", message)
    assert "write or fetch the file again" in message


def test_logits_that_are_no_numbers(server: Served, good: Path) -> None:
    file = modelfile.load(good)
    file.weights["fc8.bias"][:] = np.nan
    wrong = good.with_name("wrong.safetensors")
    modelfile.save(file, wrong)
    message = refusals(server, good.with_name("live.safetensors"), wrong.read_bytes())
    assert "fc8.bias holds numbers that are infinite or not a number (NaN)" in message


def test_a_file_that_went_and_came_back(server: Served, good: Path) -> None:
    path = good.with_name("live.safetensors")
    count = len(server.lines("reload refused"))
    path.unlink()
    server.process.send_signal(signal.SIGHUP)
    assert "No such file or directory" in server.lines("reload refused", count + 1)[-1]["error"]
    assert server.predict(photographs(1)[0]).status == 200
    image = server.ask("POST", "/glass/images", photographs(1)[0], JPEG).json["id"]
    assert server.ask("GET", f"/glass/images/{image}/maps/fc8").status == 200
    models = len(server.lines("model"))
    other = save_model(good.with_name("other.safetensors"), seed=5)
    path.write_bytes(other.read_bytes())
    assert server.lines("model", models + 1)[-1]["digest"] == modelfile.load_record(other).digest
    assert server.predict(photographs(1)[0]).json["model"]["digest"] == modelfile.load_record(other).digest
    assert server.ask("GET", f"/glass/images/{image}/maps/fc8").status == 404, "another model has not seen it"


@pytest.mark.slow
def test_an_exported_graph_serves_too_and_has_no_glass(good: Path, tmp_path: Path) -> None:
    workflows.export(good, tmp_path / "graph.xml")
    with Served(tmp_path, tmp_path / "graph.xml") as server:
        about = server.predict(photographs(1)[0]).json["model"]
        assert (about["name"], about["digest"]) == ("graph", modelfile.load_record(good).digest)
        told = server.ask("GET", "/glass/model").json
        assert (told["glass"], told["missing"]) == (False, "graph")
        image = "images/" + "0" * 32
        for path in (f"{image}/layers", f"{image}/picture", f"{image}/effects/conv1_1", "playground"):
            reply = server.ask("GET", f"/glass/{path}")
            assert (reply.status, reply.json["type"]) == (501, "no glass")
            assert "the model: is an exported graph; serve the model file" in reply.json["error"]
        assert server.ask("POST", "/glass/images", photographs(1)[0], JPEG).status == 501
        with (tmp_path / "graph.bin").open("r+b") as file:
            file.truncate(100)
        server.process.send_signal(signal.SIGHUP)
        assert server.lines("reload refused", 1)
        assert server.predict(photographs(1)[0]).status == 200
