"""A linear head that is fitted: against scikit-learn, by hand, and on features that tell nothing."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from vgglass.errors import TrainingError
from vgglass.training import probe as head
from vgglass.training.probe import Probe


def blobs(classes: int, each: int = 20, size: int = 12, noise: float = 1.0, seed: int = 0) -> tuple[Any, Any]:
    """Features as pool5 has them: large, none below zero, many of them zero."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(0, 10, (classes, size))
    labels = np.repeat(np.arange(classes), each)
    features = np.maximum(centres[labels] + generator.normal(0, 10 * noise, (len(labels), size)), 0)
    return features.astype(np.float32), labels


def fitted(features: NDArray[np.float32], labels: NDArray[np.int64], **values: Any) -> Probe:
    defaults: dict[str, Any] = {"groups": np.arange(len(labels)), "weights": np.ones(int(labels.max()) + 1), "seed": 0}
    return head.fit_probe(features[None] if features.ndim == 2 else features, labels, **(defaults | values))


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_it_is_scikit_learns_on_standardised_features_folded_into_one_matrix(classes: int) -> None:
    features, labels = blobs(classes)
    found = fitted(features, labels)
    scaled = (features - features.mean(0)) / (features - features.mean(0)).std()
    reference = LogisticRegression(C=found.penalty, tol=1e-6, max_iter=5000).fit(scaled, labels)
    expected = reference.predict_log_proba(scaled) / found.temperature
    logits = found.logits(features)
    differences = logits - logits[:, :1]
    assert np.allclose(differences, expected - expected[:, :1], atol=2e-2 * np.abs(differences).max())
    assert (logits.argmax(1) == reference.predict(scaled)).all()
    assert found.weight.dtype == found.bias.dtype == np.float32


def test_the_same_bits_each_time() -> None:
    features, labels = blobs(5, noise=2)
    one, other = fitted(features, labels), fitted(features, labels)
    assert (one.weight == other.weight).all()
    assert one.trials == other.trials


def test_the_penalty_of_the_most_images_named_rightly_is_taken() -> None:
    found = fitted(*blobs(5, noise=2))
    most = max(trial.right for trial in found.trials)
    assert found.best.right == most
    assert found.best.log_loss == min(trial.log_loss for trial in found.trials if trial.right == most)
    assert found.penalty == pytest.approx(found.best.penalty)
    assert (found.images, found.folds) == (100, 5)
    low, high = found.interval
    assert low < most / 100 < high


def test_no_weaker_penalty_is_tried_after_three_that_did_worse() -> None:
    found = fitted(*blobs(5, noise=3))
    place = found.trials.index(found.best)
    assert len(found.trials) == min(place + 1 + head.WORSE, len(head.PENALTIES))


def test_near_duplicates_stay_in_one_fold() -> None:
    """Every image four times under a label that chance gave: only who learns the copies names them rightly."""
    generator = np.random.default_rng(0)
    firsts = generator.normal(0, 10, (30, 40)).astype(np.float32)
    features, labels = np.repeat(firsts, 4, axis=0), np.repeat(generator.integers(0, 2, 30), 4)
    torn = fitted(features, labels)
    whole = fitted(features, labels, groups=np.repeat(np.arange(30), 4))
    assert torn.best.right / torn.images > 0.95
    assert whole.best.right / whole.images < 0.75


def test_every_view_is_learned_from_and_only_the_first_is_answered_for() -> None:
    features, labels = blobs(3)
    shifted = fitted(np.stack([features, features + 100]), labels)
    assert shifted.images == 60
    alone = fitted(np.stack([features, features]), labels)
    assert np.allclose(alone.weight, fitted(features, labels).weight, atol=1e-3 * np.abs(alone.weight).max())
    assert not np.allclose(shifted.weight, alone.weight, atol=0.05 * np.abs(alone.weight).max())


def test_class_weights_move_the_border() -> None:
    features, labels = blobs(2, each=50, noise=4)
    kept = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:6]])
    even, weighted = (fitted(features[kept], labels[kept], weights=np.array(w)) for w in ([1.0, 1.0], [0.5, 6.0]))
    assert (weighted.logits(features).argmax(1) == 1).sum() > (even.logits(features).argmax(1) == 1).sum()


