"""vgglass drift."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgglass.cli import output
from vgglass.locale.messages import translated

if TYPE_CHECKING:
    from vgglass.workflows.drift import Quantity


def drift(
    rows: Annotated[Path, typer.Argument(help="What vgglass predict --out wrote.")],
    model: Annotated[Path, typer.Option(help="The calibrated model file that wrote it.")] = ...,  # type: ignore[assignment]
    rate: Annotated[float, typer.Option(help="Probability that unchanged images are called changed.")] = 0.05,
    picture: Annotated[Path | None, typer.Option(help="Draw what moved, as PNG.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
) -> None:
    """Have the images changed since the training? Past answers beside the model's training record."""
    from vgglass import workflows

    output.require_png("--picture", picture)
    found = workflows.drift(rows, model, rate=rate, picture=picture)
    if json:
        output.print_json(found.as_json())
        return
    console = output.console()
    table = output.table("what|>in the record|>now|>evidence|", [_cells(each) for each in found.quantities])
    console.print(table)
    left = f"; {found.left_out:,} could not be read" if found.left_out else ""
    console.print(f"{found.images:,} images beside {found.record:,} of the training record{left}")
    if found.moved:
        console.print("The images have changed.", style="bold")
    else:
        console.print(f"No change is evident (unchanged images are called changed with probability {rate:g}).")
    console.print("evidence: natural logarithm of what bets against 'unchanged' have won", style="dim")
    if picture:
        console.print(f"Written: {picture}", soft_wrap=True)


def _cells(each: "Quantity") -> list[str]:
    name = f"answer: share of {output.visible(each.about)}" if each.about else f"median {each.name}"
    figures = [f"{number:.3f}" for number in (each.before, each.now)]
    return [translated(name), *figures, f"{each.evidence:+.1f}", "moved" if each.moved else ""]
