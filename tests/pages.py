"""What the tests of the server's page have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page

from glass_subjects import model, photograph
from served import Served, encoded
from vgglass import modelfile

CLASSES = ("猫", "<img src=x onerror=alert(1)>", "狗", "fish", "frog", "horse", "ship")
DROP = """([bytes, name]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], name));
  for (const kind of ["dragover", "drop"]) {
    const event = new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: data});
    document.getElementById("drop").dispatchEvent(event);
  }
}"""
PASTE = """([bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], "pasted.png"));
  dispatchEvent(new ClipboardEvent("paste", {clipboardData: data}));
}"""


def visit(page: Page, server: Served, where: str = "", layer: str = "conv1_1") -> None:
    page.goto(f"http://127.0.0.1:{server.port}/{where}")
    page.wait_for_selector(f"#arithmetic[data-layer={layer}]")


@contextmanager
def watched(browser: Browser, server: Served) -> Iterator[Page]:
    """A page on which a person may open the server's address; nothing failed, was logged, or left the machine."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    page, problems = context.new_page(), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.on("requestfailed", lambda request: problems.append(request.url) if aborted(request) else None)
    page.on("request", lambda request: problems.append(request.url) if foreign(request.url, server) else None)
    yield page
    context.close()
    assert problems == []


def aborted(request: object) -> bool:
    """Not what the page itself gave up because the pointer went on."""
    return getattr(request, "failure", None) != "net::ERR_ABORTED"


def foreign(url: str, server: Served) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("blob", "data") and parts.netloc != f"127.0.0.1:{server.port}"


def open_layer(page: Page, layer: str) -> None:
    """Open a layer as a person does: its unit in the network, then the layer in the unit's switch."""
    units = (
        "(await import('/static/units.js')).unitOf((await import('/static/store.js')).get().model.layers, layer).name"
    )
    page.wait_for_selector("#strip a", state="attached")
    unit = page.evaluate(f"async layer => {units}", layer)
    tile = page.locator(f'#strip a[data-layer="{unit}"]')
    if not tile.is_visible():  # on a phone, where only the open block shows its layers
        page.locator(".block", has=page.locator(f'a[data-layer="{unit}"]')).locator(".bracket").click()
    tile.click()
    if unit != layer:
        page.click(f'#unit a[data-layer="{layer}"]')
    if layer != "image":
        page.wait_for_selector(f"#arithmetic[data-layer={layer}]")


def save_named(folder: Path) -> Path:
    """A small network with every kind of layer, and a photograph."""
    file = model("A-LRN")
    modelfile.save(replace(file, record=replace(file.record, classes=CLASSES)), folder / "small.safetensors")
    (folder / "photo.jpg").write_bytes(encoded(photograph(90, 120, seed=5)))
    return folder
