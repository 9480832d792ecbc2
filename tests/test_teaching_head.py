"""The head that is fitted after every change: against refits, by hand, and what is chosen to ask about."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vgglass.statistics import wilson
from vgglass.teaching import choosing, ridge
from vgglass.teaching.judging import Accuracy, Taught, curve, familiarity_of

K = 3


def images(count: int, features: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Positive features, as averages of pool5 are, and labels of three uneven classes."""
    generator = np.random.default_rng(seed)
    labels = np.sort(np.append(np.arange(K), generator.choice(K, count - K, p=(0.6, 0.3, 0.1))))
    centres = generator.gamma(2, 1, (K, features))
    return (centres[labels] * generator.gamma(3, 1 / 3, (count, features))).astype(np.float32), labels


def refitted(
    features: NDArray[np.float32], labels: NDArray[np.int64], kept: NDArray[np.intp], penalty: float
) -> NDArray[np.float64]:
    """Weights (K, D) for images of length 1 by the normal equations, with the class weights of all images."""
    x = features.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    weights = (len(labels) / (K * np.bincount(labels)))[labels]
    targets = np.eye(K)[labels] - 1 / K
    x, targets, weights = x[kept], targets[kept], weights[kept]
    gram = (x * weights[:, None]).T @ x + penalty * np.eye(x.shape[1])
    return np.asarray(np.linalg.solve(gram, (x * weights[:, None]).T @ targets).T, np.float64)


