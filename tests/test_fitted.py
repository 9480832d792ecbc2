"""Transfer from one end to the other: a small network trained on the digits plays the pretrained model.

As it is, and with its weights scaled so that its activations are twenty times smaller: nothing may hang on that.
"""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import vgglass
from vgglass import drift, modelfile, workflows
from vgglass.architecture import Architecture
from vgglass.data import sources
from vgglass.errors import ModelFileError, TrainingError, UsageError
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import Preprocessing
from vgglass.training import checkpoint, transfer
from vgglass.training.plan import measure_statistics
from vgglass.training.recipe import Recipe

SMALLER = 20.0
TRAIN = [sys.executable, "-m", "vgglass", "train"]
Fitted = dict[str, tuple[ModelFile, str]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def in_its_own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGGLASS_CACHE", str(cache))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the digits as files: 300 to learn from, 100 to validate on, 100 to judge by."""
    root, data = tmp_path_factory.mktemp("digits"), sources.digits()
    parts = {"train": ("train", 0, 300), "val": ("train", 300, 400), "test": ("test", 0, 100)}
    for part, (split, first, last) in parts.items():
        for sample in data.split(split)[first:last]:
            path = root / part / data.classes[sample.label] / f"{sample.id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert isinstance(sample.source, np.ndarray)
            Image.fromarray(sample.source[..., 0]).save(path)
    return root


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Column A without batch norm, trained on the digits by the paper lab's recipe for a few epochs."""
    out = tmp_path_factory.mktemp("pretrained")
    options: dict[str, Any] = {"width": 0.125, "hidden": 64, "channels": 1, "image_size": 32, "augmentation": "shift"}
    vgglass.train(out=out / "run", recipe="columns", epochs=10, console=Console(quiet=True), **options)
    (out / "run" / "best.safetensors").rename(out / "as-it-is.safetensors")
    modelfile.save(scaled(modelfile.load(out / "as-it-is.safetensors")), out / "smaller.safetensors")
    return out


def scaled(model: ModelFile) -> ModelFile:
    """The same network, every activation of its convolutions SMALLER times smaller."""
    weights = {name: array.copy() for name, array in model.weights.items()}
    weights["conv1_1.weight"] /= SMALLER
    for name in weights:
        if name.startswith("conv") and name.endswith("bias"):
            weights[name] /= SMALLER
    weights["fc6.weight"] *= SMALLER
    return replace(model, weights=weights, mapped=None)


def train(data: Path, out: Path, source: Path, **options: Any) -> tuple[ModelFile, str]:
    text = io.StringIO()
    best = vgglass.train(data, out=out, source=source, console=Console(file=text, width=400), **options)
    return modelfile.load(best), text.getvalue()


@pytest.fixture(scope="module")
def fitted(folder: Path, pretrained: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """By origin, the model of a run that says nothing but --from, and what it printed."""
    out = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VGGLASS_CACHE", str(cache))
        return {name: train(folder, out / name, pretrained / f"{name}.safetensors") for name in ("as-it-is", "smaller")}


@pytest.mark.parametrize("origin", ["as-it-is", "smaller"])
def test_nothing_but_from_gives_a_good_head(fitted: Fitted, origin: str) -> None:
    model, said = fitted[origin]
    metrics = model.record.metrics
    assert metrics["cross_validation"]["top1"] > 0.95  # 0.967 to 0.99, by the machine that trained the source
    assert metrics["validation"]["top1"] > 0.95
    assert metrics["test"]["top1"] > 0.94  # 0.95 on a CPU with AVX2 alone
    assert f"cross-validated accuracy {metrics['cross_validation']['top1']:.4f}" in said
    assert model.record.architecture.head == "pooled"
    assert set(model.weights) == set(model.record.architecture.tensors())
    assert model.record.data["selected_on"] == "train"


def test_a_fitted_head_tells_what_is_unfamiliar(fitted: Fitted, folder: Path, tmp_path: Path) -> None:
    model, _ = fitted["smaller"]
    about = model.record.familiarity
    assert (about["false_alarm_rate"], about["images"], about["judged_on"]) == (0.05, 300, "out of fold")
    modelfile.save(model, tmp_path / "m.safetensors")
    alarms = workflows.evaluate(tmp_path / "m.safetensors", folder, split="test").familiar
    assert alarms is not None
    assert alarms.share < 0.15, "5 % on average; this much in none of a hundred draws"
    calibrated = workflows.calibrate(tmp_path / "m.safetensors", folder, split="validation")
    assert (calibrated.familiarity["images"], calibrated.familiarity["judged_on"]) == (100, "validation")


def test_a_fitted_head_has_a_training_record_of_what_it_sees(fitted: Fitted, folder: Path, tmp_path: Path) -> None:
    """Of the validation images, as the predictor sees them: of those there is no change."""
    model, _ = fitted["smaller"]
    record = drift.attached(model)
    assert record is not None
    modelfile.save(model, tmp_path / "m.safetensors")
    seen = workflows.predict(tmp_path / "m.safetensors", [folder / "val"], top=1, precision="float32")
    assert record.images == len(seen) == 100
    for name in ("brightness", "sharpness", "distance"):
        given = sorted(getattr(row, name) for row in seen)
        assert record.values[name] == pytest.approx(given, rel=0.03, abs=1e-5), name  # features may be bfloat16's
    assert record.values["probability"] == pytest.approx(sorted(row.top[0][1] for row in seen), abs=0.02)
    likeliest = [model.record.classes.index(row.top[0][0]) for row in seen]
    assert record.answers.tolist() == np.bincount(likeliest, minlength=10).tolist()


def test_the_scale_of_the_weights_changes_nothing(fitted: Fitted) -> None:
    one, other = (fitted[name][0] for name in ("as-it-is", "smaller"))
    assert other.record.metrics["cross_validation"]["penalty"] == one.record.metrics["cross_validation"]["penalty"]
    assert other.record.metrics["test"]["top1"] == pytest.approx(one.record.metrics["test"]["top1"], abs=0.01)
    assert np.allclose(other.weights["fc8.weight"] / SMALLER, one.weights["fc8.weight"], rtol=0.05, atol=0.05)


def test_the_convolutions_are_the_models_own(fitted: Fitted, pretrained: Path) -> None:
    given = modelfile.load(pretrained / "as-it-is.safetensors")
    for name, array in fitted["as-it-is"][0].weights.items():
        assert name.startswith("fc8") or np.array_equal(array, given.weights[name])


def test_the_file_is_judged_as_the_fit_was(folder: Path, fitted: Fitted) -> None:
    """An ordinary network: evaluated by an engine on the digits it gives the figure that the run printed."""
    model, _ = fitted["as-it-is"]
    evaluation = workflows.evaluate(model, folder, split="test", console=Console(quiet=True))
    assert evaluation.top1 == pytest.approx(model.record.metrics["test"]["top1"], abs=1 / 100 + 1e-9)
    assert evaluation.used_for == ""  # neither test nor validation chose anything
    assert workflows.evaluate(model, folder, split="validation", console=Console(quiet=True)).used_for == ""


def test_again_it_takes_the_features_and_gives_the_same_bits(
    folder: Path, fitted: Fitted, pretrained: Path, tmp_path: Path
) -> None:
    model, said = fitted["as-it-is"]
    assert "computing features of 300 images, once" in said
    again, said = train(folder, tmp_path / "run", pretrained / "as-it-is.safetensors")
    assert "computing" not in said
    assert all((again.weights[name] == array).all() for name, array in model.weights.items())


def test_views_are_further_samples(folder: Path, pretrained: Path, tmp_path: Path) -> None:
    source = pretrained / "as-it-is.safetensors"
    model, said = train(folder, tmp_path / "run", source, feature_views=1, augmentation="shift")
    assert said.count("computing features of 300 images") == 1
    assert model.record.metrics["cross_validation"]["images"] == 300
    again, said = train(folder, tmp_path / "again", source, feature_views=1, augmentation="shift", seed=1)
    assert "computing features of 300 images" in said  # drawn otherwise
    assert not np.array_equal(again.weights["fc8.weight"], model.weights["fc8.weight"])


@pytest.mark.slow
def test_a_killed_fit_goes_on_and_gives_the_same_bits(
    folder: Path, fitted: Fitted, pretrained: Path, tmp_path: Path
) -> None:
    out, cache = tmp_path / "run", tmp_path / "cache"
    command = [*TRAIN, str(folder), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--from", str(pretrained / "as-it-is.safetensors")], env=os.environ | {"VGGLASS_CACHE": str(cache)}
    )
    began = time.monotonic()
    while not list(cache.glob("features/*")) and time.monotonic() - began < 120:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "best.safetensors").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VGGLASS_CACHE", str(cache))
        best = vgglass.train(out=out, resume=True, console=Console(quiet=True))
        with pytest.raises(TrainingError, match="has finished with its head fitted; there is nothing to resume"):
            vgglass.train(out=out, resume=True, console=Console(quiet=True))
    expected = fitted["as-it-is"][0].weights
    assert all((array == expected[name]).all() for name, array in modelfile.load(best).weights.items())


@pytest.mark.slow
def test_a_signal_keeps_the_features(folder: Path, pretrained: Path, tmp_path: Path) -> None:
    out, cache = tmp_path / "run", tmp_path / "cache"
    process = subprocess.Popen(
        [*TRAIN, str(folder), "--out", str(out), "--from", str(pretrained / "smaller.safetensors")],
        env=os.environ | {"VGGLASS_CACHE": str(cache)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    began = time.monotonic()
    while not list(cache.glob("features/*")) and time.monotonic() - began < 120:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "the features computed so far are kept; go on with: vgglass train --out" in " ".join(said.split())


# Convolutions that learn.


def scales_of(out: Path) -> dict[str, transfer.Scale]:
    return transfer.from_json(checkpoint.read_run(out).scales)


def test_fine_tuning_begins_with_the_fitted_head_and_keeps_it_where_it_is_no_better(
    folder: Path, pretrained: Path, fitted: Fitted, tmp_path: Path
) -> None:
    source = pretrained / "as-it-is.safetensors"
    options = {"train": "last-block", "epochs": 1, "augmentation": "none"}
    model, said = train(folder, tmp_path / "still", source, learning_rate=1e-30, **options)
    assert "fitted: logistic regression" in said
    assert "before the first epoch: validation accuracy" in said
    assert model.record.metrics["epoch"] == 0
    for name, array in fitted["as-it-is"][0].weights.items():
        assert np.allclose(model.weights[name], array, rtol=1e-4, atol=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("part", ["last-block", "all"])
def test_fine_tuning_goes_the_same_way_from_weights_of_any_scale(
    folder: Path, pretrained: Path, tmp_path: Path, part: str
) -> None:
    """Rates in each layer's own units: the losses of a run from the scaled weights are those of the other."""
    losses = []
    for origin in ("as-it-is", "smaller"):
        out = tmp_path / origin
        options = {"train": part, "epochs": 2, "precision": "float32", "augmentation": "none", "patience": 0}
        train(folder, out, pretrained / f"{origin}.safetensors", learning_rate=0.01, **options)
        losses.append([json.loads(line)["train_loss"] for line in (out / "metrics.jsonl").read_text().splitlines()])
        assert losses[-1][1] < losses[-1][0]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    one, other = (scales_of(tmp_path / origin) for origin in ("as-it-is", "smaller"))
    assert one["conv5_2"].output_rms == pytest.approx(SMALLER * other["conv5_2"].output_rms, rel=1e-3)


PRODUCT = list(product(["as-it-is", "smaller"], ["head", "last-block", "all"], [32, 64]))
QUICK = [("smaller", "head", 32), ("smaller", "all", 32)]


@pytest.mark.parametrize(
    ("origin", "part", "image_size"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in PRODUCT if case not in QUICK)],
)
def test_the_papers_head_starts_from_weights_of_any_scale(
    folder: Path, pretrained: Path, tmp_path: Path, origin: str, part: str, image_size: int
) -> None:
    """Fresh layers give deviation 1 whatever arrives at them, and the loss of the first epochs falls."""
    out = tmp_path / "run"
    options = {"head": "vgg", "hidden": 32, "train": part, "image_size": image_size, "epochs": 3, "patience": 0}
    train(folder, out, pretrained / f"{origin}.safetensors", precision="float32", augmentation="none", **options)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert rows[0]["train_loss"] < 5  # not the 10^20 of a head that explodes
    scales = scales_of(out)
    assert 0.3 < scales["fc7"].input_rms < 1.5  # what ReLU leaves of deviation 1
    assert 0.9 < scales["fc6"].output_rms < 2


def test_a_model_goes_on_with_its_own_head(folder: Path, fitted: Fitted, tmp_path: Path) -> None:
    modelfile.save(fitted["as-it-is"][0], tmp_path / "mine.safetensors")
    options = {"train": "last-block", "epochs": 1, "precision": "float32"}
    _, said = train(folder, tmp_path / "run", tmp_path / "mine.safetensors", **options)
    assert "fitted:" not in said
    assert "kept: 8 convolutions of vgg11 and its whole head" in said


# What can't be fitted, in a person's words.


def photographs(root: Path, counts: dict[str, int], *, alike: bool = False) -> Path:
    generator = np.random.default_rng(0)
    for part in ("train", "val"):
        for name, count in counts.items():
            (root / part / name).mkdir(parents=True)
            for index in range(count if part == "train" else 1):
                pixels = np.full((32, 32), 128) if alike else generator.integers(0, 256, (32, 32))
                pixels = pixels.astype(np.uint8)
                pixels[0, 0] = index if alike else 0
                Image.fromarray(pixels).save(root / part / name / f"{index}.png")
    return root


def test_a_class_of_one_image_is_said_and_fitted(pretrained: Path, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "data", {"ants": 8, "bees": 8, "wasps": 1})
    text = io.StringIO()
    best = vgglass.train(
        folder, out=tmp_path / "run", source=pretrained / "as-it-is.safetensors", console=Console(file=text, width=400)
    )
    assert "a single training image of wasps: it is fitted, but cross-validation can't judge it" in text.getvalue()
    assert "will not tell what is unfamiliar to it: class 'wasps': has 1 training image, and what" in text.getvalue()
    assert not modelfile.load_record(best).familiarity
    assert modelfile.load_record(best).metrics["cross_validation"]["images"] == 17


def test_one_image_a_class_leaves_nothing_to_cross_validate(pretrained: Path, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "data", {"ants": 1, "bees": 1})
    text = io.StringIO()
    best = vgglass.train(
        folder, out=tmp_path / "run", source=pretrained / "as-it-is.safetensors", console=Console(file=text, width=400)
    )
    assert "no class has two different images, so nothing could be cross-validated" in text.getvalue()
    assert "cross_validation" not in modelfile.load_record(best).metrics


def test_images_that_are_all_alike_are_refused(pretrained: Path, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "data", {"ants": 3, "bees": 3}, alike=True)
    for path in folder.rglob("*.png"):
        Image.new("L", (32, 32), 128).save(path)
    with pytest.raises(TrainingError, match="are the same: to this network all images look alike"):
        vgglass.train(
            folder, out=tmp_path / "run", source=pretrained / "as-it-is.safetensors", console=Console(quiet=True)
        )


def test_weights_that_are_not_finite_are_refused(folder: Path, pretrained: Path, tmp_path: Path) -> None:
    model = modelfile.load(pretrained / "as-it-is.safetensors")
    weights = {name: array.copy() for name, array in model.weights.items()}
    weights["conv3_1.bias"][3] = np.nan
    model = replace(model, weights=weights, mapped=None)
    modelfile.save(model, tmp_path / "nan.safetensors")
    with pytest.raises(
        ModelFileError, match=r"nan\.safetensors: conv3_1\.bias holds numbers that are infinite or not a"
    ):
        train(folder, tmp_path / "run", tmp_path / "nan.safetensors")
    with pytest.raises(UsageError, match=r"--from: conv3_1.bias: holds 1 numbers that are not finite; the file is dam"):
        vgglass.train(folder, out=tmp_path / "run", source=model, console=Console(quiet=True))


def dead(model: ModelFile) -> ModelFile:
    weights = {name: array.copy() for name, array in model.weights.items()}
    weights["conv5_2.bias"][:] = -1e6
    return replace(model, weights=weights, mapped=None)


def test_convolutions_that_answer_to_nothing_are_refused(folder: Path, pretrained: Path, tmp_path: Path) -> None:
    modelfile.save(dead(modelfile.load(pretrained / "as-it-is.safetensors")), tmp_path / "dead.safetensors")
    with pytest.raises(TrainingError, match="are all zero: no image excites the last convolution"):
        train(folder, tmp_path / "run", tmp_path / "dead.safetensors")


def test_a_pooled_head_needs_a_model_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--train head: would hold conv1_1 as chance drew it; start --from a model"):
        vgglass.train(out=tmp_path / "run", recipe="transfer", console=Console(quiet=True))


# Scales by hand.


def test_scales_are_root_mean_squares_and_rates_their_squares() -> None:
    torch.manual_seed(0)
    network = VGG(Architecture.named("A", classes=3, channels=1, image_size=32, width=1 / 16, head="pooled")).eval()
    images = 50 * torch.randn(4, 1, 32, 32)
    found = transfer.scales(network, images)
    conv = network.get_submodule("conv1_1")(images)
    assert found["conv1_1"].input_rms == pytest.approx(float(images.square().mean().sqrt()))
    assert found["conv1_1"].output_rms == pytest.approx(float(conv.detach().square().mean().sqrt()))
    assert found["fc8"].output_rms == 1
    assert transfer.Scale(2, 6).of("weight", "conv") == 9
    assert transfer.Scale(2, 6).of("bias", "conv") == 36
    assert transfer.Scale(2, 6).of("weight", "batchnorm") == 36
    assert transfer.from_json(json.loads(json.dumps(transfer.as_json(found)))) == found


def test_fresh_layers_give_deviation_one_in_order() -> None:
    torch.manual_seed(0)
    network = VGG(Architecture.named("A", classes=5, image_size=32, width=1 / 16, hidden=64)).eval()
    pool5 = 400 * torch.rand(8, 32, 1, 1)
    before = network.get_parameter("fc6.weight").clone()
    factors = transfer.unit_variance(network, ["fc6", "fc7", "fc8"], pool5)
    given = {step.name: float(step.output.detach().std()) for step in network.walk_after("pool5", pool5)}
    assert [given[name] for name in ("fc6", "fc7", "fc8")] == pytest.approx([1, 1, 1], rel=1e-4)
    assert torch.equal(network.get_parameter("fc6.weight"), before * factors["fc6"])


def test_small_photographs_are_not_enlarged_to_be_cropped() -> None:
    samples = sources.digits().split("train")
    plan = Recipe(image_size=128, channels=1)
    assert measure_statistics(samples, plan, None)[0].resize == 128
    large = [replace(sample, source=np.zeros((300, 200, 1), np.uint8)) for sample in samples[:3]]
    assert measure_statistics(large, plan, None)[0].resize == 146
    assert Preprocessing(128, 146, (0.0,), (1.0,), "L").resize == 146
