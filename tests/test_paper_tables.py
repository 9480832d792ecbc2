"""The paper lab's arithmetic and tables: published figures, scaled sides, rates, what can be detected, words."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgglass.architecture import COLUMNS
from vgglass.errors import UsageError
from vgglass.replication import published
from vgglass.replication.lab import Lab, Trained, markdown
from vgglass.replication.tables import SIDES, Rate, Trial, both, resolution, right_in, scaled, tables, trials, views
from vgglass.statistics import detectable, quantiles, wilson
from vgglass.training import diagnostics, recipe

ORACLE = Path(__file__).parents[2] / "shared" / "oracles" / "paper.json"
A, C = Trial("A", SIDES["256"]), Trial("C", SIDES["384"])
D, D_JITTERED = Trial("D", SIDES["256"]), Trial("D", SIDES["256-512"])


def test_published_figures_are_the_papers() -> None:
    if not ORACLE.exists():
        pytest.skip("../shared/oracles/paper.json is not here")
    oracle = json.loads(ORACLE.read_text(encoding="utf-8"))
    for number, name in ((3, "table3_single_scale"), (4, "table4_multi_scale")):
        rows = [
            {"net": row.column, "S": row.train, "Q": row.test, "top1": row.top1, "top5": row.top5}
            for row in published.TABLES[number]
        ]
        assert rows == oracle[name]
    rows = [
        {"net": row.column, "method": row.method, "top1": row.top1, "top5": row.top5} for row in published.TABLES[5]
    ]
    assert rows == oracle["table5_dense_vs_crops"]


def test_sides_are_the_papers_at_its_size_and_in_proportion_at_others() -> None:
    assert [scaled(side, 224) for side in (224, 256, 288, 352, 384, 416, 512)] == [224, 256, 288, 352, 384, 416, 512]
    assert [scaled(side, 32) for side in (224, 256, 288, 384, 512)] == [32, 37, 41, 55, 73]
    found = views([C, D, D_JITTERED], 224)
    assert found[C] == {"single": "dense@384", "several": "dense@352,384,416"}
    assert found[D] == {"single": "dense@256", "several": "dense@224,256,288"}
    several = "256,384,512"
    assert found[D_JITTERED] == {"single": "dense@384", "several": f"dense@{several}", "crops": f"crops@{several}"}
    assert views([D], 32)[D]["crops"] == "crops@32,37,41"
    for trial in trials(list(COLUMNS), list(SIDES)):  # as the paper's tables say what they were tested at
        for number, sides in ((3, (trial.side.single,)), (4, trial.side.several)):
            row = next(
                (row for row in published.TABLES[number] if (row.column, row.train) == (trial.column, trial.side.name)),
                None,
            )
            assert row is None or row.test == ",".join(map(str, sides))
        assert recipe.read("columns").override(augmentation=trial.side.augmentation)


def test_trials_are_the_rows_of_table_3() -> None:
    found = trials(["E", "A", "C"], ["256-512", "256"])
    assert [trial.name for trial in found] == ["A", "C", "C-256-512", "E", "E-256-512"]
    every = trials(list(COLUMNS), list(SIDES))
    assert [(trial.column, trial.side.name) for trial in every] == [
        (row.column, row.train) for row in published.TABLES[3]
    ]


@pytest.mark.parametrize(
    ("chosen", "sides", "message"),
    [
        (["A", "F"], ["256"], "--columns F: not one of A, A-LRN, B, C, D, E; choose among them"),
        ([], ["256"], "--columns : not one of A, A-LRN"),
        (["A"], ["300"], "--sides 300: not one of 256, 384, 256-512; choose among them"),
        (["A", "B"], ["384"], "--sides 384: the paper trains A, B at S = 256 alone; add 256, or one of the columns C"),
    ],
)
def test_what_the_paper_does_not_have_is_refused(chosen: list[str], sides: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        trials(chosen, sides)


def test_wilson_by_hand() -> None:
    """Of 8 in 10: centre (8 + z^2/2) / (10 + z^2), half z sqrt(8 * 2 / 10 + z^2/4) / (10 + z^2)."""
    z = 1.959964
    centre, half = (8 + z * z / 2) / (10 + z * z), z * math.sqrt(1.6 + z * z / 4) / (10 + z * z)
    assert wilson(8, 10) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert wilson(0, 10) == pytest.approx((0, 0.27753), abs=1e-4)
    assert Rate(2, 10).error == 20
    assert Rate(2, 10).interval == pytest.approx((100 * (1 - centre - half), 100 * (1 - centre + half)), abs=1e-4)


def test_what_is_detectable_solves_the_formula() -> None:
    one, two = quantiles()
    assert (one, two) == pytest.approx((1.959964, 0.841621), abs=1e-6)
    for images, d in ((360, 0.1), (10_000, 0.05), (50, 0.5)):
        x = detectable(images, d)
        assert x is not None
        assert x < d
        assert images * x * x == pytest.approx((one * math.sqrt(d) + two * math.sqrt(d - x * x)) ** 2, rel=1e-6)
    # Two that never disagree: what would be found differs on x of the images, and only there.
    x = detectable(360, 0.0)
    assert x is not None
    assert 360 * x == pytest.approx((one + two * math.sqrt(1 - x)) ** 2, rel=1e-6)
    assert detectable(3, 0.5) is None  # z1^2 = 3.84 images at least
    more = [detectable(images, 0.1) for images in (100, 360, 1000, 10_000)]
    assert all(a > b for a, b in pairwise(more))  # type: ignore[operator]


@pytest.mark.parametrize(("images", "d"), [(360, 0.1), (2000, 0.04), (360, 0.3)])
def test_a_difference_of_that_size_is_found_four_times_in_five(images: int, d: float) -> None:
    x = detectable(images, d)
    assert x is not None
    draws = np.random.default_rng(0).multinomial(images, [(d + x) / 2, (d - x) / 2, 1 - d], size=20_000)
    gained, lost = draws[:, 0], draws[:, 1]
    found = (gained - lost) ** 2 > quantiles()[0] ** 2 * (gained + lost)  # McNemar's test
    assert found.mean() == pytest.approx(0.8, abs=0.02)
    none = np.random.default_rng(1).multinomial(images, [d / 2, d / 2, 1 - d], size=20_000)
    alarms = (none[:, 0] - none[:, 1]) ** 2 > quantiles()[0] ** 2 * (none[:, 0] + none[:, 1])
    assert alarms.mean() == pytest.approx(0.05, abs=0.01)


def logs(*rows: list[float]) -> Any:
    return np.log(np.array(rows))


def test_images_are_right_by_rank() -> None:
    scores = logs([0.5, 0.2, 0.3], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2])
    labels = np.array([0, 2, 1])
    assert right_in(1, scores, labels).tolist() == [True, False, False]  # the tie goes to the first class
    assert right_in(2, scores, labels).tolist() == [True, True, True]


def test_two_views_are_averaged_at_the_softmax() -> None:
    assert np.exp(both(logs([0.9, 0.1]), logs([0.3, 0.7]))) == pytest.approx(np.array([[0.6, 0.4]]))


def test_discordance_counts_pairs_of_different_columns() -> None:
    def right(*images: int) -> Any:
        return np.array(images, bool)

    found = resolution([("A", right(1, 1, 0, 0)), ("B", right(1, 0, 0, 0)), ("B", right(0, 1, 1, 1))])
    assert found is not None
    assert found.discordant == pytest.approx(100 * (1 / 4 + 3 / 4) / 2)
    x = detectable(4, 0.5)
    assert x is not None
    assert found.difference == pytest.approx(100 * x)
    assert resolution([("A", right(1, 1)), ("A", right(0, 1))]) is None
    assert resolution([]) is None
    assert resolution([("A", right(1)), ("B", right(0))]).difference is None  # type: ignore[union-attr]


def six(*shares: float) -> list[float]:
    """Probabilities of six classes: those given, and for the rest what is left."""
    return [*shares, *[(1 - sum(shares)) / (6 - len(shares))] * (6 - len(shares))]


def lab(started: bool = True, used_for: str = "", sides: str = "256") -> Lab:
    """Columns A and D on four images of six classes. Every image is of the first; A names three, D's views fewer."""
    right, wrong = six(0.7), six(0.05, 0.75)
    last = [0.01, 0.19, 0.2, 0.2, 0.2, 0.2]  # not even among five
    of_a = {"single": logs(right, right, right, last), "several": logs(right, right, right, right)}
    of_d = {
        "single": logs(right, right, wrong, wrong),
        "several": logs(right, wrong, wrong, wrong),
        "crops": logs(right, right, six(0.94), last),  # with dense: 0.375 against 0.405, then 0.495 against 0.381
    }
    d = Trial("D", SIDES[sides])
    found = tables({A: of_a, d: of_d if started else None}, np.zeros(4, int), 32)
    trained = tuple(
        Trained(one.name, one.column, (37,), 1000, 3, 0.5, 2.3, 2.302, ok, False, 12.4)
        for one, ok in ((A, True), (d, started))
    )
    fields = recipe.read("columns").override(width=0.125, hidden=512, image_size=32).as_json()
    split = "validation" if used_for else "test"
    return Lab("toys", 6, {"train": 100, split: 4}, split, used_for, fields, trained, found)


