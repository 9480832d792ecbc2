"""What came of the paper's columns on other data: the sheets that a person reads, in English and Chinese.

A sheet is a table in words; the command line prints it, `markdown` writes it to a file.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vgglass.architecture import SMALLEST_IMAGE
from vgglass.evaluation import statistics
from vgglass.locale import words
from vgglass.replication import published
from vgglass.replication.tables import Rate, Row, Table

NONE = "—"
DIGITS = "the embedded digits"  # the name of their data set


@dataclass(frozen=True)
class Trained:
    """One network of the lab, as its run left it.

    name          of its folder under OUT/runs
    train         S in pixels
    epoch         the one that was chosen, by validation accuracy (a share)
    loss          lowest of an epoch's, in training or validation
    guessing      the loss of whoever knows the classes' shares alone: ln K where they are even
    began_from_a  whether it took weights of column A; all of them are from chance otherwise
    seconds       of training
    """

    name: str
    column: str
    train: tuple[int, ...]
    parameters: int
    epoch: int
    validation: float
    loss: float
    guessing: float
    started: bool
    began_from_a: bool
    seconds: float


@dataclass(frozen=True)
class Lab:
    """The paper's columns trained alike on one data set, and its Tables 3 to 5 of them.

    images    by split
    split     that the figures are from; used_for 'selection' where its images chose the weights, else ''
    recipe    the fields that all networks share
    """

    data: str
    classes: int
    images: dict[str, int]
    split: str
    used_for: str
    recipe: dict[str, Any]
    trained: tuple[Trained, ...]
    tables: tuple[Table, ...]

    def as_json(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in ("data", "classes", "images", "split", "used_for", "recipe")}
        return fields | {
            "budget": {"epochs": self.recipe["epochs"], "images_seen": self.recipe["epochs"] * self.images["train"]},
            "trained": [asdict(one) for one in self.trained],
            "tables": [table.as_json() for table in self.tables],
            "published_on_imagenet": {"source": published.SOURCE, "data": published.DATA},
        }


@dataclass(frozen=True)
class Sheet:
    """A table in words.

    ours, theirs  headings of the columns that hold figures of these images, and of those with the paper's
    groups        rows that belong together
    """

    caption: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    groups: tuple[tuple[tuple[str, ...], ...], ...]
    notes: tuple[str, ...]


def about(lab: Lab, lang: str) -> tuple[str, ...]:
    """What was done, in sentences."""
    text, recipe = words(lang, "paper"), lab.recipe
    seen = lab.images["train"] * recipe["epochs"]
    data = text["digits"] if lab.data == DIGITS else lab.data
    sentences = [
        text["data"].format(
            data=data,
            classes=lab.classes,
            train=lab.images["train"],
            images=lab.images[lab.split],
            split=text[f"split-{lab.split}"],
        ),
        text["budget"].format(seen=seen, images=lab.images["train"], **recipe),
        text["from-a" if any(one.began_from_a for one in lab.trained) else "from-chance"],
        text["mirrored"],
    ]
    if any(one.name != one.column for one in lab.trained):
        sentences.append(text["sides"])
    if lab.used_for:
        sentences.append(text["selection"])
    sentences += [
        text["not-started"].format(name=one.name, loss=one.loss, guessing=one.guessing)
        for one in lab.trained
        if not one.started
    ]
    return (*sentences, text["published"].format(data=published.DATA), text["legend"])


def sheets(lab: Lab, lang: str) -> tuple[Sheet, ...]:
    """The tables of a lab."""
    return tuple(_sheet(table, lab, lang) for table in lab.tables)


def markdown(lab: Lab, lang: str) -> str:
    """The whole of it as one Markdown page."""
    parts = [f"# {words(lang, 'paper')['title']}", *about(lab, lang)]
    for sheet in sheets(lab, lang):
        head = (*sheet.ours, *(f"*{name}*" for name in sheet.theirs))
        rows = [(*row[: len(sheet.ours)], *(f"*{cell}*" for cell in row[len(sheet.ours) :])) for row in _flat(sheet)]
        lines = [head, ("---",) * len(head), *rows]
        parts += [f"## {sheet.caption}", "\n".join(f"| {' | '.join(line)} |" for line in lines), *sheet.notes]
    return "\n\n".join(parts) + "\n"


def _flat(sheet: Sheet) -> list[tuple[str, ...]]:
    return [row for group in sheet.groups for row in group]


def _sheet(table: Table, lab: Lab, lang: str) -> Sheet:
    text, top5 = words(lang, "paper"), any(row.top5 for row in table.rows)
    ours = [text["column"], text["train"], text["test"]] + [text["method"]] * (table.number == 5)
    ours += [text["top1"], text["interval"]] + [text["top5"], text["interval"]] * top5
    theirs = [text[f"paper-{name}"] for name in ("train", "test", "top1", "top5")]
    groups: dict[str, list[tuple[str, ...]]] = {}
    for row in table.rows:
        group = groups.setdefault(row.column, [])
        first = row.column if not group else ""
        group.append((first, *_ours(row, table.number, top5, lang), *_theirs(row)))
    caption = text[f"table-{table.number}"].format(split=text[f"split-{lab.split}"])
    notes = [_resolution(table, lang)]
    if table.number == 3 and any(_places(side, lab) == 1 for row in table.rows for side in row.test):
        notes.append(text["one-place"])
    if table.number == 5 and any(len(row.train) == 1 for row in table.rows):
        notes.append(text["other-side"])
    return Sheet(caption, tuple(ours), tuple(theirs), tuple(map(tuple, groups.values())), tuple(notes))


def _places(side: int, lab: Lab) -> int:
    """Of a dense test in one direction: where fc6, as a convolution, fits into pool5 of an image of this side."""
    return side // SMALLEST_IMAGE - int(lab.recipe["image_size"]) // SMALLEST_IMAGE + 1


def _ours(row: Row, number: int, top5: bool, lang: str) -> list[str]:
    cells = ["-".join(map(str, row.train)), ",".join(map(str, row.test))]
    if number == 5:
        cells.append(words(lang, "paper")[row.method])
    if row.top1 is None:
        return [*cells, words(lang, "paper")["did-not-start"], NONE] + [NONE, NONE] * top5
    return cells + _rate(row.top1) + (_rate(row.top5) if row.top5 else [NONE, NONE] * top5)


def _rate(rate: Rate) -> list[str]:
    low, high = rate.interval
    return [f"{rate.error:.1f}", f"{low:.1f} – {high:.1f}"]


def _theirs(row: Row) -> list[str]:
    found = row.published
    return [found.train, found.test, f"{found.top1:.1f}", f"{found.top5:.1f}"] if found else [NONE] * 4


def _resolution(table: Table, lang: str) -> str:
    text: dict[str, str] = words(lang, "paper")
    found = table.resolution
    if found is None:
        return text["no-resolution"]
    if found.difference is None:
        return text["too-few"].format(images=found.images)
    one, two = statistics.quantiles()
    return text["resolution"].format(
        images=found.images, x=found.difference, d=found.discordant, one=one, two=two,
        size=statistics.SIZE, power=statistics.POWER,
    )  # fmt: skip


def lines(lab: Lab) -> Sequence[tuple[str, ...]]:
    """What each network cost, for a table: name, parameters, epoch chosen, validation accuracy, seconds."""
    return [
        (one.name, f"{one.parameters:,}", str(one.epoch), f"{one.validation:.4f}", f"{one.seconds:.0f}")
        for one in lab.trained
    ]
