"""Pages that open from disk: what they share, and that nothing in a name is filled in or is markup."""

import re
from pathlib import Path

import pytest

import vgglass
from vgglass import web

ROOT = Path(vgglass.__file__).parent
TEMPLATES = [ROOT / name for name in ("data/page.html", "evaluation/report.html", "glass/page.html")]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_variable_of_a_page_is_defined_once(path: Path) -> None:
    template = path.read_text(encoding="utf-8")
    page = web.inlined(template)
    assert not set(web.SHARED) & set(re.findall(r"/\*\w+\*/", page))
    assert not re.search("^export ", page, re.MULTILINE), "one script a page"
    shared = set(re.findall(r"(--\w+):", web.inlined("/*BASE*/")))
    own = set(re.findall(r"(--\w+):", template))
    assert set(re.findall(r"var\((--\w+)\)", page)) <= shared | own | {"--kind", "--key", "--cell", "--hue", "--share"}
    assert not own & shared


def test_light_and_dark_define_the_same_colours() -> None:
    blocks = re.findall(r"\{([^{}]*--ink:[^{}]*)\}", web.inlined("/*BASE*/"))
    light, dark = (set(re.findall(r"(--\w+):", block)) for block in blocks)
    assert light == dark


def test_a_name_is_neither_filled_in_nor_markup() -> None:
    page = web.filled("<script>/*WORDS*/null;/*FACTS*/null</script>", {"a": "猫"}, ["</script><b>", "/*WORDS*/null"])
    assert page == '<script>{"a": "猫"};["\\u003c/script>\\u003cb>", "/*WORDS*/null"]</script>'
