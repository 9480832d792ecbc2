"""vgglass export, vgglass verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vgglass.cli import output
from vgglass.cli.convert import Download, fetched
from vgglass.errors import UsageError, UserError
from vgglass.locale.messages import of_error

if TYPE_CHECKING:
    from vgglass.engines.verify import Check
    from vgglass.evaluation.predictions import Agreement

COLUMNS = "artifact|engine|precision|>largest logit difference|>tolerance|>top-1 agreement|>images/s|"


def export(
    out: Annotated[Path, typer.Argument(help="Where the graph goes: .xml (OpenVINO) or .onnx.")],
    model: Annotated[str, typer.Option(help="A model file, or a pretrained name.")] = ...,  # type: ignore[assignment]
    dense: Annotated[bool, typer.Option("--dense", help="For images of any size: the class scores as a map.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Weights and activations in eight bits.")] = False,
    int8_images: Annotated[
        Path | None, typer.Option(help="A folder: its images tell the range of each layer's numbers to --int8.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Keep an int8 graph that agrees too seldom.")] = False,
    download: Download = False,
    calibrate: Annotated[Path | None, typer.Option(hidden=True)] = None,  # what --int8-images was called in 0.1
) -> None:
    """Write a model as a graph for other runtimes, checked before it is there."""
    images = int8_images or calibrate
    if int8 != (images is not None):
        raise UsageError("--int8", "is made by images: --int8 --int8-images FOLDER", "give both, or neither")
    if force and not int8:
        raise UsageError("--force", "is for --int8 that agrees too seldom", "leave it out")
    from vgglass import workflows

    checks, agreement = workflows.export(fetched(model, download), out, dense=dense, int8_images=images, force=force)
    if agreement:
        show_agreement(agreement)
    output.console().print(_table(checks))
    files = [out, out.with_suffix(".bin")] if out.suffix == ".xml" else [out]
    output.console().print(f"\n{', '.join(f'{file} ({file.stat().st_size / 1e6:,.1f} MB)' for file in files)}")


def verify(
    artifacts: Annotated[list[str], typer.Argument(help="Model files, pretrained names, .xml or .onnx graphs.")],
    json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
    download: Download = False,
) -> None:
    """Replay the golden inputs on every runtime that is installed; status 1 where one is out of its tolerance."""
    from vgglass import workflows

    checks: list[tuple[str, Check]] = []
    unread = 0
    for name in artifacts:
        try:
            checks += [(name, check) for check in workflows.verify(fetched(name, download))]
        except UserError as error:
            output.warn(f"error: {of_error(error)}", "red")
            unread += 1
    if json:
        output.print_json([_as_json(name, check) for name, check in checks])
    elif checks:
        output.console().print(_table([check for _, check in checks], [name for name, _ in checks]))
    wrong = sum(not check.passed for _, check in checks)
    if wrong:
        output.warn(f"{wrong} of {len(checks)} out of tolerance", "red")
    if wrong or unread:
        raise typer.Exit(1)


def show_agreement(agreement: "Agreement") -> None:
    console = output.console()
    console.print(f"int8 beside float32 on {agreement.images:,} held-out images", style="bold")
    console.print(f"  top-1 agreement                 {agreement.top1_agreement:.2%}")
    if agreement.top1 and agreement.difference:
        (first, second), (difference, low, high) = agreement.top1, agreement.difference
        console.print(f"  top-1                           {first:.4f} float32, {second:.4f} int8")
        points = f"{100 * difference:+.2f} points (95 % interval {100 * low:+.2f} to {100 * high:+.2f})"
        console.print(f"  difference                      {points}")
    console.print(f"  largest probability difference  {agreement.probability:.3f}\n")


def _table(checks: "list[Check]", names: list[str] | None = None) -> Any:
    rows = [
        [
            name,
            check.engine,
            check.precision,
            f"{check.difference:.1e}",
            f"{check.tolerance:.0e}",
            f"{check.agreement:.0%}",
            f"{check.speed:,.1f}",
            "ok" if check.passed else "OUT OF TOLERANCE",
        ]
        for check, name in zip(checks, names or [str(check.path) for check in checks], strict=True)
    ]
    return output.table(COLUMNS, rows, [not check.passed for check in checks])


def _as_json(name: str, check: "Check") -> dict[str, Any]:
    return {
        "artifact": name,
        "engine": check.engine,
        "precision": check.precision,
        "difference": check.difference,
        "tolerance": check.tolerance,
        "agreement": check.agreement,
        "images_per_second": check.speed,
        "passed": check.passed,
    }
