"""Multinomial logistic regression on pool5's global averages, its penalty chosen by cross-validation.

n images, V views of each, D features a view, K classes.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from vgglass.errors import TrainingError
from vgglass.statistics import wilson

# The penalty is chosen by cross-validation. Features are centred and divided by one standard deviation, the classifier
# is fitted to convergence, and the scaling is folded into its matrix: the result is an ordinary fully connected layer.

PENALTIES = tuple(float(c) for c in 10.0 ** np.arange(-4, 1.1, 0.5))  # scikit-learn's C: smaller is stronger
DEFAULT_PENALTY = 0.01  # where nothing can be cross-validated
FOLDS, FEWER_FOLDS = 5, 3
WORSE = 3  # after so many penalties in a row without a better one, weaker ones are not tried
TOLERANCE, ITERATIONS = 1e-4, 500
# In n x K x D: beyond the first float32 and fewer folds are used, beyond the second the penalty is chosen on a part of
# the images. A step of L-BFGS takes four operations each: 20,000 images of 200 classes take a minute and a half.
LARGE, LARGEST = 10**9, 2 * 10**9
TEMPERATURES = (-3.0, 3.0)  # their natural logarithms

Features = NDArray[np.float32]
Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]
Samples = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Trial:
    """One penalty, cross-validated: images classified correctly, and the mean negative log-likelihood."""

    penalty: float
    right: int
    log_loss: float


@dataclass(frozen=True)
class Probe:
    """A fitted head.

    weight, bias   (K, D) and (K,), for features that are not scaled
    penalty        scikit-learn's C of the final fit
    temperature    that its logits were divided by, chosen on the out-of-fold logits
    trials         empty where nothing could be cross-validated
    images         that were cross-validated, and folds, their number
    """

    weight: Features
    bias: Features
    penalty: float
    temperature: float
    trials: tuple[Trial, ...]
    images: int
    folds: int

    @property
    def best(self) -> Trial:
        return _best(self.trials)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the cross-validated accuracy (Wilson 1927)."""
        return wilson(self.best.right, self.images)

    def logits(self, features: Features) -> Features:
        found: Features = features @ self.weight.T + self.bias
        return found


