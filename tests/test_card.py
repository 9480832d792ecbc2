"""The model card: from the record alone, the same in two languages, a person's text kept, names shown as they are."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import vgglass
from glass_subjects import model
from judgements import answers
from typed import vgglass as typed
from vgglass import modelfile
from vgglass.errors import DataError
from vgglass.evaluation import card, metrics
from vgglass.evaluation.robustness import Point, Robustness
from vgglass.modelfile import Record

DATA = {
    "name": "/home/me/photos",
    "manifest": "m" * 64,
    "digests": {"train": "a" * 64, "validation": "b" * 64, "test": "c" * 64},
    "images": {"train": 1200, "validation": 100, "test": 50},
    "left_out": {"unreadable": 3, "between": 2},
    "selected_on": "validation",
}


def record(**about: Any) -> Record:
    found = answers(120, 7).record
    values: dict[str, Any] = {
        "data": DATA,
        "metrics": {"validation": {"top1": 0.9}, "epoch": 3},
        "recipe": {"epochs": 5},
    }
    return replace(found, digest="d" * 64, **(values | about))


def subject(name: str = "best.safetensors", **about: Any) -> card.Subject:
    return card.Subject(name, record(**about), drift=False)


def evaluated(before: card.Subject, used_for: str = "") -> card.Subject:
    found = metrics.evaluate(replace(answers(120, 7), record=before.record, used_for=used_for))
    return replace(before, data="/elsewhere/fields", evaluation=found)


def robust() -> Robustness:
    points = (Point(0.0, 0.8, 0.7, 0.9, True), Point(0.08, 0.8, 0.7, 0.9, False), Point(0.05, 0.6, 0.5, 0.7, False))
    return Robustness(100, 120, {"blur": points})


def part(text: str, name: str) -> str:
    return text.split(f"<!-- vgglass: {name} -->\n")[1].split(f"\n<!-- /vgglass: {name} -->")[0]


def test_figures_have_intervals_and_say_how_to_read_them() -> None:
    """Wilson's interval of 90 of 100, worked by hand: (0.9 + z²/200 ± z √(0.09/100 + z²/40000)) / (1 + z²/100)."""
    text = card.text_of(subject(), "en")
    row = "| 100 validation images | 90.0 % | 82.6–94.5 % | flattering: these images chose the epoch |"
    assert row in part(text, "training")
    assert "3 files that can't be read, 2 images that are near duplicates" in part(text, "data")
    assert "**Data**: photos\n" in text
    assert "/home/me" not in text
    assert f"| test | 50 | `{'c' * 64}` | be judged by, and for nothing else |" in text


def test_an_evaluation_says_what_it_was_judged_on() -> None:
    found = evaluated(subject())
    assert found.evaluation
    low, high = (100 * end for end in found.evaluation.intervals["top1"])
    text = part(card.text_of(found, "en"), "evaluation")
    assert "On 120 test images of fields" in text
    assert f"| Top-1 accuracy | {100 * found.evaluation.top1:.1f} % | {low:.1f}–{high:.1f} % |" in text
    assert "taught and chose nothing" in text
    flattering = part(card.text_of(evaluated(subject(), "training"), "en"), "evaluation")
    assert "the model has learned from these images" in flattering
    assert "taught and chose nothing" not in flattering


def test_robustness_names_the_worst_disturbance() -> None:
    text = part(card.text_of(replace(subject(), robustness=robust()), "en"), "robustness")
    assert "| Blur (Gaussian σ, share of the square's side) | 5 % | 60.0 % | 50.0–70.0 % |" in text
    assert "(undisturbed 80.0 %)" in text


@pytest.mark.parametrize(
    ("about", "said", "unsaid"),
    [
        ({}, "never calls an answer unsure", "was chosen on"),
        ({"reject_threshold": 0.7}, "less than 70.0 %", "never calls"),
        ({}, "can't tell that an image is unlike", "would call"),
        ({"familiarity": {"false_alarm_rate": 0.05, "images": 80}}, "would call 5.0 % unfamiliar", "can't tell"),
        ({"metrics": {"cross_validation": {"top1": 1, "interval": [0.9, 1], "images": 50, "folds": 5}}},
         "calibrated out of fold", "not calibrated"),
    ],
)  # fmt: skip
def test_limits_are_those_of_the_record(about: dict[str, Any], said: str, unsaid: str) -> None:
    text = part(card.text_of(subject(**about), "en"), "limits")
    assert said in text
    assert unsaid not in text


