"""vgglass evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from vgglass.cli import output

if TYPE_CHECKING:
    from vgglass.evaluation.metrics import Evaluation

CAUTIONS = {
    "selection": "used for selection: these images chose the weights, so the figure flatters",
    "changed": "this folder has changed since the training: some of these images may have trained the model,"
    " and the figure then flatters; train again, or keep test images in a folder of their own",
    "training": "used for training: the model has learned from these images, so the figure says little",
}


def evaluate(
    folder: Annotated[Path | None, typer.Argument(help="One subfolder a class. Without: the embedded digits.")] = None,
    model: Annotated[str, typer.Option(help="A model file, or a pretrained name.")] = ...,  # type: ignore[assignment]
    split: Annotated[str | None, typer.Option(help="test, validation, train or all.")] = None,
    views: Annotated[str | None, typer.Option(help="centre, dense, crops, scales; dense@256,384+crops@256.")] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, torch or onnxruntime.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="float32 (usual), bfloat16, or auto: as predict.")] = None,
    picture_: Annotated[
        Path | None, typer.Option("--picture", help="Where the confusion matrix goes; beside the model without.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
) -> None:
    """Judge a model on images that it has not seen: top-1, top-5, per class, confusion matrix."""
    from vgglass import api

    output.require_png("--picture", picture_)
    evaluation = api.evaluate(
        model, folder, split=split, console=output.console(stderr=True), views=views, engine=engine, precision=precision
    )
    if json:
        output.print_json(evaluation.as_json())
        return
    console = output.console()
    show(evaluation, console)
    console.print(f"\nConfusion matrix: {picture(evaluation, Path(model), picture_)}", soft_wrap=True)


def show(evaluation: "Evaluation", console: Console) -> None:
    rows = [[row.name, f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.images:,}"] for row in evaluation.per_class]
    console.print()
    console.print(output.table("class|>precision|>recall|>images", rows))
    top5 = "" if evaluation.top5 is None else f"   top-5 {evaluation.top5:.4f}"
    console.print(f"\ntop-1 {evaluation.top1:.4f}{top5}", style="bold", end="")
    console.print(f"   on {evaluation.images:,} {evaluation.split} images")
    if evaluation.used_for:
        console.print(CAUTIONS[evaluation.used_for], style="yellow")


def picture(evaluation: "Evaluation", model: Path, path: Path | None = None) -> Path:
    """Draw the confusion matrix to `path`, or beside the model file; the path that was written."""
    from vgglass import figures

    folder = model.parent if model.exists() else Path()
    path = path or folder / f"confusion-{evaluation.split}.png"
    classes = tuple(row.name for row in evaluation.per_class)
    title = f"{evaluation.split}: top-1 {evaluation.top1:.4f} on {evaluation.images:,} images"
    for sentence in figures.confusion(evaluation.confusion, classes, title, path):
        typer.secho(sentence, fg="yellow", err=True)
    return path
