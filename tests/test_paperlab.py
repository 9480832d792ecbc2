"""The paper lab on real runs: trained once, tested as `evaluate` does, resumed, refused."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vgglass
from training_runs import quiet
from typed import vgglass as command
from vgglass import modelfile, workflows
from vgglass.data import sources
from vgglass.errors import DataError, TrainingError, UsageError
from vgglass.evaluation import metrics
from vgglass.replication.lab import Lab
from vgglass.replication.tables import both

SMALL: dict[str, Any] = {"columns": ("A", "D"), "epochs": 3, "width": 0.125}


def made(out: Path, folder: Path | None = None, **options: Any) -> tuple[Lab, str]:
    console, text = quiet()
    return vgglass.paper(folder, out=out, console=console, **SMALL | options), text.getvalue()


def times(out: Path) -> dict[str, int]:
    return {run.name: (run / "last.safetensors").stat().st_mtime_ns for run in (out / "runs").iterdir()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lab]:
    out = tmp_path_factory.mktemp("lab")
    lab, _ = made(out)
    return out, lab


def photographs(folder: Path, images: int, parts: tuple[str, ...] = ("",), mode: str = "RGB") -> Path:
    """Two classes told apart by their brightness, with noise of their own."""
    draw = np.random.default_rng(0)
    for part in parts:
        for name, shade in (("dark", 40), ("light", 200)):
            (folder / part / name).mkdir(parents=True)
            for index in range(images):
                pixels = np.clip(draw.normal(shade, 30, (40, 44, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).convert(mode).save(folder / part / name / f"{index}.png")
    return folder


@pytest.mark.slow
def test_figures_are_those_of_evaluate_on_the_test_digits(trained: tuple[Path, Lab]) -> None:
    out, lab = trained
    best = out / "runs" / "A" / "best.safetensors"
    assert (lab.split, lab.used_for, lab.images["test"]) == ("test", "", 360)
    for table, views in zip(lab.tables, ("dense@37", "dense@32,37,41"), strict=False):
        rate, expected = table.rows[0].top1, workflows.evaluate(best, split="test", views=views)
        assert rate is not None
        assert 1 - rate.error / 100 == pytest.approx(expected.top1)
        rate = table.rows[0].top5
        assert rate is not None
        assert 1 - rate.error / 100 == pytest.approx(expected.top5)
    assert json.loads((out / "paper.json").read_text()) == json.loads(json.dumps(lab.as_json()))
    assert "| A | 37 | 37 |" in (out / "paper.md").read_text()


@pytest.mark.slow
def test_dense_and_crops_are_averaged_as_views_are(trained: tuple[Path, Lab]) -> None:
    best, images = (
        trained[0] / "runs" / "D" / "best.safetensors",
        [one.source for one in sources.digits().split("test")],
    )
    found = [
        metrics.collect(workflows.evaluation_predictor(best, views=views).stream(images[:20]))
        for views in ("dense@32,37,41", "crops@32,37,41", "dense@32,37,41+crops@32,37,41")
    ]
    assert both(found[0], found[1]) == pytest.approx(found[2], abs=1e-9)


@pytest.mark.slow
def test_every_network_has_the_same_budget_and_recipe(trained: tuple[Path, Lab]) -> None:
    out, lab = trained
    records = [modelfile.load_record(out / "runs" / name / "best.safetensors") for name in ("A", "D")]
    alike = [{key: value for key, value in one.recipe.items() if key != "architecture"} for one in records]
    assert alike[0] == alike[1]
    assert [one.recipe["architecture"] for one in records] == ["A", "D"]
    assert lab.as_json()["budget"] == {"epochs": 3, "images_seen": 3 * 1257}
    assert not records[1].architecture.batch_norm


@pytest.mark.slow
def test_nothing_is_trained_twice(trained: tuple[Path, Lab]) -> None:
    out, lab = trained
    before = times(out)
    again, said = made(out)
    assert said.count("trained already") == 2
    assert times(out) == before
    assert again == lab
    (out / "runs" / "D" / "run.json").unlink()  # as if killed while it was laid down
    _, said = made(out)
    assert said.count("trained already") == 1
    assert times(out)["A"] == before["A"]
    assert times(out)["D"] != before["D"]


@pytest.mark.slow
def test_another_run_in_its_place_is_named(trained: tuple[Path, Lab], tmp_path: Path) -> None:
    out, _ = trained
    with pytest.raises(TrainingError, match=r"A: holds a run with epochs 3, not 4; choose another --out, or remove"):
        made(out, epochs=4)
    with pytest.raises(TrainingError, match="D: holds a run with --from-a False, not True"):
        made(out, from_a=True)
    folder = photographs(tmp_path / "photos", 6, mode="L")
    with pytest.raises(TrainingError, match="A: holds a run on other images or classes"):
        made(out, folder)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    out = tmp_path / "lab"
    options = ["--columns", "A", "--epochs", "3", "--width", "0.0625", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "vgglass", "paper", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch "):
            process.send_signal(signal.SIGINT)
            break
    said = process.stderr.read()
    process.communicate()
    assert process.returncode == 130
    assert re.search(r"interrupted by SIGINT: saved in epoch \d.* run the same command again: what is trained", said)
    first = (out / "runs" / "A" / "metrics.jsonl").read_text().splitlines()[0]
    printed = command("paper", *options, "--lang", "zh").stdout
    rows = (out / "runs" / "A" / "metrics.jsonl").read_text().splitlines()
    assert rows[0] == first  # its seconds too: that epoch was not trained again
    assert len(rows) == 3
    assert "数据：内置手写数字，10 类" in printed
    figures = json.loads(command("paper", *options, "--json").stdout)
    assert [table["table"] for table in figures["tables"]] == [3, 4]


@pytest.mark.slow
def test_deeper_columns_can_begin_with_weights_of_a(trained: tuple[Path, Lab], tmp_path: Path) -> None:
    lab, said = made(tmp_path, columns=("A", "A-LRN", "B"), epochs=1, width=0.0625, from_a=True)
    assert [one.began_from_a for one in lab.trained] == [False, False, True]
    assert "kept: 2 convolutions of vgg11 and its whole head" in said
    assert "they had A's training besides their own" in (tmp_path / "paper.md").read_text()
    record = modelfile.load_record(tmp_path / "runs" / "B" / "best.safetensors")
    assert record.recipe["from"]["digest"] == modelfile.load_record(tmp_path / "runs" / "A" / "best.safetensors").digest
    made(tmp_path, columns=("A",), epochs=1, width=0.0625)  # A itself began from chance either way
    with pytest.raises(UsageError, match="--from-a: begins with weights of column A, which is not trained; add A to"):
        made(tmp_path / "x", columns=("B",), from_a=True)
    with pytest.raises(UsageError, match="which is not trained; add A to --columns and 256 to --sides"):
        made(tmp_path / "x", columns=("A", "D"), sides=("384",), from_a=True)


def test_without_test_images_figures_say_what_they_were_used_for(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 8, ("train", "val"))
    lab, _ = made(tmp_path / "lab", folder, columns=("A", "D"), sides=("256-512",), epochs=2, width=0.0625)
    assert (lab.split, lab.used_for, lab.images) == ("validation", "selection", {"train": 16, "validation": 16})
    assert [one.name for one in lab.trained] == ["D-256-512"]
    assert "used for selection" in (tmp_path / "lab" / "paper.md").read_text()
    record = modelfile.load_record(tmp_path / "lab" / "runs" / "D-256-512" / "best.safetensors")
    assert (record.architecture.channels, record.recipe["augmentation"]) == (3, "paper")
    assert all(row.top5 is None for table in lab.tables for row in table.rows)


def test_grey_images_are_seen_in_grey(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 10, mode="L")
    lab, _ = made(tmp_path / "lab", folder, columns=("A",), epochs=1, width=0.0625)
    assert lab.split == "test"  # a flat folder is divided in three
    record = modelfile.load_record(tmp_path / "lab" / "runs" / "A" / "best.safetensors")
    assert record.architecture.channels == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ("F",)}, "--columns F: not one of A, A-LRN, B, C, D, E"),
        ({"size": 31}, "image size 31: five 2x2 poolings leave nothing of an image smaller than 32"),
        ({"width": 0.01}, r"--width 0.01: leaves 0.64 of the 64 channels of the first convolution; choose 0.015625"),
        ({"width": -1.0}, r"width -1.0: the channel multiplier lies in \(0, 64\]"),
        ({"epochs": 0}, "epochs 0: must be from 1 to"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(tmp_path / "lab", **options)
    assert not (tmp_path / "lab").exists()


def test_images_that_do_not_fit_the_views_are_named_before_training(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 4, ("train", "val", "test"))
    Image.new("RGB", (800, 20)).save(folder / "test" / "dark" / "strip.png")
    message = (
        r"strip\.png, an image of 20x800: too long a strip to be scored whole with its shorter side at 41; crop it"
    )
    with pytest.raises(DataError, match=message):
        made(tmp_path / "lab", folder)
    assert not (tmp_path / "lab").exists()


def test_errors_are_one_line_and_have_their_status(tmp_path: Path) -> None:
    for arguments, status, message in (
        (("--data", tmp_path / "none"), 1, "none: is not a folder; name one with a subfolder for each class"),
        (("--columns", "A,G"), 2, "--columns G: not one of A, A-LRN, B, C, D, E"),
        (("--lang", "fr"), 2, "--lang fr: not one of en, zh"),
    ):
        error = command("paper", "--out", tmp_path / "lab", *arguments, status=status).stderr
        assert message in error
        assert len(error.splitlines()) == 1
