"""Shrinking from one end to the other, on a small network that learned some of the digits."""

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import vgglass
from vgglass import modelfile, workflows
from vgglass.errors import DataError, TrainingError, UsageError
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import Preprocessing, normalise
from vgglass.shrinking import heads, rounds
from vgglass.shrinking.channels import widths
from vgglass.shrinking.child import kept_of
from vgglass.shrinking.distillation import Distillation, Teacher
from vgglass.training.checkpoint import Cadence
from vgglass.training.metrics_log import Display
from vgglass.training.run import RunOptions
from vgglass.workflows import shrink_channels
from vgglass.workflows.data import read_training_data

QUIET = Console(quiet=True)
SHORT: dict[str, Any] = {"epochs": 2, "feature_views": 1}


@pytest.fixture(scope="module")
def parent(digits_run: Path) -> Path:
    return digits_run / "best.safetensors"


@pytest.fixture(scope="module")
def shrunk(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("shrunk") / "small.safetensors"
    return vgglass.shrink(parent, out=out, multiply_adds=0.25, console=QUIET, **SHORT)


@pytest.mark.slow
def test_a_quarter_of_the_work_and_nearly_the_accuracy(shrunk: Any) -> None:
    before, after = shrunk.parent.record.architecture, shrunk.child.record.architecture
    assert after.multiply_adds <= before.multiply_adds / 4
    assert after.multiply_adds > before.multiply_adds / 6
    one, other = (vgglass.evaluate(model, console=QUIET).top1 for model in (shrunk.parent, shrunk.child))
    assert one > 0.9
    assert other > one - 0.05


def test_the_record_says_what_was_removed(shrunk: Any) -> None:
    parent, child = shrunk.parent.record, shrunk.child.record
    about = child.recipe["shrunk"]
    assert about["from"] == parent.digest
    assert Path(about["parent"]).name == "best.safetensors"
    assert about["channels"] == widths(parent.architecture)
    left = {name: count - len(about["removed"].get(name, [])) for name, count in about["channels"].items()}
    assert left == widths(child.architecture)
    assert {name: len(kept) for name, kept in kept_of(parent, child).items()} == left
    assert all(0 <= share < 1 for share in about["missed"].values())
    assert (child.temperature, child.classes, child.data) == (None, parent.classes, dict(parent.data))


def test_the_way_is_in_the_record_and_the_report(shrunk: Any, tmp_path: Path) -> None:
    about = shrunk.child.record.metrics["shrinking"]
    networks = [shrunk.parent, *(each.model for each in shrunk.rounds)]
    assert [point["multiply_adds"] for point in about["curve"]] == [
        each.record.architecture.multiply_adds for each in networks
    ]
    own = vgglass.evaluate(shrunk.path, console=QUIET).top1
    assert (about["split"], about["images"], about["curve"][-1]["top1"]) == ("test", 360, pytest.approx(own))
    vgglass.report(shrunk.path, None, tmp_path / "report.html", console=QUIET)
    facts = re.search(r'id="facts">(.*?)</script>', (tmp_path / "report.html").read_text(), re.DOTALL)
    assert facts
    assert json.loads(facts[1])["shrinking"] == json.loads(json.dumps(about))


def test_the_child_is_an_ordinary_model(shrunk: Any, tmp_path: Path) -> None:
    with torch.inference_mode():
        golden = VGG.from_file(shrunk.child)
    for engine in ("openvino", "onnxruntime"):
        logits = vgglass.engine(shrunk.path, engine, "float32")(shrunk.child.golden_images)
        assert np.allclose(logits, shrunk.child.golden_logits, atol=1e-4)
    assert all(check.passed for check in vgglass.export(shrunk.path, tmp_path / "small.onnx")[0])
    rows = vgglass.predict(shrunk.path, [workflows.write_digits("test", tmp_path / "test") / "3"])
    assert sum(row.label == "3" for row in rows) > len(rows) / 2
    assert golden.architecture == shrunk.child.record.architecture


def test_the_same_call_again_changes_nothing(shrunk: Any, parent: Path) -> None:
    before = shrunk.path.read_bytes()
    again = vgglass.shrink(parent, out=shrunk.path, multiply_adds=0.25, console=QUIET, **SHORT)
    assert again.path.read_bytes() == before


def test_few_images_are_drawn_again_to_fit_layers_to(parent: Path) -> None:
    """Five images twelve times: two whole views after the two that it learns from, and two images of a third."""
    dataset, display = read_training_data(None, QUIET), Display(QUIET)
    run = shrink_channels._planned(modelfile.load(parent), "parent", dataset, {}, display)
    samples, teacher = dataset.split("train")[:5], Teacher([np.zeros((5, 64, 1, 1), np.float32)] * 2, [])
    learn = Distillation(run, samples, teacher, RunOptions(Cadence("5m"), workers=0), display, "")
    found = torch.cat(list(learn.drawn(samples, 12)))
    with learn._loader(samples, Preprocessing.from_json(run.preprocessing)) as loader:
        views = [torch.from_numpy(np.concatenate([b.images for b in loader.in_order(view)])) for view in range(5)]
    assert not any(torch.equal(views[2], other) for other in (*views[:2], *views[3:]))
    wanted = torch.from_numpy(normalise(torch.cat(views[2:]).numpy(), Preprocessing.from_json(run.preprocessing)))
    assert torch.equal(found, wanted[:12])
    assert list(learn.drawn(samples, 0)) == []


@pytest.mark.slow
def test_a_pooled_head_is_fitted_to_the_features_that_are_left(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[ModelFile, VGG]] = []
    original = heads.fitted_anew

    def watched(model: ModelFile, *given: Any, **named: Any) -> VGG:
        seen.append((model, original(model, *given, **named)))
        return seen[-1][1]

    monkeypatch.setattr(heads, "fitted_anew", watched)
    pooled = vgglass.shrink(parent, out=tmp_path / "pooled.safetensors", head="pooled", console=QUIET)
    found = vgglass.shrink(
        pooled.path, out=tmp_path / "small.safetensors", multiply_adds=0.3, console=QUIET, **(SHORT | {"epochs": 1})
    )
    ((learned, network),) = seen  # the last round alone
    weights = found.child.weights
    changed = {name for name, array in weights.items() if not np.array_equal(array, learned.weights[name])}
    assert changed == {"fc8.weight", "fc8.bias"}
    assert all(np.array_equal(weights[name], array) for name, array in network.weights().items())


@pytest.mark.slow
def test_a_shrunk_model_is_shrunk_further(shrunk: Any, tmp_path: Path) -> None:
    out = tmp_path / "smaller.safetensors"
    found = vgglass.shrink(shrunk.path, out=out, multiply_adds=0.7, console=QUIET, **(SHORT | {"epochs": 1}))
    about = found.child.record.recipe["shrunk"]
    assert about["channels"] == widths(shrunk.child.record.architecture)
    assert about["before"] == shrunk.child.record.recipe["shrunk"]
    assert found.child.record.architecture.multiply_adds <= 0.7 * shrunk.child.record.architecture.multiply_adds


@pytest.mark.slow
def test_the_smallest_network_that_loses_no_more_than_is_allowed(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "STEP_OF_LOSS", 2.0)
    found = vgglass.shrink(
        parent, out=tmp_path / "small.safetensors", largest_loss=4, console=QUIET, **(SHORT | {"epochs": 1})
    )
    chosen = [each.accuracy for each in found.rounds]
    allowed = vgglass.evaluate(parent, split="validation", console=QUIET).top1 - 0.04
    assert all(accuracy is not None and accuracy >= allowed - 1e-9 for accuracy in chosen)
    assert found.child.record.metrics["choosing"] == {"top1": chosen[-1]}


@pytest.mark.slow
def test_a_baseline_learns_from_random_weights(parent: Path, tmp_path: Path) -> None:
    found = vgglass.shrink(
        parent, out=tmp_path / "small.safetensors", multiply_adds=0.5, baseline=True, console=QUIET, **SHORT
    )
    assert found.baseline is not None
    trained = modelfile.load_record(tmp_path / "small.baseline" / "best.safetensors")
    assert trained.architecture.widths == found.child.record.architecture.widths
    assert trained.architecture.hidden == found.child.record.architecture.hidden
    assert found.baseline.child.multiply_adds == found.judgement.child.multiply_adds
    assert found.baseline.parent.top1 == found.judgement.parent.top1
    assert found.baseline.child.top1 > 0.8
    assert found.as_json()["baseline"]["comparison"]["images"] == 360


SHRINK = """
import sys, vgglass
from rich.console import Console
vgglass.shrink(sys.argv[1], out=sys.argv[2], multiply_adds=0.25, checkpoint_every="1",
               console=Console(quiet=True), epochs=2, feature_views=1)
"""


@pytest.mark.slow
def test_killed_three_times_it_comes_to_the_same_bits(shrunk: Any, parent: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "small.safetensors", tmp_path / "small.shrink"
    for reached in ("round-1-start.safetensors", "round-2-start.safetensors", "round-2/checkpoints/*.safetensors"):
        process = subprocess.Popen([sys.executable, "-c", SHRINK, str(parent), str(out)])
        while not list(work.glob(reached)):
            assert process.poll() is None, reached
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not out.exists()
    subprocess.run([sys.executable, "-c", SHRINK, str(parent), str(out)], check=True)
    assert out.read_bytes() == shrunk.path.read_bytes()


@pytest.mark.slow
def test_interrupted_it_says_how_to_go_on(parent: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "small.safetensors", tmp_path / "small.shrink"
    process = subprocess.Popen(
        [sys.executable, "-m", "vgglass", "shrink", str(parent), "--multiply-adds", "0.25",
         "--set", "epochs=200", "--out", str(out), "--checkpoint-every", "1"], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(work.glob("round-2/checkpoints/*.safetensors")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[0]
    assert process.returncode == 130
    assert "saved in epoch" in said
    assert "go on with: the same command" in said
    with pytest.raises(TrainingError, match=r"small.shrink: holds a shrinking with another goal; use --overwrite or"):
        vgglass.shrink(parent, out=out, speed=2, console=QUIET)


# What is refused.


def test_a_speed_that_no_network_reaches(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--multiply-adds 0.0001: the narrowest network of this family costs 0.0"):
        vgglass.shrink(parent, out=tmp_path / "a.safetensors", multiply_adds=0.0001, console=QUIET)
    with pytest.raises(UsageError, match=r"--speed 1e\+06: .*; ask for at most"):
        vgglass.shrink(parent, out=tmp_path / "b.safetensors", speed=1e6, console=QUIET)


def test_classes_that_the_model_does_not_tell(parent: Path, tmp_path: Path) -> None:
    other = tmp_path / "data"
    for name in ("cat", "dog"):
        (other / name).mkdir(parents=True)
        for shade in range(6):
            Image.new("L", (40, 40), 40 * shade + 20 * (name == "dog")).save(other / name / f"{shade}.png")
    with pytest.raises(DataError, match=r"class .* of .*data: the"):
        vgglass.shrink(parent, other, out=tmp_path / "a.safetensors", console=QUIET)


def test_training_images_that_are_gone(parent: Path, tmp_path: Path) -> None:
    model = modelfile.load(parent)
    gone = replace(model, record=replace(model.record, data=dict(model.record.data) | {"name": "/nowhere/photos"}))
    with pytest.raises(DataError, match=r"were in '/nowhere/photos', which is not there; name the FOLDER"):
        vgglass.shrink(gone, out=tmp_path / "a.safetensors", console=QUIET)
    unknown = replace(model, record=replace(model.record, data={}))
    with pytest.raises(DataError, match=r"learned from: are not known from its record; name the FOLDER"):
        vgglass.shrink(unknown, out=tmp_path / "a.safetensors", console=QUIET)


def test_weights_that_are_not_numbers(parent: Path, tmp_path: Path) -> None:
    model = modelfile.load(parent)
    weights = {name: array.copy() for name, array in model.weights.items()}
    weights["conv1_1.weight"][0] = np.nan
    with pytest.raises(UsageError, match=r"conv1_1.weight: holds 9 numbers that are not finite"):
        vgglass.shrink(replace(model, weights=weights), out=tmp_path / "a.safetensors", console=QUIET)


def test_an_engine_that_does_not_time_its_layers(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"feature_engine onnxruntime: does not say what each layer takes; take openvino"
    ):
        vgglass.shrink(parent, out=tmp_path / "a.safetensors", feature_engine="onnxruntime", console=QUIET)


def test_the_model_itself_is_not_written_over(parent: Path) -> None:
    with pytest.raises(UsageError, match=r"best.safetensors: is the model that is to be shrunk; name another file"):
        vgglass.shrink(parent, out=parent, console=QUIET)


def test_a_name_that_is_no_model_file(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--out .*small.onnx: a model file ends in .safetensors"):
        vgglass.shrink(parent, out=tmp_path / "small.onnx", console=QUIET)
