"""The page of a look in a browser, opened from disk: pictures, languages, and what pointing and clicking show."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from glass_subjects import model, photograph
from vgglass import glass
from vgglass.glass import Look


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Look:
    path = tmp_path_factory.mktemp("page") / "鸟 <img src=x onerror=alert(1)>.png"
    Image.fromarray(photograph()).save(path)
    wanted = glass.LookOptions(sanity=True, dense=True, class_model=True, without={"conv1_1": [3]}, ranked="conv5_1")
    return glass.look(glass.open_subject(model("A-LRN"), path), wanted)


@pytest.fixture(scope="module")
def folder(seen: Look, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("look")
    glass.write(seen, folder)
    return folder


@pytest.fixture
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    """The page as it opens; afterwards nothing may have failed or been logged."""
    page, problems = browser.new_page(viewport={"width": 1280, "height": 900}), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.on("requestfailed", lambda request: problems.append(request.url))
    page.goto((folder / "index.html").as_uri())
    yield page
    page.close()
    assert problems == []


def test_every_picture_is_there_and_names_are_text(page: Page, seen: Look) -> None:
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)") == []
    assert page.text_content("#title") == f"{seen.subject.name} · A-LRN"
    assert page.locator(".bars span").first.text_content() == seen.top[0][0]
    assert page.locator("nav a").count() == len(seen.layers)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_nothing_hangs_over_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    over = (
        "[...document.querySelectorAll('.bars span')].filter(e => e.getBoundingClientRect().right > innerWidth).length"
    )
    assert page.evaluate(over) == 0
    fields = "[...document.querySelectorAll('.fields > img')]"
    shapes = fields + ".map(i => i.naturalWidth / i.naturalHeight * i.height / i.width)"
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    assert page.evaluate(shapes) == pytest.approx([1] * 5, abs=0.02)


def test_the_switch_changes_every_heading(page: Page) -> None:
    english = page.locator("h2").all_text_contents()
    page.click("#switch")
    chinese = page.locator("h2").all_text_contents()
    assert page.get_attribute("html", "lang") == "zh-CN"
    assert len(english) == len(chinese) == 10
    assert all(text.isascii() for text in english)
    assert not any(text.isascii() for text in chinese)
    assert "每张图各用一个色标" in page.locator("section").last.inner_text()
    page.click("#switch")
    assert page.locator("h2").all_text_contents() == english


def test_pointing_at_a_map_shows_its_numbers(page: Page, seen: Look) -> None:
    layer = next(layer for layer in seen.layers if layer.name == "relu2_1")
    sheet = glass.sheets.grid(layer.maps, "")
    place = page.evaluate("facts.layers.find(layer => layer.name === 'relu2_1').corners[5]")
    image = page.locator("#relu2_1 img")
    image.scroll_into_view_if_needed()
    scale = page.evaluate("i => i.getBoundingClientRect().width / i.width", image.element_handle())
    image.hover(position={"x": (place[0] + 10) * scale, "y": (place[1] + 10) * scale})
    lines = page.inner_text("#tip").split("\n")
    assert lines[0] == f"channel {sheet.channels[5]}"
    assert float(lines[3].split()[1].replace(",", "")) == pytest.approx(float(layer.maps[5].max()), rel=1e-3)
    assert "row 3, column 3" in lines
    assert lines[5] == f"zeros {100 * layer.channel_zeros[5]:.1f} %"


def test_the_pages_script_maps_every_receptive_field_as_python_does(page: Page, seen: Look) -> None:
    """web/geometry.js, which the server's page has too, against `ReceptiveField.box` and `on_original`."""
    boxes = page.evaluate("""() => facts.layers.map(layer => {
        const [width, height] = facts.original, photo = { width, height, placement: facts.placement };
        const [columns, rows] = layer.shape, places = [[0, 0], [rows - 1, columns - 1], [rows >> 1, columns >> 1]];
        return places.map(place => receptiveField(photo, facts.size, layer, place));
    })""")
    for layer, found in zip(seen.layers, boxes, strict=True):
        columns, rows, _ = layer.shape
        places = [(0, 0), (rows - 1, columns - 1), (rows // 2, columns // 2)]
        expected = [glass.on_original(seen.subject, layer.receptive_field.box(place)) for place in places]
        assert found == [pytest.approx(vars(box)) for box in expected], layer.name


def test_clicking_shows_what_a_position_sees(page: Page, seen: Look) -> None:
    """The page's own arithmetic, in JavaScript, frames what Python frames."""
    corner, tile = page.evaluate(
        "(layer => [layer.corners[1], layer.tile])(facts.layers.find(l => l.name === 'pool2'))"
    )
    row, column = 9, 6
    width, height, _ = next(layer.shape for layer in seen.layers if layer.name == "pool2")
    image = page.locator("#pool2 img")
    image.scroll_into_view_if_needed()
    scale = page.evaluate("i => i.getBoundingClientRect().width / i.width", image.element_handle())
    x, y = corner[0] + (column + 0.5) * tile[0] / width, corner[1] + (row + 0.5) * tile[1] / height
    image.click(position={"x": x * scale, "y": y * scale})
    assert page.inner_text("#seen p").startswith("pool2 at row 9, column 6 sees 10 × 10 pixels of the input")
    field = glass.receptive_field(seen.subject.network.architecture, "pool2")
    box = glass.on_original(seen.subject, field.box((row, column)))
    frame = page.locator("#seen b").evaluate("b => ['top', 'left', 'height', 'width'].map(x => parseFloat(b.style[x]))")
    tall, wide = seen.subject.original.shape[:2]
    expected = [box.top / tall, box.left / wide, box.height / tall, box.width / wide]
    assert frame == pytest.approx([100 * share for share in expected], abs=1e-3)
    page.keyboard.press("Escape")
    assert not page.is_visible("#seen")
