"""The paper's experiments (sections 4.1 to 4.3) at any size: networks to train, test protocols, and result tables.

N images, K classes. S is the smallest image side in training, Q in testing, both in pixels.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.architecture import COLUMNS
from vgglass.errors import UsageError
from vgglass.evaluation.headline import TOP5_FROM
from vgglass.replication.published import TABLES, Published
from vgglass.statistics import detectable, wilson

PAPER_SIZE = 224
METHODS = ("dense", "multi-crop", "both")
FIFTH = ("D", "E")  # the columns of Table 5

LogProbabilities = NDArray[np.float64]  # N K
Right = NDArray[np.bool_]  # N


@dataclass(frozen=True)
class Side:
    """A training scale of the paper.

    name           S as the paper prints it
    train          S in the paper's pixels, fixed or (from, to)
    single         Q of Table 3; several: those of Tables 4 and 5
    augmentation   of a recipe that trains at this scale
    """

    name: str
    train: tuple[int, ...]
    single: int
    several: tuple[int, int, int]
    augmentation: str


SIDES = {
    side.name: side
    for side in (
        Side("256", (256,), 256, (224, 256, 288), "paper-256"),
        Side("384", (384,), 384, (352, 384, 416), "paper-384"),
        Side("256-512", (256, 512), 384, (256, 384, 512), "paper"),
    )
}


@dataclass(frozen=True)
class Trial:
    """One network to train: a column at a training scale."""

    column: str
    side: Side

    @property
    def name(self) -> str:
        """The name of its folder: 'D', 'D-384', 'D-256-512'."""
        return self.column if self.side.name == "256" else f"{self.column}-{self.side.name}"


def scaled(side: int, size: int) -> int:
    """Scale a side of the paper, whose crop is 224 pixels, to a network of another size."""
    return round(side * size / PAPER_SIZE)


def trials(columns: Sequence[str], sides: Sequence[str]) -> tuple[Trial, ...]:
    """Return the networks to train in the paper's order; as in the paper, A, A-LRN and B only at S = 256.

    Raises UsageError.
    """
    for option, given, known in (("--columns", columns, COLUMNS), ("--sides", sides, SIDES)):
        for name in given or ("",):
            if name not in known:
                raise UsageError(f"{option} {name}", f"not one of {', '.join(known)}", "choose among them")
    published = {(row.column, row.train) for row in TABLES[3]}
    pairs = [(column, side) for column in COLUMNS if column in columns for side in SIDES if side in sides]
    found = tuple(Trial(column, SIDES[side]) for column, side in pairs if (column, side) in published)
    if not found:
        raise UsageError(
            f"--sides {','.join(sides)}",
            f"the paper trains {', '.join(columns)} at S = 256 alone",
            "add 256, or one of the columns C, D and E",
        )
    return found


def fifth(chosen: Iterable[Trial]) -> tuple[Trial, ...]:
    """Select those of Table 5: D and E at their last training scale, which in the paper is 256-512."""
    return tuple({trial.column: trial for trial in chosen if trial.column in FIFTH}.values())


def views(chosen: Sequence[Trial], size: int) -> dict[Trial, dict[str, str]]:
    """Return the views that each network is tested on, by the names that `tables` expects."""
    found = {}
    for trial in chosen:
        several = ",".join(str(scaled(side, size)) for side in trial.side.several)
        found[trial] = {"single": f"dense@{scaled(trial.side.single, size)}", "several": f"dense@{several}"}
        if trial in fifth(chosen):
            found[trial]["crops"] = f"crops@{several}"
    return found


@dataclass(frozen=True)
class Rate:
    """Number of misclassified images out of a total."""

    wrong: int
    images: int

    @property
    def error(self) -> float:
        """Error rate in per cent."""
        return 100 * self.wrong / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval, in per cent."""
        low, high = wilson(self.wrong, self.images)
        return 100 * low, 100 * high

    def as_json(self) -> dict[str, Any]:
        return {"wrong": self.wrong, "images": self.images, "error": self.error, "interval": self.interval}


