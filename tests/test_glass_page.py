"""The page of the server in a browser, on a small network with every kind of layer: what a person does, and reads."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect
from typer.testing import CliRunner

from conftest import CHROMIUM
from glass_subjects import photograph
from pages import CLASSES, DROP, PASTE, open_layer, visit, watched
from served import Served, encoded
from vgglass import glass, workflows
from vgglass.cli import app
from vgglass.glass import Subject

SLOW = pytest.mark.slow  # the product of widths, colours, languages and layers


@pytest.fixture
def page(browser: Browser, page_server: Served) -> Iterator[Page]:
    with watched(browser, page_server) as page:
        yield page


@pytest.fixture(scope="module")
def dropped(browser: Browser, page_server: Served, page_folder: Path) -> Iterator[Page]:
    """A page on which the photograph lies, for tests that choose a layer and leave the rest as it was."""
    with watched(browser, page_server) as page:
        visit(page, page_server)
        drop(page, page_folder / "photo.jpg")
        yield page


def drop(page: Page, path: Path) -> None:
    page.locator("#took").evaluate("told => told.textContent = ''")  # two images may take as many milliseconds
    page.evaluate(DROP, [base64.b64encode(path.read_bytes()).decode(), path.name])
    expect(page.locator("#took")).to_contain_text("Answered in")
    page.wait_for_selector("#arithmetic[data-layer]")
    page.wait_for_timeout(300)


def choose(page: Page, layer: str, row: int, column: int) -> None:
    """Open a layer and click a cell of the channel's map that it opens with."""
    open_layer(page, layer)
    canvas = page.locator("#map")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    side = int(canvas.get_attribute("aria-label").split(" rows")[0].split()[-1])  # type: ignore[union-attr]
    cell = box["height"] / side
    canvas.click(position={"x": (column + 0.5) * cell, "y": (row + 0.5) * cell})
    page.wait_for_selector(f'#arithmetic[data-layer={layer}][data-at="{row},{column}"]')


def test_a_dropped_image_is_answered_as_predict_answers(page: Page, page_server: Served, page_folder: Path) -> None:
    visit(page, page_server)
    drop(page, page_folder / "photo.jpg")
    (row,) = workflows.predict(page_folder / "small.safetensors", [page_folder / "photo.jpg"])
    assert page.locator("#bars .class").all_text_contents() == [name for name, _ in row.top[:5]]
    shown = [float(text) for text in page.locator("#bars .probability").all_text_contents()]
    assert shown == pytest.approx([share for _, share in row.top[:5]], abs=1e-4)
    assert "openvino" in str(page.text_content("#timing"))
    assert not page.is_visible("#problem")


def test_an_image_dropped_while_a_sample_comes_stays(page: Page, page_server: Served, page_folder: Path) -> None:
    visit(page, page_server)
    held: list[Route] = []
    page.route("**/glass/samples/temple", lambda route: held.append(route))
    page.click("[data-sample=temple]")
    drop(page, page_folder / "photo.jpg")
    label = page.get_attribute("#photo", "aria-label")
    with page.expect_response("**/glass/samples/temple"):
        held[0].continue_()
    page.wait_for_timeout(500)
    assert page.get_attribute("#photo", "aria-label") == label
    assert "120" in str(label)


def test_an_image_dropped_before_the_model_is_there_is_opened(
    page: Page, page_server: Served, page_folder: Path
) -> None:
    held: list[Route] = []
    page.route("**/glass/model", lambda route: held.append(route))
    with page.expect_request("**/glass/model"):
        page.goto(f"http://127.0.0.1:{page_server.port}/")
    page.evaluate(DROP, [base64.b64encode((page_folder / "photo.jpg").read_bytes()).decode(), "photo.jpg"])
    held[0].continue_()
    page.wait_for_selector("#arithmetic[data-layer]")
    assert "120" in str(page.get_attribute("#photo", "aria-label"))
    assert page.locator("[data-sample][aria-pressed=true]").count() == 0


