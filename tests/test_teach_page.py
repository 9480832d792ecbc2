"""The view Teach as a person uses it in Chromium: baskets, drops, keys, suspects, undo, two tabs, both languages."""

import base64
import json
from collections.abc import Iterator
from importlib.resources import files

import pytest
from playwright.sync_api import Browser, Page, expect

from served import Teaching, save_model
from test_serving_teach import COLOURS, coloured

DROP = """([photographs, where]) => {
  const data = new DataTransfer();
  for (const [bytes, name] of photographs) {
    data.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], name));
  }
  for (const kind of ["dragover", "drop"]) {
    const event = new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: data});
    document.querySelector(where).dispatchEvent(event);
  }
}"""
expect.set_options(timeout=30_000)  # a machine may be busy
TEXTS = {
    lang: json.loads((files("vgglass.locale") / lang / "teach.json").read_text(encoding="utf-8"))
    for lang in ("en", "zh")
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teaching]:
    folder = tmp_path_factory.mktemp("teach-page")
    with Teaching(folder, save_model(folder / "small.safetensors"), folder / "taught") as server:
        yield server
        assert not server.lines("error")


@pytest.fixture
def page(browser: Browser, server: Teaching) -> Iterator[Page]:
    """A page at Teach; at the end all is taken back, nothing was thrown, and nobody else was asked."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page, thrown, asked = context.new_page(), list[str](), set[str]()
    page.on("pageerror", lambda error: thrown.append(str(error)))
    page.on("request", lambda request: asked.add(request.url))
    opened(page, server)
    yield page
    context.close()
    while server.post("undo").status == 200:
        pass
    assert thrown == []
    assert all(url.startswith((f"http://127.0.0.1:{server.port}/", "blob:", "data:")) for url in asked)


def opened(page: Page, server: Teaching, lang: str = "en") -> None:
    page.goto(f"http://127.0.0.1:{server.port}/#view=teach&lang={lang}")
    expect(page.locator("teach-summary h2")).not_to_be_empty()


def drop(page: Page, photographs: list[tuple[bytes, str]], where: str) -> None:
    page.evaluate(DROP, [[[base64.b64encode(data).decode(), name] for data, name in photographs], where])


def basket(page: Page, name: str) -> str:
    return f'.basket[data-label="{name}"]'


def fill_baskets(page: Page, count: int = 4) -> None:
    for name in COLOURS:
        page.fill(".newClass input", name)
        page.keyboard.press("Enter")
        drop_at = page.locator(basket(page, name))
        expect(drop_at).to_be_visible()
        drop(page, [(coloured(name, seed), f"{seed}.png") for seed in range(count)], basket(page, name))
        expect(drop_at.locator("h3 small")).to_have_text(f"{count} photographs")


def test_a_lesson_by_hand(page: Page, server: Teaching) -> None:
    expect(page.locator("teach-summary h2")).to_have_text(TEXTS["en"]["needTwo"])
    fill_baskets(page)
    assert sorted(path.name for path in (server.taught / "red").iterdir()) == [f"{seed}.png" for seed in range(4)]
    expect(page.locator("teach-summary .interval")).to_be_visible()
    drop(page, [(coloured("green", 20), "new.png")], "teach-trial")
    expect(page.locator("teach-trial .bars button").first).to_have_text("green")
    expect(page.locator("teach-trial h4").first).to_have_text("Why “green”?")
    drop(page, [(coloured("blue", 20), "tray.png")], "[data-tray]")
    expect(page.locator("teach-ask h4")).to_have_text("What is this?")
    other = page.context.new_page()
    opened(other, server)
    page.locator("teach-ask h3").click()  # digits typed into the name of a basket are its name
    page.keyboard.press("1")
    for each in (page, other):
        expect(each.locator(basket(each, "blue") + " h3 small")).to_have_text("5 photographs")
    page.keyboard.press("Control+z")
    for each in (page, other):
        expect(each.locator("teach-ask h3 small")).to_have_text("1 photograph")


@pytest.mark.slow
def test_a_wrong_label_is_moved_by_a_click(page: Page) -> None:
    fill_baskets(page, 6)
    page.fill(".newClass input", "purple")
    drop(page, [(coloured("red", 30), "wrong.png")], basket(page, "blue"))
    suspect = page.locator("teach-suspects li").first
    expect(suspect).to_contain_text("in “blue”, rather “red”")
    expect(page.locator(basket(page, "blue") + " .suspect").first).to_be_visible()
    suspect.get_by_text("Move to “red”").click()
    expect(page.locator(basket(page, "red") + " h3 small")).to_have_text("7 photographs")


@pytest.mark.slow
def test_the_keys_alone_move_and_remove(page: Page) -> None:
    fill_baskets(page, 2)
    grid = page.locator(basket(page, "red") + " teach-grid")
    grid.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("1")
    expect(page.locator(basket(page, "blue") + " h3 small")).to_have_text("3 photographs")
    grid.focus()
    page.keyboard.press("Delete")
    expect(page.locator(basket(page, "red") + " h3 small")).to_have_text("0 photographs")
    page.keyboard.press("Control+z")
    expect(page.locator(basket(page, "red") + " h3 small")).to_have_text("1 photograph")


@pytest.mark.slow
def test_faults_are_told_in_the_pages_language(page: Page, server: Teaching) -> None:
    opened(page, server, "zh")
    page.reload()
    for given, said in (("a/b", "name forbidden"), ("con", "name reserved"), ("test", "name part"), ("", "name empty")):
        page.fill(".newClass input", given)
        page.locator(".newClass button").click()
        expect(page.locator("#problem")).to_have_text(TEXTS["zh"]["refused"][said])
    page.fill(".newClass input", "猫")
    page.locator(".newClass button").click()
    expect(page.locator(basket(page, "猫"))).to_be_visible()
    expect(page.locator("#problem")).to_be_hidden()
    drop(page, [(b"no image", "<i>notes</i>.txt")], basket(page, "猫"))
    said = TEXTS["zh"]["failed"].format(count=1, name="<i>notes</i>.txt", reason=TEXTS["zh"]["refused"]["bad image"])
    expect(page.locator(".said")).to_have_text(said)


@pytest.mark.slow
def test_thousands_of_thumbnails_are_not_in_the_document(page: Page) -> None:
    page.fill(".newClass input", "many")
    page.keyboard.press("Enter")
    expect(page.locator(basket(page, "many"))).to_be_visible()
    found = page.locator(basket(page, "many") + " teach-grid").evaluate(
        """grid => {
          const numbers = Array.from({length: 5000}, (_, n) => n);
          grid.show(numbers, numbers.map(n => "d" + n), () => "", "");
          const before = grid.querySelectorAll(".thumb").length;
          grid.scrollTop = 100000;
          return [before, grid.scrollHeight > 20000];
        }"""
    )
    assert 0 < found[0] < 60
    assert found[1]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_page(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    fill_baskets(page, 2)
    assert page.evaluate("document.documentElement.scrollWidth") == width
