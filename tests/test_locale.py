"""The two languages say the same, key by key, and no other place speaks Chinese."""

import json
import re
from pathlib import Path
from string import Formatter

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import vgglass
from vgglass import locale
from vgglass.glass.attribution import METHODS
from vgglass.server.routes.pages import VIEWS, page_router

ROOT = Path(vgglass.__file__).parent
SUBJECTS = sorted(path.stem for path in (ROOT / "locale" / "en").glob("*.json"))
CHINESE = re.compile("[\u4e00-\u9fff]")
# Names and formulas, which both languages write alike.
ALIKE = {
    "ReLU", "softmax", "Grad-CAM", "SmoothGrad", "F1", "ROC-AUC", "max(0, {input:.9g})", "max(0, {input}) = {result}",
    "exp({logit} − {largest}) / Σ = {exponential} / {total} = {result}",
}  # fmt: skip
# Columns and folders that a person's own data may name in Chinese: they are read, not said.
READ = {"data/lists.py", "data/layout.py"}


def leaves(sentences: object, name: str = "") -> dict[str, str]:
    """Every sentence by its dotted name."""
    if isinstance(sentences, dict):
        return {key: text for part in sentences for key, text in leaves(sentences[part], f"{name}.{part}").items()}
    assert isinstance(sentences, str), name
    return {name: sentences}


def placeholders(sentence: str) -> set[tuple[str, str]]:
    """Name and format of each."""
    return {(name, form or "") for _, name, form, _ in Formatter().parse(sentence) if name is not None}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_both_languages_say_the_same(subject: str) -> None:
    english, chinese = (leaves(locale.words(lang, subject)) for lang in locale.LANGUAGES)
    assert list(english) == list(chinese)
    assert all(name.count(".") <= 2 for name in english), "a place has no places"
    for name, text in english.items():
        assert text.strip(), name
        assert chinese[name].strip(), name
        assert placeholders(text) == placeholders(chinese[name]), name
        assert all(found.isidentifier() for found, _ in placeholders(text)), f"{name}: placeholders have names"
        if name != ".other":  # it names the other language
            assert not CHINESE.search(text), name
            written = "".join(part for part, *_ in Formatter().parse(text))
            assert CHINESE.search(chinese[name]) or not re.search("[A-Za-z]", written) or chinese[name] in ALIKE, name


def test_the_files_are_alike() -> None:
    names = {lang: sorted(path.name for path in (ROOT / "locale" / lang).iterdir()) for lang in locale.LANGUAGES}
    assert names["en"] == [name for name in names["zh"] if name != "messages.json"], "its English is in the code"
    for path in (ROOT / "locale").rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2) + "\n", f"{path}: a key twice?"


def test_chinese_is_written_nowhere_else() -> None:
    code = [path for path in ROOT.rglob("*") if path.suffix in (".py", ".js", ".html", ".css", ".json", ".toml")]
    found = {path.relative_to(ROOT).as_posix() for path in code if CHINESE.search(path.read_text(encoding="utf-8"))}
    assert {name for name in found if not name.startswith("locale/")} == READ


def test_the_server_gives_its_page_both_languages() -> None:
    app = FastAPI()
    app.include_router(page_router())
    reply = TestClient(app).get("/static/words.json")
    assert reply.headers["Content-Type"] == "application/json"
    for lang, texts in locale.of_page("page").items():
        assert reply.json()[lang] == texts | {view: locale.words(lang, view) for view in VIEWS}
    assert reply.json()["zh"]["value"] == "第 {row} 行第 {column} 列：{value}"


def test_every_attribution_method_has_a_name() -> None:
    """The pages look it up and would say 'undefined'."""
    for subject in ("glass", "page"):
        for lang in locale.LANGUAGES:
            assert set(locale.words(lang, subject)["methods"]) >= set(METHODS), (lang, subject)
