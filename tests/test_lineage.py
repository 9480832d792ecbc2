"""A shrunk network beside its parent: whose channels are whose, and what those did that were removed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glass_subjects import every_other, model, photograph, shrunk
from typed import vgglass
from vgglass import glass, lineage, modelfile, workflows
from vgglass.errors import ModelFileError, UsageError
from vgglass.glass.parent import Comparison, compare, counterpart, parent_subject
from vgglass.modelfile import ModelFile
from vgglass.shrinking.channels import widths


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lineage")
    parent = model("A")
    modelfile.save(parent, folder / "parent.safetensors")
    child = shrunk(parent, every_other(parent), str(folder / "parent.safetensors"))
    modelfile.save(child, folder / "child.safetensors")
    Image.fromarray(photograph()).save(folder / "photo.png")
    return folder


@pytest.fixture(scope="module")
def parent(folder: Path) -> ModelFile:
    return modelfile.load(folder / "parent.safetensors")


@pytest.fixture(scope="module")
def child(folder: Path) -> ModelFile:
    return modelfile.load(folder / "child.safetensors")


def compared(child: ModelFile, parent: ModelFile, target: int = 1) -> Comparison:
    here = glass.open_subject(child, photograph())
    return compare(here, parent_subject(here, parent), target, [layer.name for layer in here.layers])


def test_each_channel_is_found_in_the_parent(child: ModelFile, parent: ModelFile) -> None:
    kin = lineage.kin(child.record, parent.record)
    assert list(kin) == [layer.name for layer in child.record.architecture.layers()]
    for name in ("conv1_1", "relu1_1", "pool1"):
        assert kin[name] == lineage.Kin(name, (1, 3, 5, 7), (0, 2, 4, 6))
    assert kin["drop6"].kept == tuple(range(1, 24, 2))
    assert kin["fc8"] == lineage.Kin("fc8", tuple(range(7)), ())


def test_a_factored_child_has_its_parents_outputs() -> None:
    """fc6 as two matrices after shrinking: the second has fc6's outputs, the first has nothing of the parent's."""
    parent = model("A")
    record = replace(parent.record, digest="p" * 64)
    gone = {"fc6": list(range(12))}
    factored = model("A", hidden=(12, 24), ranks=(4, 0)).record
    kin = lineage.kin(replace(factored, recipe={"shrunk": {"from": "p" * 64, "removed": gone}}), record)
    assert "fc6_1" not in kin
    assert kin["fc6_2"] == lineage.Kin("fc6", tuple(range(12, 24)), tuple(range(12)))
    assert kin["relu6"].kept == tuple(range(12, 24))
    same = replace(factored, recipe={"shrunk": {"from": factored.digest}})
    assert lineage.kin(same, factored)["fc6_1"] == lineage.Kin("fc6_1", tuple(range(4)), ())


def test_a_child_with_another_head_has_its_parents_convolutions(parent: ModelFile) -> None:
    pooled = replace(model("A", head="pooled").record, recipe={"shrunk": {"from": parent.record.digest}})
    kin = lineage.kin(pooled, parent.record)
    assert kin["conv5_2"] == lineage.Kin("conv5_2", tuple(range(64)), ())
    assert "avgpool" not in kin
    lineage.require_parent(pooled, parent.record, "parent")


def test_where_nothing_was_removed_parent_and_child_are_equal(parent: ModelFile) -> None:
    whole = shrunk(parent, {name: np.arange(count) for name, count in widths(parent.record.architecture).items()})
    found = compared(whole, parent)
    for view in glass.walk(glass.open_subject(whole, photograph()))[1:]:
        np.testing.assert_allclose(found.maps[view.name], view.maps, rtol=1e-5, atol=1e-5 * np.abs(view.maps).max())
    assert found.removed == ()
    assert found.without == found.probability


def test_without_all_that_was_removed_the_parent_is_the_child(child: ModelFile, parent: ModelFile) -> None:
    here = glass.open_subject(child, photograph())
    found = compared(child, parent)
    assert found.without == pytest.approx(child.record.probabilities(here.logits())[1], rel=1e-4)
    assert abs(found.without - found.probability) > 1e-3
    whole = glass.open_subject(parent, photograph())
    (first, *_), shares = found.removed, glass.importance(whole, 1)["relu1_1"]
    assert sorted(first.channels) == [0, 2, 4, 6]
    assert first.shares.tolist() == shares[list(first.channels)].tolist() == sorted(shares[::2], reverse=True)
    maps = next(view.maps for view in glass.walk(whole) if view.name == "relu1_1")
    assert np.array_equal(first.maps, maps[list(first.channels)])
    silent = glass.ablate(whole, {"relu1_1": [0, 2, 4, 6]})
    assert first.probability == pytest.approx(parent.record.probabilities(silent.after)[1], rel=1e-5)
    assert [layer.layer for layer in found.removed][-2:] == ["relu6", "relu7"]


def test_one_number_and_its_parents(child: ModelFile, parent: ModelFile) -> None:
    here = glass.open_subject(child, photograph())
    found = counterpart(here, parent_subject(here, parent), glass.step(here, "conv2_1", 2, (3, 4)))
    maps = next(view.maps for view in glass.walk(glass.open_subject(parent, photograph())) if view.name == "conv2_1")
    assert found is not None
    assert (found.layer, found.channel, found.value) == ("conv2_1", 5, maps[5, 3, 4])


def test_what_is_not_the_parent_is_refused(child: ModelFile, parent: ModelFile, tmp_path: Path) -> None:
    for name, other in (("family", model("B")), ("stranger", model("A", seed=9))):
        modelfile.save(other, tmp_path / f"{name}.safetensors")
    with pytest.raises(
        UsageError, match="this model was not shrunk from another; leave it out, or name a shrunk model"
    ):
        workflows.load_parent(parent.record, str(tmp_path / "no such file"))
    with pytest.raises(UsageError, match=r"is of another family: vgg13 of 7 classes, .* is vgg11 of 7"):
        workflows.load_parent(child.record, str(tmp_path / "family.safetensors"))
    with pytest.raises(
        UsageError, match=r"digest .*…, those of the parent .*…; name the model that it was shrunk from"
    ):
        workflows.load_parent(child.record, str(tmp_path / "stranger.safetensors"))
    with pytest.raises(ModelFileError, match="is neither a file nor a pretrained name"):
        workflows.load_parent(child.record, str(tmp_path / "no such file"))


@pytest.mark.parametrize("gone", [{}, {"conv1_1": [0, 1, 2, 99]}, {"conv1_1": "0246"}, {"conv1_1": [True] * 4}, 7])
def test_a_record_that_contradicts_itself_is_refused(child: ModelFile, parent: ModelFile, gone: object) -> None:
    recipe = {"shrunk": dict(child.record.recipe["shrunk"]) | {"removed": gone}}
    with pytest.raises(UsageError, match=r"says of conv1_1 that channels went .* shrink its parent again"):
        lineage.require_parent(replace(child.record, recipe=recipe), parent.record, "p")


def test_the_recorded_parent_is_taken_if_it_is_still_there(child: ModelFile, parent: ModelFile, tmp_path: Path) -> None:
    found = workflows.load_parent(child.record, None)
    assert found is not None
    assert found.record.digest == parent.record.digest
    for name, write in (("gone", None), ("other", lambda path: modelfile.save(model("A", seed=9), path)),
                        ("damaged", lambda path: path.write_bytes(b"x" * 100))):  # fmt: skip
        path = tmp_path / name
        if write:
            write(path)
        shrunk = dict(child.record.recipe["shrunk"]) | {"parent": str(path)}
        assert workflows.load_parent(replace(child.record, recipe={"shrunk": shrunk}), None) is None
    assert workflows.load_parent(parent.record, None) is None


def test_look_and_step_show_the_parent(folder: Path, tmp_path: Path) -> None:
    asked = [str(folder / "photo.png"), "--model", str(folder / "child.safetensors")]
    layers = "relu2_1,pool2,relu6,prob"
    found = vgglass("look", *asked, "--layers", layers, "--order", "importance", "--out", str(tmp_path / "look"))
    assert re.search(r"relu2_1 +8 +8 +[\d.]+% +0\.\d{3}", found.stdout)
    text = (tmp_path / "look" / "index.html").read_text(encoding="utf-8")
    facts = json.loads(re.search(r"const facts = (.*);\n", text).group(1))  # type: ignore[union-attr]
    relu, pool, single, prob = facts["layers"]
    assert [2 * channel + 1 for channel in relu["channels"]] == relu["parents"]
    assert relu["importance"] == sorted(relu["importance"], reverse=True)
    assert pool["channels"] == relu["channels"]
    assert relu["gap"] == 1
    assert relu["tile"][0] * 32 == relu["tile"][1] * 65
    assert (single["gap"], single["tile"]) == (0, [24, 12])
    assert prob["importance"] == []
    assert [row["layer"] for row in facts["parent"]["removed"]] == ["relu2_1", "relu6"]
    for name in ("layers/relu2_1", "layers/relu6", "removed/relu2_1", "removed/relu6"):
        with Image.open(tmp_path / "look" / f"{name}.png") as picture:
            picture.load()
    vgglass("look", *asked, "--layers", "pool2", "--out", str(tmp_path / "none"))
    assert not (tmp_path / "none" / "removed").exists()
    step = ("step", *asked, "--layer", "conv2_1", "--channel", "2", "--at", "3,4")
    assert "the parent, channel 5 of conv2_1, at the same place: " in vgglass(*step).stdout
    told = json.loads(vgglass(*step, "--json", "--parent", str(folder / "parent.safetensors")).stdout)["parent"]
    assert (told["layer"], told["channel"]) == ("conv2_1", 5)
