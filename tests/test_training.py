"""Recipes, the loop, checkpoints and the figures of a model, on the real digits."""

import io
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import accuracy_score, top_k_accuracy_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

import vgglass
from vgglass import api, figures, modelfile
from vgglass.data import balance, digits, manifest
from vgglass.data.mix import mix
from vgglass.engines.openvino import compile_model
from vgglass.errors import ModelFileError, TrainingError, UsageError
from vgglass.evaluation import metrics
from vgglass.lettering import unwritable
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing
from vgglass.training import checkpoint, diagnosis, memory, recipe
from vgglass.training import run as runs
from vgglass.training.checkpoint import Progress
from vgglass.training.display import Display
from vgglass.training.feeds import ImageFeed
from vgglass.training.interruption import Interruption
from vgglass.training.journal import Journal
from vgglass.training.keeper import Keeper
from vgglass.training.loop import Trainer
from vgglass.training.recipe import Recipe
from vgglass.training.schedule import learning_rate
from vgglass.training.weights import Weights

QUICK: dict[str, Any] = {
    "width": 0.0625, "hidden": 16, "epochs": 2, "batch_size": 64, "precision": "float32",
}  # fmt: skip


def quiet() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=400), text


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
    assert record.data["manifest"] == manifest.digest(digits.load())
    assert manifest.digest(manifest.read(run / "manifest.parquet")) == record.data["manifest"]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(run: Path, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    again = vgglass.train(out=tmp_path / "a", console=quiet()[0], **QUICK).with_name("last.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert same(again, run / "last.safetensors")
    other = vgglass.train(out=tmp_path / "b", console=quiet()[0], **QUICK | {"seed": 1}).with_name("last.safetensors")
    assert not same(other, run / "last.safetensors")


def test_what_a_run_refuses(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds a run already; use --resume, --overwrite or another --out"):
        vgglass.train(out=run)
    with pytest.raises(TrainingError, match="has finished after 2 epochs; there is nothing to resume"):
        vgglass.train(out=run, resume=True)
    with pytest.raises(UsageError, match="--resume: goes on with the run's own recipe"):
        vgglass.train(out=run, resume=True, epochs=5)
    with pytest.raises(UsageError, match="--resume: goes on with the run's own recipe; leave the other options out"):
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
    data = digits.load()
    first, *rest = data.split("validation")
    renamed = replace(data.split("train")[0], id="another name")
    changed = (
        replace(data, splits=data.splits | {"validation": tuple(rest)}),
        replace(data, splits=data.splits | {"train": (renamed, *data.split("train")[1:])}),
        replace(data, splits=data.splits | {"validation": (*rest, first)}),
    )
    assert runs.identity(replace(data, name="elsewhere")) == runs.identity(data)
    assert all(runs.identity(other) != runs.identity(data) for other in changed)
    record = json.loads((run / checkpoint.RUN).read_text())
    assert record["digest"] == runs.identity(data)


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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epochs": "many"}, "recipe field epochs='many': must be int"),
        ({"epochs": 0}, "epochs 0: must be 1 or more"),
        ({"batch_size": 1.5}, "recipe field batch_size=1.5: must be int"),
        ({"nesterov": "maybe"}, "recipe field nesterov='maybe': must be bool"),
        ({"learning_rate": -1}, "learning rate -1.0: must be 0 or more"),
        (
            {"augmentation": "wild"},
            "augmentation 'wild': must be one of none, flip, shift, shift-flip, crop-flip, paper",
        ),
        ({"lerning_rate": 1}, "recipe field 'lerning_rate': not one of architecture"),
        ({"momentum": 1}, "momentum 1.0: must be at least 0 and below 1"),
        ({"architecture": "vgg99"}, "architecture 'vgg99': not one of A, A-LRN"),
    ],
)
def test_recipe_errors(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe().override(**overrides)


def test_recipes_are_read_by_name_and_path(tmp_path: Path) -> None:
    assert recipe.names() == ["digits", "fashion-mnist", "finetune", "modern", "paper"]
    assert recipe.read("digits").channels == 1
    path = tmp_path / "mine.toml"
    path.write_text('architecture = "vgg13"\nlearning_rate = 1\n')
    assert recipe.read(str(path)) == replace(Recipe(), architecture="vgg13", learning_rate=1.0)
    assert Recipe().override(nesterov="false", epochs="7") == replace(Recipe(), nesterov=False, epochs=7)
    with pytest.raises(UsageError, match=r"recipe 'nothing': no such file; name a \.toml file, or one of digits"):
        recipe.read("nothing")
    path.write_text("epochs = = 1")
    with pytest.raises(UsageError, match="can't be read"):
        recipe.read(str(path))


@pytest.mark.parametrize("name", recipe.names())
def test_shipped_recipes_fit_together_and_say_what_they_give(name: str) -> None:
    assert recipe.read(name).network(10).classes == 10
    head = (Path(recipe.__file__).parents[1] / "recipes" / f"{name}.toml").read_text().split("\n\n")[0]
    assert all(f"# {word}" in head for word in ("Command:", "Hardware:", "Result:"))


def test_learning_rate_warms_up_and_falls() -> None:
    plan = Recipe(epochs=10, warmup_epochs=2, learning_rate=0.1)
    rates = [learning_rate(plan, step, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.005)
    assert rates[19] == pytest.approx(0.1)
    assert rates[60] == pytest.approx(0.05)  # half of the cosine
    assert rates[99] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 79 / 80)))


