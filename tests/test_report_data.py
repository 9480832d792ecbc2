"""What the report says of the data behind a model, in a browser: folds, and a learning curve."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from test_curve import SIZES, drawn
from test_report import HOSTILE, LAPPING, OVERHANGING, judged, opened, plain
from vgglass.evaluation import metrics, report
from vgglass.evaluation.curve import learning_curve
from vgglass.training.folds import FoldFigures


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = [0, 1, 2] * 10
    scores = np.full((30, 3), 0.1) + 0.7 * np.eye(3)[[*labels[:27], 0, 0, 0]]
    figures = FoldFigures(3, 2, 30, 0.95, (0.8, 0.99), ((1.0, 0.9, 0.8), (1.0, 1.0, 1.0)))
    answers = replace(judged(scores, labels), split="all", folds=figures)
    answers = replace(answers, record=replace(answers.record, classes=("ants", "猫", HOSTILE)))
    right, of = drawn([(0.02, 0.1, 0.5), (0.02, 0.1, 0.5), (0.02, 1.2, 0.5)], 40, 0)
    curve = learning_curve(list(SIZES), right, of, answers.record.classes).as_json() | {"most": HOSTILE}
    path = tmp_path_factory.mktemp("report") / "report.html"
    about = {"model": "m", "others": [], "data": "photos"}
    report.write(report.facts(answers, metrics.evaluate(answers), about, curve=curve), path)
    return path


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=str)
def page(browser: Browser, written: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, scheme = request.param
    yield from opened(browser, written, viewport={"width": width, "height": 800}, color_scheme=scheme)


def test_folds_and_the_curve_are_said_in_both_languages(page: Page) -> None:
    cards = [plain(text) for text in page.locator(".card").all_inner_texts()]
    assert "95.0 %" in cards[0]
    assert "95 % interval 80.0–99.0 %" in cards[0]
    assert "No interval: folds give one of top-1 alone." in cards[1]
    said = plain(page.inner_text("main"))
    assert "Judged in 3 folds: no single model answered here" in said
    assert "The folds' accuracies lie at 80.0–100.0 %. Divided anew 2 times: top-1 accuracy is the mean" in said
    curve = plain(page.inner_text("#curve"))
    assert "Twice as many photographs would bring between" in curve
    assert f"The class {HOSTILE} gains most." in curve
    assert "judged by the same 120 images that trained none" in curve
    assert page.locator("#curve svg .full").count() == 1  # all images there are
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.locator("#curve tbody tr").count() == len(SIZES) + 2 + 3
    for _ in ("en", "zh"):
        assert page.evaluate(OVERHANGING) == []
        assert page.evaluate(LAPPING) == []
        page.click("#switch")
    page.click("#switch")
    assert "采用 3 折交叉验证" in page.inner_text("main")
    assert "照片数量翻倍，准确率大约提高" in page.inner_text("#curve")
