"""fc6 and fc7 of widths of their own, and as products of two matrices, wherever layers are walked."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glass_subjects import CLASSES, model, photograph
from sizes import sized
from training_runs import quiet
from typed import vgglass
from vgglass import glass, modelfile, weights, workflows
from vgglass.architecture import Architecture
from vgglass.engines import NAMES
from vgglass.errors import UsageError, WeightsError
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.preprocess import normalise
from vgglass.training import transfer
from vgglass.training.recipe import Recipe

FACTORISED: dict[str, Any] = {"hidden": (24, 20), "ranks": (5, 3)}


def test_the_layers_of_a_factorised_head() -> None:
    """A at 70 pixels, an eighth of the width: pool5 is 2x2 of 64 channels."""
    options: dict[str, Any] = {"classes": 10, "channels": 1, "image_size": 70, "width": 1 / 8}
    network = Architecture.named("A", **options, hidden=(20, 12), ranks=(5, 3))
    layers = network.layers()
    head = layers[[layer.name for layer in layers].index("pool5") + 1 :]
    names = "fc6_1 fc6_2 relu6 drop6 fc7_1 fc7_2 relu7 drop7 fc8 prob"
    assert " ".join(layer.name for layer in head) == names
    shapes = {layer.name: (layer.tensors["weight"], layer.kernel) for layer in head if layer.kind == "linear"}
    assert shapes == {
        "fc6_1": ((5, 256), 2), "fc6_2": ((20, 5), 1), "fc7_1": ((3, 20), 1), "fc7_2": ((12, 3), 1),
        "fc8": ((10, 12), 1),
    }  # fmt: skip
    assert sum(layer.multiply_adds for layer in head) == 5 * 256 + 20 * 5 + 3 * 20 + 12 * 3 + 10 * 12
    assert sum(layer.parameters for layer in head) == 5 * 257 + 20 * 6 + 3 * 21 + 12 * 4 + 10 * 13
    whole = Architecture.named("A", **options, hidden=20)
    assert {layer.receptive_field for layer in head} == {whole.layer("fc6").receptive_field}
    assert (network.head_layer, network.embedding) == ("fc6_1", "fc7_2")
    assert network.fully_connected == ("fc6_1", "fc6_2", "fc7_1", "fc7_2", "fc8")
    half = replace(network, ranks=(0, 3))
    assert (half.head_layer, half.embedding, half.fully_connected[0]) == ("fc6", "fc7_2", "fc6")
    pooled = replace(network, head="pooled")
    assert (pooled.hidden, pooled.ranks, pooled.fully_connected) == ((0, 0), (0, 0), ("fc8",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"ranks": (21, 0)},
            "rank 21 of fc6: a matrix of 512 inputs and 20 outputs has at most 20; choose that or less",
        ),
        ({"ranks": (0, 13)}, "rank 13 of fc7: a matrix of 20 inputs and 12 outputs has at most 12"),
        ({"ranks": (-1, 0)}, "rank -1 of fc6: .* 0 is one matrix, not factorised"),
        ({"hidden": (20, 0)}, "fc7 of 0 outputs: fc6 and fc7 need outputs; 4096 is the paper's"),
    ],
)
def test_every_shapes_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Architecture.named("A", image_size=32, **({"hidden": (20, 12)} | options))


@st.composite
def networks(draw: st.DrawFn) -> ModelFile:
    column = draw(st.sampled_from(["A", "A-LRN", "B", "C"]))
    count = len(Architecture.named(column).widths)
    widths = tuple(draw(st.lists(st.integers(1, 6), min_size=count, max_size=count)))
    size = draw(st.sampled_from([32, 64, 70]))
    hidden = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    inputs = widths[-1] * (size // 32) ** 2
    ranks = draw(st.integers(0, min(inputs, hidden[0]))), draw(st.integers(0, min(hidden)))
    head = draw(st.sampled_from(["vgg", "vgg", "vgg", "pooled"]))
    name = column + draw(st.sampled_from(["", "_bn"]))
    return model(name, draw(st.integers(0, 9)), size, widths=widths, hidden=hidden, ranks=ranks, head=head)


@settings(max_examples=sized(15, 300))
@given(networks())
def test_every_runtime_gives_the_same_logits(file: ModelFile) -> None:
    network, images = VGG.from_file(file), file.golden_images
    with torch.inference_mode():
        batch = torch.from_numpy(normalise(images, file.record.preprocessing))
        found = {"forward": network(batch), "dense": network.dense(batch)[:, :, 0, 0]}
        found["walk"] = list(network.walk(batch))[-1].input
    answers = {name: logits.numpy() for name, logits in found.items()}
    for engine in ("openvino", "onnxruntime"):
        answers[engine] = workflows.engine(file, engine, "float32")(images)
    scale = np.abs(file.golden_logits).max()
    for name, logits in answers.items():
        assert np.abs(logits - file.golden_logits).max() <= 1e-4 * scale, name
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        record = modelfile.save(file, path)
        loaded = modelfile.load(path)
        assert loaded.record == record
        assert loaded.record.architecture == file.record.architecture
        assert all(np.array_equal(loaded.weights[name], array) for name, array in file.weights.items())


@pytest.mark.parametrize("engine", NAMES)
def test_the_embedding_is_what_relu7_takes(engine: str) -> None:
    file = model("A_bn", **FACTORISED)
    with torch.inference_mode():
        batch = torch.from_numpy(normalise(file.golden_images, file.record.preprocessing))
        expected = next(step.input for step in VGG.from_file(file).walk(batch) if step.name == "relu7").numpy()
    assert file.record.architecture.embedding == "fc7_2"
    found = workflows.engine(file, engine, "float32", output="fc7_2")(file.golden_images)
    assert found.shape == (4, 20)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    with pytest.raises(UsageError, match=r"layer 'fc7': vgg11_bn has fc7_\d"):
        workflows.engine(file, engine, output="fc7")


def test_the_glass_sees_through_both_factors() -> None:
    here = glass.open_subject(model("A", **FACTORISED), photograph())
    for name in ("fc6_1", "fc6_2", "fc7_1", "fc7_2"):
        assert glass.step(here, name, 2).agrees
        assert len(glass.rank(here, name)) == here.layer(name).output_shape[0]
    both = glass.both_ways(here)
    assert (both.layer, both.connected.shape, both.weights.shape) == ("fc6_1", (5,), (5, 256))
    assert both.largest_difference <= 1e-5 * both.largest_output
    assert glass.score_map(here).logits.shape[0] == len(CLASSES)
    with pytest.raises(UsageError, match="layer fc7_1: has no map for Grad-CAM to weigh; choose a layer before fc6_1"):
        glass.attribute(here, "gradcam", layer="fc7_1")


def test_commands_show_both_factors(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    modelfile.save(model("A", **FACTORISED), path)
    assert re.search(r"fc6_2 +.* 1×1×24 +144 +120", vgglass("summary", path).stdout)
    checks = vgglass("verify", path).stdout
    assert "openvino" in checks
    exported = tmp_path / "small.onnx"
    vgglass("export", "--model", path, exported)
    assert "fc6_1" in exported.read_bytes().decode(errors="ignore")


@pytest.mark.parametrize("family", weights.FAMILIES)
def test_no_other_framework_has_factors(tmp_path: Path, family: str) -> None:
    file = model("vgg16", image_size=224, **FACTORISED)
    message = (
        rf"head factorised to ranks 5 and 3: has two matrices for one, and {family}'s fc6 and fc7 are a matrix each"
    )
    with pytest.raises(WeightsError, match=message):
        weights.to_foreign(file, tmp_path / f"model{weights.families.SUFFIXES[family][0]}", family)


def test_other_frameworks_with_two_widths(tmp_path: Path) -> None:
    file = model("vgg16", image_size=224, hidden=(24, 20))
    for family, name in (("torchvision", "model.pth"), ("keras", "model.weights.h5")):
        weights.to_foreign(file, tmp_path / name, family)
        back = weights.from_foreign(tmp_path / name, file.record.classes, preprocessing="torchvision")
        assert back.record.architecture.hidden == (24, 20)
        assert all(np.array_equal(back.weights[name], array) for name, array in file.weights.items())
    message = (
        "fc6 and fc7 of 24 and 20 outputs: timm's head has as many outputs in fc6 as in fc7; keep the vgglass file"
    )
    with pytest.raises(WeightsError, match=message):
        weights.to_foreign(file, tmp_path / "timm.pth", "timm")


def test_training_goes_on_from_a_factorised_model(tmp_path: Path) -> None:
    """Its shape is taken over; the layers are trained by steps, and kept where they fit."""
    source = model("A", image_size=32, channels=1, width=1 / 16, hidden=(16, 12), ranks=(4, 2))
    path = tmp_path / "source.safetensors"
    modelfile.save(source, path)
    console, printed = quiet()
    found = workflows.train(
        out=tmp_path / "run", source=path, console=console, epochs=1, batch_size=256, precision="float32",
        head="vgg", train="head",
    )  # fmt: skip
    record = workflows.load(found).record
    assert (record.architecture.hidden, record.architecture.ranks) == ((16, 12), (4, 2))
    assert record.recipe["ranks"] == [4, 2]
    assert (
        "kept: 8 convolutions of vgg11, fc6_1, fc6_2, fc7_1 and fc7_2; new: fc8, for 10 classes" in printed.getvalue()
    )


def test_a_head_of_other_ranks_is_new() -> None:
    source = model("A", image_size=32, **FACTORISED)
    network = VGG(replace(source.record.architecture, ranks=(0, 3)))
    line = transfer.load_matching(network, source, source.record.classes)
    assert line.endswith("new: the whole head (its ranks differ)")


@pytest.mark.parametrize(
    ("given", "expected"),
    [(512, (512, 512)), ("512", (512, 512)), ("512, 256", (512, 256)), ([512], (512, 512)), ((512, 256), (512, 256))],
)
def test_a_recipes_width_is_one_number_or_two(given: object, expected: tuple[int, int]) -> None:
    plan = Recipe().override(hidden=given)
    assert plan.hidden == expected == plan.network(10).hidden
    assert Recipe(**plan.as_json()) == plan


@pytest.mark.parametrize("given", ["512,256,128", "many", -1, ()])
def test_other_numbers_of_widths(given: object) -> None:
    message = "must be a whole number for fc6 and fc7, or one for each, separated by a comma; its default is"
    with pytest.raises(UsageError, match=message):
        Recipe().override(hidden=given)
