"""Whole runs of the digits: what they leave, what they refuse, what they say."""

import gc
import json
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

import vgglass
from training_runs import QUICK, quiet, trainer
from vgglass import modelfile, workflows
from vgglass.data import manifest, sources
from vgglass.errors import ModelFileError, TrainingError, UsageError
from vgglass.training import checkpoint, memory, plan, recipe
from vgglass.training import run as runs
from vgglass.training.metrics_log import MetricsLog
from vgglass.training.precision import isolated_torch


def weights(path: Path) -> dict[str, np.ndarray]:
    return modelfile.load(path).weights


def same(one: Path, two: Path) -> bool:
    first, second = weights(one), weights(two)
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "digits"
    vgglass.train(out=out, console=quiet()[0], **QUICK)
    return out


def test_a_run_leaves_its_files(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "tensorboard").iterdir())
    record = modelfile.load_record(run / "last.safetensors")
    assert record.metrics["validation"]["top1"] == rows[-1]["validation_accuracy"]
    assert record.classes == tuple("0123456789")
    assert record.data["images"] == {"train": 1257, "validation": 180, "test": 360}
    assert record.recipe["width"] == 0.0625
    assert record.data["selected_on"] == "validation"
    assert record.data["manifest"] == manifest.digest(sources.digits())
    assert manifest.digest(manifest.read(run / "manifest.parquet")) == record.data["manifest"]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(run: Path, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    again = vgglass.train(out=tmp_path / "a", console=quiet()[0], **QUICK).with_name("last.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert same(again, run / "last.safetensors")
    other = vgglass.train(out=tmp_path / "b", console=quiet()[0], **QUICK | {"seed": 1}).with_name("last.safetensors")
    assert not same(other, run / "last.safetensors")


def test_what_fails_before_it_learns_is_not_in_the_second_trys_way(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(TrainingError, match="the first that is not finite is"):
            vgglass.train(
                out=tmp_path / "run", console=quiet()[0], **QUICK | {"learning_rate": 1e30, "warmup_epochs": 0}
            )
    assert not (tmp_path / "run" / checkpoint.RUN).exists()


def test_what_a_run_refuses(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds a run already; use --resume, --overwrite or another --out"):
        vgglass.train(out=run)
    with pytest.raises(
        TrainingError, match=r"has finished after 2 epochs; there is nothing to resume, but more .*--resume --epochs 4"
    ):
        vgglass.train(out=run, resume=True)
    with pytest.raises(UsageError, match="--resume: goes on with the run's own recipe; leave all options out but --e"):
        vgglass.train(out=run, resume=True, epochs=5, seed=1)
    with pytest.raises(UsageError, match=r"--epochs 2: 2 are behind the run in .*; name more\."):
        vgglass.train(out=run, resume=True, epochs=2)
    with pytest.raises(UsageError, match="epochs 0: must be from 1 to 1000000000"):
        vgglass.train(out=run, resume=True, epochs=0)
    with pytest.raises(
        UsageError, match="--resume: goes on with the run's own recipe; leave all options out but --epochs"
    ):
        vgglass.train(out=run, resume=True, overwrite=True)
    with pytest.raises(
        TrainingError, match="holds no run to resume; start it without --resume, with --overwrite where files"
    ):
        vgglass.train(out=tmp_path, resume=True)
    (tmp_path / checkpoint.RUN).write_text("{}")
    with pytest.raises(TrainingError, match=r"run.json: damaged \(.*\); start again with --overwrite"):
        vgglass.train(out=tmp_path, resume=True)
    shutil.copy(run / runs.MANIFEST, tmp_path)
    record = json.loads((run / checkpoint.RUN).read_text()) | {"digest": "other"}
    (tmp_path / checkpoint.RUN).write_text(json.dumps(record))
    with pytest.raises(TrainingError, match="was trained on other images or classes; give it the folder as it was"):
        vgglass.train(out=tmp_path, resume=True, console=quiet()[0])


def test_other_validation_images_are_other_data(run: Path, tmp_path: Path) -> None:
    """They choose the best epoch and stop the run; a file's name chooses its place and its augmentation."""
    data = sources.digits()
    first, *rest = data.split("validation")
    renamed = replace(data.split("train")[0], id="another name")
    changed = (
        replace(data, splits=data.splits | {"validation": tuple(rest)}),
        replace(data, splits=data.splits | {"train": (renamed, *data.split("train")[1:])}),
        replace(data, splits=data.splits | {"validation": (*rest, first)}),
    )
    assert plan.identity(replace(data, name="elsewhere")) == plan.identity(data)
    assert all(plan.identity(other) != plan.identity(data) for other in changed)
    record = json.loads((run / checkpoint.RUN).read_text())
    assert record["digest"] == plan.identity(data)


def test_a_run_killed_while_it_removes_an_earlier_one_is_none(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the earlier one's checkpoints without its models and its data."""
    out = tmp_path / "run"
    shutil.copytree(run, out)
    monkeypatch.setattr(runs, "FILES", runs.FILES[:1])  # killed after the first
    runs.clear(out)
    assert (out / checkpoint.FOLDER).exists()
    with pytest.raises(TrainingError, match="holds no run to resume"):
        vgglass.train(out=out, resume=True)


def test_too_little_memory_is_said_before_anything_is_removed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free", lambda device: 1000)
    console, text = quiet()
    with pytest.raises(TrainingError, match=r"1\.0 kB are free, in which 0 would fit: that is too little"):
        vgglass.train(out=run, overwrite=True, console=console, **QUICK)
    assert "memory: " in text.getvalue()
    assert (run / "best.safetensors").exists()


@pytest.mark.parametrize(("part", "layer"), [("head", "conv1_1"), ("last-block", "conv1_1")])
def test_nothing_learned_is_not_held(part: str, layer: str, tmp_path: Path) -> None:
    message = f"--train {part}: would hold {layer} as chance drew it; start --from a model of vgg11_bn, or take"
    with pytest.raises(UsageError, match=message):
        vgglass.train(out=tmp_path / "run", train=part, console=quiet()[0], **QUICK)
    assert not (tmp_path / "run").exists()


def test_overwriting_leaves_nothing_of_the_earlier_run(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    (out / "checkpoints" / "epoch-0009-step-0000000.safetensors").touch()
    (out / "notes.txt").touch()  # not the run's
    vgglass.train(out=out, overwrite=True, console=quiet()[0], **QUICK | {"epochs": 1})
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 1
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["epoch-0001-step-0000000.safetensors"]
    assert (out / "notes.txt").exists()


def test_nothing_is_written_when_a_run_cannot_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="image size 16: five 2x2 poolings leave nothing"):
        vgglass.train(out=tmp_path / "run", image_size=16)
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_to_its_threads_and_gives_them_back() -> None:
    data = sources.digits()
    record, _ = plan.plan_run(recipe.read("digits").override(**QUICK), data, None, None)
    before = torch.get_num_threads()
    assert record.threads == before
    with isolated_torch(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_curves_in_tensorboard_outlive_a_kill(tmp_path: Path) -> None:
    """A resumed run does not write the rows before its checkpoint again."""
    row = {"epoch": 1} | {
        f"{split}_{name}": 0.5 for split in ("train", "validation") for name in ("loss", "accuracy")
    }  # fmt: skip
    log = MetricsLog(tmp_path, 0)
    log.write(row, last=False)
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in found.Scalars("accuracy/validation")] == [0.5]


def test_evaluation_says_what_its_images_were_used_for(run: Path) -> None:
    best = run / "best.safetensors"
    assert workflows.evaluate(best).used_for == ""
    assert workflows.evaluate(best, split="validation").used_for == "selection"
    assert workflows.evaluate(best, split="train").used_for == "training"
    assert workflows.evaluate(best, split="all").used_for == "training"


def test_loading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"nothing.safetensors: No such file or directory; check the path"):
        vgglass.load(tmp_path / "nothing.safetensors")


def test_a_trainer_goes_when_nobody_holds_it() -> None:
    """With its network and momenta, gigabytes of them: at once, not when the garbage collector comes by."""
    for layer in ("image", "pool5"):
        made, _ = trainer()
        made.feed.layer = layer
        made.__post_init__()
        gone = weakref.ref(made)
        gc.disable()
        try:
            del made
            assert gone() is None
        finally:
            gc.enable()
