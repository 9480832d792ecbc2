"""vgglass curve."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgglass.cli import output
from vgglass.cli.convert import Download, Preprocessing, fetched
from vgglass.cli.output import MaxPixels

if TYPE_CHECKING:
    from vgglass.evaluation.curve import Curve

SHOWN = 5  # classes


def curve(
    folder: Annotated[Path | None, typer.Argument(help="One subfolder a class. Without: the embedded digits.")] = None,
    source: Annotated[
        str,
        typer.Option("--from", metavar="MODEL", help="Whose convolutions the heads are fitted to: as train takes it."),
    ] = "vgg16",
    preprocessing: Preprocessing = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the images that are drawn.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for curve.json and curve.png; a model's own, and its report has them.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that decode; without: what suits.")] = None,
    download: Download = False,
    max_pixels: MaxPixels = None,
) -> None:
    """Are there enough photographs? Accuracy by images a class, and what twice as many would bring."""
    from vgglass import workflows

    found = workflows.curve(
        folder, fetched(source, download), preprocessing=preprocessing, seed=seed, workers=workers,
        console=output.console(stderr=True),
    )  # fmt: skip
    written = workflows.write_curve(found, out) if out else ()
    if json:
        output.print_json(found.as_json())
        return
    _show(found)
    if written:
        output.console().print(f"Written: {', '.join(map(str, written))}", soft_wrap=True)


def _show(found: "Curve") -> None:
    console = output.console()
    rows = [
        [f"{point.images:.4g}", f"{point.top1:.4f}", f"{point.low:.4f} to {point.high:.4f}",
         "forecast" if point.forecast else ""]
        for point in found.points
    ]  # fmt: skip
    console.print(output.table(">images a class|>top-1|95 % interval|", rows))
    floor, slope, exponent = found.law
    console.print(
        f"judged by {found.judged:,} images that trained no head; mean of {found.draws} draws;"
        f" error = {floor:.4f} + {slope:.4f} n^-{exponent:.2f}",
        style="dim", soft_wrap=True,
    )  # fmt: skip
    console.print(f"\n{found}", style="bold", soft_wrap=True)
    order = sorted(found.per_class, key=lambda row: -row.gain)[:SHOWN]
    gains = [[row.name, f"{100 * row.gain:.1f}", f"{100 * row.low:.1f} to {100 * row.high:.1f}"] for row in order]
    console.print(output.table("class|>points gained|95 % interval", gains))
