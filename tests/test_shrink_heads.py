"""Smaller heads: factorised by hand and beside NumPy's decomposition, chosen ranks, a fitted pool, and the command."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glass_subjects import model
from training_runs import quiet
from typed import vgglass
from vgglass import modelfile, workflows
from vgglass.data import sources
from vgglass.errors import DataError, UsageError
from vgglass.model import VGG
from vgglass.modelfile import ModelFile
from vgglass.shrinking import heads


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that tells the digits, with a temperature."""
    out = tmp_path_factory.mktemp("digits") / "run"
    options: dict[str, Any] = {"recipe": "digits", "width": 0.125, "hidden": 64, "epochs": 3, "precision": "float32"}
    path = workflows.train(out=out, console=quiet()[0], **options)
    file = modelfile.load(path)
    calibrated = out / "calibrated.safetensors"
    calibrated_on = dict(file.record.data) | {"calibration": {"digest": "0" * 64}}
    modelfile.save(
        replace(file, record=replace(file.record, temperature=2.0, reject_threshold=0.5, data=calibrated_on)),
        calibrated,
    )
    return calibrated


def with_fc6(file: ModelFile, matrix: list[list[float]], bias: list[float]) -> ModelFile:
    tensors = {"fc6.weight": np.array(matrix, np.float32), "fc6.bias": np.array(bias, np.float32)}
    return replace(file, weights=file.weights | tensors)


def test_a_rank_by_hand() -> None:
    """Of diag(3, 1) the first singular value is 3, in the direction of the first output: rank 1 forgets the second."""
    file = model("A", image_size=32, width=1 / 256, hidden=(2, 4))  # pool5 has 2 channels
    small = heads.factorised(with_fc6(file, [[3, 0], [0, 1]], [5, 6]), (1, 0))
    assert np.allclose(np.abs(small.weights["fc6_1.weight"]), [[3, 0]])
    assert np.allclose(np.abs(small.weights["fc6_2.weight"]), [[1], [0]])
    assert (small.weights["fc6_1.bias"].tolist(), small.weights["fc6_2.bias"].tolist()) == ([0], [5, 6])
    assert np.array_equal(small.weights["fc7.weight"], file.weights["fc7.weight"])
    assert small.record.architecture.ranks == (1, 0)


@pytest.mark.parametrize("shape", [(24, 20), (20, 24)])
def test_truncation_is_numpys(shape: tuple[int, int]) -> None:
    file = model("A_bn", hidden=shape)
    small = heads.factorised(file, (7, 5))
    for name, rank in (("fc6", 7), ("fc7", 5)):
        u, s, v = np.linalg.svd(file.weights[f"{name}.weight"].astype(np.float64), full_matrices=False)
        expected = (u[:, :rank] * s[:rank]) @ v[:rank]
        found = small.weights[f"{name}_2.weight"] @ small.weights[f"{name}_1.weight"]
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
        second = small.weights[f"{name}_2.weight"]
        assert np.allclose(second.T @ second, np.eye(rank), atol=1e-5)


def test_full_rank_is_the_parent() -> None:
    file = model("A-LRN", hidden=(24, 20))
    full = heads.factorised(file, (24, 20))
    scale = np.abs(file.golden_logits).max()
    assert np.abs(full.golden_logits - file.golden_logits).max() <= 1e-5 * scale
    again = heads.factorised(full, (0, 0))  # multiplied out
    assert again.record.architecture == file.record.architecture
    assert np.abs(again.golden_logits - file.golden_logits).max() <= 1e-5 * scale


def test_the_record_of_a_child(trained: Path) -> None:
    parent = modelfile.load(trained)
    child = heads.factorised(parent, (8, 4)).record
    data = {name: value for name, value in parent.record.data.items() if name != "calibration"}
    assert (child.classes, child.preprocessing, child.data) == (
        parent.record.classes, parent.record.preprocessing, data,
    )  # fmt: skip
    assert (child.temperature, child.reject_threshold, child.metrics) == (None, None, {})
    assert child.recipe == {**parent.record.recipe, "shrunk": {"from": parent.record.digest, "ranks": [8, 4]}}


def test_the_least_ranks_keep_the_answers() -> None:
    """fc6 of three directions and fc7 of one: 4 is the least power of two that holds three."""
    file = model("A", hidden=(24, 20))
    generator = np.random.default_rng(0)
    true = {"fc6": 3, "fc7": 1}
    weights = dict(file.weights)
    for name, rank in true.items():
        outputs, inputs = weights[f"{name}.weight"].shape
        pair = generator.normal(size=(outputs, rank)), generator.normal(size=(rank, inputs))
        weights[f"{name}.weight"] = (pair[0] @ pair[1]).astype(np.float32)
    inputs = generator.normal(size=(200, 256)).astype(np.float32)
    assert heads.least_ranks(replace(file, weights=weights), inputs) == (4, 1)
    assert heads.least_ranks(model("A", hidden=(2, 2)), inputs)[1] == 0  # rank 1 of 2x2 saves nothing


