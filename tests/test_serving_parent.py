"""A shrunk model before the server: what the routes say of its parent, and the page that shows both."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from glass_subjects import CLASSES, every_other, model, photograph, shrunk
from pages import open_layer, visit
from served import JPEG, Served, encoded
from vgglass import glass, modelfile
from vgglass.engines.export import export
from vgglass.errors import UsageError
from vgglass.glass import Subject
from vgglass.server.model_store import Options, open_model

PHOTO = encoded(photograph(90, 120, seed=5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent")
    parent = model("A")
    modelfile.save(parent, folder / "parent.safetensors")
    modelfile.save(shrunk(parent, every_other(parent)), folder / "child.safetensors")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    with Served(folder, folder / "child.safetensors", "--parent", folder / "parent.safetensors") as server:
        yield server
        assert not server.lines("error")


@pytest.fixture(scope="module")
def image(server: Served) -> str:
    return "/glass/images/" + str(server.ask("POST", "/glass/images", PHOTO, JPEG).json["id"])


@pytest.fixture(scope="module")
def whole(folder: Path) -> Subject:
    return glass.open_subject(folder / "parent.safetensors", PHOTO)


def test_the_layers_name_what_the_parent_has(server: Served) -> None:
    layers = {layer["name"]: layer for layer in server.ask("GET", "/glass/model").json["layers"]}
    assert layers["pool1"]["origin"] == "conv1_1"
    assert layers["pool1"]["parent"] == {"layer": "pool1", "kept": [1, 3, 5, 7], "removed": [0, 2, 4, 6]}
    assert (layers["image"]["origin"], layers["image"]["parent"]) == (None, None)


def test_the_parents_maps_and_importance(server: Served, image: str, whole: Subject, folder: Path) -> None:
    view = next(view for view in glass.walk(whole) if view.name == "relu2_1")
    maps = np.frombuffer(server.ask("GET", f"{image}/parent/maps/relu2_1").body, "<f4").reshape(view.maps.shape)
    np.testing.assert_allclose(maps, view.maps, rtol=1e-4, atol=1e-4)
    one = server.ask("GET", f"{image}/parent/maps/relu2_1?channel=15").body
    assert one == maps[15].tobytes()
    assert len(server.ask("GET", f"{image}/parent/layers/relu2_1").json["ends"]) == 16
    child = glass.open_subject(folder / "child.safetensors", PHOTO)
    for subject, path in ((whole, "/parent/importance"), (child, "/importance")):
        told = server.ask("GET", f"{image}{path}?target=3").json
        assert (told["target"], told["class"]) == (3, CLASSES[3])
        shares = glass.importance(subject, 3)
        assert list(told["shares"])[-2:] == ["fc6", "fc7"]
        for name, found in told["shares"].items():
            np.testing.assert_allclose(found, shares[name], rtol=1e-3, atol=1e-6)
    assert server.ask("GET", f"{image}/importance").json["target"] == child.logits().argmax()


def test_the_class_without_what_was_removed(server: Served, image: str, whole: Subject, folder: Path) -> None:
    told = server.ask("GET", f"{image}/parent/removed/relu2_1?target=2").json
    silent = glass.ablate(whole, {"relu2_1": range(0, 16, 2)})
    before, after = (whole.record.probabilities(logits)[2] for logits in (silent.before, silent.after))
    child = glass.open_subject(folder / "child.safetensors", PHOTO)
    assert (told["before"], told["without"]) == (pytest.approx(before, rel=1e-3), pytest.approx(after, rel=1e-3))
    assert told["withoutAll"] == pytest.approx(child.record.probabilities(child.logits())[2], rel=1e-3)
    reply = server.ask("GET", f"{image}/parent/removed/relu9_1")
    assert (reply.status, reply.json["type"]) == (422, "bad parameter")
    assert server.ask("GET", f"{image}/parent/removed/fc8?target=2").json["without"] == pytest.approx(
        told["before"], abs=1e-9
    )


def test_a_server_without_its_parent_refuses_or_serves(folder: Path, tmp_path: Path) -> None:
    modelfile.save(model("A", seed=9), tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="name the model that it was shrunk from"):
        open_model(folder / "child.safetensors", Options(parent=str(tmp_path / "other.safetensors")))
    with pytest.raises(UsageError, match="this model was not shrunk from another"):
        open_model(folder / "parent.safetensors", Options(parent=str(folder / "parent.safetensors")))
    assert open_model(folder / "child.safetensors", Options()).parent is None
    export(modelfile.load(folder / "child.safetensors"), tmp_path / "child.onnx")
    with pytest.raises(UsageError, match="an exported graph is served; serve the shrunk model's own file"):
        open_model(tmp_path / "child.onnx", Options(parent=str(folder / "parent.safetensors")))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 900}, locale="en-US")
    page, problems = context.new_page(), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    yield page
    context.close()
    assert problems == []


@pytest.mark.slow
def test_the_page_shows_parent_and_child(page: Page, server: Served, folder: Path) -> None:
    visit(page, server, "#image=temple&layer=relu2_1", "relu2_1")
    page.select_option("#by-order", "importance")
    subjects = [
        glass.open_subject(folder / f"{name}.safetensors", server.ask("GET", "/glass/samples/temple").body)
        for name in ("child", "parent")
    ]
    target = int(subjects[0].logits().argmax())
    child, parent = (glass.importance(subject, target)["relu2_1"] for subject in subjects)
    best = int(child.argmax())
    expect(page.locator("#gridLegend")).to_contain_text("The most important channel comes first")
    page.locator("#grid").hover(position={"x": 20, "y": 30})
    expect(page.locator("#gridSaid")).to_contain_text(f"channel {best} ·")
    expect(page.locator("#gridSaid")).to_contain_text(f"{100 * child[best]:.1f} % of the layer's importance")
    expect(page.locator("#gridSaid")).to_contain_text(f"parent, relu2_1 channel {2 * best + 1}: ")
    page.locator("#grid").click(position={"x": 20, "y": 30})
    expect(page.locator("#parentSaid")).to_contain_text(f"parent, relu2_1 channel {2 * best + 1}: ")
    assert page.locator("#parentMap").is_visible()
    note = page.locator("#removedNote")
    expect(note).to_contain_text("Without the 8 channels of relu2_1 that were removed")
    expect(note).to_contain_text(f"{100 * parent[::2].sum():.1f} % of the layer's importance")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    open_layer(page, "fc6")
    expect(page.locator("#removed")).to_have_attribute("data-layer", "fc6")
    open_layer(page, "prob")
    expect(page.locator("removed-channels")).to_be_hidden()
    expect(page.locator("#by-order")).to_have_value("channel")
