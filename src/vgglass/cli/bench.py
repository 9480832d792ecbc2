"""vgglass bench."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgglass.cli import output
from vgglass.cli.convert import Download, fetched
from vgglass.errors import UsageError

if TYPE_CHECKING:
    from vgglass.benchmark.report import Report, Row

SPEED = ">batch|>rounds|>ms/image|>lowest to highest|>images/s"


def bench(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Model files, pretrained names, .xml or .onnx graphs; without: VGG-16, random weights."),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N,…", help="Images at a time.")] = "1,8,32",
    engine: Annotated[
        str | None, typer.Option(metavar="NAME,…", help="Of openvino, torch, onnxruntime; without: all installed.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="NAME,…", help="Of float32, bfloat16, int8; without: all that an engine computes in."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="For measuring; opening the networks comes on top.")] = 120,
    out: Annotated[Path | None, typer.Option(help="Draw a picture: a .png.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
    no_peers: Annotated[bool, typer.Option("--no-peers", help="Leave torchvision's smaller networks out.")] = False,
    download: Download = False,
) -> None:
    """Time models on this machine: engines, precisions, batch sizes, beside torchvision and smaller networks."""
    batches = _batches(batch)
    output.require_png("--out", out)
    from vgglass import workflows

    if out:
        workflows.require_pictures()
    names = [fetched(model, download) for model in models or []]
    machine = workflows.describe_machine()
    progress = output.console(stderr=True)
    console = progress if json else output.console()
    console.print("\n".join(machine.lines()), soft_wrap=True)
    report = workflows.bench(
        names, batches=batches, engines=_listed(engine), precisions=_listed(precision), seconds=seconds,
        peers=not no_peers, machine=machine, console=progress,
    )  # fmt: skip
    if json:
        output.print_json(report.as_json())
    else:
        _show(report)
    if out:
        workflows.draw_bench(report, out)
        console.print(f"\nWritten: {out}", soft_wrap=True)


def _batches(text: str) -> list[int]:
    if not re.fullmatch(r"[1-9][0-9]*(,[1-9][0-9]*)*", text):
        raise UsageError(f"--batch {text}", "is not a list of whole numbers from 1 on", "write it as 1,8,32")
    return [int(number) for number in text.split(",")]


def _listed(text: str | None) -> list[str]:
    return text.split(",") if text else []


def _show(report: "Report") -> None:
    console = output.console()
    for table in report.tables:
        console.print(f"\n{table.model}", style="bold", soft_wrap=True)
        console.print(table.about, soft_wrap=True)
        columns = f"engine|precision|{SPEED}|>× eager|>of peak|>same top-1|>largest Δlogit"
        console.print(output.table(columns, [_cells(row) for row in table.rows]))
    if report.peers:
        first = report.tables[0].model
        console.print(f"\nbeside {first}: what one would take instead", style="bold")
        columns = f"network|engine|precision|{SPEED}|>× model"
        console.print(output.table(columns, [[row.network, *_cells(row)[:8]] for row in report.peers]))
    peaks = ", ".join(f"{name} {peak / 1e9:,.1f} G" for name, peak in report.peaks.items())
    console.print(f"\npeak, multiply-adds a second of a product of matrices: {peaks}")
    for note in report.notes:
        console.print(note, style="dim", soft_wrap=True)


def _cells(row: "Row") -> list[str]:
    speed = row.speed
    return [
        row.engine,
        row.precision,
        str(speed.batch),
        str(speed.rounds),
        f"{speed.milliseconds:,.1f}",
        f"{speed.lowest:,.1f} to {speed.highest:,.1f}" if speed.rounds > 1 else "",
        f"{speed.images_per_second:,.1f}",
        f"{row.times_as_quick:.2f}" if row.times_as_quick else "",
        f"{row.share_of_peak:.0%}" if row.share_of_peak else "",
        f"{row.agreement.top1:.0%}" if row.agreement else "",
        f"{row.agreement.difference:.1e}" if row.agreement else "",
    ]
