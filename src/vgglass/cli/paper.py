"""vgglass paper."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vgglass.cli import output
from vgglass.cli.output import Language
from vgglass.errors import InterruptedRunError
from vgglass.locale import language, words

if TYPE_CHECKING:
    from vgglass.replication.lab import Lab, Sheet

DIGITS = "digits"
AGAIN = "run the same command again: what is trained stays, and it goes on from there"


def paper(
    data: Annotated[
        str, typer.Option(metavar="FOLDER", help="As train takes it; 'digits': the embedded ones.")
    ] = DIGITS,
    columns: Annotated[str, typer.Option(help="Of A, A-LRN, B, C, D, E.")] = "A,A-LRN,B,C,D,E",
    sides: Annotated[
        str, typer.Option(help="The paper's S, scaled to --size: of 256, 384, 256-512; the latter two for C, D, E.")
    ] = "256",
    width: Annotated[float, typer.Option(help="Of all hidden layers; 1 is the paper's.")] = 0.125,
    size: Annotated[int, typer.Option(help="Side of the network's input; 224 is the paper's.")] = 32,
    epochs: Annotated[int | None, typer.Option(help="Of each network; without: the recipe's, 20.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    from_a: Annotated[
        bool, typer.Option("--from-a", help="B to E begin with A's weights where they fit, as in the paper.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the runs, paper.json and paper.md.")] = Path("runs/paper"),
    json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
    lang: Language = None,
) -> None:
    """Train the paper's columns alike on your data and print its Tables 3 to 5 of them: digits in some minutes.

    Run again, it trains only what is missing. Exit status: 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP,
    the state saved.
    """
    spoken = language(lang)
    from vgglass import workflows

    workflows.prepare_process()
    console = output.console(stderr=True)
    try:
        lab = workflows.paper(
            None if data == DIGITS else data, columns=_listed(columns), sides=_listed(sides), width=width, size=size,
            epochs=epochs, seed=seed, from_a=from_a, out=out, lang=spoken, console=console,
        )  # fmt: skip
    except InterruptedRunError as interrupted:
        console.print(f"{interrupted.value}: {interrupted.rule}; {AGAIN}.", soft_wrap=True)
        raise typer.Exit(interrupted.exit_status) from None
    except KeyboardInterrupt:
        console.print(f"interrupted; {AGAIN}.", soft_wrap=True)
        raise typer.Exit(128 + signal.SIGINT) from None
    if json:
        output.print_json(lab.as_json())
    else:
        show(lab, spoken, out, output.console())


def show(lab: "Lab", lang: str, out: Path, console: Console) -> None:
    from vgglass import workflows

    text = words(lang, "paper")
    for sentence in workflows.describe_lab(lab, lang):
        console.print(sentence)
    console.print()
    console.print(output.table(text["cost"], workflows.lab_costs(lab)))
    for sheet in workflows.lab_tables(lab, lang):
        console.print()
        console.print(_table_with_rules(sheet))
        for note in sheet.notes:
            console.print(note, style="dim")
    written = ", ".join(str(out / name) for name in ("paper.json", "paper.md"))
    console.print("\n" + text["written"].format(files=written), soft_wrap=True)


def _table_with_rules(sheet: "Sheet") -> Table:
    """Format a table as in the paper, with rules between networks; the paper's own results are separate, in grey."""
    table = Table(box=box.SQUARE, header_style="bold", title=sheet.caption, title_justify="left", title_style="bold")
    for name in sheet.ours:
        table.add_column(name, justify="right" if "%" in name else "left")
    for name in sheet.theirs:
        table.add_column(name, justify="right", style="dim italic", header_style="dim italic", max_width=15)
    for group in sheet.groups:
        for row in group:
            table.add_row(*map(Text, row))
        table.add_section()
    return table


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]
