"""One lesson: the folder, its images' features, and what a head fitted to them says; anew after every change.

n images of which t are taught, D features, K classes with images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vgglass import familiarity
from vgglass.errors import DataError
from vgglass.familiarity import Familiarity
from vgglass.statistics import wilson
from vgglass.teaching import choosing, ridge
from vgglass.teaching.folder import Item, TaughtFolder
from vgglass.teaching.names import burst_of
from vgglass.teaching.ridge import Features, Head, Integers, Numbers

WIDEST = 0.3  # of an interval that means something
FOLDS = 10  # that familiarity's threshold is chosen on
CURVE = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233)  # images a class
DRAWS = 5  # of each point of the curve
ON_CURVE = 2000  # images that a point is judged on

Extract = Callable[[NDArray[np.uint8]], Features]  # squares (n, S, S, C) to pool5 (n, D, side, side)


@dataclass(frozen=True)
class Accuracy:
    """Of images each judged by a head fitted without its group; each group counts as one.

    right  sum over groups of the share told right
    """

    right: float
    groups: int

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.groups)

    @property
    def known(self) -> bool:
        """Whether the interval says something yet."""
        low, high = self.interval
        return high - low <= WIDEST


@dataclass(frozen=True, eq=False)
class Learned:
    """What is known after a change.

    items      the images whose features are there; `numbers` of those without: they wait
    classes    all, and `heard`, those with images, which the head's rows stand for
    answers    (n,) index into `heard` and probability of the likeliest; of a taught image by a head without its group
    suspects   numbers of taught images in doubt, the most doubtful first; asked: of images in the tray, to label next
    """

    items: tuple[Item, ...]
    waiting: tuple[Item, ...]
    classes: tuple[str, ...]
    heard: tuple[str, ...]
    head: Head | None = None
    answers: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    shares: Numbers = field(default_factory=lambda: np.empty(0))
    accuracy: Accuracy | None = None
    suspects: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    groups: Integers = field(default_factory=lambda: np.empty(0, np.int64))


class Lesson:
    """A folder that is taught by. Its methods are called by one thread at a time."""

    def __init__(self, folder: TaughtFolder, features: int) -> None:
        self.folder = folder
        self._rows: dict[bytes, int] = {}  # by digest
        self._features = np.empty((0, features), np.float32)
        self._unit = np.empty((0, features), np.float32)
        self._compared = 0
        self._pairs: list[tuple[int, int]] = []
        self.learned = Learned((), (), (), ())
        self.familiarity: Familiarity | None = None

    def lacking(self) -> list[Item]:
        """The images without features, one of each content."""
        found = {item.digest: item for item in self.folder.items.values() if item.digest not in self._rows}
        return list(found.values())

    def know(self, digests: Sequence[bytes], features: Features) -> None:
        """Take pool5's averages (n, D) of images by their digests; those known already stay as they are."""
        new = [index for index, digest in enumerate(digests) if digest not in self._rows]
        used = len(self._rows)
        if used + len(new) > len(self._features):
            room = max(256, 2 * (used + len(new)))
            for name in ("_features", "_unit"):
                grown = np.zeros((room, features.shape[1]), np.float32)
                grown[:used] = getattr(self, name)[:used]
                setattr(self, name, grown)
        for index in new:
            if digests[index] in self._rows:
                continue
            row = self._rows[digests[index]] = len(self._rows)
            self._features[row] = features[index]
            self._unit[row] = choosing.unit(features[index][None])[0]

    def features(self, items: Sequence[Item]) -> Features:
        """(n, D)."""
        found: Features = self._features[[self._rows[item.digest] for item in items]]
        return found

    def learn(self) -> Learned:
        """Fit the head to what the folder holds now, and judge all images by it."""
        here = sorted(self.folder.items.values(), key=lambda item: item.number)
        items = tuple(item for item in here if item.digest in self._rows)
        waiting = tuple(item for item in here if item.digest not in self._rows)
        classes = tuple(self.folder.classes)
        counts = {item.label for item in items}
        heard = tuple(name for name in classes if name in counts)
        if len(heard) < 2:
            self.learned = Learned(items, waiting, classes, heard, asked=self._first(items))
            return self.learned
        taught = [index for index, item in enumerate(items) if item.label is not None]
        labels = np.array([heard.index(items[index].label or "") for index in taught], np.int64)
        groups = self._groups([items[index] for index in taught])
        features = self.features(items)
        head = ridge.fit(features[taught], labels, groups, len(heard))
        logits = head.logits(features)
        suspects: list[int] = []
        accuracy = None
        if head.left_out is not None:
            logits[taught] = head.left_out
            suspects = [taught[index] for index in choosing.suspects(head.left_out, labels)]
            accuracy = _accuracy(head.left_out.argmax(axis=1) == labels, groups)
        shares = choosing.probabilities(logits)
        tray = np.array([index for index, item in enumerate(items) if item.label is None], np.intp)
        asked = choosing.to_ask(choosing.unit(features[tray]), choosing.margins(logits[tray])) if len(tray) else []
        doubtful = tuple(items[index].number for index in suspects)
        next_ones = tuple(items[tray[index]].number for index in asked)
        self.learned = Learned(
            items, waiting, classes, heard, head, shares.argmax(axis=1), shares.max(axis=1), accuracy, doubtful,
            next_ones, groups,
        )  # fmt: skip
        return self.learned

    def _first(self, items: Sequence[Item]) -> tuple[int, ...]:
        """What to ask about before there is a head: images far from one another."""
        tray = [item for item in items if item.label is None]
        if not tray:
            return ()
        rows = choosing.unit(self.features(tray))
        return tuple(tray[index].number for index in choosing.to_ask(rows, np.zeros(len(tray))))

    def _groups(self, items: Sequence[Item]) -> Integers:
        used = len(self._rows)
        if used > self._compared:
            self._pairs += choosing.near_pairs(self._unit[:used], self._compared)
            self._compared = used
        keys = [self._rows[item.digest] for item in items]
        return choosing.groups_of(keys, [burst_of(item.path) for item in items], self._pairs)

    def taught(self) -> tuple[Features, Integers]:
        """Features (t, D) and labels (t,) of the images that the head was fitted to."""
        learned = self.learned
        taught = [item for item in learned.items if item.label is not None]
        labels = np.array([learned.heard.index(item.label or "") for item in taught], np.int64)
        return self.features(taught), labels

    def judge_familiarity(self) -> Familiarity | None:
        """What tells images unlike those taught, its threshold chosen out of fold; None for too few images."""
        self.familiarity = None
        if self.learned.head is None:
            return None
        features, labels = self.taught()
        part = np.unique(self.learned.groups, return_inverse=True)[1] % FOLDS
        folds = [(np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in range(FOLDS)]
        try:
            gaussians = familiarity.fit(features, labels, self.learned.heard)
            distances = familiarity.out_of_fold(features, labels, [fold for fold in folds if all(map(len, fold))])
            self.familiarity = Familiarity(gaussians, familiarity.threshold(distances))
        except DataError:
            pass  # too few images of a class: nothing is said of what is unfamiliar
        return self.familiarity

    def nearest(self, row: Features, count: int, beside: bytes = b"") -> list[tuple[Item, float]]:
        """The taught images nearest to pool5's average (D,), each content once, with their cosines.

        beside  digest of an image that is left out: itself
        """
        others = (item for item in self.learned.items if item.label is not None and item.digest != beside)
        taught = list({item.digest: item for item in others}.values())
        if not taught:
            return []
        rows, own = self._unit[[self._rows[item.digest] for item in taught]], choosing.unit(row[None])[0]
        return [(taught[index], float(rows[index] @ own)) for index in choosing.nearest(own, rows, count)]

    def curve(self, seed: int = 0) -> list[tuple[int, float]]:
        """Accuracy on the other taught images of heads fitted to so many groups a class, and to all but one."""
        learned = self.learned
        if learned.accuracy is None:
            return []
        features, labels = self.taught()
        groups, classes = learned.groups, len(learned.heard)
        generator = np.random.default_rng(seed)
        least = min(len(np.unique(groups[labels == label])) for label in range(classes))
        points = []
        for size in (size for size in CURVE if size < least):
            shares = []
            for _ in range(DRAWS):
                chosen = [generator.permutation(np.unique(groups[labels == label]))[:size] for label in range(classes)]
                inside = np.isin(groups, np.concatenate(chosen))
                outside = np.flatnonzero(~inside)
                outside = generator.permutation(outside)[:ON_CURVE]
                head = ridge.fit(features[inside], labels[inside], groups[inside], classes)
                shares.append(float((head.logits(features[outside]).argmax(axis=1) == labels[outside]).mean()))
            points.append((size, float(np.mean(shares))))
        return [*points, (least, learned.accuracy.right / learned.accuracy.groups)]


def _accuracy(right: NDArray[np.bool_], groups: Integers) -> Accuracy:
    order = np.argsort(groups, kind="stable")
    starts = [*np.flatnonzero(np.diff(groups[order], prepend=-1)).tolist(), len(groups)]
    shares = [float(right[order[start:stop]].mean()) for start, stop in pairwise(starts)]
    return Accuracy(sum(shares), len(shares))
