"""Ridge regression on pool5's averages, with every image's answer by a head that was fitted without its group.

n images, D features, K classes, r = min(n, D). Sources: Hoerl and Kennard 1970, Ridge Regression (Technometrics 12);
leaving out in closed form: Rifkin and Lippert 2007, Notes on Regularized Least Squares (MIT-CSAIL-TR-2007-025), here
for groups and class weights.

Images are fitted at length 1, without a bias: of three ImageNet classes, three photographs each, 94 % of others are
told right, and 90 % at their own length with one. Without a bias the length changes no class, so that the head is an
ordinary fully connected layer all the same.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PENALTIES = tuple(float(x) for x in 10.0 ** np.arange(-2, 1.1, 0.5))
USUAL = 1.0  # where nothing can be left out
LEAST = 1e-10  # eigenvalues below that share of the largest are rounding
TEMPERATURES = np.exp(np.linspace(np.log(0.02), np.log(2.0), 60))
USUAL_TEMPERATURE = 0.2

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]
Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head.

    weight    (K, D), for features as they come; the softmax of the product gives probabilities
    penalty   chosen by the squared error of what was left out
    left_out  logits (n, K) of each image by a head fitted without its group; None where nothing can be left out
    """

    weight: Numbers
    penalty: float
    left_out: Numbers | None

    def logits(self, features: Features) -> Numbers:
        found: Numbers = features @ self.weight.T
        return found


def fit(features: Features, labels: Integers, groups: Integers, classes: int) -> Head:
    """Fit a head to images (n, D), in which each class weighs the same. Each of two or more classes needs an image.

    groups  (n,): images of one burst, and near duplicates, share one
    """
    x = features.astype(np.float64)
    lengths = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    roots = np.sqrt(len(labels) / (classes * np.bincount(labels, minlength=classes)[labels]))[:, None]
    targets = np.eye(classes)[labels] - 1 / classes
    x, y = x / lengths * roots, targets * roots
    vectors, values = _decomposed(x)
    share = vectors.T @ y
    penalty, left_out, temperature = USUAL, None, USUAL_TEMPERATURE
    if _can_leave_out(labels, groups, classes):
        squares, several = vectors**2, _several(groups)
        tried = {penalty: _residuals(vectors, squares, values, share, y, several, penalty) for penalty in PENALTIES}
        penalty = min(tried, key=lambda each: float((tried[each] ** 2).sum()))
        left_out = (targets - tried[penalty] / roots) * (lengths / lengths.mean())
        temperature = _temperature(left_out, labels)
        left_out /= temperature
    matrix = (vectors @ (share / (values + penalty)[:, None])).T @ x
    return Head(matrix / (lengths.mean() * temperature), penalty, left_out)


def _decomposed(x: Numbers) -> tuple[Numbers, Numbers]:
    """Left singular vectors (n, r) and squared singular values (r,), by the smaller of the two Gram matrices."""
    dual = len(x) <= x.shape[1]
    values, vectors = np.linalg.eigh(x @ x.T if dual else x.T @ x)
    kept = values > LEAST * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    return (vectors if dual else x @ (vectors / np.sqrt(values))), values


def _can_leave_out(labels: Integers, groups: Integers, classes: int) -> bool:
    """Whether each class has two groups, so that any can be left out."""
    pairs = np.unique(np.stack([labels, groups]), axis=1)[0]
    return bool(np.bincount(pairs, minlength=classes).min() > 1)


def _several(groups: Integers) -> list[NDArray[np.intp]]:
    """The members of each group of more than one."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    return [order[start:end] for start, end in zip(starts, ends, strict=True) if end - start > 1]


def _residuals(
    vectors: Numbers, squares: Numbers, values: Numbers, share: Numbers, y: Numbers, several: list[NDArray[np.intp]],
    penalty: float,
) -> Numbers:  # fmt: skip
    """Residuals (n, K) of each group by the fit without it: (I - H_gg)^-1 times those of the fit with it."""
    kept = values / (values + penalty)
    residual = y - vectors @ (kept[:, None] * share)
    found: Numbers = residual / (1 - squares @ kept)[:, None]
    for members in several:
        part = vectors[members]
        found[members] = np.linalg.solve(np.eye(len(members)) - (part * kept) @ part.T, residual[members])
    return found


def _temperature(scores: Numbers, labels: Integers) -> float:
    """What divides scores (n, K) so that their softmax has the least log loss, targets smoothed as in Platt (1999).

    Without smoothing it would be the least of all where every image is told right.
    """
    rows, classes = np.arange(len(labels)), scores.shape[1]
    target = (len(labels) + 1) / (len(labels) + 2)

    def loss(temperature: float) -> float:
        logits = scores / temperature
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        own = logits[rows, labels]
        return -float((target * own + (1 - target) / (classes - 1) * (logits.sum(axis=1) - own)).mean())

    return float(min(TEMPERATURES, key=loss))
