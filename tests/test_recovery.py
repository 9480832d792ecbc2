"""Runs that are killed, interrupted or out of disk: nothing is lost, and what comes out is what would have."""

import io
import json
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import vgglass
from sizes import sized
from vgglass import modelfile
from vgglass.errors import InterruptedRunError, TrainingError, UsageError
from vgglass.model import VGG
from vgglass.signals import Interruption, at_once
from vgglass.training import checkpoint, recipe, run
from vgglass.training.checkpoint import Cadence, Checkpointer, Progress, TrainState
from vgglass.training.loop import Trainer
from vgglass.training.metrics_log import TIMINGS
from vgglass.training.plan import require_patience
from vgglass.training.precision import Weights
from vgglass.training.recipe import Recipe

# Everything that a run carries along is in play: dropout, shifts, the average, a step in parts, clipping, a plateau.
EPOCHS = 2
PLAN: dict[str, Any] = {
    "width": 0.0625, "hidden": 16, "epochs": EPOCHS, "batch_size": 128, "accumulate": 2, "ema": 0.9, "clip_norm": 1.0,
    "schedule": "plateau", "plateau_epochs": 1, "warmup_epochs": 0.5, "learning_rate": 0.02,
}  # fmt: skip
STEPS = EPOCHS * 10  # 1,257 digits in batches of at most 128
FORK = multiprocessing.get_context("fork")


def train(out: Path, precision: str, **options: Any) -> Path:
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    console = Console(file=(out.parent / f"{out.name}.txt").open("a"), width=200)
    plan = {} if options.get("resume") else PLAN | {"precision": precision}
    return vgglass.train(out=out, console=console, workers=0, **plan | options)


def in_process(work: Callable[[], object]) -> int | None:
    """Run in a process of its own; its exit code, negative for a signal."""
    process = FORK.Process(target=work)
    process.start()
    process.join()
    return process.exitcode


def killed_at(out: Path, step: int, precision: str, **options: Any) -> None:
    """Train until so many steps were taken in this process, then die as by kill -9."""

    def work() -> None:
        taken = 0
        whole_step = Trainer.step

        def counted(trainer: Trainer, *batch: Any) -> tuple[float, int]:
            nonlocal taken
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)
            taken += 1
            return whole_step(trainer, *batch)

        Trainer.step = counted  # type: ignore[method-assign, assignment]
        train(out, precision, **options)

    assert in_process(work) == -signal.SIGKILL


def content(out: Path) -> tuple[dict[str, bytes], list[dict[str, Any]], Progress]:
    """All tensors of a finished run's checkpoint, its rows without the timings, and where it stands."""
    (path,) = (out / checkpoint.FOLDER).glob("*.safetensors")
    tensors, progress = checkpoint.load(path)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    figures = [{name: value for name, value in row.items() if name not in TIMINGS} for row in rows]
    progress.metrics_bytes = 0  # the timings' digits differ
    return {name: value.numpy().tobytes() for name, value in tensors.items()}, figures, progress


