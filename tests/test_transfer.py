"""Starting from another model: what is kept, what learns, how fast; the cache of features."""

import io
import multiprocessing
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import vgglass
from vgglass import modelfile, workflows
from vgglass.data import sources
from vgglass.data.loader import Batch
from vgglass.data.training_loader import epoch_batches
from vgglass.errors import TrainingError, UsageError
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import Preprocessing
from vgglass.training import checkpoint, feature_cache, recipe, transfer
from vgglass.training import run as runs
from vgglass.training.batches import FeatureBatches, Features
from vgglass.training.checkpoint import Run
from vgglass.training.metrics_log import Display
from vgglass.training.precision import Weights
from vgglass.training.recipe import Recipe

SIZES: dict[str, Any] = {"width": 0.0625, "hidden": 16, "channels": 1, "image_size": 32}
SHORT: dict[str, Any] = {
    "head": "vgg",
    "epochs": 2,
    "batch_size": 256,
    "precision": "float32",
    "clip_norm": 0,
    "balance": "none",
}


def model(classes: int = 5, **values: Any) -> ModelFile:
    torch.manual_seed(7)
    network = VGG(Recipe().override(**SIZES | values).network(classes))
    preprocessing = Preprocessing(
        network.architecture.image_size, network.architecture.image_size, (70.0,), (80.0,), "L"
    )
    return network.to_file(tuple(f"class {index}" for index in range(classes)), preprocessing)


def started(source: ModelFile, classes: tuple[str, ...], **values: Any) -> tuple[VGG, str]:
    torch.manual_seed(0)
    network = VGG(Recipe().override(**SIZES | values).network(len(classes)))
    return network, transfer.load_matching(network, source, classes)


def kept(network: VGG, source: ModelFile) -> set[str]:
    own = network.weights()
    return {
        name.split(".")[0]
        for name, array in source.weights.items()
        if name.endswith("weight") and name in own and np.array_equal(own[name], array)
    }


TWO = ("ants", "bees")


def test_of_the_same_column_all_but_fc8_is_kept() -> None:
    source = model()
    network, line = started(source, TWO)
    assert kept(network, source) >= {"conv1_1", "conv5_2", "fc6", "fc7"}
    assert "fc8" not in kept(network, source)
    assert line == "kept: 8 convolutions of vgg11_bn, fc6 and fc7; new: fc8, for 2 classes"
    assert np.array_equal(network.weights()["bn3_1.running_var"], source.weights["bn3_1.running_var"])


def test_fc8_is_kept_for_the_same_classes() -> None:
    source = model()
    network, line = started(source, source.record.classes)
    assert "fc8" in kept(network, source)
    assert line == "kept: 8 convolutions of vgg11_bn and its whole head"


def test_of_another_size_the_head_is_new() -> None:
    source = model()
    network, line = started(source, TWO, image_size=64)
    assert kept(network, source).isdisjoint({"fc6", "fc7", "fc8"})
    assert line.endswith("new: the whole head (after pool5 there are 2x2 places here, 1x1 there)")
    _, line = started(source, TWO, hidden=8)
    assert line.endswith("new: the whole head (its widths differ)")


def test_deeper_nets_start_from_net_a_as_in_the_paper() -> None:
    """Section 3.1: the first four convolutions and the fully connected layers."""
    source = model(architecture="A")
    network, line = started(source, source.record.classes, architecture="D")
    assert kept(network, source) == {"conv1_1", "conv2_1", "fc6", "fc7", "fc8"}  # A has no conv1_2 and conv2_2
    assert line == "kept: 2 convolutions of vgg11 and its whole head"
    from_b, line = started(model(architecture="B"), TWO, architecture="D")
    assert line == "kept: 4 convolutions of vgg13, fc6 and fc7; new: fc8, for 2 classes"
    assert len(kept(from_b, model(architecture="B"))) == 6


def test_nothing_that_fits_is_said() -> None:
    with pytest.raises(UsageError, match="--from vgg11_bn: no convolution of vgg11_bn has the shape of one of its"):
        started(model(), TWO, width=0.125)


def test_of_another_column_only_all_can_learn() -> None:
    """The first four convolutions are kept; those after them would stay as chance drew them."""
    plan, source = Recipe().override(**SIZES, architecture="D"), model(architecture="B")
    transfer.require_pretrained(plan.override(train="all"), plan.network(2), source)
    with pytest.raises(UsageError, match="--train head: would hold conv3_1 as chance drew it; start --from a model of"):
        transfer.require_pretrained(plan.override(train="head"), plan.network(2), source)
    transfer.require_pretrained(
        plan.override(train="head", architecture="B"), plan.override(architecture="B").network(2), source
    )


