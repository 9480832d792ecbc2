"""Training by several ranks: what one process computes they compute, and whatever ends one of them costs nothing."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed as dist

import vgglass
from rank_runs import EXACT, STEPS, free_port, outcome, samples_of, together, trained
from sizes import sized
from training_runs import QUICK, quiet
from vgglass.data import sources
from vgglass.data.sampling import Share
from vgglass.data.training_loader import TrainingLoader, batch_sizes, epoch_batches
from vgglass.errors import TrainingError
from vgglass.preprocess import Preprocessing
from vgglass.training import distributed, feature_cache, memory, recipe
from vgglass.training.distributed import ALONE, Group

IDS = [sample.id for sample in sources.digits().split("train")]


def require_close(one: Path, two: Path, within: float = 1e-10) -> None:
    """Losses, figures and every tensor, to a share of the largest."""
    (tensors, rows, losses), (others, other_rows, other_losses) = outcome(one), outcome(two)
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert (tensor - others[name]).abs().max() <= within * tensor.abs().max(), name
    assert len(losses) == len(other_losses) == EXACT["epochs"] * STEPS
    assert np.allclose(losses, other_losses, rtol=0, atol=within * max(losses))
    for row, other in zip(rows, other_rows, strict=True):
        for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
            assert abs(row[name] - other[name]) <= within * abs(row[name]), name


def finish(count: int, folder: Path, **options: Any) -> Path:
    """Train in so many ranks to the end; the run's folder."""
    out = folder / f"{count}"
    said = folder / f"{count}.txt"
    assert together(count, lambda: trained(str(out), **options), said) == [0] * count, said.read_text()
    return out


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exact run in one rank, with a log of its samples."""
    folder = tmp_path_factory.mktemp("one")
    return finish(1, folder, plan=EXACT, log=str(folder / "log"))


@given(st.integers(1, 200), st.integers(1, 50), st.integers(1, 9), st.integers(0, 3))
def test_shares_are_the_batch(samples: int, size: int, count: int, epoch: int) -> None:
    batches = epoch_batches(samples, size, 0, epoch, None)
    assert batch_sizes(samples, size) == [len(batch) for batch in batches]
    for batch in batches:
        shares = [Share(rank, count).of(batch) for rank in range(count)]
        assert np.concatenate(shares).tolist() == batch.tolist()
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert sorted(item for rank in range(count) for item in Share(rank, count).every(range(samples))) == [
        *range(samples)
    ]


@pytest.mark.parametrize("weights", [None, np.linspace(1, 5, 40)])
def test_a_share_holds_the_same_pixels(weights: Any) -> None:
    """What is drawn for a sample does not depend on who draws it, nor where samples come more than once an epoch."""
    record = Preprocessing(32, 32, (0.0,), (1.0,), "L")
    samples = sources.digits().split("train")[:40]

    def images(share: Share) -> list[Any]:
        loader = TrainingLoader(samples, record, 12, "shift", seed=3, weights=weights, workers=0, share=share)
        return [batch.images for batch in loader.epoch(1, start=1)]

    shares = zip(*(images(Share(rank, 3)) for rank in range(3)), strict=True)
    for whole, parts in zip(images(Share()), shares, strict=True):
        assert np.array_equal(np.concatenate(parts), whole)


def test_cores_are_divided_among_the_ranks_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    record = Preprocessing(96, 96, (0.0,), (1.0,), "L")
    for neighbours, workers in ((1, 2), (2, 1), (16, 1)):
        share = Share(0, 16, neighbours)
        loader = TrainingLoader(sources.digits().split("train"), record, 64, "none", seed=0, share=share)
        assert loader._loader.num_workers == workers


def test_a_process_by_itself_is_alone() -> None:
    with distributed.process_group() as found:
        assert found is ALONE
    assert (found.first, found.count, found.launched) == (True, 1, False)


def test_a_group_of_one_ends_with_the_bits_of_a_process_alone(tmp_path: Path) -> None:
    plan = QUICK | {"epochs": 1, "accumulate": 2, "ema": 0.9}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    vgglass.train(out=tmp_path / "alone", console=quiet()[0], workers=0, **plan)
    torch.set_num_threads(threads)
    (tensors, *rest), (others, *other) = outcome(tmp_path / "alone"), outcome(finish(1, tmp_path, plan=plan))
    assert [name for name in tensors if not torch.equal(tensors[name], others[name])] == []
    assert rest == other


@pytest.mark.parametrize(
    ("count", "more"),
    [(2, {}), pytest.param(3, {"accumulate": 2, "ema": 0.9, "clip_norm": 1.0}, marks=pytest.mark.slow)],
)
def test_ranks_compute_what_one_process_computes(one: Path, tmp_path: Path, count: int, more: dict[str, Any]) -> None:
    """50 steps in float64, over batches that no number of ranks divides: the mean is over images, not over ranks."""
    expected = finish(1, tmp_path, plan=EXACT | more) if more else one
    losses = outcome(expected)[2]
    assert losses[-1] < 0.9 * losses[0], "it must have learned, or equality says little"
    require_close(expected, finish(count, tmp_path, plan=EXACT | more))


def test_the_head_alone_on_features_that_are_computed_once(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = feature_cache._write

    def by_rank(*arguments: Any) -> None:
        with (tmp_path / "computed").open("a") as file:
            file.write(f"rank {os.environ['RANK']}\n")
        whole(*arguments)

    plan = {
        "train": "head",
        "head": "vgg",
        "dropout": 0.0,
        "precision": "float64",
        "epochs": EXACT["epochs"],
        "batch_size": 128,
        "initialisation": "glorot",
    }
    plan |= {"source": str(one / "best.safetensors"), "feature_engine": "torch", "learning_rate": 0.02}
    found = []
    for count in (2, 1):
        monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path / f"cache{count}"))
        monkeypatch.setattr(feature_cache, "_write", by_rank)
        found.append(finish(count, tmp_path, plan=plan))
        assert len(list((tmp_path / f"cache{count}" / "features").iterdir())) == 2  # training, validation
    require_close(found[1], found[0])
    assert (tmp_path / "computed").read_text().splitlines() == ["rank 0"] * 4


def test_batch_norm_ranks_judge_by_the_statistics_of_the_first(tmp_path: Path) -> None:
    """Each has its own of its images; else the shards of the validation images would be judged by other networks."""
    out = finish(2, tmp_path, plan=QUICK | {"ema": 0.9, "epochs": 1})
    rows = outcome(out)[1]
    found = vgglass.evaluate(out / "last.safetensors", split="validation")
    assert abs(rows[-1]["validation_accuracy"] - found.top1) < 1e-9


@pytest.mark.slow
def test_bfloat16_adds_parts_before_they_leave(tmp_path: Path) -> None:
    plan = QUICK | {"architecture": "vgg11", "precision": "bfloat16", "accumulate": 4, "dropout": 0.0, "epochs": 1}
    plan |= {"batch_size": 128}
    (alone, _, losses), (shared, _, others) = (outcome(finish(count, tmp_path, plan=plan)) for count in (1, 2))
    assert np.allclose(losses, others, rtol=0.02)
    momenta = [name for name in alone if name.startswith("momentum.fc")]
    for name in momenta:  # three parts of four would be missing, or twice as long
        assert 0.9 < shared[name].norm() / alone[name].norm() < 1.1, name


def bytes_of_gradients(folder: Path, **more: Any) -> int:
    """That the ranks send into all-reduces in 10 steps, from the tensors themselves; figures travel in float64."""
    plan = EXACT | {"precision": "float32", "epochs": 1} | more
    counted = folder / f"bytes{len(list(folder.iterdir()))}"

    def work() -> None:
        whole = dist.all_reduce

        def counting(tensor: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            if tensor.dtype in (torch.float32, torch.bfloat16):
                with counted.open("a") as file:
                    file.write(f"{os.environ['RANK']} {tensor.nbytes}\n")
            return whole(tensor, *arguments, **options)

        dist.all_reduce = counting
        trained(str(counted.with_suffix(".run")), plan)

    said = counted.with_suffix(".txt")
    assert together(2, work, said) == [0, 0], said.read_text()
    rows = [line.split() for line in counted.read_text().splitlines()]
    return sum(int(size) for rank, size in rows if rank == "0")


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (4, {"accumulate": 3}), (2, {"all_reduce": "bfloat16"}),
        pytest.param(4, {}, marks=pytest.mark.slow), pytest.param(2, {"precision": "bfloat16"}, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_bytes_that_are_all_reduced(tmp_path: Path, size: int, options: dict[str, Any]) -> None:
    """4 a parameter and step, half of that on request, and no more where a step is taken in parts."""
    network = recipe.read("digits").override(**EXACT).network(10)
    parameters = sum(layer.parameters for layer in network.layers())
    passes = STEPS + 1  # one before the first step, which settles the buckets
    assert bytes_of_gradients(tmp_path, **options) == size * parameters * passes


@pytest.mark.slow
def test_a_signal_to_one_rank_saves_and_all_leave_and_other_numbers_go_on(one: Path, tmp_path: Path) -> None:
    out, log, said = tmp_path / "run", tmp_path / "log", tmp_path / "said"
    options = {"plan": EXACT, "log": str(log), "send": "SIGTERM", "to": 1, "at": 13}
    assert together(2, lambda: trained(str(out), **options), said) == [143, 143]  # type: ignore[arg-type]
    message = "interrupted by SIGTERM: saved in epoch 2 after 4 of its 10 steps; go on with the same command."
    assert said.read_text().count(message) == 2
    expected = samples_of(one.with_name("log"))
    for count in (1, 4):
        folder = tmp_path / f"on{count}"
        folder.mkdir()
        shutil.copytree(out, folder / f"{count}")
        shutil.copy(log, folder / "log")
        finish(count, folder, plan=EXACT, log=str(folder / "log"))
        assert samples_of(folder / "log") == expected
        require_close(one, folder / f"{count}")
    for epoch in range(EXACT["epochs"]):
        assert Counter(name for at, ids in expected.items() if at[0] == epoch for name in ids) == Counter(IDS)


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_run_that_goes_on_in_as_many_ranks_ends_with_the_same_bits(tmp_path: Path, count: int) -> None:
    """With batch norm, dropout and float32; three ranks add in an order that hangs on torch's buckets."""
    plan = QUICK | {"epochs": 1, "batch_size": 128, "ema": 0.9}
    whole = outcome(finish(count, tmp_path, plan=plan))
    out, said = tmp_path / "run", tmp_path / "said"
    options = {"plan": plan, "send": "SIGTERM", "to": 0, "at": 6}
    assert together(count, lambda: trained(str(out), **options), said) == [143] * count  # type: ignore[arg-type]
    assert together(count, lambda: trained(str(out), plan), said) == [0] * count
    tensors, rows, losses = outcome(out)
    assert [name for name in tensors if not torch.equal(tensors[name], whole[0][name])] == []
    assert (rows, losses) == whole[1:]