def test_the_temperature_is_that_of_softened_targets() -> None:
    """Two classes, a margin of 2, one of four images wrong: the best T makes the probability (4 + 1) / (4 + 2) - ..."""
    logits = np.array([[2.0, 0], [2.0, 0], [2.0, 0], [2.0, 0]])
    labels = np.array([0, 0, 0, 1])
    target = 5 / 6  # of each image's own class: on the whole 3 * 5/6 + 1 * 1/6 of 4 for class 0
    share = (3 * target + (1 - target)) / 4
    assert head._temperature(logits, labels) == pytest.approx(2 / np.log(share / (1 - share)), rel=1e-3)
    assert np.isfinite(head._temperature(logits, np.zeros(4, np.int64)))


def test_a_class_of_one_image_is_fitted_and_never_judged_right() -> None:
    features, labels = blobs(3)
    features, labels = features[:41], labels[:41]  # one of the third class
    found = fitted(features, labels)
    assert found.logits(features[40:]).argmax() == 2
    assert found.best.right <= 40


def test_where_no_class_has_two_images_nothing_is_cross_validated() -> None:
    features, labels = blobs(4, each=1)
    found = fitted(features, labels)
    assert (found.trials, found.penalty, found.temperature) == ((), head.DEFAULT_PENALTY, 1.0)
    assert (found.logits(features).argmax(1) == labels).all()


def test_a_part_of_many_images_chooses_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs(4, each=200)
    whole = fitted(features, labels)
    monkeypatch.setattr(head, "LARGE", 1000)
    monkeypatch.setattr(head, "LARGEST", features.size * 4 // 4)
    part = fitted(features, labels)
    assert (part.images, part.folds) == (200, head.FEWER_FOLDS)
    assert part.penalty == pytest.approx(part.best.penalty / 4)  # scikit-learn's C counts images
    agreement = (part.logits(features).argmax(1) == whole.logits(features).argmax(1)).mean()
    assert agreement > 0.96


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            np.zeros((6, 4)),
            "the features of all images: are all zero: no image excites the last convolution; check the",
        ),
        (np.ones((6, 4)) * [1, 2, 3, 400], "are the same: to this network all images look alike; check that the files"),
        (np.full((6, 4), np.nan), "the features of some images: are not finite: the weights that compute them are"),
        (np.full((6, 4), np.inf), "are not finite"),
    ],
)
def test_features_that_tell_nothing(features: NDArray[np.float64], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        fitted(features.astype(np.float32), np.array([0, 0, 0, 1, 1, 1]))


def test_out_of_fold_logits_are_those_that_chose_the_penalty() -> None:
    features, labels = blobs(3, noise=1.5)
    found = fitted(features, labels)
    arguments = (features[None], labels, np.arange(len(labels)), np.ones(3))
    logits = head.out_of_fold(*arguments, found.penalty, head.FOLDS, 0)
    assert int((logits.argmax(1) == labels).sum()) == found.best.right < len(labels)


def test_near_duplicates_are_left_out_together() -> None:
    """One picture of another class than its copies: alone, its copies outvote it."""
    features, labels = blobs(2, each=10, noise=0.1)
    features[10] = features[0]  # of class 1 by its label
    groups = np.arange(20)
    groups[10] = 0
    logits = head.out_of_fold(features[None], labels, groups, np.ones(2), 1.0, 5, 0)
    assert logits[10].argmax() == 0
    assert logits[0].argmax() == 0


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 1, 1]])
def test_images_that_cannot_be_left_out_are_refused(labels: list[int]) -> None:
    features, _ = blobs(3, each=1)
    given = np.array(labels)
    with pytest.raises(TrainingError, match=r"3 images: can't be divided into folds: no class, or one of only two"):
        head.out_of_fold(features[None], given, np.arange(3), np.ones(given.max() + 1), 1.0, 5, 0)