def test_a_clicked_cell_shows_the_arithmetic_of_step(dropped: Page, page_folder: Path) -> None:
    for layer in ("conv1_1", "relu1_1", "norm1", "pool1", "conv3_2", "pool4", "conv5_2"):
        choose(dropped, layer, 1, 2)
        compared(dropped, page_folder)


def test_single_numbers_too(dropped: Page, page_folder: Path) -> None:
    for layer in ("fc6", "relu6", "drop6", "fc8", "prob"):
        open_layer(dropped, layer)
        dropped.locator("#grid").press("ArrowRight")
        dropped.wait_for_timeout(300)
        compared(dropped, page_folder)


def compared(page: Page, page_folder: Path) -> None:
    """What the page shows is what `vgglass step --json` prints."""
    data = page.locator("#arithmetic").evaluate("box => ({...box.dataset})")
    command = [
        "step",
        "--model",
        page_folder / "small.safetensors",
        page_folder / "photo.jpg",
        "--layer",
        data["layer"],
    ]
    command += ["--channel", data["channel"], "--at", data["at"], "--json"]
    told = json.loads(CliRunner().invoke(app, [str(word) for word in command]).stdout)
    # Not to the last digit: another number of threads adds in another order.
    assert float(data["recomputed"]) == pytest.approx(told["recomputed"], rel=1e-5, abs=told["bound"])
    assert float(data["network"]) == pytest.approx(told["network"], rel=1e-5, abs=told["bound"])
    assert page.inner_text("#verdict").startswith("✓ recomputed = ")


def test_every_product_of_a_convolution_is_there(dropped: Page, page_subject: Subject) -> None:
    choose(dropped, "conv2_1", 3, 4)
    channel = int(dropped.get_attribute("#arithmetic", "data-channel") or "")
    dropped.click("#arithmetic > details > summary")
    dropped.click("#arithmetic details details > summary")
    tables = dropped.locator("#arithmetic [data-input]")
    terms = glass.step(page_subject, "conv2_1", channel, (3, 4)).terms
    expect(tables).to_have_count(len(terms.products))  # type: ignore[attr-defined]
    first = tables.first
    shown = [float(text.replace("−", "-")) for text in first.locator("table").last.locator("td").all_text_contents()]
    products = terms.products[int(first.get_attribute("data-input") or "")]  # type: ignore[attr-defined]
    assert shown == pytest.approx(products.ravel().tolist(), rel=1e-3)
    pictured = dropped.locator("#windows table").nth(2).locator("td").evaluate_all("cells => cells.map(c => c.title)")
    assert [float(text.replace("−", "-")) for text in pictured] == pytest.approx(shown)


def test_the_frame_is_the_receptive_field(dropped: Page, page_subject: Subject) -> None:
    choose(dropped, "conv3_1", 2, 5)
    found = glass.receptive_field(page_subject.network.architecture, "conv3_1").box((2, 5))
    box = glass.on_original(page_subject, found)
    shown = [float(text) for text in (dropped.get_attribute("#seen", "data-box") or "").split(",")]
    assert shown == pytest.approx([box.top, box.left, box.bottom, box.right], abs=1e-3)
    side = glass.effective_field(page_subject, "conv3_1", (2, 5)).side
    expect(dropped.locator("#seen")).to_contain_text(f"95 % of their influence lies within the {side} × {side}")


def test_what_is_pointed_at_is_read_out(dropped: Page, page_subject: Subject) -> None:
    open_layer(dropped, "conv1_1")
    dropped.locator("#grid").hover(position={"x": 20, "y": 30})
    expect(dropped.locator("#gridSaid")).to_contain_text("channel 0 · row")
    row, column = (int(text.strip(",:")) for text in np.array(dropped.inner_text("#gridSaid").split())[[4, 6]])
    shown = float(dropped.inner_text("#gridSaid").split(": ")[1].split(" ")[0].replace("−", "-"))
    value = next(view for view in glass.walk(page_subject) if view.name == "conv1_1").maps[0, row, column]
    assert shown == pytest.approx(float(value), rel=1e-3)


