"""Figures of a model, beside scikit-learn's; the engine beside torch."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from vgglass import figures
from vgglass.evaluation import metrics
from vgglass.lettering import unwritable


def test_metrics_are_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(300, 8)).astype(np.float32)
    labels = generator.integers(0, 7, 300)  # class 7 never occurs
    found = metrics.evaluate(logits, labels, tuple("abcdefgh"), "test", "")
    assert found.top1 == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    assert found.top5 == pytest.approx(top_k_accuracy_score(labels, logits, k=5, labels=range(8)))
    assert found.confusion.sum() == 300
    assert found.confusion[7].sum() == 0
    assert found.per_class[7].images == 0
    by_hand = metrics.evaluate(
        np.array([[2, 1], [0, 1], [3, 0], [1, 1]], np.float32), np.array([0, 0, 1, 1]), ("x", "y"), "all", ""
    )
    assert by_hand.top1 == 0.25  # the tie of the last goes to x
    assert by_hand.top5 is None
    assert by_hand.confusion.tolist() == [[1, 1], [2, 0]]
    assert by_hand.per_class[0].precision == pytest.approx(1 / 3)


def test_class_names_without_a_font_are_numbered_and_said(tmp_path: Path) -> None:
    names = ("ant", "\U0001f41d")  # no font of matplotlib's has the bee
    if not unwritable(names):
        pytest.skip("this machine has a font for emoji")
    said = figures.confusion(np.eye(2, dtype=np.int64), names, "t", tmp_path / "c.png")
    assert said
    assert "classes are numbered" in said[0]
    assert (tmp_path / "c.png").stat().st_size > 1000