def test_what_learns_and_how_fast() -> None:
    network = VGG(Recipe().override(**SIZES).network(2))
    plan = Recipe().override(train="last-block", block_decay=0.5)
    transfer.freeze(network, plan)
    learning = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning == {"conv5_1", "bn5_1", "conv5_2", "bn5_2", "fc6", "fc7", "fc8"}
    transfer.freeze_batch_norm(network.train(), plan)
    assert not network.get_submodule("bn4_2").training
    assert network.get_submodule("bn5_1").training
    names = {"conv1_1.weight": 0.5**5, "conv5_2.bias": 0.5, "fc6.weight": 1, "fc8.bias": 1}
    assert {name: transfer.rate_multiplier(name, plan) for name in names} == names
    transfer.freeze(network, plan.override(train="all"))
    groups = runs.make_optimizer(Weights(network, "float32", 0), plan).param_groups
    assert sorted({group["share"] for group in groups}) == [0.5**5, 0.5**4, 0.5**3, 0.25, 0.5, 1]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    modelfile.save(model(), tmp_path / "source.safetensors")
    return tmp_path / "source.safetensors"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def train(out: Path, source: Path, **options: Any) -> tuple[ModelFile, str]:
    text = io.StringIO()
    best = vgglass.train(out=out, source=source, console=Console(file=text, width=400), **SHORT | options)
    return modelfile.load(best.with_name("last.safetensors")), text.getvalue()


@pytest.mark.usefixtures("cache")
def test_the_head_alone_learns_and_the_model_is_whole(source: Path, tmp_path: Path) -> None:
    given = modelfile.load(source)
    found, said = train(tmp_path / "run", source)
    assert "computing pool5 of 1,257 images, once" in said
    for name, array in found.weights.items():
        same = name in given.weights and np.array_equal(array, given.weights[name])
        assert same == (not name.startswith("fc")), name
    assert found.record.preprocessing.mean == given.record.preprocessing.mean
    assert found.record.recipe["from"] == {"model": str(source), "digest": given.record.digest}


