"""vgglass predict."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vgglass.cli import output
from vgglass.cli.convert import Download, fetched
from vgglass.cli.output import MaxPixels
from vgglass.errors import UsageError
from vgglass.locale.messages import translated

if TYPE_CHECKING:
    from vgglass.inference import Prediction

PAGE = 1000  # rows per table, over which column widths are computed


class Tally:
    """Counts the rows of an iterator, and those of unreadable images."""

    def __init__(self) -> None:
        self.rows = self.failed = 0

    def counted(self, rows: "Iterable[Prediction]") -> "Iterator[Prediction]":
        for row in rows:
            self.rows += 1
            self.failed += bool(row.error)
            yield row


def predict(
    paths: Annotated[list[str], typer.Argument(help="Images, folders of images, or - for a list on standard input.")],
    model: Annotated[str, typer.Option(help="A model file, or a pretrained name.")] = "vgg16",
    top: Annotated[int, typer.Option(min=1, help="Answers an image.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Write the rows to a .csv, .jsonl or .parquet file.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run with this --out stopped.")] = False,
    sort_into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Link the images into DIR, a folder a predicted class.")
    ] = None,
    views: Annotated[str | None, typer.Option(help="centre, dense, crops, scales; dense@256,384+crops@256.")] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, torch or onnxruntime.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto (the quicker here), float32, bfloat16 or int8.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Rows for a program.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="On a Ray cluster: local, auto or HOST:PORT; --out is a folder."),
    ] = None,
    actors: Annotated[int | None, typer.Option(min=1, help="With --ray: workers; else one a GPU, or a CPU.")] = None,
    shard: Annotated[int | None, typer.Option(min=1, help="With --ray: images a part (1000).")] = None,
    download: Download = False,
    max_pixels: MaxPixels = None,
) -> None:
    """Name what is in images."""
    from vgglass import workflows

    _require_compatible(ray, out, {"--actors": actors, "--shard": shard}, {"--sort-into": sort_into, "--json": json})
    if ray and out:
        _predict_on_cluster(
            fetched(model, download), paths, out, address=ray, top=top, views=views, engine=engine, precision=precision,
            actors=actors, shard=shard,
        )  # fmt: skip
        return
    complete = resume and out is not None and workflows.is_complete(out)

    scrolling = json and sys.stdout.isatty()  # rows scrolling by on a terminal need no progress bar
    console = output.SpokenConsole(stderr=True, force_terminal=False if scrolling else None)
    tally = Tally()
    rows = tally.counted(
        workflows.stream_predictions(
            fetched(model, download), paths, top=top, out=out, resume=resume, sort_into=sort_into, console=console,
            views=views, engine=engine, precision=precision,
        )
    )  # fmt: skip
    if json:
        output.print_json_list(row.as_json() for row in rows)
    elif out:
        for _ in rows:
            pass
        said = f"{tally.rows:,} row{'s' * (tally.rows != 1)}: {out}"
        whole = f"nothing is left to do: {out} is complete; leave out --resume to predict anew"
        output.console().print(whole if complete else said, soft_wrap=True)
    else:
        _show(rows)
    _exit_on_failures(tally.failed, tally.rows)


def _require_compatible(ray: str | None, out: Path | None, with_ray: dict[str, Any], without: dict[str, Any]) -> None:
    """Raises UsageError for incompatible options. --resume is implied by --ray."""
    if not ray:
        for name, value in with_ray.items():
            if value is not None:
                raise UsageError(name, "says how a cluster is to work", "add --ray and its address")
        return
    if not out:
        raise UsageError("--ray", "writes its rows to the parts of a folder", "add --out and the folder's name")
    for name, value in without.items():
        if value:
            raise UsageError(name, "does not go with --ray, whose rows are in the parts of --out", "leave it out")


def _predict_on_cluster(model: str, paths: list[str], out: Path, *, shard: int | None, **how: Any) -> None:
    from vgglass.cluster import predict as on_cluster

    console = output.SpokenConsole(stderr=True)
    done = on_cluster.predict(model, paths, out, shard=shard or on_cluster.SHARD, console=console, **how)
    parts = f"{done.made} part{'s' * (done.made != 1)} made" if done.made else "nothing was left to do"
    output.console().print(f"{done.rows:,} row{'s' * (done.rows != 1)}: {out} ({parts})", soft_wrap=True)
    _exit_on_failures(done.failed, done.rows)


def _exit_on_failures(failed: int, rows: int) -> None:
    if failed:
        output.warn(f"{failed} of {rows} images could not be read", "red")
        raise typer.Exit(1)


def _show(rows: "Iterator[Prediction]") -> None:
    while page := list(islice(rows, PAGE)):
        cells = [[output.visible(row.shown), *_cells(row)] for row in page]
        failed = [bool(row.error) for row in page]
        output.console().print(output.table("image|class|>probability|next likeliest", cells, failed))


def _cells(row: "Prediction") -> list[str]:
    if row.error:
        return [translated(row.error), "", ""]
    others = ", ".join(f"{output.visible(name)} {share:.3f}" for name, share in row.top[1:3])
    doubt = "unfamiliar: " if row.unfamiliar else "unsure: " if row.unsure else ""
    return [f"{doubt}{output.visible(row.label)}", f"{row.probability:.3f}", others]