@pytest.fixture(scope="module", params=["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert in_process(lambda: train(out, request.param)) == 0
    return request.param, content(out)


def expect_the_same_after(undisturbed: tuple[str, Any], tmp_path: Path, chance: random.Random, kills: int) -> None:
    """Kill a run at random steps, resume it each time, and compare what comes out bit by bit."""
    precision, expected = undisturbed
    out = tmp_path / "run"
    every, left = str(chance.randint(1, 7)), STEPS
    killed_at(out, chance.randrange(left), precision, checkpoint_every=every)
    for _ in range(kills - 1):  # the next after few steps: mostly in the same epoch
        left = STEPS - (lambda progress: progress.epoch * 10 + progress.step)(checkpoint.read_newest(out).progress)
        killed_at(out, chance.randrange(min(left, 4)), precision, resume=True, checkpoint_every=every)
    assert in_process(lambda: train(out, precision, resume=True, checkpoint_every=every)) == 0
    found = content(out)
    assert found[1] == expected[1]
    assert found[0].keys() == expected[0].keys()
    assert [name for name in found[0] if found[0][name] != expected[0][name]] == []
    assert found[2] == expected[2]


def test_kill_9_changes_nothing(undisturbed: tuple[str, Any], tmp_path: Path) -> None:
    expect_the_same_after(undisturbed, tmp_path, random.Random(1), kills=2)


@pytest.mark.parametrize(("chosen", "named"), [("winograd", "auto"), ("direct", "winograd")])
def test_a_run_by_winograd_is_refused(chosen: str, named: str, tmp_path: Path) -> None:
    """As versions of before left one: chosen by a measurement, or named by the recipe of a head fitted at once."""
    old = checkpoint.Run(Recipe(), None, "", [], {}, {}, None, 32, "float32", 1, convolution=chosen)
    checkpoint.write_run(tmp_path, old)
    record = json.loads((tmp_path / checkpoint.RUN).read_text())
    record["recipe"]["convolution"] = named
    (tmp_path / checkpoint.RUN).write_text(json.dumps(record))
    message = "Winograd's convolution, which vgglass no longer has; start again with --overwrite, or go on .* --from"
    with pytest.raises(TrainingError, match=message):
        vgglass.train(out=tmp_path, resume=True)


def test_a_resumed_run_reads_its_checkpoint_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_at(tmp_path / "run", 5, "float32", checkpoint_every="2", epochs=1)
    read: list[str] = []
    whole_load = checkpoint.load

    def counted(path: Path) -> Any:
        read.append(path.name)
        return whole_load(path)

    monkeypatch.setattr(checkpoint, "load", counted)
    vgglass.train(out=tmp_path / "run", resume=True, workers=0, console=Console(file=io.StringIO()))
    assert read == ["epoch-0000-step-0000004.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("case", [0, *range(3, sized(6, 13))])  # in each precision
def test_kill_9_changes_nothing_in_many_runs(undisturbed: tuple[str, Any], tmp_path: Path, case: int) -> None:
    expect_the_same_after(undisturbed, tmp_path, random.Random(case), kills=1 + case % 3)


@pytest.mark.slow
@pytest.mark.parametrize("case", range(3))
def test_kill_9_from_outside_at_any_moment(undisturbed: tuple[str, Any], tmp_path: Path, case: int) -> None:
    """Also within a step, while a checkpoint or the journal is written, and before the first of them."""
    precision, expected = undisturbed
    out, chance = tmp_path / "run", random.Random(case)
    for resume in (False, True, True):
        process = FORK.Process(target=lambda: train(out, precision, checkpoint_every="2", resume=resume))  # noqa: B023
        process.start()
        while not resume and not (out / checkpoint.RUN).exists():
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 2))
        process.kill()
        process.join()
    if not checkpoint.read_newest(out).progress.finished:
        assert in_process(lambda: train(out, precision, resume=True)) == 0
    assert content(out) == expected


@pytest.fixture
def small() -> tuple[Weights, torch.optim.SGD]:
    plan = recipe.read("digits").override(width=0.0625, hidden=16)
    network = vgglass.model.VGG(plan.network(10))
    weights = Weights(network, "float32", decay=0.9)
    optimizer = run.make_optimizer(weights, plan)
    network(torch.ones(2, 1, 32, 32)).sum().backward()
    optimizer.step()
    return weights, optimizer


def write_for_ever(out: Path, weights: Weights, optimizer: torch.optim.SGD) -> None:
    torch.set_num_threads(1)
    number = 0
    while True:
        number += 1
        for master in weights.masters.values():
            master.data.fill_(number)
        checkpoint.save(out, TrainState(weights, optimizer, Progress(step=number)), keep=2)


def expect_whole_checkpoints(out: Path, small: tuple[Weights, torch.optim.SGD], kills: int) -> None:
    chance = random.Random(0)
    for _ in range(kills):
        process = FORK.Process(target=write_for_ever, args=(out, *small))
        process.start()
        while not list((out / checkpoint.FOLDER).glob("epoch*")):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.join()
        warnings: list[str] = []
        progress = checkpoint.read_newest(out).restore(*small, warnings.append)
        assert progress.step > 0
        assert warnings == []
        assert all(bool((master == progress.step).all()) for master in small[0].masters.values())
        with checkpoint.exclusive(out):
            assert not list((out / checkpoint.FOLDER).glob(".*"))


def test_kill_9_while_a_checkpoint_is_written(tmp_path: Path, small: tuple[Weights, torch.optim.SGD]) -> None:
    expect_whole_checkpoints(tmp_path, small, kills=20)


@pytest.mark.slow
def test_kill_9_often_while_a_checkpoint_is_written(tmp_path: Path, small: tuple[Weights, torch.optim.SGD]) -> None:
    expect_whole_checkpoints(tmp_path, small, kills=sized(50, 200))


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, small: tuple[Weights, torch.optim.SGD]) -> None:
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, TrainState(*small, Progress(step=step)), keep=3)
    folder = tmp_path / checkpoint.FOLDER
    newest, middle = folder / "epoch-0000-step-0000003.safetensors", folder / "epoch-0000-step-0000002.safetensors"
    newest.write_bytes(newest.read_bytes()[:-5])
    content = bytearray(middle.read_bytes())
    content[-5] ^= 1  # a flipped bit, which the header does not show
    middle.write_bytes(content)
    warnings: list[str] = []
    found = checkpoint.read_newest(tmp_path)
    assert len(list(folder.glob("*.safetensors"))) == 3  # reading changes nothing
    assert found.restore(*small, warnings.append).step == 1
    assert found.tensors == {}  # let go of: a removed file's space would not be free
    assert "step-0000003.safetensors: damaged" in warnings[0]
    assert "step-0000002.safetensors: damaged (its checksum differs); it is left out" in warnings[1]
    assert sorted(path.name for path in folder.iterdir()) == [
        "epoch-0000-step-0000001.safetensors", "epoch-0000-step-0000002.damaged", "epoch-0000-step-0000003.damaged",
    ]  # fmt: skip


