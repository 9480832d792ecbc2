"""The page on which a person decides about labels, in a browser: what it shows, downloads, and by which keys."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from pictures import photographs, save, scene
from vgglass.data import corrections
from vgglass.data.dataset import Dataset
from vgglass.data.folder import open_data
from vgglass.evaluation import label_review
from vgglass.evaluation.label_review import Confusion, LabelReview, Suspect

HOSTILE = '<img src=x onerror=alert(1)> "it\'s", {label} 鸟\n.jpg'


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = photographs(tmp_path_factory.mktemp("labels") / "my photos", cat=5, dog=5)
    save(folder / "cat" / HOSTILE, scene(7000))
    return open_data(folder)


@pytest.fixture(scope="module")
def review(dataset: Dataset) -> LabelReview:
    """Three suspects: a cat of the hostile name, another cat, a dog."""
    cats = [sample for sample in dataset.split("all") if sample.label == 0]
    dogs = [sample for sample in dataset.split("all") if sample.label == 1]
    hostile = next(sample for sample in cats if sample.id.endswith(HOSTILE))
    suspects = (
        Suspect(hostile, "cat", "dog", -0.9, tuple(cats[:3]), tuple(dogs[:3])),
        Suspect(cats[0], "cat", "dog", -0.5, tuple(cats[1:4]), tuple(dogs[:3])),
        Suspect(dogs[0], "dog", "cat", -0.25, tuple(dogs[1:2]), ()),
    )
    confusion = (Confusion("cat", "dog", 2.0, 1 / 3), Confusion("dog", "cat", 1.25, 0.25))
    return LabelReview(dataset.name, dataset.classes, 11, 8, 10, 0.01, suspects, confusion)


@pytest.fixture
def page(browser: Browser, review: LabelReview, tmp_path: Path) -> Iterator[Page]:
    """The page as it opens; afterwards nothing may have failed or been logged."""
    label_review.write_page(review, tmp_path / "labels.html")
    page, problems = browser.new_page(viewport={"width": 1440, "height": 900}), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda request: problems.extend([request.url] * request.url.startswith("http")))
    page.goto((tmp_path / "labels.html").as_uri())
    yield page
    page.close()
    assert problems == []


def downloaded(page: Page, path: Path) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(path)
    assert download.value.suggested_filename == "labels.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_suspect_stands_between_both_sides(page: Page) -> None:
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
    first = page.locator(".case").first
    assert first.locator("h3").inner_text() == f"cat/{HOSTILE}\nlabelled cat · rather dog · margin −0.90"
    assert first.locator(".side p").all_inner_texts() == ["nearest of cat", "nearest of dog"]
    assert [side.locator("img").count() for side in first.locator(".near").all()] == [3, 3]
    assert page.locator(".case").last.locator(".near img").count() == 1
    assert page.locator("td").all_inner_texts() == ["cat", "dog", "2.0", "33.3 %", "dog", "cat", "1.3", "25.0 %"]
    assert "8 agree with the most probable class (72.7 %)" in page.inner_text("main")
    page.locator("summary").click()
    assert "my photos' --labels --apply labels.csv --manifest corrected.parquet" in page.inner_text("pre")


def test_a_decision_by_keyboard_goes_to_the_list_that_apply_takes(page: Page, dataset: Dataset, tmp_path: Path) -> None:
    page.locator("summary").focus()
    for key in (*["Tab"] * 3, *["Space"] * 3, *["Tab"] * 4, "Space"):
        page.keyboard.press(key)
    ticked = page.locator("input").evaluate_all("boxes => boxes.map(box => box.checked)")
    assert ticked == [False, True, False, False, False, True, False, False, False]
    assert page.inner_text("#decided") == "2 of 3 decided"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")  # another box of the same image: the first is empty again
    ticked = page.locator("input").evaluate_all("boxes => boxes.map(box => box.checked)")
    assert ticked == [False, True, False, False, True, False, False, False, False]
    rows = downloaded(page, tmp_path / "labels.csv")
    assert [row["decision"] for row in rows] == ["suggested", "suggested", ""]
    found = corrections.read(tmp_path / "labels.csv", dataset)
    assert {(change.sample.id, change.label) for change in found} == {(f"cat/{HOSTILE}", 1), ("cat/0.jpg", 1)}


def test_the_list_is_the_one_that_the_command_writes(page: Page, review: LabelReview, tmp_path: Path) -> None:
    downloaded(page, tmp_path / "page.csv")
    corrections.write([suspect.row() for suspect in review.suspects], tmp_path / "command.csv")
    assert (tmp_path / "page.csv").read_bytes() == (tmp_path / "command.csv").read_bytes()


def test_both_languages_keep_the_decisions_and_fit_a_telephone(page: Page) -> None:
    english = page.locator("h2, label, .side p").all_inner_texts()
    page.locator("input").nth(2).check()
    page.click("#switch")
    assert page.get_attribute("html", "lang") == "zh-CN"
    assert page.locator("input").nth(2).is_checked()
    assert page.inner_text("#decided") == "已决定 1 / 3"
    assert not any(text.isascii() for text in page.locator("h2, label, .side p").all_inner_texts())
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#switch")
    assert page.locator("h2, label, .side p").all_inner_texts() == english
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_no_name_ends_the_pages_script_and_the_policy_allows_no_other(review: LabelReview, tmp_path: Path) -> None:
    named = replace(review, name="</script><script>alert(1)</script>")
    label_review.write_page(named, tmp_path / "labels.html", lang="zh")
    text = (tmp_path / "labels.html").read_text(encoding="utf-8")
    assert text.count("</script>") == 3
    assert "script-src 'sha256-" in text


def test_the_page_bounds_its_pictures_and_the_list_has_all(
    review: LabelReview, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_review, "SHOWN", 1)
    facts = label_review.facts(review)
    assert (facts["shown"], len(facts["rows"]), len(facts["suspects"])) == (1, 3, 3)
    assert len(facts["pictures"]) == 7
    assert json.loads(json.dumps(facts))
    gone = review.suspects[0].sample
    lost = replace(review.suspects[0], sample=replace(gone, source=tmp_path / "gone.jpg"))
    assert label_review.facts(replace(review, suspects=(lost,)))["pictures"][gone.id] == ""


def test_a_sound_folder_has_a_page_too(browser: Browser, review: LabelReview, tmp_path: Path) -> None:
    label_review.write_page(replace(review, suspects=(), confusion=()), tmp_path / "labels.html")
    page = browser.new_page()
    page.goto((tmp_path / "labels.html").as_uri())
    assert "No label is suspected." in page.inner_text("main")
    assert "No pair of classes has even half an image" in page.inner_text("main")
    page.close()
