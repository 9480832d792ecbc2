"""The report of an evaluation in a browser, opened from disk; what goes into it, and what it refuses."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page

from glass_subjects import model
from pictures import save, scene
from typed import vgglass
from vgglass import modelfile, workflows
from vgglass.errors import DataError, UsageError
from vgglass.evaluation import metrics, report
from vgglass.evaluation.metrics import Evaluation
from vgglass.evaluation.predictions import Predictions
from vgglass.locale import words
from vgglass.workflows.report import training_rows

HOSTILE = "<img src=x onerror=alert(1)> {0}"
CLASSES = (HOSTILE, "ants", "猫")
FACTS = "JSON.parse(document.getElementById('facts').textContent)"
LAPPING = """() => [...document.querySelectorAll('svg')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
  return boxes.flatMap(([one, a], i) => boxes.slice(i + 1).filter(([, b]) => meet(a, b)).map(([two]) => [one, two]));
})"""
OVERHANGING = """() => [...document.querySelectorAll('main *, header *')].filter(element => {
  const box = element.getBoundingClientRect();
  return box.width && !element.closest('.wide') && (box.right > innerWidth + 1 || box.left < -1);
}).map(element => element.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, one of them with a hostile name; the first test image of it is a training image too."""
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(CLASSES):
        for index in range(5):
            save(folder / "train" / name / f"{index}.png", scene(100 * number + index, 80, 90))
        for index in range(8 + number):
            save(folder / "test" / name / f"{index}.png", scene(1000 + 100 * number + index, 90, 70))
    save(folder / "test" / HOSTILE / "0.png", scene(0, 80, 90))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file in the folder of a run of three epochs, the second its own."""
    out = tmp_path_factory.mktemp("run")
    file = model("A", classes=3)
    told = {"epoch": 2, "validation": {"top1": 0.5}}
    record = replace(file.record, classes=CLASSES, metrics=told, temperature=1.5, reject_threshold=0.4)
    modelfile.save(replace(file, record=record), out / "best.safetensors")
    rows = [
        {"epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": 0.3, "validation_loss": 2.0, "seconds": 1.0}
        | {"validation_accuracy": 0.5 if epoch == 2 else 0.25}
        for epoch in (1, 2, 3)
    ]
    (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out / "best.safetensors"


@pytest.fixture(scope="module")
def written(trained: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    path = tmp_path_factory.mktemp("report") / "report.html"
    return path, workflows.report(trained, photos, path, explain=True, robustness=True)


@pytest.fixture
def page(browser: Browser, written: tuple[Path, Evaluation]) -> Iterator[Page]:
    yield from opened(browser, written[0])


def opened(browser: Browser, path: Path, **options: Any) -> Iterator[Page]:
    """A page as it opens; afterwards nothing may have failed, been logged or asked of a server."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-US"} | options)
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda request: None if request.url[:5] in ("file:", "data:") else problems.append(request.url))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert problems == []


def plain(text: str | None) -> str:
    """Without the characters that hold numbers and their signs together."""
    return (text or "").replace("\u00a0", " ").replace("\u2060", "")


def whole(page: Page) -> None:
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")


def test_the_head_says_what_the_figures_are(page: Page, written: tuple[Path, Evaluation], trained: Path) -> None:
    evaluation = written[1]
    cards = [plain(text) for text in page.locator(".card").all_inner_texts()]
    assert len(cards) == 4  # of three classes there is no top-5
    low, high = evaluation.intervals["top1"]
    assert cards[0].split("\n") == [
        "Top-1 accuracy", f"{100 * evaluation.top1:.1f} %", f"95 % interval {100 * low:.1f}–{100 * high:.1f} %"
    ]  # fmt: skip
    assert f"{evaluation.auc:.3f}" in cards[3]
    assert "test, 27 images" in page.inner_text("dl")
    assert modelfile.load_record(trained).digest in page.inner_text("dl")
    assert page.title() == f"Report on {trained.parent.name}/best.safetensors · vgglass"


def test_every_picture_is_inside_and_names_are_text(page: Page) -> None:
    page.click("text=Show")
    whole(page)
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
    assert page.evaluate("[...document.images].every(image => image.src.startsWith('data:image/jpeg'))")
    assert page.locator(".matrix tbody th").first.text_content() == HOSTILE
    assert HOSTILE in page.locator(".classes tbody th").all_text_contents()


def test_a_cell_shows_its_images(page: Page, written: tuple[Path, Evaluation]) -> None:
    matrix = written[1].confusion
    for row, column in np.argwhere(matrix):
        page.click(f"[data-cell='{row},{column}']")
        total = int(matrix[row, column])
        shown = min(total, report.CELL_IMAGES)
        assert page.locator("#gallery img").count() == shown
        assert plain(page.inner_text("#gallery p")).startswith(
            f"{shown} of {total}" if total > shown else f"All {total}"
        )
        expected = (
            f"{CLASSES[row]}, recognised" if row == column else f"Truly {CLASSES[row]}, predicted {CLASSES[column]}"
        )
        assert page.text_content("#gallery h3") == expected
        shares = [int(plain(text).split(" ")[0]) for text in page.locator("#gallery figcaption").all_inner_texts()]
        assert shares == sorted(shares, reverse=True)
        assert all(
            name.startswith(CLASSES[row] + "/") for name in page.locator("#gallery figcaption span").all_text_contents()
        )


def test_the_keyboard_reaches_what_can_be_pressed(page: Page) -> None:
    cell = page.locator("[data-cell]").first
    cell.focus()
    page.keyboard.press("Enter")
    assert cell.get_attribute("aria-pressed") == "true"
    assert page.locator("[aria-pressed=true]").count() == 1
    assert page.evaluate("[...document.querySelectorAll('[data-cell]')].every(cell => cell.getAttribute('aria-label'))")
    page.locator(".classes thead button").nth(4).focus()
    page.keyboard.press("Enter")
    assert page.locator(".classes thead th").nth(4).get_attribute("aria-sort") == "descending"
    assert page.locator(".classes tbody td:last-child").all_text_contents() == ["10", "9", "8"]
    page.keyboard.press("Enter")
    assert page.locator(".classes tbody td:last-child").all_text_contents() == ["8", "9", "10"]
    assert page.locator("[aria-sort]").count() == 1


def test_charts_have_words_and_numbers(page: Page, written: tuple[Path, Evaluation]) -> None:
    labels = [
        plain(label) for label in page.evaluate("[...document.querySelectorAll('svg')].map(svg => svg.ariaLabel)")
    ]
    assert len(labels) == 2 + 1 + 7
    assert labels[1] == "accuracy over 3 epochs; after the last: training 30.0 %, validation 25.0 %"
    assert labels[2].startswith(
        f"Accuracy against confidence in bins: expected calibration error {100 * written[1].calibration.ece:.1f} %"
    )
    undisturbed = f"top-1 {100 * written[1].top1:.1f} % undisturbed"
    assert all(undisturbed in label for label in labels[3:])
    page.locator("#training summary").click()
    cells = [plain(text) for text in page.locator("#training tbody tr").nth(1).locator("th, td").all_inner_texts()]
    assert cells == ["2", "0.500", "2.000", "30.0 %", "50.0 %"]
    assert page.locator("#robustness table").count() == 7


def test_mistakes_are_explained(page: Page, written: tuple[Path, Evaluation]) -> None:
    facts = page.evaluate(FACTS)
    assert facts["wrong"] == 27 - round(27 * written[1].top1)
    shares = [row["probability"] for row in facts["mistakes"]]
    assert shares == sorted(shares, reverse=True)
    assert all(row["label"] != row["predicted"] for row in facts["mistakes"])
    assert all(len(row["neighbours"]) == 5 and row["overlay"] != row["picture"] for row in facts["mistakes"])
    twin = next((row for row in facts["mistakes"] if row["name"] == f"{HOSTILE}/0.png"), None)
    if twin:
        assert twin["neighbours"][0]["cosine"] == pytest.approx(1)
    assert page.locator(".case").count() == min(9, facts["wrong"])
    page.click(".more")
    assert page.locator(".case").count() == min(24, facts["wrong"])
    assert page.evaluate("document.activeElement.className") == "case"


def test_the_language_is_remembered_and_changes_everything(page: Page) -> None:
    english = page.locator("h2").all_text_contents()
    assert all(text.isascii() for text in english)
    page.click("#switch")
    assert page.get_attribute("html", "lang") == "zh-CN"
    page.reload()
    assert page.get_attribute("html", "lang") == "zh-CN"
    chinese = page.locator("h2").all_text_contents()
    assert len(chinese) == len(english) == 7
    assert not any(text.isascii() for text in chinese)
    said = page.locator("p, dt, svg text, summary, button, h3").all_text_contents()
    assert [text for text in said if text.isascii() and len(text) > 16] == []
    page.click("#switch")
    assert page.locator("h2").all_text_contents() == english


def test_a_browser_in_chinese_opens_it_in_chinese(browser: Browser, written: tuple[Path, Evaluation]) -> None:
    for page in opened(browser, written[0], locale="zh-CN"):
        assert page.get_attribute("html", "lang") == "zh-CN"


@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("light", 390), ("dark", 1280),
        pytest.param("light", 1280, marks=pytest.mark.slow), pytest.param("dark", 390, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_nothing_overlaps_or_hangs_over(
    browser: Browser, written: tuple[Path, Evaluation], width: int, scheme: str
) -> None:
    for page in opened(browser, written[0], viewport={"width": width, "height": 800}, color_scheme=scheme):
        for _ in ("en", "zh"):
            whole(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(OVERHANGING) == []
            assert page.evaluate(LAPPING) == []
            page.click("#switch")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 25, 28)"
        assert dark == (scheme == "dark")


def test_no_other_script_runs(browser: Browser, written: tuple[Path, Evaluation]) -> None:
    page = browser.new_page()
    page.goto(written[0].as_uri())
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.ran = 1\">')")
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), { text: 'window.ran = 2' }))")
    page.wait_for_timeout(100)
    assert page.evaluate("window.ran") is None
    page.close()


def test_the_same_answers_make_the_same_page(trained: Path, photos: Path, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        workflows.report(trained, photos, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert str(photos / "test") not in text


def judged(scores: Any, labels: list[int], sources: Any = None, **about: Any) -> Predictions:
    scores = np.asarray(scores, np.float64)
    record = model("A", classes=2, image_size=32).record
    architecture = replace(record.architecture, classes=scores.shape[1])
    record = replace(record, architecture=architecture, classes=tuple(f"c{i}" for i in range(scores.shape[1])), **about)
    return Predictions(
        record=record,
        split="test",
        sources=tuple(np.zeros((28, 28, 1), np.uint8) for _ in labels) if sources is None else sources,
        labels=np.array(labels),
        log_probabilities=np.log(scores),
    )


def test_many_classes_are_a_picture_and_a_list(browser: Browser, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = [*range(40), 7, 7, 7]
    scores = generator.dirichlet(np.ones(40), len(labels))
    scores[40:] = 0.01 / 39
    scores[40:, 3] = 0.99
    answers = judged(scores, labels)
    path = tmp_path / "report.html"
    report.write(report.facts(answers, metrics.evaluate(answers), {"model": "m", "others": [], "data": "d"}), path)
    for page in opened(browser, path, viewport={"width": 390, "height": 800}):
        assert page.locator("table.matrix").count() == 0
        assert page.get_attribute("canvas", "aria-label") == (
            "Confusion matrix of 40 classes as a picture; the list beside it names the pairs confused most often"
        )
        assert page.locator(".pairs button").first.text_content() == "c7 → c3: 3"
        assert page.text_content("#gallery h3") == "Truly c7, predicted c3"  # shown at first
        assert page.locator("#gallery img").count() == 3
        page.locator(".pairs button").nth(1).click()
        assert page.locator("#gallery img").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("document.querySelector('canvas').getContext('2d').getImageData(3, 7, 1, 1).data[3]") > 200


def test_wide_tables_scroll_by_themselves(browser: Browser, tmp_path: Path) -> None:
    names = tuple(f"{HOSTILE} 很长的类别名 and-a-word-that-can-not-be-broken-anywhere-at-all {i}" for i in range(25))
    answers = judged(np.random.default_rng(0).dirichlet(np.ones(25), 100), [i % 25 for i in range(100)])
    answers = replace(answers, record=replace(answers.record, classes=names))
    report.write(
        report.facts(answers, metrics.evaluate(answers), {"model": "m" * 99, "others": []}), tmp_path / "r.html"
    )
    for page in opened(browser, tmp_path / "r.html", viewport={"width": 390, "height": 800}):
        page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate(OVERHANGING) == []


def test_all_right_has_no_mistakes(browser: Browser, tmp_path: Path) -> None:
    answers = judged([[0.9, 0.1], [0.2, 0.8]], [0, 1])
    report.write(report.facts(answers, metrics.evaluate(answers), {"model": "m", "others": []}), tmp_path / "r.html")
    for page in opened(browser, tmp_path / "r.html"):
        assert "Every answer is right." in page.inner_text("#mistakes")
        assert "With --robustness" in page.inner_text("#robustness")
        assert "metrics.jsonl is not beside the model file" in page.inner_text("#training")
        assert page.inner_text("#gallery").startswith("Choose a number")


def test_cautions_are_said(browser: Browser, tmp_path: Path) -> None:
    answers = replace(
        judged([[0.9, 0.1]], [0]), used_for="selection", missing=("c1",), unknown={"<i>owl</i>": 1234}
    )  # one image, of one class
    report.write(report.facts(answers, metrics.evaluate(answers), {"model": "m", "others": []}), tmp_path / "r.html")
    for page in opened(browser, tmp_path / "r.html"):
        said = page.locator(".caution").all_text_contents()
        assert said[0].startswith("Used for selection")
        assert "no image: c1." in said[1]
        assert said[2] == "Left out, as the model does not know their classes: <i>owl</i> (1,234)."
        assert "One image: no interval." in page.inner_text(".card >> nth=0")
        assert "Undefined: all images are of one class." in page.inner_text(".card >> nth=3")


def test_every_use_of_images_has_its_caution() -> None:
    from vgglass.workflows.evaluate import USES

    assert words("en", "report")["cautions"].keys() == set(USES) - {""}


def test_ten_thousand_small_images_make_a_small_page(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    sources = tuple(generator.integers(0, 256, (10_000, 28, 28, 1), dtype=np.uint8))
    answers = judged(generator.dirichlet(np.ones(10), 10_000), list(generator.integers(0, 10, 10_000)), sources)
    report.write(report.facts(answers, metrics.evaluate(answers), {"model": "m", "others": []}), tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size < 10_000_000


def test_thumbnails_are_shared_out_by_hand() -> None:
    assert report.fair_share([3, 20, 5], most=12, total=100) == 12
    assert report.fair_share([3, 20, 5], most=12, total=15) == 7  # 3 + 7 + 5
    assert report.fair_share([9] * 50, most=12, total=40) == 1


@given(st.lists(st.integers(1, 40), min_size=1), st.integers(1, 20), st.integers(1, 300))
def test_thumbnails_stay_within_their_number(counts: list[int], most: int, total: int) -> None:
    each = report.fair_share(counts, most, total)
    assert each == 1 or sum(min(count, each) for count in counts) <= total
    assert each == most or sum(min(count, each + 1) for count in counts) > total


def test_the_threshold_says_what_it_costs(browser: Browser, tmp_path: Path) -> None:
    answers = judged([[0.9, 0.1], [0.6, 0.4], [0.25, 0.75], [0.8, 0.2]], [0, 0, 0, 1], reject_threshold=0.75)
    none = replace(answers, record=replace(answers.record, reject_threshold=1.0))
    about = {"split": "validation", "images": 1234, "threshold": {"target": 0.95}}
    fitted = replace(answers, record=replace(answers.record, temperature=0.5, data={"calibration": about}))
    record = replace(answers.record, familiarity={"false_alarm_rate": 0.05})
    known = replace(answers, record=record, distances=np.array([0.5, 0.9, 1.0, 1.5]))
    for chosen, said in (
        (
            known,
            "25.0 % Images unlike those trained on: 1 (of familiar ones 5.0 % would be called so). Of the others",
        ),
        (known, "the others 66.7 % are answered rightly (95 % interval "),
        (answers, "On these images 75.0 % are answered (3 of 4), and of those 33.3 % rightly (95 % interval "),
        (none, "On these images none is answered"),
        (fitted, "0.500 The logits are divided by it. It was fitted on 1,234 images (validation)."),
        (fitted, "75.0 % Answers less probable are “unsure”. Chosen for a precision of 95.0 %. On these images"),
    ):
        report.write(report.facts(chosen, metrics.evaluate(chosen), {"model": "m", "others": []}), tmp_path / "r.html")
        for page in opened(browser, tmp_path / "r.html"):
            assert said in plain(page.inner_text("#calibration"))


def test_curves_belong_to_the_model_beside_them(trained: Path, tmp_path: Path) -> None:
    record = modelfile.load_record(trained)
    rows = training_rows(trained, record)
    assert rows is not None
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert training_rows("vgg16", record) is None
    assert training_rows(modelfile.load(trained), record) is None
    other = replace(record, metrics={"epoch": 2, "validation": {"top1": 0.75}})
    assert training_rows(trained, other) is None
    copy = tmp_path / "best.safetensors"
    copy.write_bytes(trained.read_bytes())
    assert training_rows(copy, record) is None
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 2, "validation_accuracy": 0.5, "train_loss": NaN}\n')
    assert training_rows(copy, record) == [{"epoch": 2, "validation_accuracy": 0.5, "train_loss": None}]
    (tmp_path / "metrics.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"metrics\.jsonl: is damaged .*; put it back as it was, or move it away"):
        training_rows(copy, record)


def test_of_an_ensemble_the_first_is_looked_at(browser: Browser, trained: Path, photos: Path, tmp_path: Path) -> None:
    second = model("A", seed=1, classes=3)
    modelfile.save(replace(second, record=replace(second.record, classes=CLASSES[::-1])), tmp_path / "m.safetensors")
    others = [tmp_path / "m.safetensors"]
    evaluation = workflows.report(trained, photos, tmp_path / "r.html", explain=True, ensemble=others)
    assert evaluation.top1 == workflows.evaluate(trained, photos, ensemble=others).top1
    for page in opened(browser, tmp_path / "r.html"):
        assert f"best.safetensors + {tmp_path.name}/m.safetensors" in page.inner_text("dl >> nth=0")
        assert "Looked at here is the first model of the ensemble alone." in page.inner_text("#mistakes")


def test_a_graph_has_no_features_to_explain_by(trained: Path, photos: Path, tmp_path: Path) -> None:
    graph = tmp_path / "graph.xml"
    workflows.export(trained, graph)
    with pytest.raises(UsageError, match=r"graph\.xml: gives class scores, not fc7; take the model file"):
        workflows.report(graph, photos, tmp_path / "r.html", explain=True)
    assert not (tmp_path / "r.html").exists()
    workflows.report(graph, photos, tmp_path / "r.html", robustness=True)
    assert (tmp_path / "r.html").exists()


def test_evaluate_writes_the_report(trained: Path, photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    printed = vgglass("evaluate", photos, "--model", trained, "--html", path).stdout
    assert f"Written: {path} (open it in a browser)" in printed
    result = vgglass("evaluate", photos, "--model", trained, "--html", path, "--json")
    assert json.loads(result.stdout)["images"] == 27
    assert f"Written: {path}" in result.stderr
    for option in ("--explain", "--robustness"):
        error = vgglass("evaluate", photos, "--model", trained, option, status=2).stderr
        assert f"{option}: goes into the report of --html; add, say, --html report.html." in error


def test_names_of_absolute_and_relative_paths(
    trained: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list may mix them; it broke after the judging."""
    images = sorted((photos / "test" / CLASSES[1]).iterdir())
    rows = [f"{CLASSES[1]}/{images[0].name}", f"{CLASSES[1]}/../{CLASSES[1]}/{images[1].name}", images[2]]
    (photos / "test" / "list.csv").write_text("path,label\n" + "".join(f"{row},{CLASSES[1]}\n" for row in rows))
    monkeypatch.chdir(photos / "test")
    assert workflows.report(trained, "list.csv", tmp_path / "r.html").images == 3
    names = workflows.predictions_on_split(trained, "list.csv").names
    assert names == (images[0].name, f"../{CLASSES[1]}/{images[1].name}", images[2].name)


def test_the_folder_that_names_start_at_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = (*(Path(f"photos/{number % 3}/{number}.jpg") for number in range(1000)), np.zeros((8, 8, 1), np.uint8))
    many = judged([[0.5, 0.5]], [0], sources)
    calls: list[int] = []
    whole = os.path.commonpath

    def watched(paths: Any) -> str:
        calls.append(len(paths))
        return str(whole(paths))

    monkeypatch.setattr(os.path, "commonpath", watched)
    assert [many.names[index] for index in (0, 999, 1000)] == ["0/0.jpg", "0/999.jpg", "#1000"]
    assert calls == [3]
