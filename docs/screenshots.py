"""The pictures of README.md and README.zh-CN.md, taken of the program at work: `make pictures`.

On real ImageNet features where `shared/data` lies beside the checkout, else on a network that learned the digits. No
photograph of that data is shown: the sample photographs are those that installed libraries ship. Needs Chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console

from vgglass import workflows

OUT = Path(__file__).parent / "pictures"
DATA = Path(__file__).parents[2] / "shared" / "data"
WEIGHTS = DATA / "vgg16-imagenet-conv" / "vgg16_notop.weights.h5"
NAMES = {
    "n01440764": "tench", "n02102040": "springer", "n02979186": "cassette player", "n03000684": "chain saw",
    "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "petrol pump",
    "n03445777": "golf ball", "n03888257": "parachute",
}  # fmt: skip
LANGUAGES = {"en": "", "zh": ".zh"}
SIZE = {"width": 1280, "height": 720}
MOVING, COLOURS, PAUSE = 880, 64, 1600  # pixels, of each frame; milliseconds a frame
FLIPPED = 4  # digits put into the wrong folder
QUIET = Console(quiet=True)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder, chromium = Path(name), shutil.which("chromium") or shutil.which("google-chrome")
        digits = workflows.train(out=folder / "digits", epochs=4, console=QUIET)
        workflows.report(digits, None, folder / "report.html", explain=True, console=QUIET)
        labels = labelled(folder, digits)
        with served(real_features(folder) if WEIGHTS.exists() else digits) as address:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            for lang, suffix in LANGUAGES.items():
                moving(browser, f"{address}#layer=conv3_1&lang={lang}", OUT / f"page{suffix}.gif")
                still(browser, f"{address}#view=course&card=2&lang={lang}", OUT / f"course{suffix}.png")
                still(browser, (folder / "report.html").as_uri(), OUT / f"report{suffix}.png", lang)
                still(browser, labels.as_uri(), OUT / f"labels{suffix}.png", lang)
            browser.close()
    print(f"{sum(path.stat().st_size for path in OUT.iterdir()) / 1e6:.2f} MB in {OUT}")


def real_features(folder: Path) -> Path:
    """A head on VGG-16's own convolutions, its ten classes under names that can be read."""
    for split in ("train", "val"):
        for source in (DATA / "imagenette-small" / split).iterdir():
            place = folder / "imagenette" / split / NAMES[source.name]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)
    return workflows.train(folder / "imagenette", out=folder / "real", source=WEIGHTS, console=QUIET)


def labelled(folder: Path, model: Path) -> Path:
    """The page of doubtful labels for the digits, of which a few lie in another folder."""
    images = workflows.write_digits("test", folder / "test")
    for digit in range(FLIPPED):
        first = sorted((images / str(digit)).iterdir())[0]
        first.rename(images / str(digit + 5) / first.name)
    found = workflows.check_labels(images, source=model, console=QUIET)
    workflows.write_label_page(found, folder / "labels.html")
    return folder / "labels.html"


@contextmanager
def served(model: Path) -> Iterator[str]:
    """The address of `vgglass serve`."""
    command = [sys.executable, "-m", "vgglass", "serve", "--model", str(model), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().split()[0]
        finally:
            server.terminate()


def moving(browser: Browser, address: str, path: Path) -> None:
    """A cell chosen, its arithmetic and the map that it belongs to; then another, and what ReLU makes of it."""
    page = opened(browser, address)
    page.click("[data-sample=temple]")
    page.wait_for_timeout(4000)
    frames = [frame(page)]
    for right, down in ((0.3, 0.4), (0.55, 0.35), (0.7, 0.6)):
        box = page.locator("#map").bounding_box()
        assert box
        page.mouse.click(box["x"] + right * box["width"], box["y"] + down * box["height"])
        page.wait_for_timeout(1500)
        frames.append(frame(page))
    page.click("#unit a:last-child")
    page.wait_for_timeout(2500)
    frames.append(frame(page))
    page.context.close()
    first, *rest = [each.quantize(COLOURS, dither=Image.Dither.NONE) for each in frames]
    first.save(path, save_all=True, append_images=rest, duration=PAUSE, loop=0, optimize=True)


def still(browser: Browser, address: str, path: Path, lang: str = "en") -> None:
    page = opened(browser, address)
    if lang != "en":
        page.evaluate("document.querySelector('#switch, #language').click()")
    page.wait_for_timeout(2500)
    frame(page).quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    page.context.close()


def opened(browser: Browser, address: str) -> Page:
    page = browser.new_context(viewport=SIZE, locale="en-US").new_page()  # type: ignore[arg-type]
    page.goto(address)
    page.wait_for_timeout(2500)
    return page


def frame(page: Page) -> Image.Image:
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        page.screenshot(path=file.name)
        picture = Image.open(file.name).convert("RGB")
    return picture.resize((MOVING, round(MOVING * picture.height / picture.width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