def test_arrow_keys_move_the_cell_and_the_channel(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=conv2_1&channel=3&at=4,5", "conv2_1")
    shown = page.locator("#arithmetic")
    for key, place in (("ArrowDown", "5,5"), ("ArrowLeft", "5,4"), ("ArrowUp", "4,4"), ("ArrowRight", "4,5")):
        page.locator("#map").press(key)
        expect(shown).to_have_attribute("data-at", place)
    page.locator("#grid").press("ArrowRight")
    expect(shown).to_have_attribute("data-channel", "4")
    assert "channel=4" in page.url


def test_the_window_slides_and_stops(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=pool1&channel=1&at=0,0", "pool1")
    page.click("#play")
    page.wait_for_selector('#arithmetic[data-at="0,1"]')
    page.wait_for_selector('#arithmetic[data-at="0,2"]')
    page.click("#play")
    stood = page.get_attribute("#arithmetic", "data-at")
    page.wait_for_timeout(1200)
    assert page.get_attribute("#arithmetic", "data-at") in (stood, "0,3")
    assert page.locator("#arithmetic td.winner").count() == 2  # of the maximum and of the minimum


def test_sorting_scales_and_what_was_before_relu(
    page: Page, page_server: Served, page_folder: Path, page_subject: Subject
) -> None:
    visit(page, page_server)
    drop(page, page_folder / "photo.jpg")
    open_layer(page, "relu2_1")
    expect(page.locator("#layerFigures")).to_contain_text("zeros: ")
    page.select_option("#by-order", "activation")
    page.locator("#grid").hover(position={"x": 20, "y": 30})
    view = next(view for view in glass.walk(page_subject) if view.name == "relu2_1")
    expect(page.locator("#gridSaid")).to_contain_text(f"channel {view.maps.mean(axis=(1, 2)).argmax()} ·")
    page.select_option("#by-order", "effect")
    expect(page.locator("#gridSaid")).to_contain_text("All 16 channels have been silenced")
    page.locator("#grid").hover(position={"x": 21, "y": 31})
    first = glass.rank(page_subject, "relu2_1")[0]
    expect(page.locator("#gridSaid")).to_contain_text(f"channel {first.channel} ·")
    page.select_option("#by-scale", "network")
    expect(page.locator("#gridLegend")).to_contain_text("Whole network")
    assert page.get_attribute("#grid", "data-layer") == "relu2_1"
    place = page.locator("#arithmetic").evaluate("box => [box.dataset.channel, box.dataset.at]")
    page.click('#unit a[data-layer="conv2_1"]')
    page.wait_for_selector("#arithmetic[data-layer=conv2_1]")
    assert page.locator("#arithmetic").evaluate("box => [box.dataset.channel, box.dataset.at]") == place
    expect(page.locator("#layer-title")).to_have_text("conv2_1 · convolution")
    end = limit(page_subject)
    expect(page.locator("#legend")).to_have_attribute("aria-label", f"−{end} … 0 … {end}")


def limit(page_subject: Subject) -> str:
    from vgglass.glass.sheets import reach

    views = [view for view in glass.walk(page_subject) if view.kind not in ("image", "softmax")]
    return f"{max(float(reach(view.maps).max()) for view in views):.4g}"


def test_a_silenced_channel_moves_the_bars(dropped: Page, page_subject: Subject) -> None:
    open_layer(dropped, "conv4_1")
    channel = int(dropped.get_attribute("#arithmetic", "data-channel") or "")
    dropped.click("#silence")
    expect(dropped.locator("#silenced button")).to_have_text(f"conv4_1:{channel} ✕")
    after = page_subject.record.probabilities(glass.ablate(page_subject, {"conv4_1": [channel]}).after)
    for name, text in zip(
        dropped.locator("#bars .class").all_text_contents(),
        dropped.locator("#bars .probability").all_text_contents(),
        strict=True,
    ):
        assert float(text.split("→")[1]) == pytest.approx(after[CLASSES.index(name)], abs=1e-4)
    dropped.click("#silenced button")
    expect(dropped.locator("#silenced")).to_be_hidden()


def test_why_and_the_classifier_slid_over_the_photograph(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#image=temple&layer=conv4_1", "conv4_1")
    top = page.locator("#bars .class").first.text_content()
    page.click("[data-choice=evidence]")
    for method, sentence in (
        ("saliency", "the brighter"),
        ("gradcam", "(relu5_2)"),
        ("occlusion", "red speaks for it"),
    ):
        plain = page.locator("#photo").screenshot()
        page.select_option("#method", method)
        expect(page.locator("#whyLegend")).to_contain_text(sentence)
        expect(page.locator("#whyLegend")).to_contain_text(f"“{top}”")
        assert page.locator("#photo").screenshot() != plain
    page.select_option("#method", "gradcam")
    page.click("#ofOpen")
    expect(page.locator("#whyLegend")).to_contain_text("(conv4_1)")
    page.locator("#bars .class").nth(2).click()
    expect(page.locator("#whyLegend")).to_contain_text(f"“{page.locator('#bars .class').nth(2).text_content()}”")
    page.click("[data-choice=sliding]")
    expect(page.locator("#slideLegend")).to_contain_text("both ways give the same 24 numbers")
    page.locator("#photo").hover(position={"x": 200, "y": 150})
    expect(page.locator("#slidePlace")).to_contain_text("likeliest there")


def test_the_temperature_of_the_softmax(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=prob", "prob")
    rows = page.locator("#softmax tbody tr, #softmax table > tr")
    expect(rows.first).to_be_visible()
    cold = [float(row.locator("td").last.inner_text()) for row in rows.all()]
    page.locator("#temperature").fill("1")
    expect(rows.first.locator("td").last).not_to_have_text(str(cold[0]))
    hot = [float(row.locator("td").last.inner_text()) for row in rows.all()]
    assert sum(hot) == pytest.approx(1, abs=0.01)
    assert max(hot) - min(hot) < max(cold) - min(cold)


def test_the_playground(page: Page, page_server: Served) -> None:
    visit(page, page_server)
    expect(page.locator("#formula")).to_contain_text("⌊(12 + 2×0 − 1×(6 − 1) − 1) / 2⌋ + 1 = 4")
    page.locator("#playOutput").press("ArrowRight")
    expect(page.locator("#playSaid")).to_contain_text("Row 0, column 1: the largest of")
    values = page.inner_text("#playSaid").partition("largest of ")[2]
    listed, _, largest = values.rstrip(".").partition(" is ")
    assert max(int(text) for text in listed.split(", ")) == int(largest)
    page.fill("#kernel", "20")
    expect(page.locator("#invalid")).to_contain_text("covers 20 pixels, the input with its padding has 12")
    page.fill("#kernel", "2")
    page.fill("#padding", "2")
    expect(page.locator("#invalid")).to_contain_text("A padding of 2 is more than half of the kernel 2")
    page.fill("#padding", "99")
    expect(page.locator("#invalid")).to_contain_text("Padding: a whole number from 0 to 12")
    page.click("[data-preset=vggConv]")
    expect(page.locator("#invalid")).to_be_hidden()
    expect(page.locator("#formula")).to_contain_text("= 12")
    page.click("#own")
    expect(page.locator("#own")).to_have_attribute("aria-pressed", "true")


def test_the_playground_asks_the_server_for_nothing_that_it_can_compute(page: Page, page_server: Served) -> None:
    visit(page, page_server)
    expect(page.locator("#playSaid")).to_contain_text("Row 0, column 0: the largest of")
    page.wait_for_timeout(1000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for column in (60, 100, 140):
        page.locator("#playOutput").hover(position={"x": column, "y": 60})
        expect(page.locator("#playSaid")).to_contain_text(f"Row 1, column {column // 40}:")
    page.fill("#kernel", "3")
    page.select_option("#operation", "conv")
    expect(page.locator("#playSaid")).to_contain_text("each times its weight")
    assert asked == []
    page.fill("#size", "9")
    expect(page.locator("#playInput")).to_have_attribute("aria-label", re.compile("9 × 9 numbers"))
    assert [urlsplit(url).path for url in asked] == ["/glass/playground"]


def test_the_language_is_switched_and_remembered(page: Page, page_server: Served) -> None:
    visit(page, page_server)
    english = page.locator("#explore h2").all_text_contents()
    page.click("#language")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#layer-title")).to_have_text("conv1_1 · 卷积")
    chinese = page.locator("#explore h2").all_text_contents()
    assert all(one != other for one, other in zip(english, chinese, strict=True))
    expect(page).to_have_url(re.compile("lang=zh"))
    page.goto(f"http://127.0.0.1:{page_server.port}/")
    expect(page.locator("#image-title")).to_have_text("图像")
    page.wait_for_selector("#arithmetic[data-layer]")


def test_an_address_brings_back_what_was_seen_and_back_goes_back(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#image=temple&layer=conv3_1&channel=7&at=3,2&lang=zh", "conv3_1")
    assert page.locator("#arithmetic").evaluate("box => [box.dataset.channel, box.dataset.at]") == ["7", "3,2"]
    assert page.get_attribute("html", "lang") == "zh-CN"
    assert page.get_attribute("[data-sample=temple]", "aria-pressed") == "true"
    open_layer(page, "pool3")
    page.go_back()
    page.wait_for_selector('#arithmetic[data-layer=conv3_1][data-at="3,2"]')


def test_a_file_is_chosen_and_pasted(page: Page, page_server: Served, page_folder: Path) -> None:
    visit(page, page_server)
    page.set_input_files("#file", page_folder / "photo.jpg")
    expect(page.locator("#photo")).to_have_attribute("aria-label", "The image, 120 × 90 pixels")
    page.evaluate(PASTE, [base64.b64encode(encoded(photograph(70, 75), "PNG")).decode()])
    expect(page.locator("#photo")).to_have_attribute("aria-label", "The image, 75 × 70 pixels")


@pytest.mark.slow
@SLOW
def test_the_camera_photographs(browser: Browser, page_server: Served) -> None:
    flags = ["--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    other = browser.browser_type.launch(executable_path=CHROMIUM, args=flags)
    page = other.new_page()
    visit(page, page_server)
    page.click("#camera")
    page.wait_for_selector("#shoot")
    page.wait_for_timeout(500)
    page.click("#shoot")
    expect(page.locator("#photo")).to_have_attribute("aria-label", "The image, 640 × 480 pixels")
    expect(page.locator("#webcam")).to_be_hidden()
    other.close()


def test_what_is_no_image_is_told(browser: Browser, page_server: Served) -> None:
    page = browser.new_page()
    visit(page, page_server)
    page.evaluate(DROP, [base64.b64encode(encoded(photograph())[:300]).decode(), "broken.jpg"])
    note = page.locator("failure-note[place=photo]")
    expect(note).to_contain_text("image: damaged")
    assert page.locator("#bars .class").count() == 5, "the image before and its answer stay"
    page.click("#language")
    expect(note).to_contain_text("无法把它作为图片读取")
    page.click("[data-sample=shapes]")
    expect(note).to_be_hidden()
    page.close()


@pytest.mark.parametrize("width", [390, pytest.param(768, marks=SLOW), pytest.param(1280, marks=SLOW)])
def test_nothing_hangs_over(page: Page, page_server: Served, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    visit(page, page_server)
    for layer in ("conv5_2", "fc6", "prob", "image"):
        open_layer(page, layer)
        page.wait_for_timeout(400)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "width", "lang", "layer"),
    [
        ("light", 1280, "en", "conv2_1"), pytest.param("dark", 1280, "zh", "prob", marks=SLOW),
        pytest.param("light", 1280, "en", "prob", marks=SLOW), pytest.param("dark", 1280, "zh", "conv2_1", marks=SLOW),
        pytest.param("light", 390, "zh", "conv2_1", marks=SLOW), pytest.param("light", 390, "zh", "prob", marks=SLOW),
    ],
)  # fmt: skip
def test_axe_finds_nothing_serious(
    page: Page, page_server: Served, scheme: str, width: int, lang: str, layer: str
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    visit(page, page_server, f"#layer={layer}&lang={lang}", layer)
    page.wait_for_timeout(300)
    found = Axe().run(page).response["violations"]
    assert [
        f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")
    ] == []
