"""The record of how a network learns: what it holds, and that the network learns the same with and without it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training_runs import QUICK, quiet
from typed import vgglass
from vgglass import learning, workflows
from vgglass.data.training_loader import batch_sizes
from vgglass.errors import TrainingError, UsageError
from vgglass.learning import Learning, Point
from vgglass.training import recording

OPTIONS: dict[str, Any] = QUICK | {"recipe": "digits", "momentum": 0.8, "seed": 3}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 steps, recorded."""
    out = tmp_path_factory.mktemp("watched") / "run"
    workflows.train(out=out, watch=True, console=quiet()[0], **OPTIONS)
    return out


def test_the_weights_are_the_same_to_the_bit_with_and_without_it(watched: Path, tmp_path: Path) -> None:
    workflows.train(out=tmp_path / "run", console=quiet()[0], **OPTIONS)
    assert not Learning(tmp_path / "run").exists()
    for name in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (watched / name).read_bytes()


def test_points_are_spaced_by_their_logarithm() -> None:
    assert recording.due(1000, 4) == [0, 1, 10, 100, 1000]
    assert recording.due(1) == [0, 1]
    assert len(recording.due(40)) - 1 <= recording.FEWEST
    assert len(recording.due(10**6)) - 1 <= recording.MOST


def test_every_step_has_its_loss_and_the_points_are_there(watched: Path) -> None:
    place = Learning(watched)
    rows = [json.loads(line) for line in (watched / "metrics.jsonl").read_text().splitlines()]
    assert place.steps() == recording.due(40)
    assert place.losses().shape == (40, 2)
    sizes = np.array(batch_sizes(1257, 64))
    first = place.losses()[:20]
    assert float((first[:, 0] * sizes).sum() / 1257) == pytest.approx(rows[0]["train_loss"], rel=1e-6)
    assert float((first[:, 1] * sizes).sum() / 1257) == pytest.approx(rows[0]["train_accuracy"], rel=1e-6)


def test_before_the_first_step_the_loss_is_that_of_guessing(watched: Path) -> None:
    first = Learning(watched).point(0)
    assert first.numbers["validation"]["loss"] == pytest.approx(math.log(10), abs=0.05)
    assert "update" not in first.numbers
    assert first.arrays["probabilities"].sum(1) == pytest.approx(1, abs=1e-6)


def test_the_last_point_is_the_network_that_was_saved(watched: Path) -> None:
    place, model = Learning(watched), workflows.load(watched / "last.safetensors")
    last, pinned = place.point(40), place.pinned()
    assert np.array_equal(last.arrays["kernels"], model.weights["conv1_1.weight"])
    run = workflows.engine(model, engine="torch", precision="float32")
    logits = torch.from_numpy(run(pinned["pixels"])).double()
    assert last.arrays["probabilities"] == pytest.approx(logits.softmax(1).numpy(), abs=1e-5)
    assert pinned["labels"].tolist() == list(range(10)) == place.about()["pinned"]
    confusion = last.arrays["confusion"]
    judged = place.about()["judged"]
    assert confusion.sum() == judged == 64
    assert np.trace(confusion) / judged == pytest.approx(last.numbers["validation"]["accuracy"])


def test_one_weight_moves_as_its_arithmetic_says(watched: Path) -> None:
    """SGD with Nesterov's momentum: v = μ v₀ + (g + λ w); w' = w − η (g + λ w + μ v)."""
    place, moved = Learning(watched), 0
    for step in place.steps()[1:]:
        found = place.point(step).numbers["update"]
        slope = found["gradient"] + found["decay"] * found["weight"]
        velocity = found["momentum"] * found["before"] + slope
        assert found["velocity"] == pytest.approx(velocity, rel=1e-5, abs=1e-9)
        after = found["weight"] - found["rate"] * (slope + found["momentum"] * velocity)
        assert found["after"] == pytest.approx(after, rel=1e-5, abs=1e-8)
        moved += found["after"] != found["weight"]
    assert found["nesterov"] is True
    assert moved > 3


