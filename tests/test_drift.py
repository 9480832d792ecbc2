"""Whether images have changed: the bets, what a file keeps of the training record, rows, the command, the server."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from familiar_models import fitted
from glass_subjects import model as drawn
from glass_subjects import photograph
from served import Served, encoded
from typed import vgglass
from vgglass import drift, inference, modelfile, workflows
from vgglass.drift import STAKES, Monitor, TrainingRecord
from vgglass.errors import DataError, ModelFileError, UsageError
from vgglass.inference import Prediction
from vgglass.modelfile import ModelFile

QUANTITIES = ("brightness", "sharpness", "probability", "distance")


def record(images: int = 200, classes: int = 4) -> TrainingRecord:
    generator = np.random.default_rng(0)
    values = {name: np.sort(generator.normal(size=images)) for name in QUANTITIES}
    return TrainingRecord(values, np.full(classes, images // classes))


def test_brightness_and_sharpness_by_hand() -> None:
    square = np.zeros((3, 3, 1), np.uint8)
    square[1, 1] = 9  # Laplacian at the centre 36; of the twelve differences four are 9, so 3 each way
    brightness, sharpness = drift.look(square)
    assert brightness == pytest.approx(1 / 255)
    assert sharpness == pytest.approx(math.log(36.1 / 6.1))
    assert drift.look(np.full((8, 8, 3), 200, np.uint8)) == pytest.approx((200 / 255, 0))


def test_darkness_is_no_blur() -> None:
    plain = Image.fromarray(photograph(64, 64))
    _, sharp = drift.look(np.asarray(plain))
    dark, same = drift.look((np.asarray(plain) * 0.6).astype(np.uint8))
    assert same == pytest.approx(sharp, abs=0.3)
    assert dark == pytest.approx(0.6 * drift.look(np.asarray(plain))[0], abs=0.01)


def test_the_first_bets_by_hand() -> None:
    known = TrainingRecord({"brightness": np.arange(10.0, 110.0)}, np.array([50, 50]))
    monitor = Monitor(known)
    assert monitor.total == pytest.approx(0)
    monitor.add({"brightness": 5.0}, 1)  # darker than all: at place -1
    fair = 1 + np.abs(STAKES) * 2 / math.sqrt(300)
    assert monitor.evidence["brightness"] == pytest.approx(math.log(np.mean((1 - STAKES) / fair)))
    # A class of share 1/2 at the odds 5:2 has 5/7, at 2:5 it has 2/7; the share's standard error is 0.05.
    gains = np.array([[5 / 7, 2 / 7], [2 / 7, 5 / 7]]) / 0.5 / (1 + 0.05 * (3 / 7) / 0.5)
    assert monitor.evidence["answer"] == pytest.approx(math.log(gains.mean()))
    assert monitor.total == pytest.approx(math.log(np.mean(np.exp(list(monitor.evidence.values())))))
    monitor.restart()
    assert monitor.images == 0
    assert monitor.total == pytest.approx(0)


def test_a_table_rounds_and_that_is_no_change() -> None:
    file = drift.attach(drawn(), {"brightness": [0.99999996] * 120}, [0] * 120)
    for value in (0.99999996, 1.0):
        monitor = Monitor(TrainingRecord({"brightness": file.attached["training.seen.brightness"]}, np.array([120, 0])))
        monitor.add({"brightness": value}, 0)
        assert monitor.evidence["brightness"] < 0, "in the middle of its equals"


def test_no_bet_gains_while_nothing_has_changed() -> None:
    """Over the record itself each bet's mean gain is at most 1: then the wealth is a supermartingale."""
    known = record()
    for name, values in known.values.items():
        gains = []
        for value in values:
            monitor = Monitor(known)
            monitor.add({each: value if each == name else 0.0 for each in QUANTITIES}, 0)
            gains.append(np.exp(monitor.evidence[name]))
        assert np.mean(gains) <= 1
    gains = []
    for answer in range(4):
        monitor = Monitor(known)
        monitor.add(dict.fromkeys(QUANTITIES, 0.0), answer)
        gains.append(np.exp(monitor.evidence["answer"]))
    assert np.mean(gains) <= 1


def test_a_record_is_a_sample_itself() -> None:
    """What is a little beside it, as another sample would be, gains nothing however long it comes."""
    known = record(100)
    monitor, places = Monitor(known), np.random.default_rng(0).random(2000)
    for place in places:  # of mean 0.5 + 2 standard errors of 100 places
        higher = min(place + 2 * 0.0289, 0.999)
        values = {name: each[int(100 * higher)] for name, each in known.values.items()}
        monitor.add(values, int(4 * place))
    assert not monitor.has_moved
    for place in places[:400]:
        monitor.add({name: each[int(100 * min(place + 0.3, 0.999))] for name, each in known.values.items()}, 0)
    assert monitor.has_moved


@pytest.mark.parametrize(("moved", "shift", "share"), [("sharpness", 1.0, 0.25), ("answer", 0.0, 0.6)])
def test_a_change_is_found_and_named(moved: str, shift: float, share: float) -> None:
    generator, monitor = np.random.default_rng(1), Monitor(record())
    for _ in range(300):
        values = {name: generator.normal() + shift * (name == moved) for name in QUANTITIES}
        monitor.add(values, int(generator.choice(4, p=[(1 - share) / 3] * 3 + [share])))
    assert monitor.moved == [moved]
    if moved == "answer":
        assert monitor.likeliest_class == 3


# In a model file.


def watched(file: ModelFile, images: int = 100) -> ModelFile:
    """With a training record of numbers that are drawn."""
    generator = np.random.default_rng(0)
    values = {name: generator.random(images).tolist() for name in QUANTITIES}
    return drift.attach(file, values, generator.integers(0, len(file.record.classes), images).tolist())