def test_other_schedules() -> None:
    line = Recipe(epochs=10, warmup_epochs=2, learning_rate=0.1, schedule="linear")
    assert [learning_rate(line, step, 10) for step in (19, 20, 60, 99)] == pytest.approx([0.1, 0.1, 0.05, 0.1 / 80])
    plateau = replace(line, schedule="plateau")
    assert learning_rate(plateau, 4, 10, drops=3) == pytest.approx(0.025)  # warming up still
    assert learning_rate(plateau, 50, 10, drops=2) == pytest.approx(0.001)


def test_weight_decay_spares_biases_and_norms() -> None:
    network = VGG(Recipe(image_size=32, width=0.1).network(2))
    decayed, spared = runs.make_optimizer(Weights(network, "float32", 0), Recipe()).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (5e-4, 0)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert all(
        names[id(parameter)].split(".")[0][:2] in ("co", "fc") and names[id(parameter)].endswith("weight")
        for parameter in decayed["params"]
    )
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def trainer(**overrides: Any) -> tuple[Trainer, io.StringIO]:
    """A run of the digits before its first step."""
    console, text = quiet()
    display, data = Display(console), digits.load()
    plan = recipe.read("digits").override(**QUICK | overrides)
    run, _ = runs.settle(plan, data, None, None)
    conduct = runs.Conduct(checkpoint.Cadence("1h"))
    network, weights = runs.build(run, None, display)
    feed = runs.make_feed(data, run, weights, conduct, api.pool5, display)
    keeper = Keeper(Path("nowhere"), conduct.cadence, 2, Interruption())
    optimizer = runs.make_optimizer(weights, plan)
    return runs.make_trainer(run, network, weights, optimizer, feed, data, display, keeper, Progress()), text


def one_epoch(trainer: Trainer) -> dict[str, Any]:
    with trainer.display.run(trainer.steps, 0):
        return trainer.epoch()


WHOLE = {
    "epochs": 1,
    "augmentation": "none",
    "batch_size": 1257,
    "dropout": 0,
    "warmup_epochs": 0,
    "label_smoothing": 0,
}


def test_first_step_is_plain_sgd() -> None:
    """One step of the loop, nesterov and decay included, against the formula written out."""
    one, _ = trainer(**WHOLE)
    before = {name: value.detach().clone() for name, value in one.network.named_parameters()}
    images, labels = next(iter(one.feed.training(0, 0)))
    loss = torch.nn.functional.cross_entropy(one.network.train()(images), labels)
    names = [name for name, _ in one.network.named_parameters()]
    slopes = dict(zip(names, torch.autograd.grad(loss, list(one.network.parameters())), strict=True))
    assert one_epoch(one)["train_loss"] == pytest.approx(loss.item(), rel=1e-4)
    slope = slopes["fc8.weight"] + 5e-4 * before["fc8.weight"]
    expected = before["fc8.weight"] - one.recipe.learning_rate * (slope + 0.9 * slope)
    assert torch.allclose(one.network.get_parameter("fc8.weight"), expected, atol=1e-6)


