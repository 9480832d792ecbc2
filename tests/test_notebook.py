"""Objects in notebooks: their figures as text, names escaped, no request, both languages, light and dark."""

import re
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser
from rich.console import Console

from glass_subjects import CLASSES, model, subject
from judgements import answers
from vgglass import glass, notebook
from vgglass.evaluation import metrics
from vgglass.evaluation.curve import Curve, Point
from vgglass.evaluation.predictions import compare_predictions
from vgglass.inference.predictor import Prediction
from vgglass.model import VGG
from vgglass.training.metrics_log import Display
from vgglass.training.recipe import Recipe

EVIL = "<img src=x onerror=alert(1)>&\"'"


class Read(HTMLParser):
    """Tags, attributes and text of a piece of HTML."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str] = {}
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name: value or "" for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def shown() -> dict[str, str]:
    """The HTML of an object of each kind."""
    small = model("A")
    found = subject("A")
    pair = compare_predictions(np.array([True, False, True]), np.array([True, True, True]), "test", missing=(EVIL,))
    points = (Point(2, 0.5, 0.4, 0.6, False), Point(4, 0.7, 0.6, 0.8, False), Point(8, 0.8, 0.7, 0.9, True))
    objects = {
        "model": small,
        "network": VGG.from_file(small),
        "evaluation": metrics.evaluate(answers(60, 3)),
        "many classes": metrics.evaluate(answers(200, 15)),
        "comparison": pair,
        "curve": Curve(points, (0.1, 1.0, 0.5), (0.1, 0.05, 0.15), (), EVIL, 50, 5),
        "look": glass.look(found, glass.LookOptions(attributions=())),
        "step": glass.step(found, "conv1_1"),
        "softmax": glass.step(found, "prob"),
        "recipe": Recipe(epochs=3),
        "prediction": Prediction(EVIL, ((EVIL, 0.75),), unsure=True),
    }
    return {name: each._repr_html_() for name, each in objects.items()}  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def pages() -> dict[str, dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        found = {"en": shown()}
        patch.setenv("LC_ALL", "zh_CN.UTF-8")
        return found | {"zh": shown()}


def test_each_is_small_and_asks_for_nothing(pages: dict[str, dict[str, str]]) -> None:
    for lang in pages:
        for name, page in pages[lang].items():
            assert len(page) < 200_000, name
            found = Read(page)
            assert set(found.tags) <= {"div", "strong", "table", "tr", "th", "td", "span", "br", "img"}, name
            assert found.attributes.keys() <= {"style", "src", "alt"}, name
            assert found.attributes.get("src", "data:").startswith("data:"), name


def test_names_are_text(pages: dict[str, dict[str, str]]) -> None:
    for name in ("curve", "prediction"):
        assert EVIL in Read(pages["en"][name]).text
    assert any(CLASSES[2] in text for text in Read(pages["en"]["model"]).text)


def test_figures_are_those_of_the_object(pages: dict[str, dict[str, str]]) -> None:
    found = metrics.evaluate(answers(60, 3))
    low, high = found.intervals["top1"]
    text = Read(pages["en"]["evaluation"]).text
    assert f"{100 * found.top1:.1f} % ({100 * low:.1f}–{100 * high:.1f})" in text
    assert [str(count) for count in found.confusion.ravel()] == [each for each in text[-12:] if each.isdecimal()]
    assert "3 (forecast)" not in text
    assert "8 (forecast)" in Read(pages["en"]["curve"]).text
    assert Read(pages["en"]["comparison"]).text[-2:] == ["larger than chance", "no"]
    assert Read(pages["en"]["recipe"]).text[-2:] == ["epochs", "3"]


def test_a_steps_products_are_those_of_the_strongest_channel() -> None:
    found = glass.step(subject("A"), "conv1_1")
    assert hasattr(found.terms, "channel_sums")
    channel = int(np.abs(found.terms.channel_sums).argmax())
    value, weight = found.terms.seen.values[channel, 1, 1], found.terms.kernel[channel, 1, 1]  # type: ignore[attr-defined]
    text = Read(found._repr_html_()).text
    assert f"value × weight in channel {channel}, of the largest share" in text
    assert f"{value:.3g} × {weight:.3g}" == text[-5], "the middle of nine"


def test_both_languages_have_the_same_numbers(pages: dict[str, dict[str, str]]) -> None:
    for name in pages["en"]:
        numbers = [re.findall(r"\d+(?:\.\d+)?", " ".join(Read(pages[lang][name]).text)) for lang in pages]
        assert sorted(numbers[0]) == sorted(numbers[1]), name


def test_a_long_table_says_how_much_more() -> None:
    page = notebook.panel("recipe", {}, [["field"], *([number] for number in range(15))])
    assert Read(page).text[-1] == "and 3 more"
    assert notebook.panel("recipe", {}, [["field"]]).count("<tr>") == 0, "a head alone is no table"


def test_a_picture_of_noise_is_within_200_kilobytes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (500, 700, 3), np.uint8)
    assert len(notebook.panel("look", {}, picture=noise)) < 200_000


def test_a_run_in_jupyter_has_no_bar() -> None:
    """Without ipywidgets rich would warn at each refresh, which is an error here."""
    display = Display(Console(force_jupyter=True))
    with display.run(2, 0):
        display.step("1/1", 8, 2.3, 0.1, 0.0)
        display.step("1/1", 8, 2.2, 0.2, 0.0)


@pytest.mark.slow
def test_a_notebook_shows_lines_once_and_objects_as_tables(tmp_path: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    train = f"best = vgglass.train(out={str(tmp_path / 'run')!r}, epochs=2, width=0.0625, batch_size=128)"
    cells = [nbformat.v4.new_code_cell(code) for code in ("import vgglass", train, "vgglass.load(best)")]
    found = nbformat.v4.new_notebook(cells=cells)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the kernel's own
        nbclient.NotebookClient(found, timeout=300, kernel_name="python3").execute()
    _, trained, loaded = found.cells
    said = "".join(each.data["text/plain"] for each in trained.outputs if "data" in each)
    assert [said.count(f"epoch   {number}/2") for number in (1, 2)] == [1, 1]
    assert "UserWarning" not in said
    assert "vgg11_bn" in loaded.outputs[0].data["text/html"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_are_the_notebooks(browser: Browser, pages: dict[str, dict[str, str]], scheme: str) -> None:
    """Whatever the notebook's colours are: no cell has one of its own."""
    ink = {"light": "rgb(0, 0, 0)", "dark": "rgb(238, 238, 238)"}[scheme]
    page = browser.new_page(viewport={"width": 390, "height": 800})
    body = "".join(pages["zh"].values())
    page.set_content(f"<body style='color:{ink};background:{'#fff' if scheme == 'light' else '#111'}'>{body}")
    colours = page.evaluate("[...document.querySelectorAll('td,th,strong')].map(e => getComputedStyle(e).color)")
    assert set(colours) == {ink}
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