def test_a_file_keeps_its_record_and_few_images_make_none(tmp_path: Path) -> None:
    modelfile.save(watched(fitted(drawn())), tmp_path / "m.safetensors")
    found = drift.attached(modelfile.load(tmp_path / "m.safetensors"))
    assert found is not None
    assert (found.images, sorted(found.values)) == (100, sorted(QUANTITIES))
    assert all((np.diff(values) >= 0).all() for values in found.values.values())
    assert drift.attached(drift.attach(drawn(), {"brightness": [0.5] * 99}, [0] * 99)) is None


BROKEN: list[dict[str, Any]] = [
    {"answer": None}, {"brightness": None}, {"brightness": np.ones(3, np.float32)}, {"answer": np.full(7, -1)},
    {"sharpness": np.full(100, np.nan, np.float32)}, {"colour": np.ones(100, np.float32)},
]  # fmt: skip


@pytest.mark.parametrize("arrays", BROKEN)
def test_a_damaged_record_is_refused(arrays: dict[str, Any], tmp_path: Path) -> None:
    model = watched(fitted(drawn()))
    named = {f"training.seen.{name}": array for name, array in arrays.items()}
    attached = {name: array for name, array in (dict(model.attached) | named).items() if array is not None}
    modelfile.save(replace(model, attached=attached), tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match=r"its training record, which drift is told by, is not one number an ima"):
        workflows.predictor(tmp_path / "m.safetensors")


# Rows and the command.


@pytest.fixture(scope="module")
def calibrated(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calibrated") / "m.safetensors"
    workflows.calibrate(digits_run / "best.safetensors", out=out)
    return out


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vgglass.data import sources

    return sources.write_images("test", tmp_path_factory.mktemp("digits"))


def test_unchanged_digits_and_blurred_ones(calibrated: Path, digits: Path, tmp_path: Path) -> None:
    blurred = tmp_path / "blurred"
    blurred.mkdir()
    for number, path in enumerate(sorted(digits.rglob("*.png"))[::3]):
        Image.open(path).filter(ImageFilter.GaussianBlur(1)).save(blurred / f"{number}.png")
    (blurred / "broken.png").write_bytes(b"")
    for suffix in ("csv", "jsonl", "parquet"):
        same, other = tmp_path / f"same.{suffix}", tmp_path / f"other.{suffix}"
        vgglass("predict", digits, "--model", calibrated, "--out", same)
        told = vgglass("predict", blurred, "--model", calibrated, "--out", other, status=1).stderr
        assert "these images differ from those of the training record in sharpness" in told
        assert "No change is evident" in vgglass("drift", same, "--model", calibrated).stdout
        found = workflows.drift(other, calibrated)
        assert (found.moved, found.images, found.left_out, found.record) == (True, 120, 1, 180)
        assert "sharpness" in {each.name for each in found.quantities if each.moved}
    picture = tmp_path / "drift.png"
    printed = vgglass("drift", other, "--model", calibrated, "--picture", picture).stdout
    assert "The images have changed." in printed
    with Image.open(picture) as drawing:
        assert drawing.size[0] > 1000
    figures = json.loads(vgglass("drift", other, "--model", calibrated, "--json").stdout)
    assert figures["moved"] is True
    assert figures["quantities"][0]["evidence"] >= figures["quantities"][-1]["evidence"]


def test_rows_that_say_nothing_are_refused(calibrated: Path, tmp_path: Path) -> None:
    def refused(path: Path, message: str, kind: type[Exception] = DataError) -> None:
        with pytest.raises(kind, match=message):
            workflows.drift(path, calibrated)

    row = Prediction("a.png", (("3", 0.9),), distance=0.5, brightness=0.2, sharpness=1.0)
    path = tmp_path / "rows.csv"
    inference.write([replace(row, brightness=None)], path, 1)
    refused(path, r"rows\.csv, row 1: has no brightness; predict the images again with this model, calibrated")
    inference.write([row, replace(row, top=(("cat", 0.9),))], path, 1)
    refused(path, r"row 2: has the class 'cat', which the model does not tell")
    inference.write([replace(row, distance=math.nan)], path, 1)
    refused(path, r"row 1: has a number that is infinite or not a number")
    inference.write([Prediction("a.png", error="the file is empty")], path, 1)
    refused(path, r"rows\.csv: has no answers")
    (tmp_path / "rows.jsonl").write_text('{"path"\n', encoding="utf-8")
    refused(tmp_path / "rows.jsonl", r"rows\.jsonl: is damaged \(")
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    refused(tmp_path / "rows.parquet", r"rows\.parquet: is damaged \(")
    refused(tmp_path / "nowhere.csv", r"nowhere\.csv: is no file; name what vgglass predict --out wrote")
    refused(tmp_path / "rows.txt", r"rows\.txt: rows are read from \.csv, \.jsonl or \.parquet", UsageError)
    with pytest.raises(UsageError, match=r"--rate 5: is a probability between 0 and 1; write, say, 0\.05"):
        workflows.drift(path, calibrated, rate=5)
    with pytest.raises(ModelFileError, match=r"the model: has no training record to compare with; run vgglass calibr"):
        workflows.drift(path, drawn())


# The server.


def test_the_server_tells(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    modelfile.save(watched(fitted(drawn())), path)
    with Served(tmp_path, path) as server:
        assert server.metrics().get('vgglass_drift{quantity="all"}') is None
        for _ in range(40):
            server.predict(encoded(np.zeros((64, 64, 3), np.uint8)))  # all of one brightness and answer
        assert server.metrics()['vgglass_drift{quantity="all"}'] > 1
        (line,) = server.lines("drift", 1)
        assert "brightness" in line["moved"]
        assert line["images"] < 40
