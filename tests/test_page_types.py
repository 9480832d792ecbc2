"""The scripts of the pages: their types as tsc checks them, and lines that can be read."""

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent
PACKAGE = Path(str(files("vgglass")))
WRITTEN = [path for path in sorted(PACKAGE.rglob("*")) if path.suffix in (".js", ".css", ".html")]
ELEMENT = re.compile(r'^customElements\.define\("([a-z-]+)", ', re.MULTILINE)


def compiler() -> list[str] | None:
    """tsc where it is installed, or as npx fetches it."""
    if shutil.which("tsc"):
        return ["tsc"]
    npx = ["npx", "--yes", "--package", "typescript@5", "tsc"]
    if shutil.which("npx") and not subprocess.run([*npx, "--version"], capture_output=True, check=False).returncode:
        return npx
    return None


@pytest.mark.slow
def test_the_scripts_types_agree() -> None:
    command = compiler()
    if command is None:
        pytest.skip("neither tsc nor an npx that can fetch it on this machine")
    found = subprocess.run([*command, "--project", HERE / "jsconfig.json"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_line_is_longer_than_120_characters(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [(number, len(line)) for number, line in enumerate(lines, 1) if len(line) > 120] == []
    assert len(lines) < 400


@pytest.mark.parametrize("path", [path for path in WRITTEN if path.suffix == ".js"], ids=lambda path: path.name)
def test_no_script_has_an_any_or_writes_markup(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"[<{|(,]\s*any\b|\bany\s*[>}|[]|@ts-(ignore|nocheck|expect-error)", text)
    assert not re.search(r"\b(inner|outer)HTML\b|insertAdjacentHTML|document\.write|\beval\(", text)


def test_every_element_of_the_page_has_a_file_of_its_name() -> None:
    page = (PACKAGE / "server" / "static" / "index.html").read_text(encoding="utf-8")
    defined = {path.stem: ELEMENT.findall(path.read_text(encoding="utf-8")) for path in WRITTEN if path.suffix == ".js"}
    elements = {name for names in defined.values() for name in names}
    assert all(names == [stem] for stem, names in defined.items() if names)
    assert set(re.findall(r"<([a-z]+-[a-z-]+)", page)) == elements - {"softmax-table"}  # made by step-arithmetic


def test_the_server_page_fills_in_as_the_offline_pages_do() -> None:
    """Numbered places too, which `locale.of_page` writes where Chinese has another order than English."""
    filled = "return text.replace(/\\{(\\d*)\\}/g, (_, index) => String("
    for name in ("web/ui.js", "server/static/words.js"):
        assert filled in (PACKAGE / name).read_text(encoding="utf-8")
