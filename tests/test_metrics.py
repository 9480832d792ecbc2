"""Figures of a model, beside scikit-learn's on random answers, and where a figure is undefined."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as reference

from judgements import answers, judged
from sizes import sized
from vgglass import plotting
from vgglass.evaluation import metrics
from vgglass.evaluation.headline import rankings
from vgglass.plotting import unwritable
from vgglass.statistics import wilson


@pytest.mark.parametrize(("images", "classes", "known"), [(300, 8, None), (300, 8, 6), (90, 3, None), (50, 2, None)])
def test_figures_are_scikit_learns(images: int, classes: int, known: int | None) -> None:
    given = answers(images, classes, known=known)
    labels, predicted, shares = given.labels, given.predicted, np.exp(given.log_probabilities)
    found = metrics.evaluate(given)
    every, present = range(classes), np.unique(labels)
    assert found.images == images
    assert found.top1 == pytest.approx(reference.accuracy_score(labels, predicted))
    if classes > 5:
        assert found.top5 == pytest.approx(reference.top_k_accuracy_score(labels, shares, k=5, labels=every))
    assert found.balanced_accuracy == pytest.approx(
        reference.recall_score(labels, predicted, labels=present, average="macro")
    )
    if known is None:
        assert found.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, labels=present, average="macro"))
    each = [reference.roc_auc_score(labels == place, shares[:, place]) for place in present]
    assert found.auc == pytest.approx(np.mean(each))
    if known is None and classes > 2:
        assert found.auc == pytest.approx(reference.roc_auc_score(labels, shares, multi_class="ovr"))
    assert found.confusion.tolist() == reference.confusion_matrix(labels, predicted, labels=every).tolist()
    columns = reference.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    for row, precision, recall, f1, support in zip(found.per_class, *columns, strict=True):
        assert row.images == support
        if support:
            assert (row.precision, row.recall, row.f1) == pytest.approx((precision, recall, f1))
        else:
            assert (row.recall, row.f1, row.auc) == (None, None, None)
    assert [row.auc for row in found.per_class if row.images] == pytest.approx(each)


def test_ties_go_to_the_class_that_comes_first() -> None:
    scores = np.array([[2, 1], [0, 1], [3, 0], [1, 1]], np.float64)
    found = metrics.evaluate(judged(scores, np.array([0, 0, 1, 1])))
    assert found.top1 == 0.25  # the tie of the last goes to the first class
    assert found.top5 is None
    assert found.confusion.tolist() == [[1, 1], [2, 0]]
    assert found.per_class[0].precision == pytest.approx(1 / 3)
    assert found.balanced_accuracy == 0.25
    assert found.macro_f1 == pytest.approx(0.2)  # 2·1/(2+3) and 0
    # By how far the first class is above the second: 1 and -1 of its own against 3 and 0: one of four pairs is right.
    assert found.auc == pytest.approx(0.25)


def test_ties_are_ranked_as_scikit_learn_ranks_them() -> None:
    generator = np.random.default_rng(3)
    scores, labels = generator.integers(0, 3, (200, 7)).astype(np.float64), generator.integers(0, 7, 200)
    given = judged(scores, labels)
    found = metrics.evaluate(given)
    aucs = [reference.roc_auc_score(labels == place, given.log_probabilities[:, place]) for place in range(7)]
    assert found.auc == pytest.approx(np.mean(aucs))
    # scikit-learn gives ties to the class that comes last: mirrored, to the first.
    top5 = reference.top_k_accuracy_score(6 - labels, given.log_probabilities[:, ::-1], k=5, labels=range(7))
    assert found.top5 == pytest.approx(top5)


def test_one_class_has_no_auc_and_one_image_no_intervals() -> None:
    found = metrics.evaluate(judged(np.array([[3.0, 0, 0], [0, 3, 0]]), np.array([0, 0])))
    assert (found.top1, found.balanced_accuracy, found.auc) == (0.5, 0.5, None)
    assert found.undefined["auc"] == "all images are of one class, and there is none to tell it from"
    assert "top1" in found.intervals
    found = metrics.evaluate(judged(np.array([[3.0, 0, 0]]), np.array([0])))
    assert (found.top1, found.macro_f1, found.auc) == (1, 1, None)
    assert not found.intervals
    assert found.undefined["intervals.top1"] == "there is one image, and an interval needs two or more"
    json.dumps(found.as_json(), allow_nan=False)


def test_where_all_is_right_a_share_has_wilsons_interval_and_the_rest_none() -> None:
    labels = np.arange(40) % 8
    found = metrics.evaluate(judged(5 * np.eye(8)[labels], labels))
    assert found.top1 == found.auc == 1
    assert found.intervals["top1"] == pytest.approx((0.9124, 1), abs=1e-4)  # 40 / (40 + 1.96²)
    assert found.intervals.keys() == {"top1", "top5"}
    assert "it is the same however these images are drawn" in found.undefined["intervals.macro_f1"]


def test_intervals_are_those_of_images_drawn_again() -> None:
    """Beside SciPy's, which draws the images themselves."""
    given = answers(400, 6, known=5)
    found = metrics.evaluate(given)

    def drawn(figure: str, chosen: NDArray[np.int64]) -> float:
        labels, logs = given.labels[chosen], given.log_probabilities[chosen]
        guess, present = logs.argmax(axis=1), np.unique(labels)
        if figure == "macro_f1":
            return float(reference.f1_score(labels, guess, labels=present, average="macro"))
        if figure == "balanced_accuracy":
            return float(reference.recall_score(labels, guess, labels=present, average="macro"))
        if figure == "auc":
            return float(np.nanmean(rankings(logs, labels)[0]))
        return float((guess == labels).mean())

    for name in ("top1", "balanced_accuracy", "macro_f1", "auc"):
        slow = stats.bootstrap(
            (np.arange(400),), partial(drawn, name), n_resamples=400, method="percentile", vectorized=False, rng=0
        ).confidence_interval
        width = slow.high - slow.low
        assert found.intervals[name] == pytest.approx((slow.low, slow.high), abs=0.15 * width), name
    assert metrics.evaluate(given).intervals == found.intervals, "the seed is fixed"


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = {"top1": 0, "macro_f1": 0, "auc": 0}
    sure = metrics.evaluate(answers(100_000, 4, seed=99))
    trials = sized(60, 150)
    for seed in range(trials):
        found = metrics.evaluate(answers(150, 4, seed=seed))
        for name in held:
            low, high = found.intervals[name]
            held[name] += low <= getattr(sure, name) <= high
    assert all(count >= 0.88 * trials for count in held.values()), held


def test_wilson_by_hand() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 10)[0] == pytest.approx(0)


def test_class_names_without_a_font_are_numbered_and_said(tmp_path: Path) -> None:
    names = ("ant", "\U0001f41d")  # no font of matplotlib's has the bee
    if not unwritable(names):
        pytest.skip("this machine has a font for emoji")
    said = plotting.confusion(np.eye(2, dtype=np.int64), names, "t", tmp_path / "c.png")
    assert said
    assert "classes are numbered" in said[0]
    assert (tmp_path / "c.png").stat().st_size > 1000
