"""vgglass check as a person types it: what it prints, moves, writes; and its page in a browser."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from pictures import damaged, photographs, save, scene
from typed import vgglass
from vgglass import images, workflows
from vgglass.cli.output import visible
from vgglass.data import manifest, report
from vgglass.data.audit import KINDS
from vgglass.data.dataset import Sample
from vgglass.data.folder import Entry, open_data
from vgglass.errors import UsageError

HOSTILE = '<img src=x onerror=alert(1)> "it\'s" {0} 鸟\n.jpg'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Train and test with a broken file, copies, a conflict, a leak and a hostile name."""
    folder = tmp_path / "photos"
    photographs(folder / "train", cat=4, dog=4)
    for number, name in enumerate(("cat", "dog")):
        save(folder / "test" / name / "0.jpg", scene(9000 + number))
    train = folder / "train"
    (train / "cat" / "bad.jpg").write_text("text")
    damaged(train / "cat" / HOSTILE)
    (train / "dog" / "9-copy.jpg").write_bytes((train / "dog" / "0.jpg").read_bytes())
    (train / "dog" / "9-cat.jpg").write_bytes((train / "cat" / "1.jpg").read_bytes())
    save(folder / "test" / "cat" / "leak.jpg", scene(2), quality=60)
    return folder


def listed(place: Path) -> list[dict[str, str]]:
    with (place / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


LEAVING = {
    "train/cat/bad.jpg": "can't be read",
    f"train/cat/{HOSTILE}": "is damaged",
    "train/cat/1.jpg": "is the same picture as train/dog/9-cat.jpg in another class",
    "train/dog/9-cat.jpg": "is the same picture as train/cat/1.jpg in another class",
    "train/cat/2.jpg": "is the same picture as test/cat/leak.jpg, which is held out",
    "train/dog/9-copy.jpg": "is a copy of train/dog/0.jpg",
}


def test_check_prints_kinds_and_its_status_says_how_serious(folder: Path, tmp_path: Path) -> None:
    printed = vgglass("check", folder, status=1).stdout
    assert "14 files, 13 readable" not in printed
    assert "Unreadable files (unreadable): 1" in printed
    assert "  train/cat/1.jpg (cat) = train/dog/9-cat.jpg (dog)\n" in printed
    assert "1 of 3 test images have a twin of their class in train. Top-1 on test is at most 33.3 points" in printed
    assert visible(HOSTILE) in printed
    assert HOSTILE not in printed
    facts = json.loads(vgglass("check", folder, "--json", status=1).stdout)
    assert facts["findings"]["damaged"][0]["files"] == [
        {"path": f"train/cat/{HOSTILE}", "split": "train", "class": "cat"}
    ]
    assert facts["flattery"] == [{"split": "test", "images": 3, "twins": 1, "points": pytest.approx(100 / 3)}]
    assert "Nothing found." in vgglass("check", photographs(tmp_path / "sound", cat=3, dog=3)).stdout


def test_names_are_cut_after_ten(tmp_path: Path) -> None:
    photographs(tmp_path, cat=3, dog=3)
    for number in range(12):
        (tmp_path / "cat" / f"bad-{number}.jpg").write_text("text")
    printed = vgglass("check", tmp_path, status=1).stdout
    assert "cat/bad-9.jpg: not an image" in printed
    assert "cat/bad-10.jpg" not in printed
    assert "  and 2 more\n" in printed


def test_quarantine_lists_and_moves_only_with_yes(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "away"
    before = sorted(folder.rglob("*"))
    printed = vgglass("check", folder, "--quarantine", place, status=1).stdout
    assert "6 files ought to go; add --yes to move them there" in printed
    assert sorted(folder.rglob("*")) == before
    rows = listed(place)
    assert {row["path"]: row["reason"] for row in rows} == LEAVING
    contents = {name: (folder / name).read_bytes() for name in LEAVING}
    assert "6 files moved there" in vgglass("check", folder, "--quarantine", place, "--yes", status=1).stdout
    assert {name: (place / name).read_bytes() for name in LEAVING} == contents
    assert not any((folder / name).exists() for name in LEAVING)
    assert [row["path"] for row in listed(place)] == [row["path"] for row in rows]
    vgglass("check", folder)  # what is left is sound
    error = vgglass("check", folder, "--quarantine", place, status=2).stderr
    assert "holds other files; name a new folder" in error


def test_a_move_that_fails_leaves_a_list_of_what_was_moved(folder: Path, tmp_path: Path) -> None:
    condemned = report.files_to_remove(workflows.check(folder))
    (folder / condemned[3][0].id).unlink()
    with pytest.raises(FileNotFoundError):
        report.write_quarantine(condemned, tmp_path / "away", moving=True)
    rows = listed(tmp_path / "away")
    assert [row["path"] for row in rows] == [entry.id for entry, _ in condemned[:3]]
    assert all((tmp_path / "away" / row["path"]).exists() for row in rows)
    assert (folder / condemned[4][0].id).exists()


def test_each_move_is_on_the_list_before_the_next(folder: Path, tmp_path: Path) -> None:
    place, condemned = tmp_path / "away", report.files_to_remove(workflows.check(folder))

    def watched() -> Iterator[tuple[Entry, str]]:
        for done, leaving in enumerate(condemned):
            assert len(listed(place)) == done  # what a kill here would leave behind
            yield leaving

    report.write_quarantine(watched(), place, moving=True)
    assert len(listed(place)) == len(condemned)


def test_a_quarantine_lies_apart_from_the_data(folder: Path, tmp_path: Path) -> None:
    for place in (folder / "away", folder, tmp_path):
        with pytest.raises(UsageError, match=r"lies within .* or around it; name a folder elsewhere"):
            report.require_place(folder, place)
    with pytest.raises(UsageError, match=r"moves files of class folders, and .* has none"):
        report.require_place(tmp_path / "data.csv", tmp_path / "away")


def test_options_that_go_together_and_not(folder: Path, tmp_path: Path) -> None:
    cases = [
        (("--yes",), "--yes: moves files to the folder of --quarantine; add --quarantine DIR"),
        (("--manifest", "x.csv"), "--manifest x.csv: is written as Parquet; end it in .parquet"),
        (
            ("--manifest", "x.parquet", "--quarantine", "q", "--yes"),
            "--manifest: would name files that --yes moves away",
        ),
        (("--image-size", 8), "image size 8"),
    ]
    for options, message in cases:
        error = vgglass("check", folder, *options, status=2).stderr
        assert message in error
        assert len(error.splitlines()) == 1


def test_a_manifest_keeps_its_sides_as_images_are_added(tmp_path: Path) -> None:
    folder, path = photographs(tmp_path / "photos", cat=10, dog=10), tmp_path / "data.parquet"
    assert "train 12   validation 4   test 4" in vgglass("check", folder, "--manifest", path).stdout
    before = manifest.sides(path)
    held_out = next(sample for sample in open_data(path).split("test"))
    assert isinstance(held_out.source, Path)
    learned = open_data(path).split("train")[0]
    save(folder / "cat" / "new.jpg", scene(4000))
    held_out.source.with_name("copy.jpg").write_bytes(held_out.source.read_bytes())
    save(held_out.source.with_name("again.jpg"), images.decode(held_out.source), quality=60)
    printed = vgglass("check", folder, "--manifest", path).stdout
    after = manifest.sides(path)
    assert {digest: after[digest] for digest in before} == before
    assert len(after) == 22
    again = next(sample for sample in open_data(path).split("all") if sample.id.endswith("again.jpg"))
    assert after[again.digest] == "test"
    assert learned.digest in after
    assert "left out" not in printed


def test_what_would_join_two_splits_is_left_out_and_named(tmp_path: Path) -> None:
    folder, path = photographs(tmp_path / "photos", cat=8, dog=8), tmp_path / "data.parquet"
    for quality in (90, 70):
        save(folder / "cat" / f"same-{quality}.jpg", scene(555), quality=quality)
    samples = {sample.id: sample for sample in open_data(folder).split("all")}
    sides = {"train": "same-90", "test": "same-70"}
    torn: dict[str, tuple[Sample, ...]] = {side: (samples[f"cat/{name}.jpg"],) for side, name in sides.items()}
    manifest.write(replace(open_data(folder), splits=torn), path)
    save(folder / "cat" / "same-50.jpg", scene(555), quality=50)
    printed = vgglass("check", folder, "--manifest", path).stdout
    assert "left out 1 that would join two splits:" in printed
    reason = "cat/same-50.jpg: near duplicate of 'cat/same-70.jpg' in test and 'cat/same-90.jpg' in train"
    assert reason in printed
    path.write_text("text")
    assert "not a manifest of vgglass" in vgglass("check", folder, "--manifest", path, status=1).stderr


def test_train_evaluate_and_predict_from_a_manifest(tmp_path: Path) -> None:
    folder, path = photographs(tmp_path / "photos", cat=8, dog=8), tmp_path / "data.parquet"
    vgglass("check", folder, "--manifest", path)
    options = ("--epochs", 1, "--image-size", 32, "--set", "width=0.0625", "--set", "hidden=8", "--batch-size", 4)
    vgglass("train", path, "--out", tmp_path / "run", *options)
    best = tmp_path / "run" / "best.safetensors"
    assert "on 2 test images" in vgglass("evaluate", path, "--model", best).stdout
    rows = json.loads(vgglass("predict", path, "--model", best, "--json").stdout)
    assert [Path(row["path"]) for row in rows] == [sample.source for sample in open_data(path).split("all")]
    (tmp_path / "data.csv").write_text("path\nphotos/cat/0.jpg\nphotos/none.jpg\n")
    result = vgglass("predict", tmp_path / "data.csv", "--model", best, "--json", status=1)
    assert [("error" in row) for row in json.loads(result.stdout)] == [False, True]
    (folder / "cat" / "0.jpg").unlink()
    error = vgglass("evaluate", path, "--model", best, status=1).stderr
    assert "1 of its 16 files can not be read" in error
    assert len(error.splitlines()) == 1


@pytest.fixture
def page(browser: Browser, folder: Path, tmp_path: Path) -> Iterator[Page]:
    """The page as it opens; afterwards nothing may have failed or been logged."""
    report.write_page(workflows.check(folder), tmp_path / "report.html")
    page, problems = browser.new_page(viewport={"width": 1280, "height": 900}), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda request: problems.extend([request.url] * request.url.startswith("http")))
    page.goto((tmp_path / "report.html").as_uri())
    yield page
    page.close()
    assert problems == []


def test_the_page_shows_cases_with_their_pictures_and_names(page: Page) -> None:
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
    assert page.locator("#damaged figcaption").inner_text() == f"train/cat/{HOSTILE}\ncat · train"
    conflict = page.locator("#label-conflict figcaption span").all_text_contents()
    assert conflict == ["cat · train", "dog · train"]
    assert page.locator("#leak img").count() == 2
    assert "at most 33.3 points" in page.inner_text("#leak")
    assert page.locator("#unreadable img").count() == 0
    assert page.locator("nav a").count() == page.locator("section").count() - 1
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    tops = page.locator("#leak img").evaluate_all("images => images.map(i => i.getBoundingClientRect().top)")
    assert tops[0] == tops[1]  # side by side


def test_the_page_switches_its_language_and_follows_the_colour_scheme(page: Page) -> None:
    english = page.locator("h2").all_text_contents()
    page.click("#switch")
    chinese = page.locator("h2").all_text_contents()
    assert page.get_attribute("html", "lang") == "zh-CN"
    assert all(text.replace("·", "").isascii() for text in english)
    assert not any(text.isascii() for text in chinese)
    assert "测试集的 3 张图片中，有 1 张" in page.inner_text("#leak")
    page.click("#switch")
    assert page.locator("h2").all_text_contents() == english
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_no_path_ends_the_pages_script(tmp_path: Path) -> None:
    photographs(tmp_path / "photos", cat=2, dog=2)
    (tmp_path / "photos" / "cat" / "<").mkdir()
    (tmp_path / "photos" / "cat" / "<" / "script>.jpg").write_text("text")  # its path holds </script>
    report.write_page(workflows.check(tmp_path / "photos"), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("</script>") == 1


def test_the_page_bounds_its_pictures(tmp_path: Path) -> None:
    photographs(tmp_path, cat=2, dog=2)
    for number in range(report.CASES + 3):
        save(tmp_path / "cat" / f"small-{number}.jpg", scene(700 + number, 40, 40))
    for number in range(report.FILES + 2):
        (tmp_path / "dog" / f"copy-{number}.jpg").write_bytes((tmp_path / "dog" / "0.jpg").read_bytes())
    facts = report.facts(workflows.check(tmp_path))
    small = next(row for row in facts["findings"] if row["kind"] == "small")
    assert (small["count"], len(small["cases"])) == (report.CASES + 3, report.CASES)
    copies = next(row for row in facts["findings"] if row["kind"] == "duplicate")
    assert (len(copies["cases"][0]["files"]), copies["cases"][0]["more"]) == (report.FILES, 3)


def test_the_help_lists_each_kind() -> None:
    said = vgglass("check", "--help").stdout
    for kind in KINDS:
        assert re.search(rf"[ ,;]{kind}[,:;]", f" {said}"), kind