def test_a_step_in_parts_is_the_step_as_a_whole() -> None:
    """Without batch norm, whose statistics are those of the part."""
    found = []
    for parts in (1, 5):
        one, _ = trainer(architecture="vgg11", accumulate=parts, **WHOLE)
        row = one_epoch(one)
        found.append((row["train_loss"], row["train_accuracy"], one.network.get_parameter("fc8.weight").detach()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1] == found[1][1]
    assert torch.allclose(found[0][2], found[1][2], atol=1e-6)


def test_clipping_bounds_the_gradient() -> None:
    one, _ = trainer(clip_norm=1e-3, weight_decay=0, momentum=0, learning_rate=1, **WHOLE)
    before = {name: value.detach().clone() for name, value in one.network.named_parameters()}
    one_epoch(one)
    moved = sum(float((value.detach() - before[name]).square().sum()) for name, value in one.network.named_parameters())
    assert math.sqrt(moved) == pytest.approx(1e-3, rel=1e-3)


def test_a_step_of_mixed_images() -> None:
    one, _ = trainer(**WHOLE | {"augmentation": "strong"})
    images, targets = mix(*next(iter(one.feed.training(0, 0))), 10, 0, 0, 0)
    expected = torch.nn.functional.cross_entropy(one.network.train()(images), targets).item()
    assert one_epoch(one)["train_loss"] == pytest.approx(expected, rel=1e-4)


def test_class_weights_are_those_of_the_loss() -> None:
    one, _ = trainer(balance="weights", **WHOLE)
    images = balance.counts(digits.load().split("train"), 10)
    assert one.class_weights is not None
    assert one.class_weights.tolist() == pytest.approx(balance.class_weights(images))
    one.class_weights = torch.arange(10.0)
    batch, labels = next(iter(one.feed.training(0, 0)))
    logits = one.network.train()(batch)
    expected = (torch.nn.functional.cross_entropy(logits, labels, reduction="none") * labels).mean().item()
    assert one_epoch(one)["train_loss"] == pytest.approx(expected, rel=1e-4)


def test_the_sampler_draws_by_class() -> None:
    one, _ = trainer(balance="sampler")
    assert isinstance(one.feed, ImageFeed)
    samples = digits.load().split("train")
    assert one.feed.loader.weights is not None
    assert np.array_equal(one.feed.loader.weights, balance.sample_weights(samples, balance.counts(samples, 10)))


def test_a_step_is_seeded_and_rated_by_its_place() -> None:
    """Dropout hangs on the seed and the step alone; a block takes its share of the rate."""
    one, _ = trainer(seed=3, block_decay=0.5, **WHOLE | {"epochs": 2, "batch_size": 1000})
    row = one_epoch(one)
    assert torch.initial_seed() == (3 << 32) + 1
    assert 0 < row["waited"] < 1
    groups = one.optimizer.param_groups
    assert {group["share"] for group in groups} == {1, 0.5, 0.25, 0.125, 0.0625, 0.03125}
    assert all(group["lr"] == pytest.approx(row["learning_rate"] * group["share"]) for group in groups)


def test_the_average_is_what_is_validated() -> None:
    one, _ = trainer(ema=0.9)
    before = one.network.get_parameter("fc8.bias").detach().clone()
    one.weights.average["fc8.bias"][3] = 1e6
    threes = np.mean([sample.label == 3 for sample in digits.load().split("validation")])
    assert one.validate()["validation_accuracy"] == pytest.approx(threes)
    assert torch.equal(one.network.get_parameter("fc8.bias"), before)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    """Also where the loss of the step before was still a number."""
    one, _ = trainer()
    one.keeper.out = tmp_path
    with torch.no_grad():
        one.weights.masters["fc8.bias"][0] = math.nan
    message = "fc8.bias after epoch 0, step 0: is not finite; training diverged; .* good checkpoint: none yet"
    with pytest.raises(TrainingError, match=message):
        one.keeper.save(one, keep=2)
    assert list(tmp_path.iterdir()) == []


def test_a_run_keeps_to_its_threads_and_gives_them_back() -> None:
    data = digits.load()
    record, _ = runs.settle(recipe.read("digits").override(**QUICK), data, None, None)
    before = torch.get_num_threads()
    assert record.threads == before
    with runs._own_randomness(replace(record, threads=before + 1)):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_dead_channels_and_waiting_are_said_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "DEAD_SHARE", 0.0)
    monkeypatch.setattr(diagnosis, "STALL_SHARE", 0.0)
    console, text = quiet()
    vgglass.train(out=tmp_path / "run", console=console, **QUICK | {"epochs": 1, "batch_size": 512})
    assert "dead ReLUs, zero on all images" in text.getvalue()
    assert "of the time the steps waited for data" in text.getvalue()


