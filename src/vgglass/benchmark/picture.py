"""Images a second as a picture: a panel a batch size, a dot a row, its line from the slowest to the quickest round."""

from pathlib import Path
from typing import Any

from vgglass.benchmark.report import Report, Row
from vgglass.plotting import BLUE, ORANGE, picture

GREY = "0.45"


def draw(report: Report, path: Path) -> None:
    """Write a PNG; the axis is logarithmic, for networks differ by powers of ten. Raises MissingExtraError."""
    rows = [row for table in report.tables for row in table.rows] + list(report.peers)
    names = list(dict.fromkeys(map(_name, rows)))
    batches = sorted({row.speed.batch for row in rows})
    with picture(3.5 + 2.5 * len(batches), 1.3 + 0.3 * len(names), path) as figure:
        panels = figure.subplots(1, len(batches), sharey=True, sharex=True, squeeze=False)[0]
        for axes, batch in zip(panels, batches, strict=True):
            for row in rows:
                if row.speed.batch == batch:
                    colour = ORANGE if row in report.peers else GREY if row.is_eager else BLUE
                    _dot(axes, row, names.index(_name(row)), colour)
            axes.set(xscale="log", title=f"batch {batch}", xlabel="images a second")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.margins(x=0.25)
            axes.grid(axis="x", alpha=0.25)
        panels[0].set_yticks(range(len(names)), names, parse_math=False)
        panels[0].set_ylim(len(names) - 0.5, -0.7)
        machine = report.machine
        figure.suptitle(machine.gpu or f"{machine.processor}, {machine.cores} cores", fontsize=10, parse_math=False)


def _dot(axes: Any, row: Row, place: int, colour: str) -> None:
    speed = row.speed
    axes.plot([1000 / speed.highest, 1000 / speed.lowest], [place, place], color=colour, linewidth=3, alpha=0.35)
    axes.plot(speed.images_per_second, place, "o", color=colour)
    label = f"{speed.images_per_second:,.3g}"
    axes.annotate(label, (speed.images_per_second, place), (0, 5), textcoords="offset points", ha="center", fontsize=8)


def _name(row: Row) -> str:
    return f"{Path(row.network).name}: {row.engine}, {row.precision}"