def torchrun(arguments: dict[str, Any], *options: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "torch.distributed.run", *options, str(Path(__file__).with_name("rank_runs.py"))]
    pipe = subprocess.PIPE
    return subprocess.Popen([*program, json.dumps(arguments)], stdout=pipe, stderr=subprocess.STDOUT, text=True)


ONE_MACHINE = (("--standalone", "--nproc-per-node=2", "--max-restarts=1"),)


def expect_the_same_after_a_kill(
    tmp_path: Path, expected: Any, rank: int, step: int, machines: Any = ONE_MACHINE
) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    send = {"send": "SIGKILL", "to": rank, "at": step, "checkpoint_every": "3"}
    launched = [torchrun({"out": str(out), "plan": KILLED, "log": str(log)} | send, *options) for options in machines]
    said = [process.communicate()[0] for process in launched]
    assert [process.returncode for process in launched] == [0] * len(machines), "\n".join(said)
    assert any(json.loads(line)["restart"] for line in log.read_text().splitlines())
    tensors, rows, losses = outcome(out)
    assert [name for name in tensors if not torch.equal(tensors[name], expected[0][name])] == []
    assert (rows, losses) == expected[1:]
    for epoch in range(2):
        seen = Counter(name for at, ids in samples_of(log).items() if at[0] == epoch for name in ids)
        assert seen == Counter(IDS)