def test_the_last_k_stay(tmp_path: Path, small: tuple[Weights, torch.optim.SGD]) -> None:
    for step in range(1, 6):
        checkpoint.save(tmp_path, TrainState(*small, Progress(step=step)), keep=2)
    names = sorted(path.name for path in (tmp_path / checkpoint.FOLDER).iterdir())
    assert names == ["epoch-0000-step-0000004.safetensors", "epoch-0000-step-0000005.safetensors"]


def test_epochs_are_counted_beyond_four_digits(tmp_path: Path, small: tuple[Weights, torch.optim.SGD]) -> None:
    for epoch in (9_999, 10_000):
        checkpoint.save(tmp_path, TrainState(*small, Progress(epoch=epoch)), keep=1)
    assert checkpoint.read_newest(tmp_path).progress.epoch == 10_000


def test_a_resumed_run_knows_its_last_good_checkpoint(tmp_path: Path, small: tuple[Weights, torch.optim.SGD]) -> None:
    saved = checkpoint.save(tmp_path, TrainState(*small, Progress(step=1)), keep=2)
    assert Checkpointer(tmp_path, TrainState(*small, Progress()), Cadence("1h"), 2, Interruption()).latest == saved


def test_a_full_disk_is_said_and_the_checkpoint_before_loads(
    tmp_path: Path, small: tuple[Weights, torch.optim.SGD]
) -> None:
    checkpoint.save(tmp_path, TrainState(*small, Progress(step=1)), keep=2)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # as a disk with 10 kB left
        with pytest.raises(TrainingError, match=r"could not be written .*; free space, then --resume"):
            checkpoint.save(tmp_path, TrainState(*small, Progress(step=2)), keep=2)

    assert in_process(fill) == 0
    assert checkpoint.read_newest(tmp_path).restore(*small, print).step == 1
    assert len(list((tmp_path / checkpoint.FOLDER).iterdir())) == 1


def test_a_disk_that_fills_before_the_first_checkpoint_leaves_what_resume_needs(
    undisturbed: tuple[str, Any], tmp_path: Path
) -> None:
    precision, expected = undisturbed
    out = tmp_path / "run"

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # run.json and the manifest find room
        with pytest.raises(TrainingError, match=r"could not be written .*; free space, then --resume"):
            train(out, precision, checkpoint_every="1")

    assert in_process(fill) == 0
    assert checkpoint.newest_first(out) == []
    assert in_process(lambda: train(out, precision, resume=True)) == 0
    assert content(out) == expected