def fit_probe(
    views: Features, labels: Integers, groups: NDArray[np.intp], weights: Numbers, seed: int
) -> Probe:  # fmt: skip
    """Choose a penalty by cross-validation with stratified folds that keep groups together, then fit on all images.

    views    (V, n, D), first the images as in evaluation, on which alone the folds are scored
    groups   (n,): near duplicates share one
    weights  (K,) of the classes in the loss
    Of penalties with equal accuracy the one with the lowest log loss is taken. Raises TrainingError for features that
    do not differ between images.
    """
    mean, deviation = _scale(views)
    classes = len(weights)
    work = views[0].size * classes
    samples = _scaled(views, mean, deviation, work)
    chosen: NDArray[np.intp] | slice = slice(None)
    if work > LARGEST:
        chosen = _subsample(labels, seed, max(2 * classes, LARGEST * len(labels) // work))
    folds = list(folds_of(labels[chosen], groups[chosen], FEWER_FOLDS if work > LARGE else FOLDS, seed))
    penalty, temperature, trials = DEFAULT_PENALTY, 1.0, []
    if folds:
        answers = {}
        for trial, logits in _trials(samples[:, chosen], labels[chosen], folds, weights):
            trials.append(trial)
            answers[trial.penalty] = logits
        penalty = _best(tuple(trials)).penalty
        temperature = _temperature(answers[penalty], labels[chosen])
    images = len(labels[chosen])
    whole = _classifier(penalty * images / len(labels))
    coefficients, intercepts = _fitted(whole, samples, labels, weights)
    weight = coefficients / (deviation * temperature)
    bias = intercepts / temperature - weight @ mean
    return Probe(
        weight.astype(np.float32), bias.astype(np.float32), whole.C, temperature, tuple(trials), images, len(folds)
    )


def out_of_fold(
    views: Features, labels: Integers, groups: NDArray[np.intp], weights: Numbers, penalty: float, folds: int, seed: int
) -> Numbers:
    """Logits (n, K) of every image by a head that was fitted without it and without its near duplicates.

    penalty  scikit-learn's C of each fit
    The other arguments are those of `fit_probe`. Raises TrainingError where some image can't be
    left out: where no class, or one of only two, has two groups.
    """
    mean, deviation = _scale(views)
    samples = _scaled(views, mean, deviation, views[0].size * len(weights))
    logits = np.full((len(labels), len(weights)), np.nan)
    for train, test in folds_of(labels, groups, folds, seed):
        coefficients, intercepts = _fitted(_classifier(penalty), samples[:, train], labels[train], weights)
        logits[test] = samples[0, test] @ coefficients.T + intercepts
    if np.isnan(logits).any():
        rule = "can't be divided into folds: no class, or one of only two, has two different images"
        raise TrainingError(f"{len(labels):,} images", rule, "add images")
    return logits


def _scale(views: Features) -> tuple[Numbers, float]:
    """Mean (D,) and the one standard deviation of the first view. Raises TrainingError."""
    if not np.isfinite(views).all():
        rule = "are not finite: the weights that compute them are damaged, or overflow"
        remedy = "start --from other weights, or --set precision=float32"
        raise TrainingError("the features of some images", rule, remedy)
    plain = views[0].astype(np.float64)
    if not plain.any():
        rule = "are all zero: no image excites the last convolution"
        raise TrainingError("the features of all images", rule, "check the weights and --preprocessing")
    mean = plain.mean(axis=0)
    deviation = float(np.sqrt(((plain - mean) ** 2).mean()))
    if deviation <= 1e-6 * float(np.abs(plain).max()):
        rule = "are the same: to this network all images look alike"
        raise TrainingError("the features of all images", rule, "check that the files are different photographs")
    return mean, deviation


def _scaled(views: Features, mean: Numbers, deviation: float, work: int) -> Samples:
    return ((views - mean) / deviation).astype(np.float32 if work > LARGE else np.float64)


def _subsample(labels: Integers, seed: int, size: int) -> NDArray[np.intp]:
    """Indices of about `size` images, stratified by class, at least two of each class that has two."""
    generator = np.random.default_rng(seed)
    share = size / len(labels)
    parts = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        parts.append(generator.permutation(members)[: max(2, round(share * len(members)))])
    return np.sort(np.concatenate(parts))


def folds_of(
    labels: Integers, groups: NDArray[np.intp], most: int, seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Indices to fit on and to score, by fold; none where no class has two groups."""
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    folds = min(most, int(np.bincount(pairs[0]).max()))
    if folds < 2 or len(np.unique(labels)) < 2:
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # `fit` warns of it
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        for train, test in splitter.split(labels, labels, groups):
            if len(test) and len(np.unique(labels[train])) > 1:
                yield train, test


def _trials(
    samples: Samples, labels: Integers, folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    weights: Numbers,
) -> Iterator[tuple[Trial, Numbers]]:  # fmt: skip
    """Penalties from the strongest to the weakest, each with its out-of-fold logits (n, K), until they grow worse."""
    classifiers = [_classifier(PENALTIES[0]) for _ in folds]
    found: list[Trial] = []
    for penalty in PENALTIES:
        logits = np.zeros((len(labels), len(weights)))
        for classifier, (train, test) in zip(classifiers, folds, strict=True):
            classifier.set_params(C=penalty)
            coefficients, intercepts = _fitted(classifier, samples[:, train], labels[train], weights)
            logits[test] = samples[0, test] @ coefficients.T + intercepts
        answered = log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
        found.append(Trial(penalty, int((logits.argmax(axis=1) == labels).sum()), -float(answered.mean())))
        yield found[-1], logits
        best = _best(tuple(found))
        if len(found) - 1 - found.index(best) >= WORSE:
            return


def _best(trials: tuple[Trial, ...]) -> Trial:
    return max(trials, key=lambda trial: (trial.right, -trial.log_loss))


def _classifier(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, tol=TOLERANCE, max_iter=ITERATIONS, warm_start=True)


def _fitted(
    classifier: LogisticRegression, samples: Samples, labels: Integers, weights: Numbers
) -> tuple[Numbers, Numbers]:
    """Matrix (K, D) and intercepts (K,) of a classifier fitted to views (V, n, D).

    A class without images gets an intercept so low that it is never predicted.
    """
    count = len(samples)
    classifier.fit(
        samples.reshape(count * samples.shape[1], -1), np.tile(labels, count),
        sample_weight=np.tile(weights[labels] / count, count),
    )  # fmt: skip
    coefficients, intercepts = classifier.coef_, classifier.intercept_
    if len(coefficients) == 1:  # for two classes scikit-learn keeps one row, their difference
        coefficients, intercepts = np.concatenate([-coefficients, coefficients]) / 2, np.repeat(intercepts, 2) / 2
        intercepts = intercepts * [-1, 1]
    whole = np.zeros((len(weights), samples.shape[2]))
    lowest = float(intercepts.min()) - 1 - float(np.abs(coefficients).sum(axis=1).max())
    constants = np.full(len(weights), lowest)
    whole[classifier.classes_], constants[classifier.classes_] = coefficients, intercepts
    return whole, constants


def _temperature(logits: Numbers, labels: Integers) -> float:
    """The temperature of logits (n, K) (Guo et al. 2017), with targets smoothed as in Platt (1999, section 2.2).

    Without smoothing it would be infinite where all images are classified correctly.
    """
    rows, classes = np.arange(len(labels)), logits.shape[1]
    target = (len(labels) + 1) / (len(labels) + 2)

    def loss(exponent: float) -> float:
        shares = log_softmax(logits / np.exp(exponent), axis=1)
        right, others = shares[rows, labels], shares.sum(axis=1) - shares[rows, labels]
        return -float((target * right + (1 - target) / (classes - 1) * others).mean())

    return float(np.exp(minimize_scalar(loss, bounds=TEMPERATURES, method="bounded").x))