KILLED = QUICK | {"batch_size": 128, "epochs": 2}


@pytest.mark.slow
def test_kill_9_of_a_rank_under_torchrun_changes_nothing(tmp_path: Path) -> None:
    expected, chance = outcome(finish(2, tmp_path, plan=KILLED)), random.Random(8)
    steps = [14, *(chance.randrange(2 * STEPS) for _ in range(sized(1, 6)))]
    for turn, step in enumerate(steps):
        (tmp_path / f"turn{turn}").mkdir()
        expect_the_same_after_a_kill(tmp_path / f"turn{turn}", expected, 1 - turn % 2, step)


@pytest.mark.slow
def test_kill_9_on_one_of_two_machines(tmp_path: Path) -> None:
    """Each with its torchrun (both here): the other one restarts its ranks too, and does not count it."""
    expected = outcome(finish(2, tmp_path, plan=KILLED))
    options = ("--nnodes=2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d", "--rdzv-id=test")
    machine = (*options, f"--rdzv-endpoint=localhost:{free_port()}")
    expect_the_same_after_a_kill(tmp_path, expected, rank=1, step=14, machines=(machine, machine))


def test_the_same_command_again_goes_on_or_says_why_not(one: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    before = (one / "best.safetensors").read_bytes()
    assert together(2, lambda: trained(str(one), EXACT), said) == [0, 0]
    assert "holds this run, finished" in said.read_text()
    assert (one / "best.safetensors").read_bytes() == before
    assert together(2, lambda: trained(str(one), EXACT | {"epochs": 9}), said) == [1, 1]
    assert said.read_text().count("holds a run with epochs 5, not 9; choose another --out, or remove that folder") == 1
    assert together(2, lambda: trained(str(one), EXACT, overwrite=True), said) == [2, 2]
    message = "--overwrite: would remove the run each time that torchrun starts it again; remove the folder beforehand"
    assert said.read_text().count(message) == 1


def test_dropout_differs_by_rank() -> None:
    seeds = {Group(Share(rank, 3), rank, cast(Any, None)).dropout_seed(5, 7) for rank in range(3)}
    assert len(seeds) == 3
    assert (5 << 32) + 7 in seeds
    assert ALONE.dropout_seed(5, 7) == (5 << 32) + 7


def test_memory_is_forecast_for_each_rank() -> None:
    plan = recipe.read("digits").override(accumulate=2)
    whole, device = memory.forecast(plan, plan.network(10), 64, "float32", torch.device("cpu")), torch.device("cpu")
    part = memory.forecast(plan, plan.network(10), 64, "float32", device, share=Share(0, 4, 2))
    assert (whole.images, part.images) == (32, 8)
    assert (part.fixed, part.per_image) == (whole.fixed, whole.per_image)
    assert part.free < 0.6 * whole.free
    few = memory.Forecast(fixed=10, per_image=10, images=8, free=30, parts=2, ranks=4)
    with pytest.raises(TrainingError, match=r"memory of each rank: .*; --batch-size 16, or --set accumulate=8"):
        few.require()
