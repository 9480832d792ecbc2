"""What the tests of the server's page have in common."""

from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page

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


def save_named(folder: Path) -> Path:
    """A small network with every kind of layer, and a photograph."""
    file = model("A-LRN")
    modelfile.save(replace(file, record=replace(file.record, classes=CLASSES)), folder / "small.safetensors")
    (folder / "photo.jpg").write_bytes(encoded(photograph(90, 120, seed=5)))
    return folder
