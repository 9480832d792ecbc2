"""vgglass calibrate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgglass.cli import output
from vgglass.cli.convert import Download, fetched
from vgglass.cli.output import MaxPixels
from vgglass.errors import UsageError

if TYPE_CHECKING:
    from vgglass.workflows.calibrate import Calibrated


def calibrate(
    folder: Annotated[Path | None, typer.Argument(help="One subfolder a class. Without: the embedded digits.")] = None,
    model: Annotated[str, typer.Option(help="A model file, or a pretrained name.")] = ...,  # type: ignore[assignment]
    precision_target: Annotated[
        float | None, typer.Option(help="Share of the answers that shall be right, such as 0.95; unsure else.")
    ] = None,
    false_alarm_rate: Annotated[
        float, typer.Option(help="Share of images like the training images that may be called unfamiliar.")
    ] = 0.05,
    split: Annotated[str | None, typer.Option(help="validation (usual), or all of a folder of its own.")] = None,
    out: Annotated[Path | None, typer.Option(help="The model file to write; --model itself without.")] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, torch or onnxruntime.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
    download: Download = False,
    max_pixels: MaxPixels = None,
) -> None:
    """Make a model's probabilities mean what they say, and have it say what it is unsure of or unfamiliar with."""
    from vgglass import workflows

    source = fetched(model, download)
    if source != model and not out:  # a downloaded model is left unchanged in the cache
        raise UsageError("--out", "names the calibrated model file and is missing", "add, say, --out m.safetensors")
    found = workflows.calibrate(
        source, folder, out=out, precision_target=precision_target, false_alarm_rate=false_alarm_rate, split=split,
        console=output.console(stderr=True), engine=engine,
    )  # fmt: skip
    if json:
        output.print_json(found.as_json())
    else:
        _show(found, folder)


def _show(found: "Calibrated", folder: Path | None) -> None:
    console = output.console()
    rows = [
        [name, *(f"{figure:.4f}" for figure in (quality.ece, quality.nll, quality.brier))]
        for name, quality in (("before", found.before), ("after", found.after))
    ]
    console.print(output.table("|>ECE|>NLL|>Brier score", rows))
    console.print(f"on the {found.images:,} {found.split} images that it was fitted on", style="dim")
    if found.temperature is None:
        console.print("\nNo temperature: no answer is wrong here, so that none is the best one.")
    else:
        console.print(f"\nTemperature {found.temperature:.4f}: divides the logits; the likeliest class stays.")
    if found.threshold:
        chosen = found.threshold
        console.print(
            f"Threshold {chosen.value:.4f}: answers {chosen.coverage:.1%}, {chosen.precision:.4f} of them rightly; on"
            f" other images at least {chosen.low:.4f}, with 95 % confidence. The rest is 'unsure'.",
            soft_wrap=True,
        )
    if known := found.familiarity:
        console.print(
            f"Unfamiliar: images farther from the training images than {1 - known['false_alarm_rate']:.1%} of"
            f" {known['images']:,} held-out ones ({known['judged_on']}).",
            soft_wrap=True,
        )
    if found.recorded:
        console.print("Training record: vgglass drift compares later answers with those to these images.")
    else:
        console.print("No training record, which vgglass drift compares with: it takes 100 images or more.")
    console.print(f"Written: {found.path}", soft_wrap=True)
    console.print(f"Next:    vgglass evaluate --model {found.path}{f' {folder}' if folder else ''}", soft_wrap=True)
