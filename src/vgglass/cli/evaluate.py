"""vgglass evaluate, vgglass compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from vgglass.cli import output
from vgglass.cli.convert import Download, fetched
from vgglass.cli.output import MaxPixels
from vgglass.errors import UsageError
from vgglass.locale.messages import translated

if TYPE_CHECKING:
    from vgglass.evaluation.metrics import Evaluation
    from vgglass.evaluation.predictions import Comparison
    from vgglass.training.folds import FoldFigures

CAUTIONS = {
    "selection": "used for selection: these images chose the weights, so the figure flatters",
    "calibration": "used for calibration: these images chose the temperature or the threshold, so the probabilities"
    " flatter",
    "changed": "this folder has changed since the training: some of these images may have trained the model,"
    " and the figure then flatters; train again, or keep test images in a folder of their own",
    "training": "used for training: the model has learned from these images, so the figure says little",
}
NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auc": "ROC-AUC",
}
UNDEFINED = "-"


def evaluate(
    folder: Annotated[Path | None, typer.Argument(help="One subfolder a class. Without: the embedded digits.")] = None,
    model: Annotated[str, typer.Option(help="A model file, or a pretrained name.")] = ...,  # type: ignore[assignment]
    ensemble: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="Average with this model too; may be repeated.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="test, validation, train or all.")] = None,
    views: Annotated[str | None, typer.Option(help="centre, dense, crops, scales; dense@256,384+crops@256.")] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, torch or onnxruntime.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="float32 (usual), bfloat16, or auto: as predict.")] = None,
    picture_: Annotated[
        Path | None, typer.Option("--picture", help="Where the confusion matrix goes; beside the model without.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report: one page with figures and images.")] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="In it, why each mistake: class map or Grad-CAM, and the nearest training images."
        ),
    ] = False,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="In it, accuracy against size, JPEG, blur, brightness, noise.")
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2, help="Judge how it came about, on all images: in so many folds, each answered without its own."
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Divide into folds anew so many times.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
    download: Download = False,
    max_pixels: MaxPixels = None,
) -> None:
    """Judge a model on images that it has not seen: figures with their intervals, per class, confusion matrix."""
    from vgglass import workflows

    for name, wanted in (("--explain", explain), ("--robustness", robustness)):
        if wanted and not html:
            raise UsageError(name, "goes into the report of --html", "add, say, --html report.html")
    of_a_model = {
        "--ensemble": ensemble, "--views": views, "--engine": engine != "auto", "--precision": precision,
        "--explain": explain, "--robustness": robustness,
    }  # fmt: skip
    for name, given in of_a_model.items():
        if folds and given:
            raise UsageError(name, "looks at one model, and --folds fits another in each", "leave one of the two out")
    if repeats > 1 and not folds:
        raise UsageError("--repeats", "is of --folds", "add, say, --folds 5")
    output.require_png("--picture", picture_)
    notes = output.console(stderr=True)
    source, others = fetched(model, download), [fetched(other, download) for other in ensemble or ()]
    how: dict[str, Any] = {"split": split, "console": notes}
    if folds:
        how |= {"folds": folds, "repeats": repeats}
    else:
        how |= {"ensemble": others, "views": views, "engine": engine, "precision": precision}
    if html:
        evaluation = workflows.report(source, folder, html, explain=explain, robustness=robustness, **how)
        (notes if json else output.console()).print(f"Written: {html} (open it in a browser)", soft_wrap=True)
    else:
        evaluation = workflows.evaluate(source, folder, **how)
    if json:
        output.print_json(evaluation.as_json())
        return
    console = output.console()
    show(evaluation, console)
    console.print(f"\nConfusion matrix: {picture(evaluation, Path(model), picture_)}", soft_wrap=True)


def show(evaluation: "Evaluation", console: Console) -> None:
    rows = [
        [row.name, *map(_share, (row.precision, row.recall, row.f1, row.auc)), f"{row.images:,}"]
        for row in evaluation.per_class
        if row.images or row.precision is not None  # with a thousand classes only few may occur
    ]
    console.print()
    console.print(output.table("class|>precision|>recall|>F1|>AUC|>images", rows))
    figures = {name: _headline(evaluation, name) for name in NAMES if getattr(evaluation, name) is not None}
    first = "   ".join(figures.pop(name) for name in ("top1", "top5") if name in figures)
    console.print(f"\n{first}", style="bold", end="")
    console.print(f"   on {evaluation.images:,} {evaluation.split} images")
    console.print("   ".join(figures.values()))
    quality = evaluation.calibration
    console.print(f"ECE {quality.ece:.4f}   NLL {quality.nll:.4f}   Brier score {quality.brier:.4f}")
    if evaluation.selective:
        found = evaluation.selective
        right = "" if found.precision is None else f", {found.precision:.4f}{_interval(found.interval)} of them rightly"
        console.print(f"answers {found.coverage:.1%}, those with a probability of {found.threshold:.4f} or more{right}")
    if evaluation.familiar:
        known = evaluation.familiar
        right = (
            "" if known.accuracy is None else f"; top-1 of the others {known.accuracy:.4f}{_interval(known.interval)}"
        )
        told = f"unfamiliar: {known.unfamiliar:,} images, {known.share:.1%} ({known.promised:.1%} of familiar ones)"
        console.print(f"{told}{right}")
    if evaluation.intervals:
        console.print("in brackets: 95 % intervals", style="dim")
    if evaluation.folds:
        console.print(_of_folds(evaluation.folds), soft_wrap=True)
    if evaluation.used_for:
        console.print(CAUTIONS[evaluation.used_for], style="yellow")
    _show_undefined(evaluation, console)
    _show_protocol(evaluation, console)


def _of_folds(found: "FoldFigures") -> str:
    shares = [share for repeat in found.accuracies for share in repeat]
    text = (
        f"in {found.folds} folds, each image answered by a"
        f" {'network that was trained' if found.networks else 'head that was fitted'} without it and its near"
        " duplicates;"
        f" accuracies of the folds {min(shares):.4f} to {max(shares):.4f}"
    )
    return text + f"; top-1 is the mean of {found.repeats} repeats, all else of the first" * (found.repeats > 1)


def _share(figure: float | None) -> str:
    return UNDEFINED if figure is None else f"{figure:.3f}"


def _headline(evaluation: "Evaluation", name: str) -> str:
    interval = translated(_interval(evaluation.intervals.get(name)))
    return f"{translated(NAMES[name])} {getattr(evaluation, name):.4f}{interval}"


def _interval(interval: tuple[float, float] | None) -> str:
    return f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else ""


def _show_undefined(evaluation: "Evaluation", console: Console) -> None:
    """Print each reason once, with the metrics that it leaves undefined."""
    reasons: dict[str, list[str]] = {}
    for name, reason in evaluation.undefined.items():
        of_interval = name.startswith("intervals.")
        figure = NAMES[name.removeprefix("intervals.")]
        reasons.setdefault(reason, []).append(f"interval of {figure}" if of_interval else figure)
    for reason, names in reasons.items():
        console.print(f"no {', '.join(names)}: {reason}", style="dim", soft_wrap=True)


def _show_protocol(evaluation: "Evaluation", console: Console) -> None:
    """Print a row in the format of the paper's Tables 3 to 6."""
    way = evaluation.protocol
    on = {"validation": "val. ", "all": ""}.get(evaluation.split, f"{evaluation.split} ")
    networks = "combined ConvNet models" if "+" in way.networks else "ConvNet config."
    columns = f"{networks}|>train (S)|>test (Q)|evaluation|>top-1 {on}error (%)|>top-5 {on}error (%)"
    errors = [UNDEFINED if top is None else f"{100 * (1 - top):.1f}" for top in (evaluation.top1, evaluation.top5)]
    console.print()
    console.print(output.table(columns, [[way.networks, way.train or UNDEFINED, way.test, way.method, *errors]]))


