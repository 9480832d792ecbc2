"""The headline metrics, each with its 95 % interval. N images, K classes, M cells, B resamples.

Images with the same true class, predicted class and top-5 correctness form one cell. Bootstrap resampling of N images
is then multinomial sampling of the cells' counts, whose cost hardly depends on N.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.evaluation.predictions import Predictions
from vgglass.inference.views import View
from vgglass.modelfile import Record
from vgglass.statistics import RESAMPLES, percentiles, wilson

TOP5_FROM = 6  # with five classes or fewer top-5 is always correct
DRAWN_AT_ONCE = 2_000_000  # images
SHARES = ("top1", "top5")
OF_FOLDS = "folds give one of top-1 alone"


@dataclass(frozen=True, eq=False)
class Headline:
    """The headline metrics.

    figures     top1, top5, balanced_accuracy, macro_f1, auc; None if undefined
    class_aucs  (K,), NaN if undefined
    intervals, undefined  see `metrics.Evaluation`
    """

    figures: dict[str, Any]
    class_aucs: NDArray[np.float64]
    intervals: dict[str, tuple[float, float]]
    undefined: dict[str, str]


def headline(predictions: Predictions, seed: int = 0) -> Headline:
    """Compute the five metrics and their intervals; `seed` fixes the resampling."""
    generator = np.random.default_rng(seed)
    scores, labels = predictions.log_probabilities, predictions.labels
    images, classes = scores.shape
    cells, counts = np.unique(_cells(predictions), axis=0, return_counts=True)
    plain = _figures(cells, counts[None], classes)
    drawn = _figures(cells, generator.multinomial(images, counts / images, RESAMPLES), classes)
    undefined = {}
    if classes < TOP5_FROM:
        undefined["top5"] = "with five classes or fewer every answer is in the top five"
    aucs, influence = rankings(scores, labels)
    if np.isnan(aucs).all():
        undefined["auc"] = "all images are of one class, and there is none to tell it from"
    else:
        plain["auc"] = np.array([np.nanmean(aucs)])
        drawn["auc"] = (plain["auc"] + _bootstrap_means(influence, generator)).clip(0, 1)
    figures = {name: None if name in undefined else float(plain[name][0]) for name in (*plain, *undefined)}
    intervals: dict[str, tuple[float, float]] = {}
    if folds := predictions.folds:
        figures["top1"], intervals["top1"] = folds.top1, folds.interval
        others = [name for name in plain if name not in ("top1", *undefined)]
        return Headline(figures, aucs, intervals, undefined | {f"intervals.{name}": OF_FOLDS for name in others})
    for name in [name for name in plain if name not in undefined]:  # in an order that no hash decides
        if images == 1:
            undefined[f"intervals.{name}"] = "there is one image, and an interval needs two or more"
        elif np.ptp(drawn[name]) > 0:
            intervals[name] = percentiles(drawn[name])
        elif name in SHARES:  # all correct or all wrong
            intervals[name] = wilson(round(plain[name][0] * images), images)
        else:
            undefined[f"intervals.{name}"] = "it is the same however these images are drawn: more of them would tell"
    return Headline(figures, aucs, intervals, undefined)


def _cells(predictions: Predictions) -> NDArray[np.int64]:
    """Return (N, 3): true class, predicted class, whether the true one is in the top five."""
    first = np.argsort(-predictions.log_probabilities, axis=1, kind="stable")[:, :5]
    return np.stack(
        [predictions.labels, predictions.predicted, (first == predictions.labels[:, None]).any(axis=1)], axis=1
    )


def _figures(cells: NDArray[np.int64], counts: NDArray[np.int64], classes: int) -> dict[str, NDArray[np.float64]]:
    """Compute each metric (B,) from cells (M, 3) and their image counts (B, M)."""
    true, predicted, among = cells.T
    right = true == predicted
    images = counts.sum(axis=1)
    of_class, taken_for, hits = (
        _sum_by_class(counts[:, chosen], where[chosen], classes)
        for where, chosen in ((true, slice(None)), (predicted, slice(None)), (true, right))
    )
    present = of_class > 0

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        means: NDArray[np.float64] = values.sum(axis=1, where=present) / present.sum(axis=1)
        return means

    return {
        "top1": counts[:, right].sum(axis=1) / images,
        "top5": counts[:, among == 1].sum(axis=1) / images,
        "balanced_accuracy": mean(hits / np.maximum(of_class, 1)),
        "macro_f1": mean(2 * hits / np.maximum(of_class + taken_for, 1)),
    }


def _sum_by_class(counts: NDArray[np.int64], places: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Sum counts (B, M) by the class of each cell (M,) to (B, K)."""
    from scipy.sparse import csr_array

    ones = np.ones(len(places))
    indicator = csr_array((ones, (np.arange(len(places)), places)), shape=(len(places), classes))
    result: NDArray[np.float64] = counts @ indicator
    return result


