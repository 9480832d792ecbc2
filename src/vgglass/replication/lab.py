"""Results of the paper's columns on other data, and their tables in English and Chinese.

A Sheet is a table formatted as text; the command line prints it, `markdown` renders all as one page.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vgglass import statistics
from vgglass.architecture import SMALLEST_IMAGE
from vgglass.locale import words
from vgglass.replication import published
from vgglass.replication.tables import Rate, Row, Table

NONE = "—"
DIGITS = "the embedded digits"  # the name of their data set


@dataclass(frozen=True)
class Trained:
    """One network of the lab, from the records of its run.

    name          of its folder under OUT/runs
    train         S in pixels
    epoch         the one selected by validation accuracy (a fraction)
    loss          lowest of any epoch, in training or validation
    guessing      loss of predicting the class frequencies: ln K for balanced classes
    began_from_a  whether it was initialised with weights of column A, not all at random
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
    """The paper's columns trained under one recipe on one data set, and Tables 3 to 5 of them.

    images    number by split
    split     that the results are from; used_for is 'selection' if its images selected the weights, else ''
    recipe    the fields shared by all networks
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
    """A table formatted as text.

    ours, theirs  headings of the columns with results on these images, and with the paper's
    groups        rows that belong together
    """

    caption: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    groups: tuple[tuple[tuple[str, ...], ...], ...]
    notes: tuple[str, ...]


def about(lab: Lab, lang: str) -> tuple[str, ...]:
    """Describe the experiment in sentences."""
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
    """Format the tables of a lab."""
    return tuple(_sheet(table, lab, lang) for table in lab.tables)


def markdown(lab: Lab, lang: str) -> str:
    """Render description and tables as one Markdown page."""
    parts = [f"# {words(lang, 'paper')['title']}", *about(lab, lang)]
    for sheet in sheets(lab, lang):
        head = (*sheet.ours, *(f"*{name}*" for name in sheet.theirs))
        rows = [
            (*row[: len(sheet.ours)], *(f"*{cell}*" for cell in row[len(sheet.ours) :])) for row in _all_rows(sheet)
        ]
        lines = [head, ("---",) * len(head), *rows]
        parts += [f"## {sheet.caption}", "\n".join(f"| {' | '.join(line)} |" for line in lines), *sheet.notes]
    return "\n\n".join(parts) + "\n"


def _all_rows(sheet: Sheet) -> list[tuple[str, ...]]:
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
        group.append((first, *_measured_cells(row, table.number, top5, lang), *_published_cells(row)))
    caption = text[f"table-{table.number}"].format(split=text[f"split-{lab.split}"])
    notes = [_resolution_note(table, lang)]
    if table.number == 3 and any(_dense_positions(side, lab) == 1 for row in table.rows for side in row.test):
        notes.append(text["one-place"])
    if table.number == 5 and any(len(row.train) == 1 for row in table.rows):
        notes.append(text["other-side"])
    return Sheet(caption, tuple(ours), tuple(theirs), tuple(map(tuple, groups.values())), tuple(notes))


def _dense_positions(side: int, lab: Lab) -> int:
    """Return the output size in one direction of dense testing: fc6 as a convolution on pool5 of this image side."""
    return side // SMALLEST_IMAGE - int(lab.recipe["image_size"]) // SMALLEST_IMAGE + 1


def _measured_cells(row: Row, number: int, top5: bool, lang: str) -> list[str]:
    cells = ["-".join(map(str, row.train)), ",".join(map(str, row.test))]
    if number == 5:
        cells.append(words(lang, "paper")[row.method])
    if row.top1 is None:
        return [*cells, words(lang, "paper")["did-not-start"], NONE] + [NONE, NONE] * top5
    return cells + _rate_cells(row.top1) + (_rate_cells(row.top5) if row.top5 else [NONE, NONE] * top5)


def _rate_cells(rate: Rate) -> list[str]:
    low, high = rate.interval
    return [f"{rate.error:.1f}", f"{low:.1f} – {high:.1f}"]


def _published_cells(row: Row) -> list[str]:
    found = row.published
    return [found.train, found.test, f"{found.top1:.1f}", f"{found.top5:.1f}"] if found else [NONE] * 4


def _resolution_note(table: Table, lang: str) -> str:
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
    """Return a table row per network: name, parameters, selected epoch, validation accuracy, seconds."""
    return [
        (one.name, f"{one.parameters:,}", str(one.epoch), f"{one.validation:.4f}", f"{one.seconds:.0f}")
        for one in lab.trained
    ]
