"""What ranks refuse, and how they end: by a sentence each."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist

import vgglass
from rank_runs import EXACT, together, trained
from training_runs import QUICK, quiet
from vgglass.data import sources
from vgglass.data.sampling import Share
from vgglass.errors import TrainingError
from vgglass.training import distributed, plan, recipe
from vgglass.training import run as runs


@pytest.mark.parametrize(
    ("count", "more", "message"),
    [
        (3, {"batch_size": 2}, "batches of 1 images: are smaller than the 3 ranks; start at most 1 ranks, or choose a"),
        (2, {"architecture": "vgg11_bn", "sync_batch_norm": True}, "sync_batch_norm: torch has it for GPUs alone; "),
    ],
)
def test_what_these_ranks_can_not_do(tmp_path: Path, count: int, more: dict[str, Any], message: str) -> None:
    said = tmp_path / "said"
    codes = together(count, lambda: trained(str(tmp_path / "run"), EXACT | more), said)
    assert set(codes) in ({1}, {2})
    assert said.read_text().count(message) == 1, said.read_text()  # by rank 0: the others leave without a word
    assert not (tmp_path / "run").exists()


def test_nothing_to_share() -> None:
    record, _ = plan.plan_run(recipe.read("digits").override(**QUICK), sources.digits(), None, None)

    class Four(distributed.Ranks):
        share = Share(0, 4, 4)

    runs.require_divisible(record, 1257, Four())
    with pytest.raises(TrainingError, match="3 training images: nothing to share among 4 ranks; start fewer"):
        runs.require_divisible(record, 3, Four())


def test_ranks_that_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    message = (
        "RANK=1: is set, but WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT not: the ranks have "
        "nowhere to meet; start them by torchrun, or unset RANK to train alone"
    )
    with pytest.raises(TrainingError, match=message):
        vgglass.train(out=tmp_path / "run", console=quiet()[0])
    monkeypatch.setattr(distributed, "RENDEZVOUS_TIMEOUT", timedelta(seconds=1))
    for name, value in zip(distributed.TORCHRUN_VARIABLES, ("2", "1", "2", "127.0.0.1", "9"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=r"rank 1: did not meet the others at 127\.0\.0\.1:9 .*; check that rank 0"):
        vgglass.train(out=tmp_path / "run", console=quiet()[0])


def test_a_rank_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier round left in the store is not taken for it."""
    monkeypatch.setattr(distributed, "RENDEZVOUS_TIMEOUT", timedelta(seconds=1))
    store = dist.HashStore()  # type: ignore[attr-defined]
    store.set("hello/1", "killed")
    with pytest.raises(TrainingError, match="rank 1, 2: did not come to the meeting; see what it said when it was"):
        distributed._common_prefix(store, Share(0, 3), "")


def test_ranks_of_other_versions(tmp_path: Path) -> None:
    def work() -> None:
        if os.environ["RANK"] == "1":
            distributed.__version__ = "0.0.1"  # type: ignore[attr-defined]
        trained(str(tmp_path / "run"), EXACT)

    said = tmp_path / "said"
    assert together(2, work, said) == [1, 1]
    found = rf"rank 1: runs vgglass 0\.0\.1, torch .*, gloo, and rank 0 vgglass {re.escape(vgglass.__version__)}, torch"
    assert len(re.findall(found, said.read_text())) == 2


def test_fewer_gpus_than_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(
        TrainingError, match="4 ranks on this machine: have 2 GPUs, and each needs one; lower --nproc-per-node, or hide"
    ):
        distributed._backend(0, 4)


def test_a_rank_that_goes_is_missed(tmp_path: Path) -> None:
    said = tmp_path / "said"
    options = {"plan": EXACT, "send": "SIGKILL", "to": 1, "at": 3}
    assert together(2, lambda: trained(str(tmp_path / "run"), **options), said) == [1, -9]  # type: ignore[arg-type]
    assert re.search(
        r"rank 0: lost the others \(.*\); torchrun --max-restarts starts them again", said.read_text(), re.DOTALL
    )


def test_a_loss_that_is_not_finite_stops_all(tmp_path: Path) -> None:
    said = tmp_path / "said"
    plan = EXACT | {"learning_rate": 1e6, "warmup_epochs": 0, "precision": "float32"}
    assert together(2, lambda: trained(str(tmp_path / "run"), plan), said) == [1, 1]
    assert (
        len(re.findall(r"rank \d: loss (nan|inf) at step \d+: the first that is not finite is", said.read_text())) == 2
    )
