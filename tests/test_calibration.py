"""Reliability, temperature and threshold: by hand, beside scikit-learn's, and on data that they were not fitted on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from judgements import answers, judged
from sizes import sized
from vgglass.errors import DataError
from vgglass.evaluation.temperature import calibration, choose_threshold, fit_temperature, nll, reliability, tempered

Labelled = tuple[NDArray[np.float64], NDArray[np.int64]]


def overconfident(images: int, factor: float, seed: int) -> Labelled:
    """Logits (N, 5) that are so many times as large as the odds that the labels were drawn by."""
    generator = np.random.default_rng(seed)
    true = generator.normal(size=(images, 5)) * 1.5
    labels = np.array([generator.choice(5, p=row) for row in softmax(true, axis=1)])
    return true * factor, labels


def test_bins_by_hand() -> None:
    confidence, right = np.array([0.2, 0.5, 0.9, 1.0]), np.array([True, False, True, False])
    bins = reliability(confidence, right, bins=4)
    assert [each.images for each in bins] == [1, 1, 0, 2]  # 0.5 is the upper edge of its bin, and belongs to it
    assert (bins[1].low, bins[1].high, bins[1].confidence, bins[1].accuracy) == (0.25, 0.5, 0.5, 0)
    assert bins[2].confidence is None
    assert bins[2].accuracy is None
    assert bins[3].confidence == pytest.approx(0.95)
    assert bins[3].accuracy == 0.5


def test_errors_by_hand() -> None:
    shares = np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.1, 0.9]])
    found = calibration(judged(np.log(shares), np.array([0, 1, 1, 1])))
    assert found.ece == pytest.approx((0.3 + 0.2 + 0.6 + 0.1) / 4)
    assert found.nll == pytest.approx(-np.log([0.7, 0.8, 0.4, 0.9]).mean())
    assert found.brier == pytest.approx(2 * (0.09 + 0.04 + 0.36 + 0.01) / 4)
    assert len(found.bins) == 15


def test_errors_are_those_of_the_libraries() -> None:
    given = answers(300, 7, known=6)
    shares = np.exp(given.log_probabilities)
    found = calibration(given)
    assert found.nll == pytest.approx(log_loss(given.labels, shares, labels=range(7)))
    assert found.brier == pytest.approx(((shares - np.eye(7)[given.labels]) ** 2).sum(axis=1).mean())
    confidence = shares.max(axis=1)
    gaps = [
        inside.mean() * abs(given.right[inside].mean() - confidence[inside].mean())
        for k in range(15)
        if (inside := (confidence > k / 15) & (confidence <= (k + 1) / 15)).any()
    ]
    assert found.ece == pytest.approx(sum(gaps))


@pytest.mark.parametrize("factor", [0.4, 1, 3])
def test_the_temperature_is_found_and_helps_on_other_data(factor: float) -> None:
    logits, labels = overconfident(2000, factor, 0)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(factor, rel=0.08)
    assert fit_temperature(log_softmax(logits, axis=1), labels) == pytest.approx(temperature, rel=1e-3)
    for nearby in (0.98 * temperature, 1.02 * temperature):
        assert nll(tempered(logits, temperature), labels) < nll(tempered(logits, nearby), labels)
    others, their_labels = overconfident(2000, factor, 1)
    before, after = (tempered(others, t) for t in (1, temperature))
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    if factor != 1:
        assert nll(after, their_labels) < nll(before, their_labels)
        ece = [calibration(judged(each, their_labels)).ece for each in (before, after)]
        assert ece[1] < 0.5 * ece[0]


@given(
    st.lists(st.lists(st.integers(-3000, 3000), min_size=4, max_size=4), min_size=1, max_size=9),
    st.floats(0.01, 100),
)
def test_no_temperature_changes_the_likeliest_class(hundredths: list[list[int]], temperature: float) -> None:
    logits = np.array(hundredths) / 100
    assert (tempered(logits, temperature).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_a_temperature_that_has_no_best_is_refused() -> None:
    labels = np.arange(30) % 3
    with pytest.raises(DataError, match="30 images: no answer is wrong, and no temperature is the best one; calibrate"):
        fit_temperature(5 * np.eye(3)[labels], labels)
    with pytest.raises(DataError, match="the answers are no better than guesses, and no temperature"):
        fit_temperature(-5 * np.eye(3)[labels], labels)


def sample(images: int, generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidences, and answers that are right a little more seldom than those say."""
    confidence = generator.uniform(0.4, 1, images)
    return confidence, generator.random(images) < confidence**1.2


def test_a_threshold_reaches_its_target_on_other_data() -> None:
    generator = np.random.default_rng(0)
    many, truth = sample(400_000, generator)
    missed, coverage, trials = 0, [], sized(60, 200)
    for _ in range(trials):
        found = choose_threshold(*sample(1500, generator), target=0.85)
        missed += truth[many >= found.value].mean() < 0.85
        coverage.append(found.coverage)
        assert found.low >= found.target == 0.85
    assert missed <= 0.05 * trials, "it may miss 5 % of the time"
    # With all the data in the world 46 % could be answered at this precision; caution costs some of it.
    assert np.mean(coverage) > 0.25


def test_a_threshold_by_hand() -> None:
    right = np.ones(200, bool)
    confidence = np.linspace(0.5, 1, 200)
    found = choose_threshold(confidence, right, 0.95)
    assert (found.value, found.coverage, found.precision, found.answered) == (0.5, 1, 1, 200)
    assert found.low == pytest.approx(0.0025 ** (1 / 200))  # 5 % over twenty trials; Clopper and Pearson's at all right
    right[:100] = False
    found = choose_threshold(confidence, right, 0.9)
    assert (found.value, found.answered) == (confidence[100], 100)
    tied = np.r_[np.full(100, 0.6), np.full(100, 0.9)]
    found = choose_threshold(tied, right, 0.9)
    assert (found.value, found.answered) == (0.9, 100)


def test_a_precision_that_can_not_be_vouched_for_is_refused() -> None:
    message = "a precision of 0.95: can't be vouched for by 40 images: the best threshold has 1.000 on 40 of them"
    with pytest.raises(DataError, match=message):
        choose_threshold(np.linspace(0.5, 1, 40), np.ones(40, bool), 0.95)