@pytest.mark.parametrize(
    ("name", "recipe", "said"),
    [
        ("best.safetensors", {"epochs": 5}, "Trained from random weights"),
        ("best.safetensors", {"from": {"model": "vgg16", "digest": "e" * 64}}, "ImageNet weights vgg16 of torchvision"),
        ("best.safetensors", {"from": {"model": "/a/mine.pth", "digest": "e" * 64}}, "the file mine.pth"),
        ("vgg16", {}, "These are ImageNet weights of torchvision"),
        ("other.safetensors", {"shrunk": {"from": "e" * 64}}, "does not say where these weights come from"),
    ],
)
def test_the_origin_names_a_licence_only_where_its_authors_state_one(name: str, recipe: object, said: str) -> None:
    text = part(card.text_of(subject(name, recipe=recipe), "en"), "origin")
    assert said in text
    assert ("BSD 3-Clause" in text) == ("torchvision" in said)
    assert ("not known" in text) == ("file" in said or "come from" in said)


def test_what_a_person_writes_stays(tmp_path: Path) -> None:
    card.write(subject(), tmp_path)
    path = tmp_path / "card.md"
    text = path.read_text()
    mine = text.replace("*Not written yet", "For apples alone.\n\n*Not").replace("## Limits", "## Limits, as we found")
    mine = re.sub("<!-- vgglass: use -->.*<!-- /vgglass: use -->", "Ask Ada.", mine, flags=re.DOTALL)
    path.write_text(mine)
    card.write(evaluated(subject(metrics={"validation": {"top1": 0.5}})), tmp_path)
    found = path.read_text()
    assert "For apples alone." in found
    assert "## Limits, as we found" in found
    assert "Ask Ada." in found
    assert "vgglass serve" not in found, "a part that a person took out stays out"
    assert "| 100 validation images | 50.0 % |" in found
    assert "| Top-1 accuracy |" in found
    card.write(evaluated(subject(metrics={"validation": {"top1": 0.5}})), tmp_path)
    assert path.read_text() == found, "written twice it is the same"


def test_what_was_measured_stays_while_the_weights_do(tmp_path: Path) -> None:
    card.write(replace(evaluated(subject()), robustness=robust()), tmp_path)
    card.write(evaluated(subject()), tmp_path)
    assert "| 5 % | 60.0 % |" in (tmp_path / "card.md").read_text()
    other = subject()
    card.write(replace(other, record=replace(other.record, digest="f" * 64)), tmp_path)
    assert "| 5 % | 60.0 % |" not in (tmp_path / "card.md").read_text()
    assert "Not measured yet" in part((tmp_path / "card.md").read_text(), "evaluation")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("<!-- /vgglass: data -->", "", "<!-- vgglass: data -->"),
        ("<!-- vgglass: data -->", "", "<!-- /vgglass: data -->"),
        ("<!-- vgglass: data -->", "<!-- vgglass: limits -->", "<!-- vgglass: limits -->"),
        ("<!-- /vgglass: use -->", "<!-- /vgglass: use -->\n<!-- vgglass: use -->\n<!-- /vgglass: use -->",
         "<!-- vgglass: use -->"),
    ],
)  # fmt: skip
def test_a_broken_mark_is_an_error_and_nothing_is_overwritten(tmp_path: Path, old: str, new: str, line: str) -> None:
    card.write(subject(), tmp_path)
    path = tmp_path / "card.zh.md"
    path.write_text(path.read_text().replace(old, new))
    before = [(tmp_path / name).read_text() for name in card.FILES.values()]
    with pytest.raises(DataError, match=re.escape(f"the mark '{line}' in line") + r".* has no partner .*move the file"):
        card.write(subject(metrics={}), tmp_path)
    assert [(tmp_path / name).read_text() for name in card.FILES.values()] == before


def test_what_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "card.md").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"can't be read .*save it as UTF-8"):
        card.write(subject(), tmp_path)
    (tmp_path / "card.md").write_bytes(b" " * (card.LARGEST + 1))
    with pytest.raises(DataError, match=r"is larger than 1,048,576 bytes.*move the file away"):
        card.write(subject(), tmp_path)


HOSTILE = "a|b`*c_[d](javascript:alert(1))<img src=x>\n<!-- /vgglass: model -->\n# e\u202e & ![f](http://g)"


