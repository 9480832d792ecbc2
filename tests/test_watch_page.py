"""The view Watch in Chromium: guesses, the playhead, what is drawn, languages, colours and a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from served import Served, save_model
from watched import command, started, wait

SCRUBS = 1000
GROWTH = 4_000_000  # bytes of JavaScript's heap after the scrubs, beyond those after the first hundred

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With a run that was stopped after an epoch and a half."""
    folder = tmp_path_factory.mktemp("watch")
    with Served(folder, save_model(folder / "small.safetensors")) as server:
        started(server)
        command(server, "go")
        wait(server, "done", 60)
        command(server, "stop")
        yield server


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page; afterwards nothing may have failed or been logged, and nobody else asked."""
    page, problems = browser.new_page(viewport={"width": 1280, "height": 800}), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda request: problems.extend([request.url] if "127.0.0.1" not in request.url else []))
    yield page
    page.close()
    assert problems == []


def visit(page: Page, server: Served, lang: str = "en") -> None:
    page.goto(f"http://127.0.0.1:{server.port}/#view=watch&lang={lang}")
    page.wait_for_selector("#watchOpen")
    page.wait_for_selector("#watchImages canvas")


def test_every_part_shows_the_record(page: Page, server: Served) -> None:
    visit(page, server)
    done = page.locator("#watchState").inner_text()
    assert done.startswith("Stopped after "), done
    for canvas in page.locator("#watchRecord canvas").all():
        drawn = "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"
        assert canvas.evaluate(drawn) > 8, canvas.get_attribute("id")
        assert canvas.get_attribute("aria-label")
    assert page.locator("#watchWeight .good").inner_text().endswith("the same ✓")
    story = page.locator("#watchStory").inner_text()
    assert "What happened: the validation loss went from 2.30" in story
    assert "Why: each step moves every weight" in story


def test_the_playhead_goes_back_to_the_first_point(page: Page, server: Served) -> None:
    visit(page, server)
    assert page.get_attribute("#watchFollow", "aria-pressed") == "true"
    page.fill("#watchStep", "0")
    page.wait_for_selector("#watchWeight p:text-matches('Before the first step')")
    assert page.locator("#watchWhere").inner_text() == "step 0 of 400"
    assert page.locator("#watchLossSaid").inner_text().startswith("Loss 2.30")
    assert page.is_disabled("#watchBack")
    page.click("#watchForth")
    page.wait_for_selector("#watchWeight dl")
    assert page.locator("#watchWhere").inner_text() == "step 1 of 400"
    page.locator("#watchLoss").click(position={"x": 42, "y": 50})
    page.wait_for_selector("#watchWhere:text('step 0 of 400')")
    page.click("#watchFollow")
    page.wait_for_selector("#watchWeight dl")


def test_a_thousand_scrubs_leave_nothing_behind(page: Page, server: Served) -> None:
    visit(page, server)
    protocol = page.context.new_cdp_session(page)
    protocol.send("Performance.enable")

    def held() -> tuple[float, float]:
        protocol.send("HeapProfiler.collectGarbage")
        found = {each["name"]: each["value"] for each in protocol.send("Performance.getMetrics")["metrics"]}
        return found["JSHeapUsedSize"], found["Nodes"]

    scrub = """async count => {
      const range = document.querySelector("#watchStep"), points = Number(range.max) + 1;
      for (let i = 0; i < count; i++) {
        range.value = (7 * i) % points;
        range.dispatchEvent(new Event("input", {bubbles: true}));
        await new Promise(resolve => setTimeout(resolve, 5));
      }
    }"""
    page.evaluate(scrub, 100)
    page.wait_for_timeout(1000)
    heap, nodes = held()
    page.evaluate(scrub, SCRUBS)
    page.wait_for_timeout(1000)
    after, now = held()
    print(f"heap {heap / 1e6:.2f} MB, after {SCRUBS} scrubs {after / 1e6:.2f} MB; nodes {nodes:.0f}, {now:.0f}")
    assert after < heap + GROWTH
    assert now <= nodes + 100


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("width", [390, 1280, 1440])
def test_nothing_hangs_over(page: Page, server: Served, lang: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme="dark" if width == 1440 else "light")
    visit(page, server, lang)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    over = "[...document.querySelectorAll('#watch *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    assert page.evaluate(over + ".length") == 0
    title = {"en": "Watch it learn", "zh": "看它学习"}[lang]
    assert page.locator("#watch-title").inner_text() == title
    if width == 390:
        small = (
            "[...document.querySelectorAll('#watch button')].filter(e => e.checkVisibility() && e.clientHeight < 40)"
        )
        assert page.evaluate(small + ".length") == 0


def test_the_canvases_are_sharp(browser: Browser, server: Served) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800}, device_scale_factor=2)
    visit(page, server)
    for name in ("watchLoss", "watchKernels", "watchConfusion"):
        size = page.eval_on_selector(f"#{name}", "canvas => [canvas.width, canvas.getBoundingClientRect().width]")
        assert size[0] == pytest.approx(2 * size[1], abs=2), name
    page.close()


def test_a_guess_is_held_beside_the_real_number_and_two_see_the_same(
    page: Page, browser: Browser, tmp_path: Path
) -> None:
    with Served(tmp_path, save_model(tmp_path / "small.safetensors")) as server:
        page.goto(f"http://127.0.0.1:{server.port}/#view=watch&lang=en")
        page.fill("#watchGuess input", "5")
        page.click("#watchGuess button")
        page.wait_for_selector("#watchGuess[hidden]", state="attached")
        page.select_option("#watchExperiment", "norm")
        page.click("#watchStart button")
        verdict = page.locator("#watchVerdict")
        expect(verdict).to_contain_text("You guessed 5; it starts at 2.", timeout=120_000)
        assert "ln 10 = 2.303" in page.locator("#watchVerdict").inner_text()
        page.click("#watchGuess button:text('it learns, but badly')")
        other = browser.new_page()
        other.goto(f"http://127.0.0.1:{server.port}/#view=watch&lang=zh")
        page.click("#watch-step")
        for each, where in ((page, "step 1 of 400"), (other, "第 1 步（共 400 步）")):
            each.wait_for_selector(f"#watchWhere:text('{where}')", timeout=60_000)
        other.click("#watch-stop")
        expect(verdict).to_contain_text("You guessed “it learns, but badly”", timeout=60_000)
        assert page.locator("#watchOpen").count() == 0
        other.close()
        page.goto("about:blank")  # before its server ends, whose stream it follows


def test_the_model_that_came_of_it_opens_in_explore(page: Page, server: Served) -> None:
    visit(page, server)
    page.click("#watchOpen")
    page.wait_for_selector("#explore:not([hidden]) #arithmetic[data-layer=conv1_1]", timeout=60_000)
    assert page.title().startswith("vgglass · digits-")
    page.click("view-tabs a:text('Watch')")
    page.click("#watchClose")
    page.wait_for_selector("#explore:not([hidden])", timeout=60_000)
    page.wait_for_selector("#brand:text-is('vgglass · small')")
