"""Damaged and odd images without end: nothing crashes, swells or lasts, and each is judged as Pillow's strict load.

A sample in the quick tests; the slow ones take 2,900 of them (20,000 with VGGLASS_FULL) through every way in: the
decoder itself with freed memory overwritten, predict, check, train's first look and the server.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from glass_subjects import model
from judge_mutations import judged, looked, strictly
from mutations import MUTATIONS, image, sources
from served import Served, form, save_model
from sizes import sized
from vgglass import workflows
from vgglass.data.examination import examined
from vgglass.data.folder import image_files
from vgglass.images import FORMATS

ALL = 20_000
SAMPLE = range(0, ALL, 211)  # primes: every seed and every mutation comes in turn
MANY = range(0, ALL, sized(7, 1))
HERE = Path(__file__).parent
# What is refused by our own rules, whatever Pillow does: each is a promise of the documentation.
LIMITS = (
    r"declares |no side may be longer|too narrow|checksum|pixels of another kind"
    r"|tags hold more|no palette|not read, number|needs more than \d+ MiB"
)
COST = re.compile(": decoding would take .*")  # check decodes the whole of a JPEG, predict what it needs of it
# JPEGs of four components whose header Pillow does not recognise and libjpeg reads without a word.
READ_HERE_ALONE = ("05132-jpg_cmyk-head.jpg", "16981-jpg_cmyk-head.jpg")


def wrong(name: str, pillow: str, ours: str, fault: str) -> str:
    """What is wrong with a judgement; '' where it is right.

    Refused by Pillow's strict load: refused here, or accepted with its fault told. Accepted there: accepted here,
    except for our limits.
    """
    if pillow and not ours and not fault and name not in READ_HERE_ALONE:
        return f"{name}: accepted, and Pillow says {pillow}"
    if ours and not pillow and not re.search(LIMITS, ours):
        return f"{name}: {ours}, and Pillow accepts it"
    return ""


def folder_of(numbers: range, folder: Path) -> Path:
    for number in numbers:
        name, data = image(number)
        path = folder / ("train" if number % 5 else "val") / ("one" if number % 2 else "two") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def judged_by_pillow(folder: Path) -> dict[str, str]:
    return {path.name: strictly(path.read_bytes()) for path in image_files(folder)}


def test_the_same_ones_every_time() -> None:
    assert image(4321) == image(4321)
    names = {image(number)[0].split("-", 1)[1].partition(".")[0] for number in range(len(sources()) * len(MUTATIONS))}
    assert names == {f"{seed}-{mutation}" for seed in sources() for mutation in MUTATIONS}
    assert {"JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"} <= set(FORMATS)


def test_a_sample_is_judged_as_pillow_does() -> None:
    for number in SAMPLE:
        name, data = image(number)
        pillow, fault = strictly(data), looked(data)
        for least in (0, 32):
            assert wrong(name, pillow, judged(data, least), fault) == ""


def test_a_sample_is_predicted_and_checked_alike(tmp_path: Path) -> None:
    folder = folder_of(SAMPLE[::2], tmp_path / "photos")
    compare(folder, {Path(row.path).name: row.error for row in workflows.predict(model("A"), [folder])})


def compare(folder: Path, predicted: Mapping[str, str]) -> None:
    """predicted  by name, why there is no answer or ''"""
    pillow = judged_by_pillow(folder)
    files = image_files(folder)
    facts = {path.name: found for path, found in zip(files, examined(files), strict=True)}
    assert predicted.keys() == facts.keys() == pillow.keys()
    for name, found in facts.items():
        assert wrong(name, pillow[name], predicted[name], found.fault) == ""
        assert wrong(name, pillow[name], found.error, found.fault) == ""
        same = COST.sub("", found.error) == COST.sub("", predicted[name])
        assert same or "too narrow" in predicted[name], name
        assert "broke down" not in predicted[name] + found.error, name
        assert "took more than" not in predicted[name] + found.error, name


@pytest.mark.slow
def test_many_by_the_decoder_itself() -> None:
    """Freed memory is overwritten, so that what is read from it is not what was there."""
    part = ALL // 4
    environment = os.environ | {"MALLOC_PERTURB_": "165"}

    def run(start: int) -> "subprocess.CompletedProcess[str]":
        command = [
            sys.executable,
            str(HERE / "judge_mutations.py"),
            str(start),
            str(min(start + part, ALL)),
            str(MANY.step),
        ]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = list(pool.map(run, range(0, ALL, part)))
    rows: list[dict[str, Any]] = []
    for done in runs:
        lines = done.stdout.splitlines()
        assert done.returncode == 0, f"died of number {lines[-1]} with {done.returncode}: {done.stderr[-2000:]}"
        rows += map(json.loads, lines[1::2])
    assert len(rows) >= len(MANY)
    assert [row["name"] for row in rows if row["seconds"] > 4 * 2 or row["bytes"] > 512 << 20] == []  # four decodings
    for row in rows:
        for ours in (row["ours"], row["scaled"]):
            assert wrong(row["name"], row["pillow"], ours, row["examined"]) == ""


@pytest.mark.slow
def test_many_by_the_commands_and_the_server(tmp_path: Path) -> None:
    folder, file = folder_of(MANY, tmp_path / "photos"), save_model(tmp_path / "tiny.safetensors")
    out = tmp_path / "rows.jsonl"
    vgglass(1, "predict", folder, "--model", file, "--out", out)  # 1: some could not be read
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    predicted = {Path(row["path"]).name: row.get("error", "") for row in rows}
    compare(folder, predicted)
    checked = json.loads(vgglass(1, "check", folder, "--json").stdout)
    assert checked["files"] == len(MANY)
    assert checked["readable"] == sum(not error or "too narrow" in error for error in predicted.values())
    for path in image_files(folder):
        if "too narrow" in predicted[path.name]:
            path.unlink()  # which train stops at, by name, where it is not cropped first
    learnt = vgglass(0, "train", folder, "--out", tmp_path / "run", "--epochs", 1, "--set", "image_size=32",
                     "--set", "width=0.125", "--set", "hidden=16")  # fmt: skip
    assert f"left out {len(MANY) - checked['readable']} files that can't be read" in learnt.stdout
    with Served(tmp_path, file, "--queue", 64) as server:
        files = image_files(folder)
        for start in range(0, len(files), 50):
            some = files[start : start + 50]
            reply = server.ask("POST", "/predict", *form([(path.name, path.read_bytes()) for path in some]))
            assert reply.status == 200 or len(some) == 1  # a lone image that is refused is a 422
            for answer in reply.json["images"]:
                assert ("error" in answer) == bool(predicted[answer["name"]]), answer
        assert server.metric("vgglass_decoders_killed_total") == 0


def vgglass(status: int, *words: object) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([sys.executable, "-m", "vgglass", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == status, done.stderr[-3000:]
    assert "Traceback" not in done.stderr + done.stdout
    return done
