"""The scripts of the pages: their types as tsc checks them, and lines that can be read."""

import json
import re
import shutil
import subprocess
from functools import reduce
from importlib.resources import files
from operator import getitem
from pathlib import Path

import pytest

from vgglass import locale
from vgglass.server.routes.pages import VIEWS

HERE = Path(__file__).parent.parent
PACKAGE = Path(str(files("vgglass")))
WRITTEN = [path for path in sorted(PACKAGE.rglob("*")) if path.suffix in (".js", ".css", ".html")]
FILLED = re.compile(r"(?<!function )(?<!\.)\b(?:fill|total)\(")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
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
    assert set(re.findall(r"<([a-z]+-[a-z-]+)", page)) == elements - {"softmax-table", "teach-grid"}  # made by others


def parts(text: str) -> list[str]:
    """What commas divide, up to the bracket that closes around the text."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if depth < 0:
            return [part.strip() for part in found if part.strip()]
        if depth == 0 and letter == ",":
            found.append("")
        else:
            found[-1] += letter
    raise AssertionError(text[:60])


@pytest.mark.parametrize(
    ("subject", "room", "said"),
    [
        ("page", "server/static", r"words\.([\w.]+)"),
        ("watch", "server/static/watch-", r"told\.(\w+)"),
        ("teach", "server/static/teach", r"(?:words\.teach|texts)\.(\w+)"),
        ("report", "evaluation/report", r"words\.(\w+)"),
        ("labels", "evaluation/labels", r"say\.(\w+)"),
        ("glass", "glass", r"say\.(\w+)"),
        ("audit", "data", r"say\.(\w+)"),
    ],
)
def test_a_script_fills_in_what_its_sentence_asks_for(subject: str, room: str, said: str) -> None:
    """By name, where the sentence is named in the call: tsc knows the sentences, not their placeholders."""
    scripts = [path.read_text(encoding="utf-8") for path in WRITTEN if str(path).startswith(str(PACKAGE / room))]
    calls = [parts(text[found.end() :]) for text in scripts for found in FILLED.finditer(text)]
    sentences = locale.words("en", subject)
    if subject == "page":
        sentences = sentences | {view: locale.words("en", view) for view in VIEWS}
    checked = set[str]()
    for sentence, values, *_ in calls:
        given = {part.split(":")[0] for part in parts(values[1:])} if values.startswith("{") else set()
        named = re.findall(said, sentence)
        texts = {name: reduce(getitem, name.split("."), sentences) for name in named}
        wanted = {name: set(PLACEHOLDER.findall(json.dumps(text))) for name, text in texts.items()}
        assert all(placeholders <= given for placeholders in wanted.values()), (sentence, given)
        assert not named or given == set().union(*wanted.values()), (sentence, given)
        checked |= wanted.keys()
    assert checked, room