def test_too_small_a_disk_is_said_before_the_first_step(
    tmp_path: Path, small: tuple[Weights, torch.optim.SGD], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "checkpoints of 453.1 kB each, the last 3 kept, and two models of 151.5 kB; " in checkpoint.require_space(
        tmp_path, small[0], keep=3
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(TrainingError, match=r"1\.0 kB are free; free space or choose another --out"):
        checkpoint.require_space(tmp_path, small[0], keep=3)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    def second() -> None:
        with pytest.raises(TrainingError, match="another run is writing here; wait for it, or choose another --out"):
            train(tmp_path / "run", "float32")

    with checkpoint.exclusive(tmp_path / "run"):
        assert in_process(second) == 0


def test_a_killed_runs_workers_do_not_keep_its_folder(tmp_path: Path) -> None:
    """They outlive it by seconds, with the files that it had open when they were forked."""

    def resumed() -> None:
        with checkpoint.exclusive(tmp_path):
            pass

    with checkpoint.exclusive(tmp_path):
        worker = FORK.Process(target=time.sleep, args=(60,))
        worker.start()
    assert in_process(resumed) == 0
    worker.kill()
    worker.join()


def test_only_files_of_a_killed_run_are_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".best.safetensors.1.1.tmp").touch()
    (tmp_path / ".tmpA1b2C3").touch()  # as safetensors names its own
    (tmp_path / ".notes.tmp").touch()
    (tmp_path / ".tmp").mkdir()
    with checkpoint.exclusive(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".notes.tmp", ".tmp", checkpoint.LOCK]


@pytest.mark.parametrize(
    ("number", "status", "place"),
    [
        (signal.SIGTERM, 143, "step"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (
            (signal.SIGTERM, 143, "forward"), (signal.SIGHUP, 129, "step"), (signal.SIGHUP, 129, "forward"),
        )),
    ],
)  # fmt: skip
def test_a_signal_saves_and_leaves(
    undisturbed: tuple[str, Any], tmp_path: Path, number: signal.Signals, status: int, place: str
) -> None:
    """In a step of the second epoch, and in the first epoch's validation ('forward' outside a step)."""
    precision, expected = undisturbed
    out = tmp_path / "run"
    owner: type = Trainer if place == "step" else VGG

    def work() -> None:
        whole, taken = getattr(owner, place), 0

        def counted(owned: Any, *batch: Any) -> Any:
            nonlocal taken
            taken += place == "step" or not owned.training
            if taken == (13 if place == "step" else 1):
                os.kill(os.getpid(), number)
            return whole(owned, *batch)

        setattr(owner, place, counted)
        where = "epoch 2 after 3" if place == "step" else "epoch 1 after 10"
        message = f"interrupted by {number.name}: saved in {where} of its 10 steps; go on with: vgglass train --out"
        with pytest.raises(InterruptedRunError, match=message) as interrupted:
            train(out, precision)
        os._exit(interrupted.value.exit_status)

    assert in_process(work) == status
    assert in_process(lambda: train(out, precision, resume=True)) == 0
    assert content(out) == expected


@pytest.mark.parametrize("before", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_more_epochs_for_a_finished_run(undisturbed: tuple[str, Any], tmp_path: Path, before: int) -> None:
    """By the plateau schedule, which looks at no end, it is the run of so many from the start, killed or not."""
    precision, expected = undisturbed
    out = tmp_path / "run"
    if before < EPOCHS:
        assert in_process(lambda: train(out, precision, epochs=before)) == 0
        assert checkpoint.read_newest(out).progress.finished
        killed_at(out, 5, precision, resume=True, epochs=EPOCHS)  # before a checkpoint of its own
        assert checkpoint.read_run(out).recipe.epochs == EPOCHS
    else:  # which are then fewer
        killed_at(out, 14, precision, checkpoint_every="3", epochs=before)
    assert in_process(lambda: train(out, precision, resume=True, epochs=EPOCHS)) == 0
    assert content(out) == expected
    assert checkpoint.read_run(out).extended == [[1, before]]
    rate = f"the learning rate stays 0.02, as in a run of {EPOCHS} from the start"
    assert rate in (tmp_path / "run.txt").read_text()


@pytest.mark.slow
def test_more_epochs_for_a_cosine(tmp_path: Path) -> None:
    """The rate is that of the longer cosine from there on: 0.01 · (1 + cos(π · 1/2)) in place of 0 at half the way."""
    for name in ("one", "two"):
        plan = {"epochs": 1, "schedule": "cosine", "warmup_epochs": 0.0}
        assert in_process(lambda: train(tmp_path / name, "float32", **plan)) == 0  # noqa: B023
        assert in_process(lambda: train(tmp_path / name, "float32", resume=True, epochs=2)) == 0  # noqa: B023
    assert content(tmp_path / "one") == content(tmp_path / "two")
    rates = [row["learning_rate"] for row in content(tmp_path / "one")[1]]
    assert rates[1:] == [pytest.approx(0.01 * (1 + math.cos(math.pi * 19 / 20)))]
    said = (
        "epochs: 2 in place of 1; after 1 of them the learning rate goes on at 0.01 in place of 0: its cosine now ends"
    )
    assert said in (tmp_path / "one.txt").read_text()
    record = modelfile.load_record(tmp_path / "one" / "last.safetensors")
    assert (record.recipe["epochs"], record.recipe["extended"]) == (2, [[1, 1]])


def test_a_run_that_lost_patience_has_its_way_named(tmp_path: Path) -> None:
    progress, plan = Progress(epoch=7, best_epoch=4), recipe.read("digits").override(patience=3)
    with pytest.raises(
        TrainingError,
        match=r"stopped after 7 epochs, the last 3 without a better one \(patience\); start another run from it: "
        r"vgglass train FOLDER --train all --out ANOTHER --from .*last.safetensors\.",
    ):
        require_patience(tmp_path, progress, plan)


def test_a_second_signal_is_not_waited_for() -> None:
    # A suite that a shell started in the background ignores SIGINT, and so would what comes after the first one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_a_run_under_nohup_does_not_heed_the_terminal(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption, at_once(lambda number: AssertionError(number)):
            os.kill(os.getpid(), signal.SIGHUP)
            assert interruption.signal is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_cadence_of_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Cadence("3")
    assert [steps.due() for _ in range(7)] == [False, False, True, False, False, True, False]
    times = iter([0.0, 60.0, 119.0, 120.0, 120.0, 130.0, 240.0, 240.0])  # read once more where one is due
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    minutes = Cadence("2m")
    assert [minutes.due() for _ in range(5)] == [False, False, True, False, True]
    for wrong in ("", "0", "m", "1d", "-5", "1.5m"):
        with pytest.raises(UsageError, match="is neither steps nor a time; write 500, 30s, 5m or 1h"):
            Cadence(wrong)


def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path, small: tuple[Weights, torch.optim.SGD]) -> None:
    """The step that a NaN comes in is named, the layer too, and the checkpoint before it stays."""
    out = tmp_path / "run"
    whole = nn.Conv2d.forward

    def work() -> None:
        taken = 0

        def poisoned(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
            nonlocal taken
            y = whole(layer, x)
            if layer.in_channels == 16 and layer.out_channels == 32 and layer.training:
                taken += 1
                if taken > 9:  # a first look, then two parts a step
                    y = y * np.nan
            return y

        nn.Conv2d.forward = poisoned  # type: ignore[method-assign, assignment]
        message = (
            "loss nan at step 5: the first that is not finite is the output of conv4_1; training diverged at learning "
            r"rate 0.02; lower the learning rate or set clip_norm; the last good checkpoint: .*step-0000004.safetensors"
        )
        with pytest.raises(TrainingError, match=message):
            train(out, "float32", checkpoint_every="1")

    assert in_process(work) == 0
    assert checkpoint.read_newest(out).progress.step == 4


def test_rows_that_were_cut_off_are_missed(tmp_path: Path) -> None:
    killed_at(tmp_path / "run", 15, "float32", checkpoint_every="1")
    rows = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    for damaged in (b"\xff" + rows[1:], bytes(len(rows)), rows.replace(b":", b";")):
        (tmp_path / "run" / "metrics.jsonl").write_bytes(damaged)
        with pytest.raises(TrainingError, match=r"metrics.jsonl: is damaged \(.*\); put it back as it was"):
            vgglass.train(out=tmp_path / "run", resume=True, console=Console(file=io.StringIO()))
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    with pytest.raises(TrainingError, match=r"metrics.jsonl: is shorter than the \d+ bytes of the checkpoint; put it"):
        vgglass.train(out=tmp_path / "run", resume=True, console=Console(file=io.StringIO()))
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(TrainingError, match="is shorter than"):
        vgglass.train(out=tmp_path / "run", resume=True, console=Console(file=io.StringIO()))