@given(st.text(min_size=1, max_size=40) | st.just(HOSTILE))
def test_a_name_shows_as_it_is(name: str) -> None:
    """What Markdown makes of it is one paragraph whose text is the name: no tag, no link, no mark."""
    text = card.escaped(name)
    assert not card.MARK.search(text)
    tokens = MarkdownIt("commonmark").enable("table").parse(f"- **Data**: {text}.")
    inline = [token for token in tokens if token.type == "inline"]
    assert len(inline) == 1
    assert {child.type for child in inline[0].children or []} <= {"text", "text_special", "strong_open", "strong_close"}
    shown = "".join(child.content for child in inline[0].children or [])
    plain = "".join(letter if letter.isprintable() else " " for letter in name)
    assert shown.split() == f"Data: {plain}.".split()


def test_hostile_names_end_no_part(tmp_path: Path) -> None:
    found = subject(HOSTILE, recipe={"from": {"model": HOSTILE, "digest": "e"}}, data={**DATA, "name": HOSTILE})
    found = replace(found, record=replace(found.record, classes=(HOSTILE, *found.record.classes[1:])))
    card.write(evaluated(found), tmp_path)
    first = (tmp_path / "card.md").read_text()
    card.write(evaluated(found), tmp_path)
    assert (tmp_path / "card.md").read_text() == first
    page = card.as_html(first)
    assert "<img" not in page
    assert "href" not in page
    assert "<h1>e" not in page


def test_the_page_of_a_card_runs_nothing_and_fetches_nothing() -> None:
    page = card.as_html(
        "<script>alert(1)</script>\n\n[x](javascript:alert(1)) ![y](http://z/w.png) [ok](https://example.org)\n\n"
        "<!-- vgglass: use -->\n| a |\n| --- |\n| b |\n<!-- /vgglass: use -->"
    )
    assert "<script" not in page
    assert "<img" not in page
    assert "vgglass:" not in page
    assert re.findall('href="([^"]*)"', page) == ["http://z/w.png", "https://example.org"]
    assert "<td>b</td>" in page


def test_both_languages_have_the_same_numbers() -> None:
    found = replace(evaluated(subject()), robustness=robust())
    numbers = [re.findall(r"\d+(?:[.,]\d+)*", card.text_of(found, lang)) for lang in card.FILES]
    assert sorted(numbers[0]) == sorted(numbers[1])


def test_training_and_evaluating_write_it(digits_run: Path, tmp_path: Path) -> None:
    for name in ("best.safetensors", "run.json", "card.md", "card.zh.md"):
        shutil.copyfile(digits_run / name, tmp_path / name)
    vgglass.evaluate(tmp_path / "best.safetensors")
    chinese, text = (tmp_path / "card.zh.md").read_text(), (tmp_path / "card.md").read_text()
    assert "On 360 test images of the embedded digits; views: `centre` at 32 pixels." in text
    assert "评估所用：内置的手写数字，测试集的 360 张图片" in chinese
    assert vgglass.load(tmp_path / "best.safetensors").record.digest in text


def test_a_folder_of_models_is_not_littered(digits_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "digits.safetensors"
    shutil.copyfile(digits_run / "best.safetensors", path)
    vgglass.evaluate(path)
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "card.md").write_text("The card of another model.\n")
    vgglass.evaluate(path)
    assert (tmp_path / "card.md").read_text() == "The card of another model.\n"
    shutil.copyfile(digits_run / "card.md", tmp_path / "card.md")
    vgglass.evaluate(path)
    assert "On 360 test images" in (tmp_path / "card.md").read_text()


def test_a_broken_card_is_an_error_before_the_work(digits_run: Path, tmp_path: Path) -> None:
    for name in ("best.safetensors", "run.json"):
        shutil.copyfile(digits_run / name, tmp_path / name)
    (tmp_path / "card.md").write_text("<!-- vgglass: data -->\n")
    best, page = tmp_path / "best.safetensors", tmp_path / "r.html"
    for command in (["evaluate", "--model", best], ["evaluate", "--model", best, "--html", page],
                    ["train", "--out", tmp_path, "--overwrite"]):  # fmt: skip
        done = typed(*command, status=1)
        assert "has no partner of its own" in done.stderr
        assert "reading" not in done.stdout
    assert not page.exists()
    assert best.exists(), "an earlier run is not removed for it"


def test_a_graph_and_a_model_in_memory_have_none_written(tmp_path: Path) -> None:
    from vgglass.workflows.card import card_folder

    file = model()
    saved = modelfile.save(file, tmp_path / "best.safetensors")
    assert card_folder(file, saved) is None
    assert card_folder(tmp_path / "best.safetensors", saved) is None, "no run's folder"
    (tmp_path / "run.json").write_text("{}")
    assert card_folder(tmp_path / "best.safetensors", saved) == tmp_path
    assert card_folder(tmp_path / "best.onnx", saved) is None
