"""The course in a browser: each card's guess is checked by the numbers that the glass computes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from scipy.special import softmax

from pages import visit, watched
from served import Served
from vgglass import glass
from vgglass.glass import Subject
from vgglass.locale import words

SLOW = pytest.mark.slow  # the product of widths, colours and languages
CARDS = 16


@pytest.fixture
def page(browser: Browser, page_server: Served, page_folder: Path) -> Iterator[Page]:
    """The course on a photograph."""
    with watched(browser, page_server) as page:
        visit(page, page_server)
        with page.expect_response("**/picture"):
            page.set_input_files("#file", page_folder / "photo.jpg")
        page.click("view-tabs a:nth-child(2)")
        expect(page.locator("course-view .stage canvas").first).to_be_visible()
        yield page


def opened(page: Page, card: int) -> None:
    page.click(f"course-view nav a:nth-child({card})")
    expect(page.locator("course-view article > .note").first).to_contain_text(f"card {card} of {CARDS}")
    page.wait_for_selector("course-view .stage > *")


def verdict(page: Page, guess: float | str | None) -> tuple[bool, str]:
    """Whether the guess was right, and what was said."""
    if isinstance(guess, str):
        page.get_by_label(guess, exact=True).check()
    elif guess is not None:
        page.fill("course-view .guess input", repr(guess))
    page.click("course-view .guess button")
    page.wait_for_selector("course-view .verdict.good, course-view .verdict.bad")
    said = page.locator("course-view .verdict")
    return said.get_attribute("class") == "verdict good", str(said.text_content())


def test_each_guess_is_checked_by_the_networks_own_number(page: Page, page_subject: Subject) -> None:
    layers, probability = page_subject.layers, float(softmax(page_subject.logits()).max())
    parameters = sum(layer.parameters for layer in layers)
    connected = sum(layer.parameters for layer in layers if layer.kind == "linear")
    relu = next(layer for layer in glass.walk(page_subject) if layer.name == "relu5_2")
    truths = {
        1: (64 * 64 * 3, 64 * 64), 3: (9, 8), 5: (round(100 * float((relu.maps == 0).mean())), 150), 6: (2, 3),
        7: (page_subject.layer("conv3_2").receptive_field.size, 3), 8: (11, 10),
        9: (round(100 * connected / parameters), 100), 12: (probability - 1, probability),
        13: (100 * (1 - 64 / page_subject.place.columns), 50), 15: (100 * (1 - probability), 100),
        16: (4 * parameters / 1e6, parameters / 1e6),
    }  # fmt: skip
    for card, (right, wrong) in truths.items():
        opened(page, card)
        assert verdict(page, wrong)[0] is False, card
        assert verdict(page, right)[0] is True, card


def test_every_chapter_has_a_card_under_its_own_title(page: Page) -> None:
    said = []
    for card in range(1, CARDS + 1):
        opened(page, card)
        said.append(str(page.locator("course-view article > .note").first.text_content()).split(" · ")[0])
    titles = [path.read_text(encoding="utf-8").splitlines()[0] for path in chapters("[a-z].md")]
    assert list(dict.fromkeys(said)) == [f"Chapter {title[2:].replace(' ·', ':')}" for title in titles]


@pytest.mark.parametrize(("lang", "suffix"), [("en", "[a-z].md"), ("zh", ".zh-CN.md")])
def test_chapters_have_the_titles_of_the_course(lang: str, suffix: str) -> None:
    titles = [path.read_text(encoding="utf-8").splitlines()[0] for path in chapters(suffix)]
    known = words(lang, "course")["chapters"].values()
    assert titles == [f"# {number} · {title}" for number, title in enumerate(known, 1)]


def chapters(suffix: str) -> list[Path]:
    return sorted((Path(__file__).parents[1] / "docs" / "course").glob(f"[01]*{suffix}"))


def test_the_input_at_a_place_is_the_networks_own(page: Page, page_subject: Subject) -> None:
    opened(page, 1)
    record = page_subject.record.preprocessing
    for channel, name in enumerate("RGB"):
        value = (page_subject.square[32, 32, channel] - record.mean[channel]) / record.std[channel]
        row = page.locator("course-view .rows div").nth(channel)
        expect(row).to_contain_text(f"{name}: pixel {page_subject.square[32, 32, channel]}")
        assert float(str(row.text_content()).split("= ")[1].replace("−", "-")) == pytest.approx(value, abs=1e-3)


def test_a_class_is_chosen_as_right_and_training_goes_on_in_watch(page: Page, page_subject: Subject) -> None:
    opened(page, 12)
    second = np.sort(softmax(page_subject.logits()))[-2]
    page.click("course-view .stage .choices button:nth-child(2)")
    expect(page.locator("course-view .stage .note").first).to_contain_text("Loss")
    expect(page.locator("course-view .stage button[aria-pressed=true]")).to_have_count(1)
    expect(page.locator("course-view .stage button:nth-child(2)")).to_have_attribute("aria-pressed", "true")
    right, said = verdict(page, float(second) - 1)
    assert right, said
    door = page.locator("course-view article a.button").nth(1)
    expect(door).to_have_text("Go on in Watch")
    door.click()
    expect(page.locator("#watch")).to_be_visible()


def test_bits_are_taken_from_the_kernel(page: Page, page_subject: Subject) -> None:
    opened(page, 16)
    said = page.locator("course-view .stage .note")
    expect(said).to_contain_text("With 8 bits")
    page.focus("course-view .slider input")
    page.keyboard.press("Home")
    expect(said).to_contain_text("With 2 bits")
    channel = int(
        next(layer for layer in glass.walk(page_subject) if layer.name == "conv1_1").maps.mean((1, 2)).argmax()
    )
    exact = glass.step(page_subject, "conv1_1", channel, (32, 32)).recomputed
    written = str(said.text_content()).split("float32 ")[1].rstrip(".").replace("−", "-")
    assert float(written) == pytest.approx(exact, rel=1e-3)


def test_progress_is_kept_and_forgotten(page: Page) -> None:
    verdict(page, 64 * 64 * 3)
    opened(page, 4)
    page.reload()
    expect(page.locator("course-view nav a[aria-current]")).to_contain_text("4")
    assert page.locator("course-view nav a[data-done=right]").count() == 1
    assert page.locator("course-view nav a[data-done=seen]").count() == 1
    page.click("course-view article > .note button")
    expect(page.locator("course-view nav a[data-done=right]")).to_have_count(0)


def test_a_place_is_chosen_by_keys_and_its_products_show_after_the_guess(page: Page) -> None:
    opened(page, 2)
    rows = page.locator("course-view .rows .note")
    expect(rows.first).to_have_text("Input 0: pixels × kernel")
    before = page.locator("course-view .terms canvas").first.get_attribute("aria-label")
    page.focus("course-view .place")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("course-view .terms canvas").first).not_to_have_attribute("aria-label", str(before))
    expect(page.locator("course-view .place")).to_be_focused()
    verdict(page, "Positive")
    expect(rows.first).to_contain_text("= products, sum")


def test_a_link_opens_the_layer_with_its_target_marked(page: Page, page_server: Served) -> None:
    opened(page, 4)
    link = page.locator("course-view article a.button")
    address = str(link.get_attribute("href"))
    link.click()
    expect(page.locator("#arithmetic.marked")).to_be_visible()
    expect(page.locator("#arithmetic")).to_have_attribute("data-layer", "pool1")
    page.goto("about:blank")
    visit(page, page_server, address, "pool1")
    expect(page.locator("#arithmetic.marked")).to_be_visible()


@pytest.mark.slow
def test_a_closed_course_asks_for_nothing(page: Page) -> None:
    opened(page, 2)
    page.click("view-tabs a:first-child")
    page.wait_for_selector("#arithmetic[data-layer=conv1_1]")
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.click("#samples button >> nth=1")
    page.wait_for_selector("#arithmetic[data-layer=conv1_1]")
    page.wait_for_timeout(300)
    assert not [url for url in asked if "row=32" in url], "the place that the course had chosen"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "width", "lang"),
    [("light", 390, "zh"), pytest.param("dark", 1280, "en", marks=SLOW), pytest.param("light", 1440, "zh", marks=SLOW)],
)
def test_every_card_at_every_width(page: Page, page_server: Served, scheme: str, width: int, lang: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    if lang == "zh":
        page.click("#language")
    for card in range(1, CARDS + 1):
        page.click(f"course-view nav a:nth-child({card})")
        page.wait_for_selector("course-view .stage > *")
        page.wait_for_timeout(150)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, card
        text = str(page.text_content("course-view article"))
        assert "undefined" not in text
        assert "{" not in text
    found = Axe().run(page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
