"""The site's pages: two languages that say the same, numbers that cells compute, a reference that the program wrote."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("myst_nb", reason="the packages of the group docs are not installed")
DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS))

import build  # noqa: E402
import reference  # noqa: E402
from vgglass.architecture import Architecture  # noqa: E402
from vgglass.course import EXERCISES  # noqa: E402

NAMES = build.names()
CHAPTERS = [name for name in NAMES if re.match(r"course/\d", name)]
CHINESE = re.compile("[\u4e00-\u9fff]")
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w°])")


def skeleton(page: build.Page) -> list[str]:
    """Headings by their depth, code blocks and tables' rows: what both languages must have in one order."""
    text = "\n% cell\n".join(page.prose)
    marks = re.findall(r"^(#{1,4} |```|\||% \w+)", text, re.MULTILINE)
    return [mark.strip() for mark in marks]


def codes(page: build.Page) -> list[str]:
    return re.findall(r"^```\{toctree\}.*?\n((?:[\w/-]+\n)+)", "\n".join(page.prose), re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_have_the_same_parts(name: str) -> None:
    english, chinese = (build.read(name, language) for language in build.LANGUAGES)
    assert len(chinese.prose) == len(chinese.cells) + 1
    assert skeleton(english) == skeleton(chinese)
    assert codes(english) == codes(chinese)


@pytest.mark.parametrize("name", NAMES)
def test_no_sentence_is_left_in_the_other_language(name: str) -> None:
    english, chinese = (list(build.paragraphs(build.read(name, language))) for language in build.LANGUAGES)
    link = re.compile(r"\[(?:中文|English)\]\([^)]*\)")  # of pages that are also read in the repository
    assert [block for block in english if CHINESE.search(link.sub("", block))] == []
    for block in chinese:
        spoken = re.sub(r"`[^`]*`|\([^)]*\)|% \w+", "", link.sub("", block))
        words = re.findall(r"[A-Za-z]{2,}", spoken)
        assert CHINESE.search(block) or len(words) <= 4, f"{name}: {block[:80]}"
        sentence = re.search(r"(?:\b[A-Za-z]+ ){9}", spoken)
        assert not sentence, f"{name}: {sentence and sentence[0]}"


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_number_in_a_chapter_is_computed_there(name: str) -> None:
    """Those of three digits or more and fractions must stand in a cell, and so be printed or asserted by it."""
    page = build.read(name, "en")
    computed = {
        found.replace("_", "").replace(",", "") for found in re.findall(r"[\d_,.]*\d(?:e-?\d+)?", "\n".join(page.cells))
    }
    for language in build.LANGUAGES:
        prose = " ".join(build.paragraphs(build.read(name, language)))
        exercises = re.search(r"## (?:Exercises|练习)", prose)
        told = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", prose[: exercises.start() if exercises else None])
        for number in (found.replace(",", "") for found in NUMBER.findall(told)):
            year = re.fullmatch(r"(19|20)\d\d", number)
            if not year and (len(number) > 2):
                assert number in computed, f"{name} ({language}): no cell has {number}"


def test_every_exercise_is_asked_in_its_chapter() -> None:
    asked = []
    for name in CHAPTERS:
        for cell in build.read(name, "en").cells:
            for exercise in re.findall(r'course\.check\("([\w.]+)"', cell):
                assert exercise.split(".")[0] == name.split("-")[1]
                asked.append(exercise)
    assert asked == list(EXERCISES)


@pytest.mark.parametrize("name", CHAPTERS)
def test_links_open_the_page_at_what_the_course_s_network_has(name: str) -> None:
    digits = Architecture.named("vgg11_bn", width=0.125, classes=10, channels=1, image_size=32, hidden=(128, 128))
    for language in build.LANGUAGES:
        text = "".join(build.read(name, language).prose)
        found = re.findall(r"http://127\.0\.0\.1:8000/#image=digit-[380]&layer=(\w+)(\S*?)&lang=(\w\w)\)", text)
        assert found
        for layer, rest, lang in found:
            assert lang == language
            channels, height, width = digits.layer(layer).output_shape
            if place := re.fullmatch(r"&channel=(\d+)&at=(\d+),(\d+)", rest):
                channel, row, column = map(int, place.groups())
                assert channel < channels
                assert row < height
                assert column < width
            else:
                assert rest == ""


@pytest.mark.parametrize("name", NAMES)
def test_links_to_files_lead_to_one(name: str) -> None:
    for suffix in build.LANGUAGES.values():
        text = (DOCS / f"{name}{suffix}").read_text("utf-8")
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", re.sub(r"`[^`]*`", "", text)):
            assert (DOCS / name).parent.joinpath(target).exists(), f"{name}{suffix}: {target}"


def test_the_reference_has_every_command_and_option() -> None:
    import typer

    from vgglass.cli import app

    group: Any = typer.main.get_command(app)
    text = reference.write_commands()
    assert re.findall(r"^## vgglass ([\w-]+)$", text, re.MULTILINE) == list(group.commands)
    for name, command in group.commands.items():
        of_command = reference.help_of(name)
        assert f"Usage: vgglass {name} " in of_command
        shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
        options = {option for parameter in shown for option in parameter.opts if option.startswith("-")}
        assert {option for option in options if option not in of_command} == set()


def test_the_python_reference_has_everything_public() -> None:
    import vgglass
    from vgglass import glass

    text = reference.write_python()
    names = [f"vgglass.{name}" for name in vgglass.__all__] + [f"vgglass.glass.{name}" for name in glass.__all__]
    assert re.findall(r"^## (\S+)$", text, re.MULTILINE) == names
    assert "Train on a folder of class folders" in text


def test_links_become_what_the_builder_writes() -> None:
    text = "[a](02-convolution.zh-CN.md) [b](../serving.md#token) [c](../../README.md) [d](https://example.org/x.md)"
    assert build.linked(text, "course/01-image") == (
        "[a](02-convolution.ipynb) [b](../serving.md#token) [c](../../README.md) [d](https://example.org/x.md)"
    )
    assert build.linked("told of them. [中文](serving.zh-CN.md)\n", "serving") == "told of them."


def test_chinese_is_searched_by_pairs_of_characters() -> None:
    from chinese_search import Chinese

    assert Chinese({}).split("卷积核 VGG16") == ["卷", "积", "核", "卷积", "积核", "VGG16"]


class Loaded(HTMLParser):
    """What a page loads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        wanted = given.get("src") or (given.get("href") if tag == "link" else None)
        if wanted and given.get("rel") not in ("canonical",):
            self.addresses.append(wanted)


@pytest.mark.slow
def test_the_site_is_built_and_asks_no_other_machine(tmp_path: Path) -> None:
    """Every cell runs, no warning, and what pages load lies beside them."""
    assert build.build(tmp_path, []) == 0
    pages = list((tmp_path / "html").rglob("*.html"))
    assert len(pages) > 2 * len(NAMES)
    for page in pages:
        for address in Loaded(page.read_text("utf-8")).addresses:
            local = address.startswith("data:") or (page.parent / address.split("?")[0].split("#")[0]).exists()
            assert local, f"{page}: {address}"
    for language in build.LANGUAGES:
        notebooks = sorted((tmp_path / "notebooks" / language).rglob("*.ipynb"))
        assert [path.stem for path in notebooks] == [name.rpartition("/")[2] for name in CHAPTERS]
        assert all('"outputs": []' in path.read_text("utf-8") for path in notebooks)
