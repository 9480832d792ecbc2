"""vgglass demo, vgglass train, vgglass clip."""

import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vgglass.cli import evaluate, output, streams
from vgglass.cli.convert import Download, Preprocessing, fetched
from vgglass.cli.output import Language, MaxPixels
from vgglass.errors import InterruptedRunError, UsageError

Fields = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Any other recipe field; may be repeated.")
]
Checkpoints = Annotated[str, typer.Option(help="Steps, such as 500, or a time: 30s, 5m, 1h.")]

INTERRUPTED = 130  # 128 + SIGINT, by shell convention


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write; an earlier demo in it is replaced.")] = Path("runs/demo"),
) -> None:
    """Learn real handwritten digits, be judged on digits not seen, predict them: about half a minute."""
    from vgglass import workflows

    workflows.prepare_process()
    streams.narrate()
    began = time.perf_counter()
    console = output.console()
    console.print("Training a small VGG (column A) on 1,257 handwritten digits, choosing the best epoch on 180 more.")
    best = workflows.train(out=out, overwrite=True, console=console)
    evaluation = workflows.report(best, None, out / "report.html", explain=True)
    picture = evaluate.picture(evaluation, best)
    evaluate.show(evaluation, console)
    folder = workflows.write_digits("test", out / "test-digits")
    rows = workflows.predict(best, [folder])
    workflows.write_rows(rows, out / "predictions.csv", len(rows[0].top))
    right = sum(Path(row.path).parent.name == row.label for row in rows)
    console.print(
        f"\nPredicted the {len(rows)} test digits from their files: {right} right, {len(rows) - right} wrong."
    )
    console.print(f"Done in {time.perf_counter() - began:.0f} s. Written:")
    for path, what in (
        (best, "the model file"),
        (out / "curves.png", "loss and accuracy by epoch"),
        (picture, "confusion matrix"),
        (out / "report.html", "the report: open it in a browser"),
        (out / "predictions.csv", "every prediction"),
        (folder, "the test digits as images"),
    ):
        console.print(f"  {path}   {what}", soft_wrap=True)
    program = "vgglass" if shutil.which("vgglass") else sys.argv[0]  # not on PATH unless the environment is activated
    console.print(f"\nNext, try:  {program} predict --model {best} {folder / '7'}", soft_wrap=True)
    console.print(f"            {program} look --model {best} {rows[0].path} --out {out / 'look'}", soft_wrap=True)
    console.print(f"            {program} serve --model {best}", soft_wrap=True)


