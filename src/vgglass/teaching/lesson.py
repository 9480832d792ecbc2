"""One lesson: the folder, its images' features, and what a head fitted to them says; anew after every change.

n images of which t are taught, D features, K classes with images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vgglass.familiarity import Familiarity
from vgglass.teaching import choosing, ridge
from vgglass.teaching.folder import Item, TaughtFolder
from vgglass.teaching.judging import Accuracy, Taught, accuracy_of
from vgglass.teaching.names import burst_of
from vgglass.teaching.ridge import Features, Head, Integers, Numbers


@dataclass(frozen=True, eq=False)
class Learned:
    """What is known after a change.

    items      the images whose features are there; `numbers` of those without: they wait
    classes    all, and `heard`, those with images, which the head's rows stand for
    answers    (n,) index into `heard` and probability of the likeliest; of a taught image by a head without its group
    suspects   numbers of taught images in doubt, the most doubtful first
    asked      numbers of images in the tray, to label next
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
        self._pictures = np.empty((0, choosing.SMALL**2), np.float32)
        self._compared = 0
        self._pairs: list[tuple[int, int]] = []
        self.learned = Learned((), (), (), ())
        self.familiarity: Familiarity | None = None
        self.unfamiliar: tuple[int, ...] = ()

    def lacking(self) -> list[Item]:
        """The images without features, one of each content."""
        found = {item.digest: item for item in self.folder.items.values() if item.digest not in self._rows}
        return list(found.values())

    def know(self, digests: Sequence[bytes], averages: Features, pictures: Features) -> None:
        """Take pool5's averages (n, D) and the small pictures of images by their digests; known ones stay."""
        given = {"_features": averages, "_unit": choosing.unit(averages), "_pictures": pictures}
        for index, digest in enumerate(digests):
            if digest in self._rows:
                continue
            row = self._rows[digest] = len(self._rows)
            for name, values in given.items():
                kept: Features = getattr(self, name)
                if row == len(kept):  # twice the room
                    kept = np.concatenate([kept, np.zeros((max(256, row), kept.shape[1]), np.float32)])
                    setattr(self, name, kept)
                kept[row] = values[index]

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
        present = {item.label for item in items}
        heard = tuple(name for name in classes if name in present)
        if heard != self.learned.heard:
            self.familiarity = None  # it is judged anew
        if len(heard) < 2:
            self.learned = Learned(items, waiting, classes, heard, asked=self._first(items))
            return self.learned
        taught = [index for index, item in enumerate(items) if item.label is not None]
        rows = {name: row for row, name in enumerate(heard)}
        labels = np.array([rows[items[index].label or ""] for index in taught], np.int64)
        groups = self._groups([items[index] for index in taught])
        features = self.features(items)
        head = ridge.fit(features[taught], labels, groups, len(heard))
        logits = head.logits(features)
        suspects: list[int] = []
        accuracy = None
        if head.left_out is not None:
            logits[taught] = head.left_out
            suspects = [taught[index] for index in choosing.suspects(head.left_out, labels)]
            accuracy = accuracy_of(head.left_out.argmax(axis=1) == labels, groups)
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

    def find_unfamiliar(self) -> None:
        """Which images of the tray are unlike those taught, by the familiarity that was judged last."""
        tray = [item for item in self.learned.items if item.label is None]
        self.unfamiliar = ()
        if self.familiarity and tray:
            far = self.familiarity.distances(self.features(tray)) > 1
            self.unfamiliar = tuple(item.number for item, is_far in zip(tray, far, strict=True) if is_far)

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
            self._pairs += choosing.near_pairs(self._unit[:used], self._pictures[:used], self._compared)
            self._compared = used
        keys = [self._rows[item.digest] for item in items]
        return choosing.groups_of(keys, [burst_of(item.path) for item in items], self._pairs)

    def taught(self) -> Taught:
        """What the head was fitted to, for what takes longer than a change may."""
        learned = self.learned
        items = [item for item in learned.items if item.label is not None]
        labels = np.array([learned.heard.index(item.label or "") for item in items], np.int64)
        return Taught(self.features(items), labels, learned.groups, learned.heard, learned.accuracy)

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