def picture(evaluation: "Evaluation", model: Path, path: Path | None = None) -> Path:
    """Draw the confusion matrix to `path` (default: next to the model file); return the path."""
    from vgglass import workflows

    path, sentences = workflows.draw_confusion(evaluation, model, path)
    for sentence in sentences:
        output.warn(sentence)
    return path


def compare(
    first: Annotated[str, typer.Argument(metavar="M1", help="A model file, or a pretrained name.")],
    second: Annotated[str, typer.Argument(metavar="M2", help="The model that is compared with it.")],
    folder: Annotated[Path | None, typer.Argument(help="One subfolder a class. Without: the embedded digits.")] = None,
    split: Annotated[str | None, typer.Option(help="test, validation, train or all.")] = None,
    views: Annotated[str | None, typer.Option(help="centre, dense, crops, scales; dense@256,384+crops@256.")] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, torch or onnxruntime.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="float32 (usual), bfloat16, or auto: as predict.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
    download: Download = False,
    max_pixels: MaxPixels = None,
) -> None:
    """Two models on the same images, and whether their difference is larger than chance (McNemar's exact test)."""
    from vgglass import workflows

    found = workflows.compare(
        fetched(first, download), fetched(second, download), folder, split=split, console=output.console(stderr=True),
        views=views, engine=engine, precision=precision,
    )  # fmt: skip
    if json:
        output.print_json(found.as_json())
    else:
        _show_comparison(found, (first, second), output.console())


def _show_comparison(found: "Comparison", models: tuple[str, str], console: Console) -> None:
    alone = found.only_first, found.only_second
    rows = [[name, f"{top1:.4f}", f"{count:,}"] for name, top1, count in zip(models, found.top1, alone, strict=True)]
    console.print(output.table("model|>top-1|>right alone", rows))
    difference, low, high = (100 * share for share in found.difference)
    points = f"{difference:+.2f} points (95 % interval {low:+.2f} to {high:+.2f})"
    console.print(f"\nThe second model's top-1 is {points} on {found.images:,} {found.split} images.")
    test = f"McNemar's exact test: p = {found.p:.2g}" if found.p >= 1e-4 else "McNemar's exact test: p < 0.0001"
    if found.is_larger_than_chance:
        better = models[found.only_second > found.only_first]
        console.print(f"That is larger than chance ({test}): {better} is the better one.", style="bold", soft_wrap=True)
    else:
        console.print(f"That may be chance ({test}): these images don't tell which one is better.", style="bold")
    for name, use in zip(models, found.used_for, strict=True):
        if use:
            console.print(f"{name}: {CAUTIONS[use]}", style="yellow", soft_wrap=True)