def train(
    folder: Annotated[
        Path | None, typer.Argument(help="One subfolder a class, flat or in train/val/test. Without: the digits.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run, such as runs/mine.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A shipped recipe's name or a .toml file.")] = None,
    architecture: Annotated[str | None, typer.Option(help="A to E, A-LRN, vgg11 to vgg19, each also with _bn.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the network's input, 32 or more.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images; with --resume, in all.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its highest, after warm-up.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Start from a model file, a pretrained name, or .pth, .h5, .keras, .onnx weights.",
        ),
    ] = None,
    preprocessing: Preprocessing = None,
    part: Annotated[str | None, typer.Option("--train", help="all layers, the last-block and head, or head.")] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Judge what is trained in so many folds; no images are held out then."),
    ] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Divide into folds anew so many times.")] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Add the folder's classes to those of --from, a fitted head.")
    ] = False,
    set_: Fields = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in --out stopped; with --epochs, also beyond its end.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --out.")] = False,
    preview: Annotated[
        Path | None, typer.Option("--preview", help="Draw what the network would see to a .png file, and stop.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that decode; without: what suits.")] = None,
    checkpoint_every: Checkpoints = "5m",
    keep: Annotated[int, typer.Option(min=1, help="Checkpoints that stay.")] = 2,
    watch: Annotated[
        bool, typer.Option("--watch", help="Record how it learns, for the page and vgglass clip: at most 20 MB.")
    ] = False,
    download: Download = False,
    max_pixels: MaxPixels = None,
) -> None:
    """Train a VGG network on a folder of photographs, or on a manifest (.parquet, .csv).

    Exit status: 0 trained, 1 refused or failed, 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP, the
    state saved.
    """
    output.require_png("--preview", preview)
    if out is None and preview is None:
        raise UsageError("--out", "names the folder for the run and is missing", "add, say, --out runs/mine")
    from vgglass import workflows

    workflows.prepare_process()
    streams.narrate()
    given = {
        "architecture": architecture,
        "image_size": image_size,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "train": part,
        "folds": folds,
        "repeats": repeats,
    }
    overrides = {name: value for name, value in given.items() if value is not None} | fields(set_ or [])
    console = output.console(quiet=not workflows.is_first_process())
    start = fetched(source, download) if source else None
    if preview:
        if not workflows.is_first_process():
            return
        workflows.preview(
            folder, preview, recipe=recipe, source=start, preprocessing=preprocessing, add=add, console=console,
            **overrides,
        )  # fmt: skip
        console.print(f"Written: {preview}", soft_wrap=True)
        return
    assert out is not None
    try:
        best = workflows.train(
            folder, out=out, recipe=recipe, source=start, preprocessing=preprocessing, add=add, resume=resume,
            overwrite=overwrite, workers=workers, checkpoint_every=checkpoint_every, keep=keep, watch=watch,
            console=console, **overrides,
        )  # fmt: skip
    except InterruptedRunError as interrupted:
        console.print(str(interrupted), soft_wrap=True)
        raise typer.Exit(interrupted.exit_status) from None
    except KeyboardInterrupt:
        console.print("interrupted; nothing was saved after the last checkpoint", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    if workflows.is_first_process():
        _print_summary(best, folder, resume, console)


def clip(
    source: Annotated[Path, typer.Argument(help="A run trained with --watch; with --layer, an image.")],
    out: Annotated[Path, typer.Option(help="The .gif file to write.")] = Path("learning.gif"),
    layer: Annotated[str | None, typer.Option(help="Draw this operation: conv1_1, relu1_1, pool1, fc6.")] = None,
    channel: Annotated[int | None, typer.Option(help="Of the layer; with the largest output without.")] = None,
    model: Annotated[str | None, typer.Option(help="For an image: a model file, or a pretrained name; vgg16.")] = None,
    download: Download = False,
    lang: Language = None,
    max_pixels: MaxPixels = None,
) -> None:
    """A GIF of how a network learned; or of one layer's arithmetic on an image, output by output."""
    from vgglass import workflows

    chosen = fetched(model or "vgg16", download) if layer else model
    written = workflows.clip(source, out, layer=layer, channel=channel, model=chosen, lang=lang)
    output.console().print(f"Written: {written}", soft_wrap=True)


def fields(assignments: list[str]) -> dict[str, Any]:
    """Parse --set FIELD=VALUE options to recipe fields. Raises UsageError."""
    found = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment}", "is not FIELD=VALUE", "write, say, --set weight_decay=0.0001")
        found[name] = value
    return found


def _print_summary(best: Path, folder: Path | None, resumed: bool, console: Console) -> None:
    from vgglass import workflows

    record, out = workflows.load_record(best), best.parent
    chosen, metrics = record.data["selected_on"], record.metrics
    if chosen == "train":
        for split in ("validation", "test"):
            if split in metrics:
                low, high = metrics[split]["interval"]
                console.print(f"{split.capitalize()} accuracy {metrics[split]['top1']:.4f} ({low:.4f} to {high:.4f}).")
        if "epoch" in metrics:
            console.print(f"Written: {best}, {out / 'curves.png'}, {out / 'metrics.jsonl'}")
        else:
            console.print(f"Written: {best}, {out / 'metrics.jsonl'}")
    else:
        epoch = metrics["epoch"]
        best_of = f"epoch {epoch}" if epoch else "the network as it began, which no epoch improved on"
        console.print(f"Best: {best_of}; validation accuracy {metrics['validation']['top1']:.4f} (used for selection).")
        console.print(f"Written: {best}, {out / 'last.safetensors'}, {out / 'curves.png'}, {out / 'metrics.jsonl'}")
    judged = folder or (record.data["name"] if resumed and Path(record.data["name"]).exists() else None)
    only = " --split train" if len(record.data["images"]) > 1 else ""
    seen = f" --folds {metrics['folds']['folds']}{only} --html report.html" if "folds" in metrics else ""
    console.print(f"Next:    vgglass evaluate --model {best}{f' {judged}' if judged else ''}{seen}", soft_wrap=True)
