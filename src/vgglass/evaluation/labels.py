"""Confident learning: which labels are probably wrong, and how often one class is called another.

n images, D features, K classes. Source: Northcutt, Jiang and Chuang 2021, Confident Learning: Estimating Uncertainty in
Dataset Labels (Journal of Artificial Intelligence Research 70, section 3).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from vgglass.training.probe import out_of_fold

PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1)  # scikit-learn's C: smaller is stronger
FOLDS = 10
SEARCHED = 1500  # images on which the penalty is chosen

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class LabelNoise:
    """What out-of-fold probabilities say of given labels.

    joint      (K, K) estimated number of images by given class (row) and true class (column); it sums to n
    margins    (n,) probability of the given class minus the largest of the others
    suggested  (n,) the most probable of the others
    suspects   images with margins below 0, from the lowest up: as many as the joint has off its diagonal
    """

    joint: Numbers
    margins: Numbers
    suggested: Integers
    suspects: NDArray[np.intp]


def find_label_noise(probabilities: Numbers, labels: Integers) -> LabelNoise:
    """Judge labels by probabilities (n, K) of models that were fitted without the image.

    Every class needs an image. Source: confident joint, its thresholds and its calibration are equations 1 to 3; images
    are ranked by margin over all classes, for on small data that found more than the confident pairs themselves.
    """
    images, classes = probabilities.shape
    rows = np.arange(images)
    own = probabilities[rows, labels]
    counts = np.bincount(labels, minlength=classes)
    thresholds = np.bincount(labels, own, classes) / counts
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    counted = confident.max(axis=1) >= 0
    true = confident.argmax(axis=1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[counted], true[counted]), 1)
    joint[joint.sum(axis=1) == 0] = np.eye(classes)[joint.sum(axis=1) == 0]  # no image of it says anything
    others = probabilities.copy()
    others[rows, labels] = -1.0
    margins = own - others.max(axis=1)
    joint *= (counts / joint.sum(axis=1))[:, None]
    wrong = round(images - float(np.trace(joint)))
    suspects = np.argsort(margins, kind="stable")[: min(wrong, int((margins < 0).sum()))]
    return LabelNoise(joint, margins, others.argmax(axis=1), suspects)


@dataclass(frozen=True)
class Judgement:
    """Probabilities (n, K) of each image by a model that was fitted without it.

    folds    number of models
    penalty  scikit-learn's C where they are fitted heads; None for trained networks
    """

    probabilities: Numbers
    folds: int
    penalty: float | None = None


def judge(vectors: NDArray[np.float32], labels: Integers, groups: NDArray[np.intp], seed: int = 0) -> Judgement:
    """Ask heads fitted out of fold, by multinomial logistic regression on features (n, D) of length 1.

    groups  (n,): near duplicates share one and are in one fold
    Every class needs two groups. Of the penalties the strongest is taken whose log loss is within one standard error of
    the lowest (Breiman et al. 1984, section 3.4.3): a head that fits wrong labels less finds more of them. Raises
    TrainingError for features that do not differ.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    classes = int(labels.max()) + 1
    chosen = _some_of_each_class(labels, SEARCHED)
    tried: list[tuple[float, float, float, Numbers]] = []  # penalty, log loss, its standard error, probabilities
    for penalty in PENALTIES:
        found = _out_of_fold(scaled[chosen], labels[chosen], groups[chosen], classes, penalty, seed)
        losses = -np.log(np.maximum(found[np.arange(len(chosen)), labels[chosen]], np.finfo(float).tiny))
        tried.append((penalty, float(losses.mean()), float(losses.std() / np.sqrt(len(losses))), found))
        if tried[-1][1] > min(loss for _, loss, _, _ in tried):
            break
    _, lowest, error, _ = min(tried, key=lambda trial: trial[1])
    penalty, _, _, found = next(trial for trial in tried if trial[1] <= lowest + error)
    if len(chosen) < len(labels):
        penalty *= len(chosen) / len(labels)
        found = _out_of_fold(scaled, labels, groups, classes, penalty, seed)
    return Judgement(found, FOLDS, penalty)


def _out_of_fold(
    vectors: NDArray[np.float32], labels: Integers, groups: NDArray[np.intp], classes: int, penalty: float, seed: int
) -> Numbers:
    logits = out_of_fold(vectors[None], labels, groups, np.ones(classes), penalty, FOLDS, seed)
    return np.asarray(softmax(logits, axis=1))


def _some_of_each_class(labels: Integers, images: int) -> NDArray[np.intp]:
    """Indices of about so many images, or all, evenly taken, at least two of each class that has two."""
    step = -(-len(labels) // images)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.sort(np.concatenate([found[:: max(1, min(step, len(found) // 2))] for found in members]))
