"""Explore on one screen: where things stand, what lights up, what is said where, and what is computed when."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from pages import DROP, open_layer, visit, watched
from served import Served
from vgglass import glass
from vgglass.glass import Subject
from vgglass.glass.steps import Convolution

SLOW = pytest.mark.slow


@pytest.fixture
def page(browser: Browser, page_server: Served) -> Iterator[Page]:
    with watched(browser, page_server) as page:
        yield page


def put(page: Page, path: Path, name: str = "") -> None:
    page.evaluate(DROP, [base64.b64encode(path.read_bytes()).decode(), name or path.name])


@pytest.mark.parametrize(("width", "height"), [(1280, 720), pytest.param(1440, 900, marks=SLOW)])
@pytest.mark.parametrize("lang", ["zh", pytest.param("en", marks=SLOW)])
def test_one_number_is_on_one_screen(page: Page, page_server: Served, width: int, height: int, lang: str) -> None:
    page.set_viewport_size({"width": width, "height": height})
    visit(page, page_server, f"#layer=conv3_1&lang={lang}", "conv3_1")
    page.wait_for_timeout(500)
    for part in ("#strip", "#photo", "#bars", "#overlays", "#before", "#windows", "#map", "#depth", "#numberSaid",
                 "#verdict", "#grid", "#unitAfter"):  # fmt: skip
        box = page.locator(part).bounding_box()
        assert box
        assert 0 <= box["y"] < height - 10, part
        assert box["x"] + min(box["width"], 40) <= width, part
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [page.locator(part).bounding_box() for part in ("#before", "#windows", "#map")]
    assert max(box["y"] for box in boxes if box) < min(box["y"] + box["height"] for box in boxes if box), "in one row"


def test_the_network_is_told_in_blocks(page: Page, page_server: Served) -> None:
    visit(page, page_server)
    brackets = page.locator(".bracket").all_text_contents()
    assert brackets[0] == "Image64×64×3"
    assert re.fullmatch(r"block 3 · 16×16×\d+2 convolutions \+ pooling", brackets[3])
    assert brackets[-1] == "head3 fully connected"
    assert page.locator(".tile small").all_text_contents() == [str(number) for number in range(1, 12)]
    names = page.locator("#strip a").evaluate_all("tiles => tiles.map(tile => tile.dataset.layer)")
    assert [name for name in names if re.match("relu|norm|drop", name)] == [], "one tile with a switch"
    open_layer(page, "conv1_1")
    assert sorted(page.locator("#unit a").all_text_contents()) == [
        "ReLU", "convolution", "local response normalisation",
    ]  # fmt: skip


def test_blocks_light_up_as_they_are_computed(page: Page, page_server: Served, page_folder: Path) -> None:
    visit(page, page_server)
    expect(page.locator(".tile.waiting")).to_have_count(0)
    held: list[Route] = []
    page.route("**/walk", lambda route: held.append(route))
    with page.expect_request("**/walk"):
        put(page, page_folder / "photo.jpg")
    expect(page.locator(".tile.waiting")).not_to_have_count(0)
    held[0].continue_()
    expect(page.locator(".tile.waiting")).to_have_count(0)


@pytest.mark.slow
def test_a_dropped_photograph_shows_before_its_answer(page: Page, page_server: Served, page_folder: Path) -> None:
    visit(page, page_server)
    held: list[Route] = []
    page.route("**/glass/images", lambda route: held.append(route))
    with page.expect_request("**/glass/images"):
        put(page, page_folder / "photo.jpg")
    expect(page.locator("#photo")).to_have_attribute("aria-label", "The image, 120 × 90 pixels")
    expect(page.locator("#took")).to_have_text("Looking …")
    held[0].continue_()
    expect(page.locator("#took")).to_contain_text("Answered in")


@pytest.mark.slow
def test_the_cells_of_an_operation_light_up_together(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=conv2_1&channel=3&at=4,5", "conv2_1")
    page.locator("#windows table").first.locator('td[data-cell="0,2"]').hover()
    assert page.locator("#windows td.lit").evaluate_all("cells => cells.map(cell => cell.dataset.cell)") == ["0,2"] * 3
    expect(page.locator("#seen")).to_contain_text("The small frame")
    page.mouse.move(5, 5)
    expect(page.locator("#windows td.lit")).to_have_count(0)


@pytest.mark.slow
def test_the_sum_over_depth_brings_a_channels_window(
    page: Page, page_server: Served, page_folder: Path, page_subject: Subject
) -> None:
    visit(page, page_server, "#layer=conv2_1", "conv2_1")
    put(page, page_folder / "photo.jpg")
    expect(page.locator("#photo")).to_have_attribute("aria-label", "The image, 120 × 90 pixels")
    expect(page.locator("#took")).to_contain_text("Answered in")
    page.wait_for_timeout(500)
    data = page.locator("#arithmetic").evaluate("box => ({...box.dataset})")
    row, column = (int(text) for text in data["at"].split(","))
    terms = glass.step(page_subject, "conv2_1", int(data["channel"]), (row, column)).terms
    assert isinstance(terms, Convolution)
    canvas, count = page.locator("#depth"), len(terms.channel_sums)
    box = canvas.bounding_box()
    assert box
    for channel in (0, count - 1):
        canvas.click(position={"x": (channel + 0.5) * box["width"] / count, "y": 10})
        expect(page.locator("#depthSaid")).to_contain_text(f"Channel {channel} adds")
        kernel = page.locator("#windows table").nth(1).locator("td").evaluate_all("cells => cells.map(c => c.title)")
        shown = [float(text.replace("−", "-")) for text in kernel]
        assert shown == pytest.approx(np.asarray(terms.kernel[channel]).ravel().tolist(), rel=1e-3)
    canvas.press("ArrowLeft")
    expect(page.locator("#depthSaid")).to_contain_text(f"Channel {count - 2} adds")


@pytest.mark.slow
def test_unit_responses_laid_down_make_what_the_window_makes(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=conv2_1&channel=3&at=4,5", "conv2_1")
    page.click("#superpose")
    page.click("#superposePlay")
    slider, said = page.locator("#superpositionTools input"), page.locator("#superpositionSaid")
    slider.fill("1")
    expect(said).to_contain_text("1,024 of 1,024 pixels")
    found = re.search(r"make (\S+) so far; the arithmetic says (\S+)\.$", said.inner_text())
    assert found
    made, expected = (float(text.replace("−", "-")) for text in found.groups())
    assert made == pytest.approx(expected, rel=1e-3)
    assert made != 0


@pytest.mark.slow
def test_a_clipped_cell_is_shown_as_readily_as_the_largest(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=relu2_1&channel=3", "relu2_1")
    page.click("#smallest")
    expect(page.locator("#windows figcaption")).to_contain_text("clipped to 0")
    page.click("#largest")
    expect(page.locator("#windows figcaption")).to_contain_text("it passes")
    open_layer(page, "conv2_1")
    page.click("#smallest")
    expect(page.locator("#numberSaid")).to_contain_text("(clipped)")
    page.click("#numberSaid button")
    page.wait_for_selector("#arithmetic[data-layer=relu2_1]")
    expect(page.locator("#windows figcaption")).to_contain_text("clipped to 0")


@pytest.mark.slow
def test_pooling_says_that_it_has_no_weights(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=pool3&channel=1&at=0,1", "pool3")
    expect(page.locator(".noWeights")).to_contain_text("No weights here.")
    assert page.locator("#windows td.winner").count() == 1


@pytest.mark.slow
def test_fc6_is_a_kernel_over_pool5(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=fc6&channel=2", "fc6")
    assert page.locator("#windows table").count() == 4  # window, kernel, products, and the sum over depth
    places = page.locator("#windows table").nth(3).locator("td").evaluate_all("cells => cells.map(c => c.title)")
    bias = re.search(r"bias (\S+) = (\S+)\.$", page.inner_text("#depthSaid"))
    assert bias
    value, result = (float(text.replace("−", "-")) for text in bias.groups())
    assert sum(float(text.replace("−", "-")) for text in places) + value == pytest.approx(result, rel=1e-2, abs=1e-4)


@pytest.mark.slow
def test_one_overlay_at_a_time_and_none_computed_for_a_closed_one(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=conv2_1&channel=3&at=4,5", "conv2_1")
    page.wait_for_timeout(500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.split("/")[-1].split("?")[0]))
    page.click("[data-choice=none]")
    page.locator("#map").press("ArrowDown")
    page.wait_for_timeout(500)
    assert "conv2_1" in asked
    assert not any("fields" in url for url in asked)
    page.click("[data-choice=evidence]")
    expect(page.locator("#whyLegend")).to_contain_text("Grad-CAM (relu5_2)")
    for overlay in ("field", "sliding", "evidence"):
        page.click(f"[data-choice={overlay}]")
        assert page.locator("#glass > [data-overlay]:visible").evaluate_all(
            "all => all.map(x => x.dataset.overlay)"
        ) == [overlay]


@pytest.mark.slow
def test_evidence_switched_off_stops_at_the_server_too(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#image=temple")
    page.click("[data-choice=evidence]")
    expect(page.locator("#whyLegend")).to_contain_text("Grad-CAM")
    page.select_option("#method", "integrated-gradients")
    page.click("[data-choice=none]")
    page.click("[data-choice=evidence]")
    page.select_option("#method", "saliency")
    expect(page.locator("#whyLegend")).to_contain_text("Saliency")
    expect(page.locator("#whyProgress")).to_be_hidden()


@pytest.mark.slow
def test_a_text_file_leaves_the_photograph_and_its_answer(
    browser: Browser, page_server: Served, page_folder: Path
) -> None:
    page = browser.new_page(locale="en-US")
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    visit(page, page_server, "#image=temple&lang=zh")
    answer = page.locator("#bars").inner_text()
    (page_folder / "note.txt").write_text("no image")
    put(page, page_folder / "note.txt")
    note = page.locator("failure-note[place=photo]")
    expect(note).to_contain_text("无法把它作为图片读取")
    assert page.locator("#bars").inner_text() == answer
    expect(page.locator("#photo")).to_have_attribute("aria-label", "图像，640 × 427 像素")
    expect(page.locator("#took")).to_contain_text("识别用时")
    assert problems == []
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["gone", "proxy"])
def test_a_server_that_is_gone_is_said_where_it_was_asked(browser: Browser, page_server: Served, how: str) -> None:
    page = browser.new_page(locale="en-US")
    visit(page, page_server, "#lang=zh")
    page.wait_for_timeout(500)
    html = {"status": 200, "content_type": "text/html", "body": "<p>sign in</p>"}
    page.route("**/glass/**", lambda route: route.abort() if how == "gone" else route.fulfill(**html))
    page.click('#strip a[data-layer="conv3_1"]')
    expect(page.locator("failure-note[place=grid]")).to_contain_text(
        "服务没有响应" if how == "gone" else "代理返回了 200"
    )
    page.click("[data-sample=temple]")
    expect(page.locator("failure-note[place=photo]")).to_be_visible()
    page.unroute("**/glass/**")
    page.click("[data-sample=temple]")
    expect(page.locator("failure-note[place=photo]")).to_be_hidden()
    page.wait_for_selector("#arithmetic[data-layer=conv3_1]")
    expect(page.locator("failure-note[place=grid]")).to_be_hidden()
    page.close()


@pytest.mark.slow
def test_an_image_smaller_than_the_classifier_is_told_without_asking(
    page: Page, page_server: Served, page_folder: Path
) -> None:
    from glass_subjects import photograph
    from served import encoded

    visit(page, page_server, "#lang=zh")
    (page_folder / "tiny.png").write_bytes(encoded(photograph(20, 24), "PNG"))
    put(page, page_folder / "tiny.png")
    expect(page.locator("#photo")).to_have_attribute("aria-label", "图像，24 × 20 像素")
    page.click("[data-choice=sliding]")
    expect(page.locator("#slideLegend")).to_contain_text("分类器的窗口是 64 × 64 像素，而这张图只有 24 × 20")
    expect(page.locator("#slideWorking")).to_be_hidden()


def test_reload_and_back_bring_ones_own_photograph(page: Page, page_server: Served, page_folder: Path) -> None:
    visit(page, page_server)
    put(page, page_folder / "photo.jpg")
    expect(page).to_have_url(re.compile("image=[0-9a-f]{32}"))
    page.wait_for_timeout(300)
    page.reload()
    expect(page.locator("#photo")).to_have_attribute("aria-label", "The image, 120 × 90 pixels")
    page.wait_for_selector("#arithmetic[data-layer]")
    page.click("[data-sample=temple]")
    expect(page.locator("#photo")).to_have_attribute("aria-label", "The image, 640 × 427 pixels")
    expect(page).to_have_url(re.compile("image=temple"))
    page.go_back()
    expect(page.locator("#photo")).to_have_attribute("aria-label", "The image, 120 × 90 pixels")


@pytest.mark.slow
def test_the_image_as_the_network_takes_it_in(
    page: Page, page_server: Served, page_folder: Path, page_subject: Subject
) -> None:
    visit(page, page_server)
    put(page, page_folder / "photo.jpg")
    expect(page.locator("#photo")).to_have_attribute("aria-label", "The image, 120 × 90 pixels")
    open_layer(page, "image")
    expect(page.locator("#windows .sum")).to_have_count(3)
    page.wait_for_timeout(300)
    row, column = (int(text) for text in re.findall(r"\d+", page.inner_text("#mapSaid"))[:2])
    shown = [
        float(text.split(" = ")[1].replace("−", "-")) for text in page.locator("#windows .sum").all_text_contents()
    ]
    assert shown == pytest.approx(page_subject.input[0, :, row, column].tolist(), rel=1e-3)


@pytest.mark.slow
def test_the_first_map_is_twelve_tab_stops_away(page: Page, page_server: Served) -> None:
    visit(page, page_server)
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    stops = list[str]()
    while (stops or [""])[-1] != "map" and len(stops) < 40:
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert len(stops) <= 12, stops


@pytest.mark.slow
def test_the_skip_link_keeps_the_address(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=conv3_1&channel=1&at=2,3", "conv3_1")
    address = page.url
    page.locator("#skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "opened"
    assert page.url == address


@pytest.mark.slow
def test_a_vectors_scale_is_one_that_it_has(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=fc6", "fc6")
    assert page.locator("#by-scale option").all_text_contents() == ["Per layer", "Whole network"]
    expect(page.locator("#gridLegend")).to_contain_text("Per layer")
    expect(page.locator("#seen")).to_contain_text("larger than the input of 64 × 64")


@pytest.mark.slow
def test_canvases_have_the_screens_pixels(browser: Browser, page_server: Served) -> None:
    context = browser.new_context(device_scale_factor=2, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    visit(page, page_server, "#layer=conv2_1", "conv2_1")
    page.wait_for_timeout(500)
    blurred = page.evaluate("""() => [...document.querySelectorAll("canvas")].filter(each => each.checkVisibility())
      .filter(each => each.width < 1.98 * each.getBoundingClientRect().width).map(each => each.id)""")
    assert blurred == []
    context.close()


@pytest.mark.slow
def test_a_chosen_map_is_scrolled_to(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=conv5_1&channel=31&at=0,0", "conv5_1")
    page.wait_for_timeout(500)
    assert page.evaluate("""() => {
      const box = document.querySelector("feature-grid .scroller");
      return box.scrollHeight <= box.clientHeight + 1 || box.scrollTop > 0;
    }""")


@pytest.mark.slow
def test_a_phone_keeps_the_photograph_and_opens_a_layer_below_it(browser: Browser, page_server: Served) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, locale="en-US")
    page = context.new_page()
    visit(page, page_server)
    open_layer(page, "conv3_1")
    page.wait_for_timeout(600)
    bar, opened = (page.locator(part).bounding_box() for part in ("phone-bar", "#opened"))
    assert bar
    assert opened
    assert bar["y"] == 0
    assert abs(opened["y"] - bar["height"]) < 30
    assert page.inner_text("#phoneAnswer") != ""
    photo = page.locator("#phonePhoto").bounding_box()
    assert photo
    assert max(photo["width"], photo["height"]) == pytest.approx(72, abs=1)
    small = page.evaluate("""() => [...document.querySelectorAll("#explore button, #explore select, #explore a")]
      .filter(each => each.checkVisibility()).map(each => [each.getBoundingClientRect(), each.id || each.textContent])
      .filter(([box]) => box.height < 43.5 || box.width < 43.5).map(([, name]) => name)""")
    assert small == []
    context.close()


@pytest.mark.slow
def test_what_a_channel_looks_for_is_shown_on_request(page: Page, page_server: Served) -> None:
    visit(page, page_server, "#layer=conv3_1&channel=2", "conv3_1")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    assert not any("preferences" in url for url in asked)
    page.click("#preference")
    expect(page.locator("#preferred figure").first).to_contain_text("made to excite it")
    assert page.locator("#preferred figure").count() > 3
    assert sum("preferences" in url for url in asked) == 1