@pytest.mark.parametrize(("count", "features"), [(20, 40), (60, 12)], ids=["dual", "primal"])
def test_what_is_left_out_is_what_refits_without_each_group_say(count: int, features: int) -> None:
    x, labels = images(count, features)
    groups = np.arange(count)
    groups[[3, 7, 8]] = 3  # of which the last two are neighbours
    head = ridge.fit(x, labels, groups, K)
    assert head.left_out is not None
    unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    expected = np.empty((count, K))
    for group in np.unique(groups):
        weight = refitted(x, labels, np.flatnonzero(groups != group), head.penalty)
        expected[groups == group] = unit[groups == group] @ weight.T
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    whole = refitted(x, labels, np.arange(count), head.penalty)
    scale = head.weight[0, 0] / whole[0, 0]  # of the mean length and the temperature
    np.testing.assert_allclose(head.weight, whole * scale, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(head.left_out, expected * lengths * scale, rtol=1e-6, atol=1e-8)


def test_the_penalty_errs_least_on_what_is_left_out() -> None:
    x, labels = images(40, 100)
    groups = np.arange(40)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    weights = (len(labels) / (K * np.bincount(labels)))[labels]

    def error(penalty: float) -> float:
        total = 0.0
        for index in range(40):
            score = refitted(x, labels, np.delete(np.arange(40), index), penalty) @ unit[index]
            total += weights[index] * float(((np.eye(K)[labels[index]] - 1 / K - score) ** 2).sum())
        return total

    assert ridge.fit(x, labels, groups, K).penalty == min(ridge.PENALTIES, key=error)


def test_nothing_is_said_of_a_class_with_one_group() -> None:
    x, labels = images(12, 8)
    one = np.arange(12)
    one[labels == 2] = 99
    assert ridge.fit(x, labels, one, K).left_out is None


def test_a_photographs_exposure_changes_no_class() -> None:
    x, labels = images(30, 20)
    head = ridge.fit(x, labels, np.arange(30), K)
    np.testing.assert_array_equal(head.logits(3 * x).argmax(axis=1), head.logits(x).argmax(axis=1))


def test_copies_and_bursts_are_one_group() -> None:
    keys, bursts = [5, 5, 6, 7, 8, 9], ["", "", "a", "a", "", ""]
    found = choosing.groups_of(keys, bursts, [(9, 8), (9, 1000)])  # 1000 is not taught by
    assert len({found[0], found[1]}) == len({found[2], found[3]}) == len({found[4], found[5]}) == 1
    assert len(set(found.tolist())) == 3


def test_near_duplicates_are_pairs_by_their_cosine() -> None:
    rows = choosing.unit(np.array([[1, 0], [1, 0.2], [1, 0.4], [0, 0]], np.float32))
    same, other = np.ones((4, 1), np.float32), np.array([[1], [-1], [1], [1]], np.float32)
    assert choosing.near_pairs(rows, same, 0) == [(1, 0), (2, 1)]  # cosines 0.981, 0.982; of the ends 0.928
    assert choosing.near_pairs(rows, same, 2) == [(2, 1)]
    assert choosing.near_pairs(rows, other, 0) == []  # alike to the network alone


def test_a_small_picture_is_of_mean_0_and_length_1() -> None:
    square = np.zeros((40, 40, 3), np.uint8)
    square[:20] = 100
    found = choosing.small_picture(square).reshape(choosing.SMALL, choosing.SMALL)
    np.testing.assert_allclose(found, np.where(np.arange(16) < 8, 1 / 16, -1 / 16)[:, None] * np.ones(16), rtol=1e-5)
    assert not choosing.small_picture(np.full((40, 40, 1), 7, np.uint8)).any()


def test_who_is_asked_about_is_uncertain_and_apart() -> None:
    rows = choosing.unit(np.array([[1, 0], [1, 0.01], [0, 1], [1, 1]], np.float32))
    assert choosing.to_ask(rows, np.array([0.1, 0.2, 0.3, 0.9])) == [0, 2, 3, 1]
    many = choosing.unit(np.random.default_rng(0).random((500, 4)).astype(np.float32))
    certainty = np.arange(500) / 500
    found = choosing.to_ask(many, certainty)
    assert found[0] == 0
    assert len(set(found)) == choosing.ASKED
    assert max(found) < choosing.ASKED * choosing.AMONG


def test_suspects_come_by_how_sure_the_other_class_is() -> None:
    logits = np.log([[0.45, 0.55, 0.001], [0.9, 0.05, 0.05], [0.2, 0.8, 0.001], [0.3, 0.4, 0.3]])
    assert choosing.suspects(logits, np.zeros(4, np.int64)).tolist() == [2, 0]


@pytest.mark.parametrize(("right", "groups", "known"), [(8, 8, False), (9, 9, True), (15, 30, False), (20, 40, True)])
def test_accuracy_is_known_once_its_interval_is_narrow(right: float, groups: int, known: bool) -> None:
    low, high = wilson(right, groups)
    assert (high - low <= 0.3, Accuracy(right, groups).known) == (known, known)


def test_too_few_images_and_copies_tell_nothing_of_what_is_unfamiliar() -> None:
    x, labels = images(60, 12)
    whole = Taught(x, labels, np.arange(60), ("a", "b", "c"), None)
    known = familiarity_of(whole)
    assert known is not None
    assert (known.distances(x) > 1).mean() < 0.15
    assert known.distances(x[:1, ::-1])[0] > 1
    few, copies = np.flatnonzero(labels == 0)[:2], np.repeat(x[:1], 60, axis=0)
    assert familiarity_of(Taught(x[few], labels[few], few, ("a",), None)) is None
    assert familiarity_of(Taught(copies, labels, np.arange(60), whole.classes, None)) is None


def test_the_curve_ends_where_all_but_one_group_were_taught() -> None:
    x, labels = images(60, 12)
    found = curve(Taught(x, labels, np.arange(60), ("a", "b", "c"), Accuracy(54, 60)))
    least = int(np.bincount(labels).min())
    assert [size for size, _ in found] == [size for size in (1, 2, 3, 5, 8, 13) if size < least] + [least]
    assert found[-1][1] == pytest.approx(0.9)
    assert curve(Taught(x, labels, np.arange(60), ("a", "b", "c"), None)) == []