def errors(lab: Lab) -> list[list[tuple[str, str, float, float]]]:
    return [
        [(row.column, row.method, row.top1.error, row.top5.error) for row in table.rows if row.top1 and row.top5]
        for table in lab.tables
    ]


def test_tables_from_answers_by_hand() -> None:
    third, fourth, fifth = errors(lab())
    assert third == [("A", "", 25, 25), ("D", "", 50, 0)]
    assert fourth == [("A", "", 0, 0), ("D", "", 75, 0)]
    assert fifth == [("D", "dense", 75, 0), ("D", "multi-crop", 25, 25), ("D", "both", 50, 25)]
    assert lab().tables[0].resolution.discordant == 25  # type: ignore[union-attr]
    assert lab().tables[2].resolution is None  # one column


def test_rows_stand_beside_the_papers_and_apart_from_it() -> None:
    third, fourth, fifth = lab().tables
    assert [row.published and row.published.top1 for row in third.rows] == [29.6, 27.0]
    assert [row.published and row.published.top1 for row in fourth.rows] == [None, 26.6]  # A is not in Table 4
    assert [row.published and row.published.top1 for row in fifth.rows] == [24.8, 24.6, 24.4]
    assert third.rows[1].train == third.rows[1].test == (37,)
    assert fourth.rows[1].test == (32, 37, 41)
    jittered = lab(sides="256-512").tables
    assert (jittered[0].rows[1].train, jittered[0].rows[1].test) == ((37, 73), (55,))
    assert [row.published and row.published.top5 for table in jittered for row in table.rows] == [
        10.4, 8.1, None, 7.5, 7.5, 7.5, 7.2,
    ]  # fmt: skip
    row = lab().as_json()["tables"][0]["rows"][0]
    assert row["top1"]["error"] == 25
    assert row["published_on_imagenet"]["top1"] == 29.6
    assert "29.6" not in json.dumps(row["top1"])


