"""Prediction: a stream of rows in input order, optionally written to a file and resumable."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vgglass import inference
from vgglass.drift import Monitor
from vgglass.errors import UsageError
from vgglass.inference import Prediction
from vgglass.inference.predictor import Predictor
from vgglass.workflows.data import reading_progress, report_line
from vgglass.workflows.models import Model, predictor

FEW_FILES = 64  # up to this many there is no progress bar


def predict(model: Model | Predictor, paths: Sequence[str | Path], *, top: int = 5, **how: Any) -> list[Prediction]:
    """Return one row per image of the given files and folders, in order; an unreadable image's row has the error.

    how  views, engine and precision, as `predictor` takes them

    >>> rows = vgglass.predict("runs/digits/best.safetensors", ["photos/3"], top=1)
    >>> len(rows)
    37
    >>> name, probability = rows[0].top[0]
    """
    return list(stream_predictions(model, paths, top=top, **how))


def stream_predictions(
    model: Model | Predictor,
    paths: Sequence[str | Path],
    *,
    top: int = 5,
    out: str | Path | None = None,
    resume: bool = False,
    sort_into: str | Path | None = None,
    console: Console | None = None,
    **how: Any,
) -> Iterator[Prediction]:
    """Yield the rows of `predict` in constant memory.

    paths      files, folders and manifests, or only '-': a list of them on standard input
    out        a .csv, .jsonl or .parquet file to write, which appears once the last row has been consumed
    resume     continue an earlier run to `out`, whose rows come first; after a completed one there are no rows
    sort_into  a folder in which to link the images by predicted class
    console    shows a progress bar if there are many images, and the chosen engine
    how        views, engine and precision, as `predictor` takes them
    Raises DataError, ModelFileError, UsageError or MissingExtraError; with `out` InterruptedRunError on SIGINT and
    SIGTERM, keeping the rows so far next to it.
    """
    if out:
        inference.require(Path(out), map(Path, paths))
    elif resume:
        raise UsageError("--resume", "goes on with the rows of --out", "add --out and the file's name")
    apart = Path(sort_into) if sort_into else None
    files = inference.expand(map(Path, paths), apart, lambda sentence: report_line(sentence, console))
    chosen = model if isinstance(model, Predictor) else predictor(model, **how)
    report_line(chosen.about, console)

    def answer(files: Iterable[Path]) -> Iterator[Prediction]:
        return inference.predict(files, chosen, top)

    if out:
        header = inference.header(chosen, top, files)
        if resume and inference.complete(Path(out)):
            inference.require_origin(Path(out), header, files)
            return iter(())
        rows = inference.recorded(answer, files, Path(out), header, resume)
    else:
        rows = answer(files)
    rows = inference.sorted_into(apart, rows) if apart else rows
    rows = _watched(rows, chosen, console)
    return _with_progress(rows, len(files), console or Console(stderr=True)) if len(files) > FEW_FILES else rows


def _watched(rows: Iterator[Prediction], chosen: Predictor, console: Console | None) -> Iterator[Prediction]:
    """The same rows; at their end a line where they differ from the model's training record."""
    if chosen.training is None:
        yield from rows
        return
    monitor, classes = Monitor(chosen.training), {name: index for index, name in enumerate(chosen.record.classes)}
    for row in rows:
        if row.top:
            seen = {name: getattr(row, name) for name in chosen.training.values}
            monitor.add(seen, classes[row.label])
        yield row
    if monitor.has_moved:
        named = ", ".join(monitor.moved) or "several quantities together"
        report_line(f"these images differ from those of the training record in {named}: see vgglass drift", console)


def _with_progress(rows: Iterator[Prediction], files: int, console: Console) -> Iterator[Prediction]:
    with reading_progress(console, "predicting") as progress:
        for done, row in enumerate(rows, 1):
            progress(done, files)
            yield row
