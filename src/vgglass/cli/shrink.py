"""vgglass shrink."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal

from vgglass.cli import output
from vgglass.cli.convert import Download, fetched
from vgglass.cli.evaluate import CAUTIONS
from vgglass.cli.output import MaxPixels

if TYPE_CHECKING:
    from vgglass.shrinking.judgement import Judgement


def shrink(
    model: Annotated[str, typer.Argument(metavar="M", help="A model file, or a pretrained name.")],
    folder: Annotated[Path | None, typer.Argument(help="Its training images. Without: the embedded digits.")] = None,
    head: Annotated[str, typer.Option(help="A rank for fc6 and fc7; auto; or pooled: pool5's average and fc8.")] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option(help="The model file to write.")] = ...,  # type: ignore[assignment]
    json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
    download: Download = False,
    max_pixels: MaxPixels = None,
) -> None:
    """Make a smaller model from a trained one, and say what it costs on images that chose nothing."""
    from vgglass import workflows

    source = fetched(model, download)
    found = workflows.shrink_head(source, folder, out=out, head=head, console=output.console(stderr=True))
    if json:
        output.print_json(found.as_json())
        return
    console = output.console()
    if any(found.ranks):
        console.print(f"fc6 of rank {found.ranks[0]:,}, fc7 of rank {found.ranks[1]:,} (0: one matrix)")
    show(found.judgement, console)
    console.print(f"\nWritten: {found.path}; calibrate it anew: temperature and threshold were the parent's")


def show(found: "Judgement", console: Console) -> None:
    """Print costs, time and accuracy of parent and child, and whether the difference may be chance."""
    parent, child, comparison = found.parent, found.child, found.comparison
    rows = [
        ["multiply-adds", f"{parent.multiply_adds:,}", f"{child.multiply_adds:,}",
         _share(child.multiply_adds, parent.multiply_adds)],
        ["parameters", f"{parent.parameters:,}", f"{child.parameters:,}", _share(child.parameters, parent.parameters)],
        ["file", decimal(parent.size), decimal(child.size), _share(child.size, parent.size)],
    ]  # fmt: skip
    for precision, taken in parent.milliseconds.items():
        less = child.milliseconds[precision]
        rows.append(
            [f"ms an image, {precision}", f"{taken:.2f}", f"{less:.2f}", f"{found.speedup[precision]:.2f}× as fast"]
        )
    points, low, high = (100 * share for share in comparison.difference)
    rows.append(["top-1", *(f"{top1:.4f}" for top1 in comparison.top1), f"{points:+.2f} points"])
    console.print(output.table("|>parent|>child|>", rows))
    images = f"{comparison.images:,} {comparison.split} images"
    console.print(f"\nThe child's top-1 is {points:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}) on {images};")
    test = f"p = {comparison.p:.2g}" if comparison.p >= 1e-4 else "p < 0.0001"
    verdict = "larger than chance" if comparison.is_larger_than_chance else "may be chance"
    console.print(f"that {'is ' * comparison.is_larger_than_chance}{verdict} (McNemar's exact test: {test}).", end=" ")
    console.print(f"Parent and child agree on {found.agreement:.1%} of them. Times: {found.engine}, medians, in turns.")
    if comparison.used_for[0]:
        console.print(CAUTIONS[comparison.used_for[0]], style="yellow", soft_wrap=True)


def _share(less: float, whole: float) -> str:
    return f"{less / whole:.1%}"
