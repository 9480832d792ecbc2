"""What takes long on the page: its progress, how it is stopped, and that nothing is computed for nobody."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pages import visit, watched
from served import Served

SLOW = pytest.mark.slow
COUNT = re.compile(r"\d+")
STEP, WHOLE = 12, 60_000  # seconds of one step, the network's pass; milliseconds that all may take
# The server, with a network that takes its time at every layer and says so.
PATIENT = """
import sys, time
from vgglass.model import VGG
walk = VGG._walk
def patient(*about):
    for step in walk(*about):
        print('{"event": "layer"}', file=sys.stderr, flush=True)
        time.sleep(0.2)
        yield step
VGG._walk = patient
from vgglass.cli import main
main()
"""


@pytest.fixture(scope="module")
def server(page_folder: Path) -> Iterator[Served]:
    with Served(page_folder, page_folder / "small.safetensors", code=PATIENT) as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: Served) -> Iterator[Page]:
    with watched(browser, server) as page:
        visit(page, server, "#layer=conv3_1&channel=2", "conv3_1")
        page.wait_for_function(
            "async () => (await import('/static/store.js')).get().summaries.some(each => each.name === 'prob')"
        )
        yield page


def require_idle(server: Served) -> None:
    """Nothing is computed any more once the step that had begun has ended, long before the work's own end."""
    until, before = time.monotonic() + STEP, -1
    while (count := len(server.lines("layer"))) != before:
        assert time.monotonic() < until, count
        before = count
        time.sleep(1)


def shown_figures(page: Page) -> list[str]:
    return page.locator("#bars .probability").all_text_contents()


@SLOW
def test_silencing_shows_its_progress_and_is_stopped(page: Page, server: Served) -> None:
    before = shown_figures(page)
    page.click("#silence")
    progress = page.locator("answer-bars progress-note")
    expect(progress).to_be_visible()
    expect(progress.locator("progress")).to_have_attribute("value", COUNT, timeout=WHOLE)
    assert shown_figures(page) == before, "what was there stays until the answer is"
    progress.locator("button").click()
    expect(progress).to_be_hidden()
    expect(page.locator("#silence")).to_have_attribute("aria-pressed", "false")
    require_idle(server)
    page.click("#silence")
    expect(page.locator("#bars .probability").first).to_contain_text("→", timeout=WHOLE)
    expect(progress).to_be_hidden()


@SLOW
def test_a_search_for_patterns_shows_its_progress_and_is_stopped(page: Page, server: Served) -> None:
    page.click("#preference")
    progress = page.locator("channel-preference progress-note")
    expect(progress).to_be_visible()
    expect(progress.locator("progress")).to_have_attribute("value", COUNT, timeout=WHOLE)
    progress.locator("button").click()
    expect(progress).to_be_hidden()
    expect(page.locator("#preference")).to_have_attribute("aria-expanded", "false")
    require_idle(server)


@SLOW
def test_the_effects_of_all_channels_are_stopped(page: Page, server: Served) -> None:
    page.select_option("#by-order", "effect")
    progress = page.locator("feature-grid progress-note")
    expect(progress).to_be_visible()
    progress.locator("button").click()
    expect(progress).to_be_hidden()
    expect(page.locator("#by-order")).to_have_value("channel")
    require_idle(server)


@SLOW
def test_nothing_is_computed_while_another_view_is_open(page: Page, server: Served) -> None:
    """And what was asked for comes when one is back."""
    page.click("#silence")
    page.click("#preference")
    expect(page.locator("channel-preference progress-note")).to_be_visible()
    page.click("view-tabs a:nth-child(3)")
    require_idle(server)
    page.click("view-tabs a:nth-child(1)")
    expect(page.locator("#bars .probability").first).to_contain_text("→", timeout=WHOLE)
    expect(page.locator("#preferred figure").first).to_contain_text("made to excite it", timeout=2 * WHOLE)
