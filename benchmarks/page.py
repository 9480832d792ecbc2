"""The page with VGG-16 in a browser: an image dropped to its top five, a layer of 512 maps, a cell's arithmetic.

Random weights cost what trained ones do. Medians of several turns, beside what issue 6 asks; then the server's memory
after 50 images, each with its walk and a layer opened.
"""

import base64
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, Request, sync_playwright

from serving import listening, photograph
from vgglass import modelfile
from vgglass.architecture import Architecture
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing

TURNS, IMAGES = 7, 50
QUIET = 1.5  # seconds
# Milliseconds from an action to the frame in which what it asks for stands on the page.
TIMED = """async ([act, argument, selector]) => {
  const actions = {
    drop: bytes => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], "photo.jpg"));
      document.getElementById("bars").replaceChildren();
      const event = new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: data});
      document.getElementById("drop").dispatchEvent(event);
    },
    open: layer => document.querySelector(`#strip a[data-layer="${layer}"]`).click(),
    click: ([row, column]) => {
      const canvas = document.getElementById("map"), frame = canvas.getBoundingClientRect();
      const side = Number(canvas.getAttribute("aria-label").match(/([0-9]+) rows/)[1]), cell = frame.width / side;
      const at = {clientX: frame.left + (column + 0.5) * cell, clientY: frame.top + (row + 0.5) * cell};
      canvas.dispatchEvent(new MouseEvent("click", {bubbles: true, ...at}));
    },
  };
  const began = performance.now();
  actions[act](argument);
  return await new Promise(resolve => {
    const watch = new MutationObserver(() => {
      if (!document.querySelector(selector)) return;
      watch.disconnect();
      requestAnimationFrame(() => resolve(performance.now() - began));
    });
    watch.observe(document.body, {subtree: true, childList: true, attributes: true});
  });
}"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = Preprocessing(224, 256, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), jpeg_scaled=True)
        network = VGG(Architecture.named("vgg16"))
        modelfile.save(network.to_file(tuple(map(str, range(1000))), record), folder / "vgg16.safetensors")
        del network
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "vgglass", "serve", "--model", folder / "vgg16.safetensors", "--port", "0"]
            server = subprocess.Popen([*map(str, command)], stderr=log, stdout=subprocess.DEVNULL)
        try:
            with sync_playwright() as playwright:
                flags = ["--no-sandbox", "--disable-gpu"]
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(f"http://127.0.0.1:{listening(folder / 'log')}/")
                page.wait_for_selector("#verdict", timeout=120_000)
                rest(page)
                measure(page)
                print(f"server's memory after {IMAGES} images    {memory(server.pid) / 2**30:6.2f} GiB (asked: 2.5)")
        finally:
            server.terminate()
            server.wait()


def measure(page: Page) -> None:
    answered, grids, cells = [], [], []
    for turn in range(IMAGES):
        drop = ["drop", base64.b64encode(photograph(turn)).decode(), "#bars .class"]
        answered.append(timed(page, *drop))
        if turn >= TURNS:
            continue
        layer = ("conv4_2", "conv4_3")[turn % 2]
        grids.append(timed(page, "open", layer, f"#grid[data-layer={layer}]"))
        cells.append(timed(page, "click", [3 + turn, 5], f'#arithmetic[data-at="{3 + turn},5"]'))
    for text, milliseconds, most in (
        ("image dropped to top five shown", answered, 0.5),
        ("a grid of 512 maps on screen", grids, 0.7),
        ("a cell's arithmetic", cells, 0.3),
    ):
        print(f"{text:34} {statistics.median(milliseconds) / 1000:6.3f} s   (asked: {most})")


def timed(page: Page, act: str, argument: object, selector: str) -> float:
    """Milliseconds of one action, on a page that has come to rest."""
    milliseconds: float = page.evaluate(TIMED, [act, argument, selector])
    rest(page)
    return milliseconds


def rest(page: Page) -> None:
    """Until the page has asked for nothing for a while: a cell's glow is asked for once the pointer rests on it."""
    last = time.monotonic()

    def asked(_: Request) -> None:
        nonlocal last
        last = time.monotonic()

    kinds = ("request", "requestfinished", "requestfailed")
    for kind in kinds:
        page.on(kind, asked)  # type: ignore[call-overload]
    while time.monotonic() - last < QUIET:
        page.wait_for_timeout(100)
    for kind in kinds:
        page.remove_listener(kind, asked)


def memory(process: int) -> int:
    """Resident bytes of a process and its children."""
    import psutil

    root = psutil.Process(process)
    return sum(each.memory_info().rss for each in (root, *root.children(recursive=True)))


if __name__ == "__main__":
    main()