@pytest.mark.parametrize("head", ["auto", "pooled"])
def test_the_command_makes_and_judges_a_child(trained: Path, tmp_path: Path, head: str) -> None:
    out, source = tmp_path / "small.safetensors", trained
    if head == "auto":  # fc6 and fc7 have four directions each, as whole matrices
        source = tmp_path / "whole.safetensors"
        modelfile.save(heads.factorised(heads.factorised(modelfile.load(trained), (4, 4)), (0, 0)), source)
    found = json.loads(vgglass("shrink", source, "--head", head, "--out", out, "--json").stdout)
    child, parent = modelfile.load(out), modelfile.load(source)
    assert found["ranks"] == list(child.record.architecture.ranks)
    assert found["child"]["parameters"] == child.record.architecture.parameters < found["parent"]["parameters"]
    assert found["child"]["size"] == pytest.approx(out.stat().st_size, rel=0.05)
    assert (found["comparison"]["split"], found["comparison"]["images"]) == ("test", 360)
    test = sources.digits().split("test")
    right = {}
    for name, file in (("parent", parent), ("child", child)):
        evaluated = workflows.evaluate(file, console=quiet()[0])
        assert evaluated.images == len(test)
        right[name] = evaluated.top1
    assert found["comparison"]["top1"] == pytest.approx([right["parent"], right["child"]])
    assert found["agreement"] > 0.9
    assert all(taken > 0 for taken in found["child"]["milliseconds"].values())
    assert next(workflows.verify(out)).passed
    assert child.record.temperature is None


def test_the_table(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    printed = vgglass("shrink", trained, "--head", 8, "--out", out).stdout
    assert "fc6 of rank 8, fc7 of rank 8 (0: one matrix)" in printed
    assert re.search(r"parameters +[\d,]+ +[\d,]+ +\d+\.\d%", printed)
    assert re.search(r"ms an image, float32 +[\d.]+ +[\d.]+ +[\d.]+× as fast", printed)
    points = r"top-1 is [+-]\d+\.\d\d points \(95 % interval [+-]\d+\.\d\d to [+-]\d+\.\d\d\) on 360 test images;"
    assert re.search(points, printed)
    proved = r"\(McNemar's exact test: p [=<] [\d.]+\)\. This many images prove a difference, four times in five,"
    assert re.search(proved + r" if it is [\d.]+ points or more\. Parent and child agree on \d+\.\d%", printed)


def other_classes(folder: Path) -> Path:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for shade in range(6):
            Image.new("L", (40, 40), 40 * shade + 20 * (name == "dog")).save(folder / name / f"{shade}.png")
    return folder


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("much", "--head much: is neither a rank nor one of auto, pooled; write, say, --head 64"),
        ("-3", "--head -3: is neither a rank nor one of auto, pooled"),
        ("65", "--head 65: fc6 and fc7 of this model both have ranks from 1 to 64; choose one of these, or auto"),
        ("0", "--head 0: fc6 and fc7 of this model both have ranks from 1 to 64"),
    ],
)
def test_ranks_refused(trained: Path, tmp_path: Path, head: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        workflows.shrink(trained, out=tmp_path / "small.safetensors", head=head)


def test_models_and_folders_refused(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    with pytest.raises(UsageError, match=r"--head 8: the model has no fc6 and fc7 to shrink: .* name a model with fc6"):
        workflows.shrink(model("A", head="pooled"), out=out, head="8")
    with pytest.raises(UsageError, match=r"--out small.xml: a model file ends in .safetensors; choose such a name"):
        workflows.shrink(trained, out="small.xml", head="8")
    folder = other_classes(tmp_path / "pets")
    match = (
        r"class '0' of .*pets: the model tells and the folder lacks \(12 such classes of 10 and 2\); name the folder"
    )
    with pytest.raises(DataError, match=match):
        workflows.shrink(trained, folder, out=out, head="8", console=quiet()[0])
    for name in ("cat", "dog"):
        for path in sorted((folder / name).iterdir())[1:]:
            path.unlink()
    with pytest.raises(DataError, match="leaves no validation images"):
        workflows.shrink(trained, folder, out=out, head="8", console=quiet()[0])
    parent = modelfile.load(trained).record
    digits = VGG(replace(parent.architecture, hidden=(1, 1))).to_file(
        parent.classes, parent.preprocessing, data=parent.data
    )
    message = "--head auto: finds no ranks that save multiply-adds and keep the answers .* name a rank, or take pooled"
    with pytest.raises(UsageError, match=message):
        workflows.shrink(digits, out=out, head="auto", console=quiet()[0])
    file = modelfile.load(trained)
    broken = replace(file, weights=file.weights | {"fc6.bias": np.full_like(file.weights["fc6.bias"], np.nan)})
    with pytest.raises(
        UsageError, match=r"the model: fc6.bias: holds 64 numbers that are not finite; the file is damaged"
    ):
        workflows.shrink(broken, out=out, head="8")
    assert not out.exists()