def test_a_column_that_did_not_start_has_no_figure() -> None:
    found = lab(started=False)
    text = markdown(found, "en")
    row = next(line for line in text.splitlines() if line.startswith("| D | 37 | 37 |"))
    assert row == "| D | 37 | 37 | did not start | — | — | — | *256* | *256* | *27.0* | *8.8* |"
    assert "D did not start: the lowest loss of an epoch, in training or validation, is 2.300" in text
    assert "guessing gives 2.302" in text
    assert "Fewer than two columns started" in text
    assert found.as_json()["tables"][0]["rows"][1]["top1"] is None
    assert found.as_json()["tables"][0]["rows"][1]["started"] is False
    assert "未能收敛" in markdown(found, "zh")


def test_starting_is_leaving_the_loss_of_a_guess() -> None:
    assert diagnostics.chance_loss([7, 7, 7]) == pytest.approx(math.log(3))
    assert diagnostics.chance_loss([9, 1, 0]) == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))
    assert not diagnostics.beats_chance([2.4, math.log(10) * 0.981], [5] * 10)
    assert diagnostics.beats_chance([2.4, math.log(10) * 0.979], [5] * 10)
    assert not diagnostics.beats_chance([0.32], [9, 1])  # well below ln 2, by the classes' shares alone


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_says_what_was_done(lang: str) -> None:
    text = markdown(lab(used_for="selection"), lang)
    assert "{" not in text
    for figure in ("2,000", "0.125", "512", "1.960", "0.842", "| A | 37 | 37 | 25.0 |"):
        assert figure in text
    assert ("used for selection" if lang == "en" else "已用于模型选择") in text
    assert ("used for selection" if lang == "en" else "已用于模型选择") not in markdown(lab(), lang)
    assert ("The paper's Table 5" if lang == "en" else "论文的表 5") in text
    assert ("The paper's Table 5" if lang == "en" else "论文的表 5") not in markdown(lab(sides="256-512"), lang)
    begun = replace(lab(), trained=(replace(lab().trained[1], began_from_a=True),))
    assert "--from-a" in markdown(begun, lang)


def test_a_dense_test_of_one_place_is_said() -> None:
    assert "the dense test has one place" in markdown(lab(), "en")  # 37 // 32 = 32 // 32
    at_224 = tables({A: None}, np.zeros(4, int), 224)  # 256 // 32 - 224 // 32 + 1 = 2
    large = replace(lab(), recipe=lab().recipe | {"image_size": 224}, tables=at_224)
    assert "the dense test has one place" not in markdown(large, "en")


def test_five_classes_have_no_top_5() -> None:
    scores = logs([0.6, 0.1, 0.1, 0.1, 0.1], [0.1, 0.6, 0.1, 0.1, 0.1])
    found = tables({A: {"single": scores, "several": scores}}, np.zeros(2, int), 32)
    assert [row.top5 for row in found[0].rows] == [None]
    page = markdown(replace(lab(), tables=found), "en")
    assert "top-5 error" not in page
    assert "| A | 37 | 37 | 50.0 |" in page