def test_curves_in_tensorboard_outlive_a_kill(tmp_path: Path) -> None:
    """A resumed run does not write the rows before its checkpoint again."""
    row = {"epoch": 1} | {
        f"{split}_{name}": 0.5 for split in ("train", "validation") for name in ("loss", "accuracy")
    }  # fmt: skip
    journal = Journal(tmp_path, 0)
    journal.write(row, last=False)
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in found.Scalars("accuracy/validation")] == [0.5]


def test_a_network_that_does_not_start_is_named() -> None:
    shallow, deep = recipe.read("digits").network(10), Recipe(architecture="vgg16").network(10)
    said = diagnosis.stuck(299, 1000, [math.log(10)] * 50, shallow)
    assert "after 300 steps the loss is 2.303, and guessing gives ln(10) = 2.303" in said
    assert said.endswith("What helps: more epochs, longer warm-up, another learning rate.")
    assert diagnosis.stuck(48, 49, [math.log(10)] * 49, deep) == ""  # too short a run to judge
    assert (
        "What helps: batch norm (an architecture ending in _bn: a deep VGG without it often never starts), fewer layers"
        in diagnosis.stuck(299, 1000, [math.log(10)] * 50, deep)
    )
    assert diagnosis.stuck(299, 1000, [1.5] * 50, shallow) == ""
    assert diagnosis.stuck(298, 1000, [math.log(10)] * 50, shallow) == ""


def test_the_run_says_that_it_does_not_start(tmp_path: Path) -> None:
    console, text = quiet()
    stuck = {"learning_rate": 0, "epochs": 3, "batch_size": 64, "label_smoothing": 0}
    vgglass.train(out=tmp_path / "run", console=console, **QUICK | stuck)
    assert text.getvalue().count("The network has not started to learn") == 1


def test_where_a_number_stopped_being_one() -> None:
    torch.manual_seed(0)
    network = VGG(recipe.read("digits").override(width=0.0625, hidden=8, architecture="vgg11").network(10))
    images = torch.randn(2, 1, 32, 32)

    def place() -> str:
        return diagnosis.first_bad_layer(network, network.walk(images), images)

    assert place() == "the loss, of logits that are finite"
    with torch.no_grad():
        network.get_parameter("fc7.bias")[3] = math.inf
        assert place() == "fc7's bias"
        network.get_parameter("conv3_1.weight")[0] = 3e38
        assert place() == "the output of conv3_1"
        images[0] = math.nan
        assert place() == "the input"


def test_dead_channels_are_counted() -> None:
    torch.manual_seed(0)
    network = VGG(recipe.read("digits").override(width=0.0625, hidden=8, architecture="vgg11").network(10)).eval()
    with torch.no_grad():
        network.get_parameter("conv1_1.bias")[1] = -1e6  # one of four
        network.get_parameter("fc6.bias")[:] = -1e6
        network.get_parameter("fc7.bias")[:] = 1.0
    dead = diagnosis.dead_channels(network.walk(torch.randn(5, 1, 32, 32)))
    assert dead["relu1_1"] == 0.25
    assert dead["relu6"] == 1.0
    assert "relu7" not in dead
    said = diagnosis.dying(dead)
    assert "dead ReLUs, zero on all images that were looked at: " in said
    assert "relu6 100% of the channels" in said
    assert "relu1_1" not in said
    assert diagnosis.dying({"relu1_1": 0.49}) == ""