def test_maps_are_levels_of_their_own_largest_number() -> None:
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0] = torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 2], [0, 0, -4, -4], [0, 0, -4, -4]])
    found, ends = recording.levels(maps, 2)
    assert ends.tolist() == [[4, 0]]
    assert found[0].tolist() == [[[32, 64], [0, -127]], [[0, 0], [0, 0]]]


def test_a_longer_run_goes_on_with_its_record_and_drops_what_no_checkpoint_knows(watched: Path, tmp_path: Path) -> None:
    """As after a kill between a point and the next checkpoint."""
    import shutil

    out = shutil.copytree(watched, tmp_path / "run")
    place = Learning(out)
    shutil.copy(place.path(40), place.path(41))
    with (place.folder / learning.LOSSES).open("ab") as file:
        file.write(b"\0" * 13)
    workflows.train(out=out, resume=True, epochs=3, console=quiet()[0])
    kept = [step for step in recording.due(40) if step <= 40]
    later = [step for step in recording.due(60) if step > 40]
    assert place.steps() == kept + later
    assert place.steps()[-1] == place.about()["steps"] == len(place.losses()) == 60


def test_the_record_stays_below_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "LARGEST", 200_000)
    workflows.train(out=tmp_path / "run", watch=True, console=quiet()[0], **OPTIONS | {"epochs": 1})
    place = Learning(tmp_path / "run")
    assert 100_000 < place.size() <= 200_000
    assert 2 <= len(place.steps()) < len(recording.due(20))


def test_a_frozen_network_is_not_watched(watched: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--watch: records convolutions that learn, and here they are frozen; leave"):
        workflows.train(
            out=tmp_path / "run", source=watched / "best.safetensors", train="head", watch=True, console=quiet()[0]
        )
    assert not (tmp_path / "run").exists()


def test_what_is_no_record_is_refused(watched: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no record of its learning; train it with --watch"):
        Learning(tmp_path).about()
    place = Learning(tmp_path)
    place.begin({}, {"pixels": np.zeros(1, np.uint8)})
    place.write(Point(3, {"loss": None}, {"kernels": np.ones((2, 3), np.float32)}))
    assert place.point(3).numbers == {"loss": None}
    place.path(3).write_bytes(place.path(3).read_bytes()[:-3])
    with pytest.raises(TrainingError, match=r"point-0000003.safetensors: can't be read .*; train again with --watch"):
        place.point(3)
    (place.folder / learning.RECORD).write_text("{")
    with pytest.raises(TrainingError, match="is damaged"):
        place.about()


@pytest.mark.parametrize("activation", ["sigmoid", "none"])
def test_a_network_without_relu_leaves_a_record_and_no_model_file(activation: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    workflows.train(out=out, watch=True, activation=activation, console=quiet()[0], **OPTIONS | {"epochs": 1})
    place = Learning(out)
    assert place.about()["activation"] == activation
    assert not list(out.glob("*.safetensors"))
    levels = place.point(20).arrays["maps0"]
    assert (levels.min() < 0) == (activation == "none")
    workflows.train(out=out, resume=True, epochs=2, console=quiet()[0])
    assert place.steps()[-1] == 40
    assert not list(out.glob("*.safetensors"))


def test_a_run_that_diverges_leaves_its_record(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="training diverged"):
        workflows.train(
            out=tmp_path / "run", watch=True, console=quiet()[0],
            **OPTIONS | {"learning_rate": 1e30, "warmup_epochs": 0, "architecture": "vgg11"},
        )  # fmt: skip
    assert Learning(tmp_path / "run").steps()[:2] == [0, 1]


def test_the_command_records_where_that_is_asked_for(tmp_path: Path) -> None:
    options = ("--epochs", 1, "--set", "width=0.0625", "--set", "hidden=8", "--batch-size", 300)
    vgglass("train", "--out", tmp_path / "run", "--watch", *options)
    assert Learning(tmp_path / "run").steps() == [0, 1, 2, 3, 4, 5]