def rankings(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the one-vs-rest ROC-AUC of each class (K,), and each image's influence on their mean (N,), summing to 0.

    NaN for a class with no image, or with all. By placement values (DeLong, DeLong and Clarke-Pearson 1988): for an
    image of the class the fraction of the others ranked below it, for any other image the fraction of the class ranked
    above it; ties count half.
    """
    from scipy.stats import rankdata

    images, classes = scores.shape
    aucs, influence = np.full(classes, np.nan), np.zeros(images)
    for place in range(classes):
        inside = labels == place
        count = int(inside.sum())
        if not 0 < count < images:
            continue
        ranks = rankdata(scores[:, place])
        worth = np.empty(images)
        worth[inside] = (ranks[inside] - rankdata(scores[inside, place])) / (images - count)
        worth[~inside] = 1 - (ranks[~inside] - rankdata(scores[~inside, place])) / count
        aucs[place] = worth[inside].mean()
        influence += (worth - aucs[place]) / np.where(inside, count, images - count) * images
    return aucs, influence / max(1, np.isfinite(aucs).sum())


def _bootstrap_means(values: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return bootstrap means (B,) of values (N,)."""
    images = len(values)
    at_once = max(1, DRAWN_AT_ONCE // images)
    return np.concatenate(
        [
            values[generator.integers(0, images, (min(at_once, RESAMPLES - first), images))].mean(axis=1)
            for first in range(0, RESAMPLES, at_once)
        ]
    )


# The test protocol, in the columns of the paper's Tables 3 to 6.

FIXED_SIZE = ("none", "flip", "shift", "shift-flip")  # augmentations without scale jittering


@dataclass(frozen=True)
class Protocol:
    """How a model was trained and tested.

    networks  the architecture's column; for an ensemble joined by +: D+E
    train     smallest side of training images, S: 256, or 256-512; '' if undefined for the augmentation
    test      smallest side of test images, Q: 256, or 224,256,288
    method    dense, crops, centre or an average of them: dense+crops
    """

    networks: str
    train: str
    test: str
    method: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, predictions: Predictions) -> "Protocol":
        records, views = (predictions.record, *predictions.others), predictions.views
        return cls(
            networks="+".join(map(_network, records)),
            train="+".join(dict.fromkeys(filter(None, map(_train_size, records)))),
            test=_test_sizes(views),
            method="+".join(dict.fromkeys(view.name for view in views)),
        )


def _network(record: Record) -> str:
    """Return the paper's column; with batch norm, which is not in the paper, A_bn."""
    return record.architecture.column + "_bn" * record.architecture.batch_norm


def _train_size(record: Record) -> str:
    augmentation = record.recipe.get("augmentation")
    if str(augmentation).startswith("paper"):
        from vgglass.data.augment import PAPER_SCALE_256, PAPER_SCALE_384, PAPER_SCALES

        scales = {"paper": PAPER_SCALES, "paper-256": PAPER_SCALE_256, "paper-384": PAPER_SCALE_384}[str(augmentation)]
        return "-".join(dict.fromkeys(f"{scale * record.preprocessing.size:.0f}" for scale in scales))
    return str(record.preprocessing.resize) if augmentation in FIXED_SIZE else ""


def _test_sizes(views: tuple[View, ...]) -> str:
    """Return the test sizes, per method if they differ."""
    sizes: dict[str, list[str]] = {}
    for view in views:
        sizes.setdefault(view.name, []).append(str(view.scale))
    return " + ".join(dict.fromkeys(",".join(each) for each in sizes.values()))