def test_waiting_for_data_is_said() -> None:
    assert diagnosis.stalled(0.24) == ""
    assert diagnosis.stalled(0.4).startswith("40% of the time the steps waited for data. What helps: more --workers")


def test_hopeless_first_logits_are_named() -> None:
    wrong, _ = trainer(architecture="E", initialisation="paper", width=0.5, hidden=256)
    images, _ = next(iter(wrong.feed.training(0, 0)))
    assert diagnosis.hopeless(wrong.network, images, "paper").startswith("the first logits reach")
    fine, _ = trainer()
    assert diagnosis.hopeless(fine.network, images, "glorot") == ""
    assert not fine.network.get_buffer("bn1_1.running_mean").any()  # looking changed nothing


def test_epochs_that_are_no_better() -> None:
    one, _ = trainer(epochs=9, schedule="plateau", plateau_epochs=2, patience=4)
    accuracies = [0.5, 0.6, 0.6, 0.55, 0.6, 0.5, 0.9]
    found = []
    for accuracy in accuracies:
        best = one.finish_epoch(accuracy)
        found.append((best, one.progress.rate_drops, one.progress.finished))
    assert found[:6] == [
        (True, 0, False), (True, 0, False), (False, 0, False), (False, 1, False), (False, 1, False), (False, 2, True)
    ]  # fmt: skip
    assert one.progress.best_epoch == 7


def test_paper_initialisation_is_fed_0_to_255() -> None:
    record, _ = runs.measure(digits.load().split("train"), recipe.read("digits").override(initialisation="paper"), None)
    assert record.std == (1.0,)
    assert 70 < record.mean[0] < 85


@pytest.mark.parametrize("name", ["A", "A-LRN", "C_bn"])
def test_openvino_gives_torchs_logits(name: str) -> None:
    torch.manual_seed(0)
    plan = recipe.read("digits").override(architecture=name, width=0.25, channels=3)
    network = VGG(plan.network(4)).eval()
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point() and value.ndim == 1:
                value.uniform_(0.5, 1.5)
    colour = Preprocessing(32, 32, (100.0, 110.0, 120.0), (50.0, 60.0, 70.0), "BGR")
    file = network.to_file(("a", "b", "c", "d"), colour)
    found = compile_model(file)(file.golden_images)
    assert np.abs(found - file.golden_logits).max() <= 1e-4 * np.abs(file.golden_logits).max()


def test_metrics_are_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(300, 8)).astype(np.float32)
    labels = generator.integers(0, 7, 300)  # class 7 never occurs
    found = metrics.evaluate(logits, labels, tuple("abcdefgh"), "test", "")
    assert found.top1 == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    assert found.top5 == pytest.approx(top_k_accuracy_score(labels, logits, k=5, labels=range(8)))
    assert found.confusion.sum() == 300
    assert found.confusion[7].sum() == 0
    assert found.per_class[7].images == 0
    by_hand = metrics.evaluate(
        np.array([[2, 1], [0, 1], [3, 0], [1, 1]], np.float32), np.array([0, 0, 1, 1]), ("x", "y"), "all", ""
    )
    assert by_hand.top1 == 0.25  # the tie of the last goes to x
    assert by_hand.top5 is None
    assert by_hand.confusion.tolist() == [[1, 1], [2, 0]]
    assert by_hand.per_class[0].precision == pytest.approx(1 / 3)


def test_evaluation_says_what_its_images_were_used_for(run: Path) -> None:
    best = run / "best.safetensors"
    assert api.evaluate(best).used_for == ""
    assert api.evaluate(best, split="validation").used_for == "selection"
    assert api.evaluate(best, split="train").used_for == "training"
    assert api.evaluate(best, split="all").used_for == "training"


def test_class_names_without_a_font_are_numbered_and_said(tmp_path: Path) -> None:
    names = ("ant", "\U0001f41d")  # no font of matplotlib's has the bee
    if not unwritable(names):
        pytest.skip("this machine has a font for emoji")
    said = figures.confusion(np.eye(2, dtype=np.int64), names, "t", tmp_path / "c.png")
    assert said
    assert "classes are numbered" in said[0]
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_loading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"nothing.safetensors: No such file or directory; check the path"):
        vgglass.load(tmp_path / "nothing.safetensors")