@pytest.mark.usefixtures("cache")
def test_features_give_the_weights_that_images_would(source: Path, tmp_path: Path) -> None:
    """The head on cached features against the head behind frozen convolutions, from the same seed."""
    cached, _ = train(tmp_path / "cached", source, dropout=0)
    data, plan = sources.digits(), recipe.read("transfer").override(**SHORT, **SIZES, dropout=0)
    given = modelfile.load(source)
    torch.manual_seed(0)
    network = VGG(plan.network(10))
    transfer.load_matching(network, given, data.classes)
    begun = checkpoint.read_run(tmp_path / "cached")
    assert list(begun.factors) == ["fc8"]  # fc6 and fc7 are kept
    transfer.scale_weights(network, "fc8", begun.factors["fc8"])
    transfer.freeze(network, plan)
    optimizer = runs.make_optimizer(Weights(network, "float32", 0), plan, transfer.from_json(begun.scales))
    preprocessing = cached.record.preprocessing
    samples, extract = (
        data.split("train"),
        workflows.features(network.to_file(data.classes, preprocessing), "torch", "float32", "pool5"),
    )
    from vgglass.data.loader import evaluation_batches
    from vgglass.training.loop import learning_rate

    (batch,) = evaluation_batches(samples, preprocessing, len(samples))
    maps, labels = torch.from_numpy(extract(batch.images)), torch.from_numpy(batch.labels)
    step = 0
    for epoch in range(2):
        for indices in epoch_batches(len(samples), 256, 0, epoch, None):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(plan, step, 5) * group["unit"]
            optimizer.zero_grad()
            logits = network.train().after("pool5", maps[indices])
            loss = torch.nn.functional.cross_entropy(logits, labels[indices], label_smoothing=0.1)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
    for name in ("fc6.weight", "fc8.bias"):
        expected = network.get_parameter(name).detach().numpy()
        assert np.abs(cached.weights[name] - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("engine", ["openvino", pytest.param("onnxruntime", marks=pytest.mark.slow)])
def test_features_of_any_engine_teach_the_same(source: Path, cache: Path, tmp_path: Path, engine: str) -> None:
    expected, _ = train(tmp_path / "torch", source, feature_engine="torch", dropout=0)
    found, said = train(tmp_path / engine, source, feature_engine=engine, dropout=0)
    assert "computing pool5 of 1,257 images" in said  # not those that torch left in the cache
    assert len(list(cache.iterdir())) == 4
    for name, array in expected.weights.items():
        assert np.abs(found.weights[name] - array).max() <= 1e-4 * np.abs(array).max()
    assert checkpoint.read_run(tmp_path / engine).feature_engine == engine


def test_features_are_computed_once(source: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path / "one", source)
    files = sorted(cache.iterdir())
    assert len(files) == 2  # training and validation images
    monkeypatch.setattr(sys.modules["vgglass.workflows.train"], "features", None)  # nobody asks for it
    _, said = train(tmp_path / "two", source, seed=1, hidden=16)
    assert "computing" not in said
    assert sorted(cache.iterdir()) == files
    monkeypatch.undo()
    monkeypatch.setenv("VGGLASS_CACHE", str(cache.parent))
    _, said = train(tmp_path / "three", source, feature_views=2, augmentation="shift")
    assert said.count("computing pool5 of 1,257 images") == 2
    assert len(list(cache.iterdir())) == 4


def flipped(content: bytes) -> bytes:
    """One bit of one number."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-100],
    "zeroed": lambda content: bytes(len(content)),
    "zeroed after its head": lambda content: content[:128] + bytes(len(content) - 128),
    "random": lambda content: os.urandom(len(content)),
    "longer": lambda content: content + b"more",
    "flipped": flipped,
    "another shape": lambda content: content.replace(b"(8, ", b"(4, ").replace(b", 1, 1)", b", 2, 1)"),
}
SHAPE = (8, 16, 1, 1)


def written(path: Path) -> bytes:
    maps = np.arange(64, dtype=np.float32).reshape(4, 16, 1, 1)
    batches = iter([Batch(np.zeros((4, 32, 32, 1), np.uint8), np.zeros(4, np.int64))] * 2)
    feature_cache._write(path, SHAPE, batches, lambda images: maps, lambda count: None)
    return path.read_bytes()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_features_that_are_not_as_they_were_written_are_told(damage: Callable[[bytes], bytes], cache: Path) -> None:
    path = cache / f"one{feature_cache.SUFFIX}"
    content = written(path)
    assert feature_cache._is_whole(path, SHAPE)
    assert np.load(path).shape == SHAPE  # for whoever looks at it with NumPy alone
    path.write_bytes(damage(content))
    assert not feature_cache._is_whole(path, SHAPE)


def test_features_of_others_under_this_name_are_told(cache: Path) -> None:
    one, other = cache / f"one{feature_cache.SUFFIX}", cache / f"other{feature_cache.SUFFIX}"
    written(one)
    one.rename(other)
    assert not feature_cache._is_whole(other, SHAPE)


def test_damaged_features_are_computed_again(source: Path, cache: Path, tmp_path: Path) -> None:
    best, _ = train(tmp_path / "one", source)
    whole = {path: path.read_bytes() for path in cache.iterdir()}
    for path, content in whole.items():
        path.write_bytes(flipped(content))
    again, said = train(tmp_path / "two", source)
    assert said.replace("\n", " ").count("is damaged: what it held is computed again") == 2
    assert {path: path.read_bytes() for path in cache.iterdir()} == whole
    assert again.record.digest == best.record.digest


@pytest.mark.usefixtures("cache")
def test_views_take_turns(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    whole = feature_cache.Cache.training

    def counted(cache: feature_cache.Cache, samples: Any, view: int) -> Any:
        array = whole(cache, samples, view)
        seen.append(view)
        return np.zeros_like(array) + view

    monkeypatch.setattr(feature_cache.Cache, "training", counted)
    fed: list[float] = []
    after = VGG.after

    def watched(network: VGG, name: str, x: torch.Tensor) -> torch.Tensor:
        if network.training:
            fed.append(float(x.mean()))
        return after(network, name, x)

    monkeypatch.setattr(VGG, "after", watched)
    train(tmp_path / "run", source, feature_views=2, augmentation="shift", epochs=3, batch_size=1257)
    assert seen == [0, 1]
    assert fed == [0, 1, 0]


def test_features_are_drawn_as_images_would_be() -> None:
    """From the middle of an epoch on as well, and by the sampler's weights."""
    maps, labels = np.arange(40, dtype=np.float32).reshape(40, 1, 1, 1), np.arange(40)
    weights = np.array([1.0] * 20 + [0.0] * 20)
    features = Features([maps], labels)
    for chosen in (None, weights):
        feed = FeatureBatches(features, features, 8, 3, chosen, torch.device("cpu"), torch.float32)
        expected = [part.tolist() for part in epoch_batches(40, 8, 3, 1, chosen)]
        assert [found.tolist() for _, found in feed.training(1, 0)] == expected
        assert [x.flatten().tolist() for x, _ in feed.training(1, 2)] == expected[2:]


def test_the_cache_is_bounded(source: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1257 * 32 * 4 + 128  # one training file; those of validation are a seventh
    monkeypatch.setattr(feature_cache, "LARGEST", 2 * size)
    for seed in range(3):
        train(tmp_path / str(seed), source, feature_views=1, augmentation="shift", seed=seed)
        assert sum(path.stat().st_size for path in cache.iterdir()) <= 2 * size
    assert len(list(cache.iterdir())) >= 2
    monkeypatch.setattr(feature_cache, "LARGEST", 1000)
    message = r"the features of 1,257 images take 160\.9 kB: and the cache holds 1\.0 kB; take smaller"
    with pytest.raises(TrainingError, match=message):
        train(tmp_path / "large", source, seed=9, feature_views=1, augmentation="shift")


def test_what_a_killed_run_left_half_written_makes_room(cache: Path) -> None:
    cache.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, live = (cache / f".key.features.npy.{pid}.1.tmp" for pid in (ended.pid, os.getpid()))
    left.touch()
    live.touch()
    feature_cache._make_room(cache, 0)
    assert list(cache.iterdir()) == [live]


def test_features_know_what_has_no_weights() -> None:
    """A and A-LRN have the same tensors and put out other features."""
    run = SimpleNamespace(preprocessing={}, feature_engine="torch", feature_precision="float32")
    display = Display(Console(file=io.StringIO()))
    plain, normalised = (
        feature_cache.Cache(model(architecture=name), cast("Run", run), workflows.features, 0, display)
        for name in ("A", "A-LRN")
    )
    assert plain._about["weights"] == normalised._about["weights"]
    assert plain._about != normalised._about


def test_a_full_disk_is_said_while_features_are_written(cache: Path) -> None:
    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # as a disk with 10 kB left
        batches = iter([Batch(np.zeros((4, 32, 32, 1), np.uint8), np.zeros(4, np.int64))] * 2)
        path = cache / f"key{feature_cache.SUFFIX}"
        message = r"of 8 images take 16\.4 kB and could not be written \(File too large\); free space"
        with pytest.raises(TrainingError, match=message):
            feature_cache._write(
                path, (8, 512, 1, 1), batches, lambda images: np.zeros((4, 512, 1, 1), np.float32), print
            )

    process = multiprocessing.get_context("fork").Process(target=fill)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert list(cache.iterdir()) == []


def test_the_last_block_learns_and_what_lies_below_stays(source: Path, tmp_path: Path) -> None:
    """The running statistics of its batch norm too."""
    found, _ = train(tmp_path / "run", source, train="last-block", epochs=1)
    given = modelfile.load(source)
    moved = {
        name.split(".")[0]
        for name, array in found.weights.items()
        if not name.startswith("fc8") and not np.array_equal(array, given.weights[name])
    }
    assert moved == {"conv5_1", "bn5_1", "conv5_2", "bn5_2", "fc6", "fc7"}


@pytest.mark.usefixtures("cache")
def test_a_run_that_was_killed_before_its_first_checkpoint_needs_its_source(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(out, source)
    for path in (out / "checkpoints").iterdir():
        path.unlink()
    text = io.StringIO()
    vgglass.train(out=out, resume=True, console=Console(file=text, width=400))
    assert "kept: 8 convolutions" in text.getvalue()
    (path,) = (out / "checkpoints").glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # the only one, damaged where its header does not show it
    path.write_bytes(content)
    text = io.StringIO()
    vgglass.train(out=out, resume=True, console=Console(file=text, width=400))
    assert "kept: 8 convolutions" in text.getvalue()
    (path,) = (out / "checkpoints").glob("*.safetensors")
    path.unlink()
    modelfile.save(model(classes=7), source)
    with pytest.raises(TrainingError, match="is no longer the model that the run began with; put it back"):
        vgglass.train(out=out, resume=True, console=Console(file=io.StringIO()))


def test_photographs_from_a_model_of_digits_are_refused(source: Path, tmp_path: Path) -> None:
    for name in TWO:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(4):
            Image.effect_noise((40, 40), 30 + index).save(tmp_path / "photos" / name / f"{index}.png")
    text = io.StringIO()
    best = vgglass.train(
        tmp_path / "photos", out=tmp_path / "run", source=source, train="all", epochs=1, batch_size=4,
        console=Console(file=text, width=400),
    )  # fmt: skip
    assert modelfile.load_record(best).architecture.channels == 1  # grey, as the model that it started from
    assert "kept: 8 convolutions" in text.getvalue()
