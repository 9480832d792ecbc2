"""vgglass shrink."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal

from vgglass.cli import output, streams
from vgglass.cli.convert import Download, fetched
from vgglass.cli.evaluate import CAUTIONS
from vgglass.cli.output import MaxPixels
from vgglass.cli.train import Checkpoints, Fields, fields
from vgglass.errors import InterruptedRunError
from vgglass.locale.messages import translated

if TYPE_CHECKING:
    from vgglass.shrinking.judgement import Judgement
    from vgglass.workflows.shrink import Shrunk


def shrink(
    model: Annotated[str, typer.Argument(metavar="M", help="A model file, or a pretrained name.")],
    out: Annotated[Path, typer.Option(help="The model file to write; a .png of the way lies beside it.")],
    folder: Annotated[
        Path | None, typer.Argument(help="Its images, divided as in training. Without: those that it learned from.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(help="Remove channels until it is so many times as quick here. The default is 4.")
    ] = None,
    multiply_adds: Annotated[
        float | None, typer.Option(help="Or until this share of its multiply-adds is left.")
    ] = None,
    largest_loss: Annotated[
        float | None, typer.Option(help="Or the smallest network that loses at most so many points of top-1.")
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="Shrink fc6 to fc8 instead: a rank; auto; or pooled, for pool5's average and a fitted fc8."),
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Train a network of the same widths from random weights as well.")
    ] = False,
    set_: Fields = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew, not where an earlier call stopped.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that decode; without: what suits.")] = None,
    checkpoint_every: Checkpoints = "5m",
    json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
    download: Download = False,
    max_pixels: MaxPixels = None,
) -> None:
    """Make a smaller, quicker model of a trained one, and say what that costs on images that chose nothing.

    Killed or interrupted, the same command goes on. Exit status: 0 shrunk, 1 refused or failed, 130 after Ctrl-C, 143
    after SIGTERM and 129 after SIGHUP, the state saved.
    """
    from vgglass import workflows

    workflows.prepare_process(keep_memory=False)
    streams.narrate()
    source = fetched(model, download)
    said = output.console(stderr=json)
    try:
        found = workflows.shrink(
            source, folder, out=out, speed=speed, multiply_adds=multiply_adds, largest_loss=largest_loss, head=head,
            baseline=baseline, overwrite=overwrite, workers=workers, checkpoint_every=checkpoint_every, console=said,
            **fields(set_ or []),
        )  # fmt: skip
    except InterruptedRunError as interrupted:
        said.print(str(interrupted), soft_wrap=True)
        raise typer.Exit(interrupted.exit_status) from None
    picture = workflows.draw_shrinking(found, out.with_suffix(".png")) if found.rounds else None
    if json:
        output.print_json(found.as_json())
        return
    _show(found, picture)


def _show(found: "Shrunk", picture: Path | None) -> None:
    console = output.console()
    if any(found.ranks):
        console.print(f"fc6 of rank {found.ranks[0]:,}, fc7 of rank {found.ranks[1]:,} (0: one matrix)")
    console.print()
    _compare(found.judgement, "child", console)
    if found.baseline:
        console.print("\nA network of the same widths that learned from random weights and the labels alone:")
        _compare(found.baseline, "baseline", console)
    console.print(f"\nWritten: {found.path}{f', {picture}' if picture else ''}", soft_wrap=True)
    if found.parent.record.temperature is not None:
        console.print("Calibrate it anew: temperature and threshold were the parent's.")
    if found.rounds:
        console.print(f"The networks on the way are in {found.path.with_suffix('.shrink')}, which may be removed.")


def _compare(found: "Judgement", name: str, console: Console) -> None:
    """Print costs, time and accuracy of parent and child, and what the number of images can prove."""
    parent, child, comparison = found.parent, found.child, found.comparison
    rows = [
        [translated("multiply-adds"), f"{parent.multiply_adds:,}", f"{child.multiply_adds:,}",
         _share(child.multiply_adds, parent.multiply_adds)],
        [translated("parameters"), f"{parent.parameters:,}", f"{child.parameters:,}",
         _share(child.parameters, parent.parameters)],
        [translated("file"), decimal(parent.size), decimal(child.size), _share(child.size, parent.size)],
    ]  # fmt: skip
    for precision, taken in parent.milliseconds.items():
        less = child.milliseconds[precision]
        rows.append(
            [f"ms an image, {precision}", f"{taken:.2f}", f"{less:.2f}", f"{found.speedup[precision]:.2f}× as fast"]
        )
    quicker = parent.seconds / child.seconds
    rows.append(
        [
            f"s for {comparison.images:,} files",
            f"{parent.seconds:.1f}",
            f"{child.seconds:.1f}",
            f"{quicker:.2f}× as fast",
        ]
    )
    points, low, high = (100 * share for share in comparison.difference)
    rows.append(["top-1", *(f"{top1:.4f}" for top1 in comparison.top1), f"{points:+.2f} points"])
    rows = [[translated(label), *figures, translated(ratio)] for label, *figures, ratio in rows]
    console.print(output.table(f"|>parent|>{name}|>", rows))
    images = f"{comparison.images:,} {comparison.split} images"
    console.print(
        f"\nThe {name}'s top-1 is {points:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}) on {images};"
    )
    test = f"p = {comparison.p:.2g}" if comparison.p >= 1e-4 else "p < 0.0001"
    verdict = "larger than chance" if comparison.is_larger_than_chance else "may be chance"
    console.print(f"that {'is ' * comparison.is_larger_than_chance}{verdict} (McNemar's exact test: {test}).", end=" ")
    if found.detectable is None:
        console.print("So few images can't prove any difference.", end=" ")
    else:
        least = f"{100 * found.detectable:.1f} points"
        console.print(f"This many images prove a difference, four times in five, if it is {least} or more.", end=" ")
    console.print(f"Parent and {name} agree on {found.agreement:.1%}. Times: {found.engine}, medians, in turns.")
    if comparison.used_for[0]:
        console.print(CAUTIONS[comparison.used_for[0]], style="yellow", soft_wrap=True)


def _share(less: float, whole: float) -> str:
    return f"{less / whole:.1%}"