@dataclass(frozen=True)
class Row:
    """One network under one test protocol; without results if it failed to start learning.

    train, test  S and Q in pixels, of this network
    top5         None with five classes or fewer
    published    the paper's row for the same column on ImageNet, if any
    """

    column: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    method: str
    top1: Rate | None
    top5: Rate | None
    published: Published | None

    def as_json(self) -> dict[str, Any]:
        return {
            "column": self.column, "train": self.train, "test": self.test, "method": self.method,
            "started": self.top1 is not None,
            "top1": self.top1 and self.top1.as_json(), "top5": self.top5 and self.top5.as_json(),
            "published_on_imagenet": self.published and asdict(self.published),
        }  # fmt: skip


@dataclass(frozen=True)
class Resolution:
    """Statistical resolution of a table.

    discordant  mean fraction of discordant images over pairs of the table's columns
    difference  smallest detectable difference of top-1: see `detectable`; both in per cent
    """

    images: int
    discordant: float
    difference: float | None


@dataclass(frozen=True)
class Table:
    """A table of the paper by its number; resolution is None if fewer than two columns started to learn."""

    number: int
    rows: tuple[Row, ...]
    resolution: Resolution | None

    def as_json(self) -> dict[str, Any]:
        resolution = self.resolution and asdict(self.resolution)
        return {"table": self.number, "rows": [row.as_json() for row in self.rows], "resolution": resolution}


def tables(
    answers: Mapping[Trial, Mapping[str, LogProbabilities] | None], labels: NDArray[np.int64], size: int
) -> tuple[Table, ...]:
    """Compute Tables 3, 4 and, if D or E were trained, 5.

    answers  by trial, in the order of `trials`, and by the names of its `views`; None if it failed to start learning
    """
    third = [(trial, "", "single", (trial.side.single,)) for trial in answers]
    fourth = [(trial, "", "several", trial.side.several) for trial in answers]
    last = [(trial, method, method, trial.side.several) for trial in fifth(answers) for method in METHODS]
    return tuple(
        _table(number, wanted, answers, labels, size)
        for number, wanted in ((3, third), (4, fourth), (5, last))
        if wanted
    )


def both(dense: LogProbabilities, crops: LogProbabilities) -> LogProbabilities:
    """Average two softmax outputs, given and returned as logarithms."""
    mean: LogProbabilities = np.logaddexp(dense, crops) - np.log(2)
    return mean


def right_in(top: int, scores: LogProbabilities, labels: NDArray[np.int64]) -> Right:
    """Return whether each image's class is in the top `top`; ties go to the first class."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    found: Right = (order == labels[:, None]).any(axis=1)
    return found


def resolution(rights: Sequence[tuple[str, Right]]) -> Resolution | None:
    """Compute the resolution from (column, correctness) of each row; None for fewer than two columns."""
    shares = [float((one != other).mean()) for (a, one), (b, other) in combinations(rights, 2) if a != b]
    if not shares:
        return None
    images, mean = len(rights[0][1]), float(np.mean(shares))
    difference = detectable(images, mean)
    return Resolution(images, 100 * mean, None if difference is None else 100 * difference)


def _table(
    number: int,
    wanted: Sequence[tuple[Trial, str, str, tuple[int, ...]]],
    answers: Mapping[Trial, Mapping[str, LogProbabilities] | None],
    labels: NDArray[np.int64],
    size: int,
) -> Table:
    rows, rights = [], []
    for trial, method, view, sides in wanted:
        found, top1, top5 = answers[trial], None, None
        if found is not None:
            scores = _scores(found, view)
            right = right_in(1, scores, labels)
            rights.append((trial.column, right))
            top1 = _rate(right)
            top5 = _rate(right_in(5, scores, labels)) if scores.shape[1] >= TOP5_FROM else None
        train, test = (tuple(scaled(side, size) for side in chosen) for chosen in (trial.side.train, sides))
        rows.append(Row(trial.column, train, test, method, top1, top5, _published(number, trial, method)))
    return Table(number, tuple(rows), resolution(rights))


def _scores(found: Mapping[str, LogProbabilities], view: str) -> LogProbabilities:
    if view == "both":
        return both(found["several"], found["crops"])
    return found[{"dense": "several", "multi-crop": "crops"}.get(view, view)]


def _rate(right: Right) -> Rate:
    return Rate(int((~right).sum()), len(right))


def _published(number: int, trial: Trial, method: str) -> Published | None:
    """Return the paper's row; its Table 5 has only S = 256-512, which is returned for any training scale."""
    return next(
        (
            row
            for row in TABLES[number]
            if (row.column, row.method) == (trial.column, method) and (number == 5 or row.train == trial.side.name)
        ),
        None,
    )
