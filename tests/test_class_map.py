"""The exact class map of a pooled head: its places add up to the logit, by torch, by OpenVINO and on the page."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect
from typer.testing import CliRunner

from glass_subjects import CLASSES, model, photograph, subject
from pages import visit
from served import Served
from vgglass import glass, modelfile, workflows
from vgglass.cli import app
from vgglass.errors import UsageError
from vgglass.glass.attribution import class_map_from_pool5
from vgglass.preprocess import fit

OPTIONS: dict[str, Any] = {"head": "pooled", "image_size": 96, "width": 0.125}


@pytest.fixture(scope="module")
def here() -> glass.Subject:
    return subject("vgg11", **OPTIONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("class map")
    modelfile.save(model("vgg11", **OPTIONS), folder / "pooled.safetensors")
    Image.fromarray(photograph(110, 140)).save(folder / "photo.png")
    return folder


@pytest.mark.parametrize("target", range(len(CLASSES)))
def test_the_places_mean_and_the_bias_are_the_logit(here: glass.Subject, target: int) -> None:
    found = glass.class_map(here, target)
    assert found.scores.shape == (3, 3)
    assert found.scores.mean() + found.bias == pytest.approx(float(here.logits()[target]), abs=found.bound)
    assert found.agrees
    assert 0 < found.bound < 1e-4


def test_why_one_class_and_not_another_is_the_difference_of_their_maps(here: glass.Subject) -> None:
    one, other, found = glass.class_map(here, 1), glass.class_map(here, 4), glass.class_map(here, 1, 4)
    np.testing.assert_allclose(found.scores, one.scores - other.scores)
    assert found.recomputed == pytest.approx(one.logit - other.logit, abs=found.bound)


def test_a_wrong_logit_does_not_agree(here: glass.Subject) -> None:
    found = glass.class_map(here)
    assert not replace(found, logit=found.logit + 2 * found.bound).agrees


def test_each_pixel_has_the_score_of_the_place_in_whose_cell_it_lies(here: glass.Subject) -> None:
    found = glass.attribute(here, "class-map", 2)
    field = glass.receptive_field(here.network.architecture, "pool5")
    scores = glass.class_map(here, 2).scores
    for row in range(3):
        for column in range(3):
            y, x = field.centre((row, column))
            assert found.map[int(y), int(x)] == pytest.approx(scores[row, column])
            assert (
                found.map[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] == found.map[int(y), int(x)]
            ).all()
    assert found.signed
    assert field.size > 32, "a place sees more than its cell"


def test_the_border_of_a_size_that_32_does_not_divide_has_its_nearest_place() -> None:
    assert glass.class_map(subject("vgg11", **OPTIONS | {"image_size": 80})).spread(80).shape == (80, 80)


def test_openvino_gives_the_same_map(here: glass.Subject) -> None:
    file = model("vgg11", **OPTIONS)
    square = fit(photograph(), file.record.preprocessing)[None]
    pool5, logits = (workflows.engine(file, "openvino", "float32", output=name)(square)[0] for name in ("pool5", "fc8"))
    for target in range(len(CLASSES)):
        weights, bias = file.weights["fc8.weight"][target].astype(np.float64), float(file.weights["fc8.bias"][target])
        found = class_map_from_pool5(pool5, weights, bias, float(logits[target]), target)
        assert found.agrees
        np.testing.assert_allclose(found.scores, glass.class_map(here, target).scores, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_is_explained(here: glass.Subject) -> None:
    paper = subject("vgg11")
    message = "class-map: needs a head that averages pool5; vgg11 with fc6 and fc7 has no exact map; choose gradcam"
    with pytest.raises(UsageError, match=message):
        glass.class_map(paper)
    with pytest.raises(UsageError, match=message):
        glass.attribute(paper, "class-map")
    with pytest.raises(UsageError, match="class 9: the classes are numbered 0 to 6; choose one of them"):
        glass.class_map(here, 1, 9)
    with pytest.raises(UsageError, match="class 1: is the class itself; compare with another"):
        glass.class_map(here, 1, 1)
    with pytest.raises(
        UsageError, match="layer avgpool: has no map for Grad-CAM to weigh; choose a layer before avgpool"
    ):
        glass.attribute(here, "gradcam", layer="avgpool")


def test_every_layer_of_a_pooled_network_has_its_arithmetic_and_its_field(here: glass.Subject) -> None:
    for layer in here.layers:
        assert glass.step(here, layer.name).agrees, layer.name
        assert glass.effective_field(here, layer.name).gradient.shape == (96, 96)
    step = glass.step(here, "avgpool", 3)
    (pool5,) = (view.maps for view in glass.walk(here) if view.name == "pool5")
    assert step.recomputed == pytest.approx(float(pool5[3].mean()))


def test_silenced_averages_move_the_logits_by_their_products(here: glass.Subject) -> None:
    step = glass.step(here, "fc8", 2)
    moves = glass.ablate(here, {"avgpool": [5]}).moves
    assert moves[2] == pytest.approx(-step.terms.products[5], abs=step.bound)  # type: ignore[attr-defined]
    assert len(glass.rank(here, "avgpool")) == 64


def test_averaging_first_and_scoring_first_are_the_same(here: glass.Subject) -> None:
    both = glass.both_ways(here)
    assert (both.layer, both.input_shape) == ("fc8", (64, 3, 3))
    np.testing.assert_allclose(both.connected, here.logits(), rtol=1e-4, atol=1e-5)
    assert both.largest_difference <= 1e-5 * both.largest_output
    scores = glass.score_map(glass.open_subject(model("vgg11", **OPTIONS), photograph(96, 160)), 0)
    assert scores.logits.shape == (7, 1, 3)


def test_a_look_prints_the_map_and_its_sum(folder: Path) -> None:
    about = ["--model", str(folder / "pooled.safetensors"), "--out", str(folder / "look")]
    english, chinese = (
        CliRunner().invoke(app, ["look", str(folder / "photo.png"), *about, "--sanity", "--lang", lang]).output
        for lang in ("en", "zh")
    )
    assert re.search(r"mean of the 9 places \S+ \+ bias \S+ = \S+   network = \S+   difference = ", english)
    assert re.search(r"9 个位置的平均 \S+ \+ 偏置 \S+ = \S+   网络 = \S+   差 = ", chinese)
    assert (folder / "look" / "class-map.png").is_file()
    printed = CliRunner().invoke(app, ["fc", str(folder / "photo.png"), *about[:2]]).output
    assert "fc8: an input of 3×3×64 (H×W×C) is averaged to 1×64 and becomes 7 logits" in printed
    printed = CliRunner().invoke(app, ["step", str(folder / "photo.png"), *about[:2], "--layer", "avgpool"]).output
    assert re.search(r"the mean of the window: the sum \S+ of 9 numbers, divided by 9", printed)


def test_a_summary_of_a_pooled_network(folder: Path) -> None:
    found = CliRunner().invoke(app, ["summary", "vgg16", "--head", "pooled", "--classes", "2", "--lang", "zh"])
    assert re.search(r"avgpool +平均池化 +1×1×512", found.output)
    assert "vgg16（平均池化头部）：14 个带权重的层，14,715,714 个参数" in found.output
    found = CliRunner().invoke(app, ["summary", str(folder / "pooled.safetensors"), "--width", "4"])
    assert isinstance(found.exception, UsageError)
    assert re.search(
        r"--width 4.0: .*says itself what its layers are, its widths among them; leave", str(found.exception)
    )


@pytest.mark.slow
def test_the_page_adds_the_places_up(browser: Browser, folder: Path) -> None:
    with Served(folder, folder / "pooled.safetensors") as server:
        page = browser.new_page(viewport={"width": 1280, "height": 900}, locale="en-US")
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        visit(page, server, "#layer=avgpool", "avgpool")
        page.click("[data-choice=evidence]")
        added = re.compile(r"^✓ mean of 9 places .* = .* logit = ")
        expect(page.locator("#placesSum")).to_have_text(added)
        of_the_sample = page.locator("#placesSum").inner_text()
        page.locator("#file").set_input_files(folder / "photo.png")
        expect(page.locator("#placesSum")).not_to_have_text(of_the_sample)
        expect(page.locator("#placesSum")).to_have_text(added)
        expect(page.locator("#places td")).to_have_count(9)
        seen = glass.open_subject(folder / "pooled.safetensors", folder / "photo.png")
        scores = glass.class_map(seen).scores
        assert float(page.locator("#places td").nth(5).inner_text().replace("−", "-")) == pytest.approx(
            scores[1, 2], rel=1e-2
        )
        box = page.locator("#photo").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        expect(page.locator("#placeSaid")).to_contain_text("Row 1, column 1: score ")
        expect(page.locator("#verdict")).to_contain_text("✓ recomputed = ")
        page.locator("#classMap .choices button").first.click()
        expect(page.locator("#whyLegend")).to_contain_text("” and not “")
        expect(page.locator("#placesSum")).to_contain_text("✓")
        page.click("[data-choice=sliding]")
        expect(page.locator("#slideLegend")).to_contain_text(
            "averaging first and scoring each place first give the same 7"
        )
        expect(page.locator("#classMap")).to_be_hidden()
        page.locator("#language").click()
        expect(page.locator("#denseNote")).to_contain_text("先平均再相乘")
        page.click("[data-choice=evidence]")
        expect(page.locator("#placesSum")).to_contain_text("✓ 9 个位置的平均")
        assert problems == []
        page.close()


@pytest.mark.parametrize("name", ["graph.xml", "graph.onnx"])
@pytest.mark.parametrize("dense", [False, True])
def test_an_exported_graph_answers_alike(folder: Path, name: str, dense: bool, tmp_path: Path) -> None:
    checks, _ = workflows.export(folder / "pooled.safetensors", tmp_path / name, dense=dense)
    assert checks
    assert all(check.passed for check in checks)
    assert all(check.passed for check in workflows.verify(tmp_path / name))


def test_an_int8_graph_answers_alike(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    for index in range(20):
        place = tmp_path / "photos" / CLASSES[3 + index % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(seed=index)).save(place / f"{index}.png")
    source, calibrate = folder / "pooled.safetensors", tmp_path / "photos"
    checks, agreement = workflows.export(source, tmp_path / "int8.xml", int8_images=calibrate, force=True)
    assert all(check.passed for check in checks)
    assert agreement is not None
    assert agreement.probability < 0.1


@pytest.mark.parametrize("views", ["centre", "dense@128", "crops@128"])
def test_views_of_a_pooled_network_are_predicted(folder: Path, views: str) -> None:
    about = ["--model", str(folder / "pooled.safetensors"), "--views", views]
    found = CliRunner().invoke(app, ["predict", str(folder / "photo.png"), *about, "--engine", "openvino"])
    assert found.exit_code == 0, found.output
    assert "photo.png" in found.output


def test_the_image_has_its_colours_in_the_order_of_the_first_kernels() -> None:
    file = model("vgg11", **OPTIONS)
    way = replace(file.record.preprocessing, channel_order="BGR", std=(1.0, 1.0, 1.0), mean=(0.0, 0.0, 0.0))
    here = glass.open_subject(replace(file, record=replace(file.record, preprocessing=way)), photograph())
    image = next(view for view in glass.walk(here) if view.name == "image")
    np.testing.assert_array_equal(image.maps, here.input[0].numpy())
