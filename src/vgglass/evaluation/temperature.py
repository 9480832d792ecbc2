"""Calibration: its measurement, temperature scaling and reject thresholds. N images, K classes, T temperature."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.errors import DataError
from vgglass.evaluation.predictions import Predictions
from vgglass.statistics import wilson

BINS = 15  # as Guo et al. 2017
HOTTEST = 100.0  # upper bound of T; its inverse is the lower bound
COVERAGES = tuple(step / 20 for step in range(20, 0, -1))  # candidate coverages of a threshold
CONFIDENCE = 0.95  # that the precision on new images reaches the target


@dataclass(frozen=True)
class Bin:
    """Images whose top-1 probability is in (low, high]: its mean (confidence), and their accuracy.

    confidence, accuracy  None without images
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Calibration metrics.

    ece    expected calibration error: mean |accuracy - confidence| over the bins, weighted by their images
    nll    mean -log p of the true class
    brier  mean over the images of the squared error of the probabilities, summed over the classes (Brier 1950): 0 to 2
    """

    ece: float
    nll: float
    brier: float
    bins: tuple[Bin, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Threshold:
    """A reject threshold: predictions with a lower top-1 probability are rejected.

    precision  accuracy on the answered (not rejected) images
    low        lower confidence bound (95 %) of the precision on new images
    coverage   fraction of images answered; `answered` is their count
    """

    value: float
    target: float
    precision: float
    low: float
    coverage: float
    answered: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Selective:
    """A model's reject threshold on a split: see `Threshold`; precision and its interval are None at zero coverage.

    interval  95 % interval of the precision
    """

    threshold: float
    answered: int
    coverage: float
    precision: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Familiar:
    """What a model finds unfamiliar on a split, and its accuracy on the rest.

    promised    share of familiar images that it would call unfamiliar
    unfamiliar  number of images
    share       of all images
    accuracy, interval  on the familiar images, with its 95 % interval; None without any
    """

    promised: float
    unfamiliar: int
    share: float
    accuracy: float | None
    interval: tuple[float, float] | None


def familiar(predictions: Predictions) -> Familiar | None:
    """Divide a split by familiarity. None for a model that can't tell, and for an ensemble."""
    if predictions.distances is None:
        return None
    known = predictions.distances <= 1
    count, hits = int(known.sum()), int(predictions.right[known].sum())
    accuracy, interval = (hits / count, wilson(hits, count)) if count else (None, None)
    promised = predictions.record.familiarity["false_alarm_rate"]
    return Familiar(promised, len(known) - count, 1 - count / len(known), accuracy, interval)


def selective(predictions: Predictions) -> Selective | None:
    """Evaluate the model's threshold. None for a model without one, and for an ensemble, for which none was chosen."""
    threshold = predictions.record.reject_threshold
    if threshold is None or predictions.others:
        return None
    answered = np.exp(predictions.log_probabilities.max(axis=1)) >= threshold
    count, hits = int(answered.sum()), int(predictions.right[answered].sum())
    precision, interval = (hits / count, wilson(hits, count)) if count else (None, None)
    return Selective(threshold, count, count / len(answered), precision, interval)


def calibration(predictions: Predictions) -> Calibration:
    """Compute ECE, NLL, Brier score and the bins of the reliability diagram."""
    from sklearn.metrics import brier_score_loss

    answers, labels = predictions.log_probabilities, predictions.labels
    bins = reliability(np.exp(answers.max(axis=1)), predictions.right)
    gaps = [each.images * abs(each.accuracy - each.confidence) for each in bins if each.images]  # type: ignore[operator]
    classes = range(answers.shape[1])
    return Calibration(
        ece=sum(gaps) / len(labels),
        nll=nll(answers, labels),
        brier=float(brier_score_loss(labels, np.exp(answers), labels=classes, scale_by_half=False)),
        bins=bins,
    )


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = BINS) -> tuple[Bin, ...]:
    """Bin confidences (N,) and correctness (N,) into bins of equal width."""
    edges = np.linspace(0, 1, bins + 1)
    place = np.digitize(confidence, edges[1:-1], right=True)
    count = np.bincount(place, minlength=bins)
    mean, share = (np.bincount(place, values, bins) / np.maximum(count, 1) for values in (confidence, right))
    return tuple(
        Bin(float(edges[k]), float(edges[k + 1]), int(n), *((float(mean[k]), float(share[k])) if n else (None, None)))
        for k, n in enumerate(count)
    )


def nll(log_probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood of labels (N,)."""
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def tempered(logits: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """Return log-probabilities (N, K) of logits, or of log-probabilities, divided by T."""
    from scipy.special import log_softmax

    result: NDArray[np.float64] = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    return result


def fit_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Return the T that maximises the likelihood of labels (N,) given logits or log-probabilities (N, K).

    Guo et al. 2017. Raises DataError if there is no maximum: if every prediction is correct the likelihood increases as
    T goes to 0, if the predictions are no better than chance as T grows.
    """
    from scipy.optimize import minimize_scalar

    of_label = logits[np.arange(len(labels)), labels]
    if (of_label == logits.max(axis=1)).all():
        raise _no_temperature(labels, "no answer is wrong")
    if of_label.mean() <= logits.mean():  # log-likelihood is concave in 1/T and decreasing at 1/T = 0
        raise _no_temperature(labels, "the answers are no better than guesses")
    limit = math.log(HOTTEST)
    found = minimize_scalar(
        lambda log_t: nll(tempered(logits, math.exp(log_t)), labels), bounds=(-limit, limit), method="bounded"
    )
    return math.exp(found.x)


def _no_temperature(labels: NDArray[np.int64], why: str) -> DataError:
    rule = f"{why}, and no temperature is the best one"
    return DataError(f"{len(labels)} images", rule, "calibrate on more images, or on other ones")


def choose_threshold(confidence: NDArray[np.float64], right: NDArray[np.bool_], target: float) -> Threshold:
    """Choose the threshold of the largest coverage with a precision of at least `target` on new images.

    Of the twenty COVERAGES the largest is taken at which the lower bound of the precision (Clopper and Pearson 1934)
    reaches `target`. Each bound uses 1/20 of the error probability of 5 % (Bonferroni), so that selecting among them
    introduces no bias: on images from the same distribution the precision is at least `target` with 95 % confidence.
    Raises DataError if none reaches it.
    """
    from scipy import stats

    order = np.sort(confidence)[::-1]
    level = 1 - (1 - CONFIDENCE) / len(COVERAGES)
    tried = []
    for coverage in COVERAGES:
        value = order[max(1, round(coverage * len(order))) - 1]
        answered = confidence >= value
        count, hits = int(answered.sum()), int(right[answered].sum())
        low = float(stats.binomtest(hits, count, alternative="greater").proportion_ci(level, method="exact").low)
        tried.append(Threshold(float(value), target, hits / count, low, count / len(order), count))
        if low >= target:
            return tried[-1]
    best = max(tried, key=lambda one: one.low)
    raise DataError(
        f"a precision of {target:g}",
        f"can't be vouched for by {len(order)} images: the best threshold has {best.precision:.3f} on {best.answered}"
        f" of them, which on others may be {best.low:.3f}",
        "give more images, or ask for less",
    )
