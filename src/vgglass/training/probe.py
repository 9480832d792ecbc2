"""A linear classifier on fixed features, fitted and not gambled: multinomial logistic regression, its penalty chosen by
cross-validation. n images, V views of each, D numbers a view, K classes.

Features are centred and divided by one deviation, the classifier is fitted to convergence, and both are folded into
one matrix: what comes out is an ordinary fully connected layer.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from vgglass.errors import TrainingError

PENALTIES = tuple(float(c) for c in 10.0 ** np.arange(-4, 1.1, 0.5))  # scikit-learn's C: the smaller, the stronger
USUAL_PENALTY = 0.01  # where nothing can be cross-validated
FOLDS, FEWER_FOLDS = 5, 3
WORSE = 3  # penalties in a row that name fewer images rightly, after which weaker ones are not tried
TOLERANCE, ITERATIONS = 1e-4, 500
# In n x K x D: beyond the first float32 and fewer folds are used, beyond the second the penalty is chosen on a part of
# the images. A step of L-BFGS takes four operations each: 20,000 images of 200 classes take a minute and a half.
LARGE, LARGEST = 10**9, 2 * 10**9
TEMPERATURES = (-3.0, 3.0)  # natural logarithms

Features = NDArray[np.float32]
Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]
Samples = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Trial:
    """One penalty, cross-validated: images named rightly, and the mean negative log-likelihood."""

    penalty: float
    right: int
    log_loss: float


@dataclass(frozen=True)
class Probe:
    """A fitted head.

    weight, bias   (K, D) and (K,), to be applied to the features as they are
    penalty        scikit-learn's C that it was fitted with
    temperature    by which its logits were divided, chosen on the out-of-fold answers
    trials         empty where nothing could be cross-validated
    images         that were cross-validated, in folds
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


def wilson(right: int, images: int) -> tuple[float, float]:
    """95 % interval of a share."""
    found = binomtest(right, images).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def fit(
    views: Features, labels: Integers, groups: NDArray[np.intp], weights: Numbers, seed: int
) -> Probe:  # fmt: skip
    """Choose a penalty by stratified folds that no group is torn by, then fit on all images.

    views    (V, n, D), the image as it is judged first: it alone is answered for in a fold
    groups   (n,): near duplicates share one
    weights  (K,) of the classes in the loss
    Of penalties that name the same number rightly the one of the lowest log loss is taken. Raises TrainingError for
    features that tell nothing apart.
    """
    mean, deviation = _scale(views)
    classes = len(weights)
    work = views[0].size * classes
    samples: Samples = ((views - mean) / deviation).astype(np.float32 if work > LARGE else np.float64)
    chosen = _part(labels, seed, max(2 * classes, LARGEST * len(labels) // work)) if work > LARGEST else slice(None)
    folds = list(_folds(labels[chosen], groups[chosen], FEWER_FOLDS if work > LARGE else FOLDS, seed))
    penalty, temperature, trials = USUAL_PENALTY, 1.0, []
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


def _scale(views: Features) -> tuple[Numbers, float]:
    """Mean (D,) and the one deviation of the images as they are judged. Raises TrainingError."""
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


def _part(labels: Integers, seed: int, size: int) -> NDArray[np.intp]:
    """So many images, or a few more, of every class its share, at least two where there are two."""
    generator = np.random.default_rng(seed)
    share = size / len(labels)
    parts = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        parts.append(generator.permutation(members)[: max(2, round(share * len(members)))])
    return np.sort(np.concatenate(parts))


def _folds(
    labels: Integers, groups: NDArray[np.intp], most: int, seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Images to fit on and to answer for; none where no two groups of one class can be parted."""
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    folds = min(most, int(np.bincount(pairs[0]).max()))
    if folds < 2 or len(np.unique(labels)) < 2:
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # the run says so itself
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        for learned, held in splitter.split(labels, labels, groups):
            if len(held) and len(np.unique(labels[learned])) > 1:
                yield learned, held


def _trials(
    samples: Samples, labels: Integers, folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    weights: Numbers,
) -> Iterator[tuple[Trial, Numbers]]:  # fmt: skip
    """Penalties from the strongest to the weakest, each with its out-of-fold logits (n, K), until they grow worse."""
    classifiers = [_classifier(PENALTIES[0]) for _ in folds]
    found: list[Trial] = []
    for penalty in PENALTIES:
        logits = np.zeros((len(labels), len(weights)))
        for classifier, (learned, held) in zip(classifiers, folds, strict=True):
            classifier.set_params(C=penalty)
            coefficients, intercepts = _fitted(classifier, samples[:, learned], labels[learned], weights)
            logits[held] = samples[0, held] @ coefficients.T + intercepts
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

    A class without images gets the lowest intercept of all, so that it is never the answer.
    """
    count = len(samples)
    classifier.fit(
        samples.reshape(count * samples.shape[1], -1), np.tile(labels, count),
        sample_weight=np.tile(weights[labels] / count, count),
    )  # fmt: skip
    coefficients, intercepts = classifier.coef_, classifier.intercept_
    if len(coefficients) == 1:  # of two classes scikit-learn keeps the difference
        coefficients, intercepts = np.concatenate([-coefficients, coefficients]) / 2, np.repeat(intercepts, 2) / 2
        intercepts = intercepts * [-1, 1]
    whole = np.zeros((len(weights), samples.shape[2]))
    lowest = float(intercepts.min()) - 1 - float(np.abs(coefficients).sum(axis=1).max())
    constants = np.full(len(weights), lowest)
    whole[classifier.classes_], constants[classifier.classes_] = coefficients, intercepts
    return whole, constants


def _temperature(logits: Numbers, labels: Integers) -> float:
    """What logits (n, K) are best divided by (Guo et al. 2017), the targets softened as Platt (1999, section 2.2) does.

    Softened, it is finite even where every answer is right.
    """
    rows, classes = np.arange(len(labels)), logits.shape[1]
    target = (len(labels) + 1) / (len(labels) + 2)

    def loss(exponent: float) -> float:
        shares = log_softmax(logits / np.exp(exponent), axis=1)
        right, others = shares[rows, labels], shares.sum(axis=1) - shares[rows, labels]
        return -float((target * right + (1 - target) / (classes - 1) * others).mean())

    return float(np.exp(minimize_scalar(loss, bounds=TEMPERATURES, method="bounded").x))
