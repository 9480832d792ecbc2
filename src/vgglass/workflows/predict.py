"""A model asked what is in images: rows, in order, kept as they come where they go to a file."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vgglass import inference
from vgglass.errors import UsageError
from vgglass.inference import Prediction
from vgglass.inference.predictor import Predictor
from vgglass.workflows.data import reading_progress, report_line
from vgglass.workflows.models import Model, predictor

FEW_FILES = 64  # are predicted without a bar


def predict(model: Model | Predictor, paths: Sequence[str | Path], *, top: int = 5, **how: Any) -> list[Prediction]:
    """One row for each image of the files and folders given, in order; an unreadable one carries its reason.

    how  views, engine and precision, as `predictor` takes them
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
    """The rows of `predict` as they come, however many.

    paths      files, folders and manifests, or '-' alone: a list of them on standard input
    out        a .csv, .jsonl or .parquet file that the rows go to; it is there when the last row has been taken
    resume     go on with the rows of an earlier run to `out`, which come first; of one that ended there are none
    sort_into  a folder to link the images into, by predicted class
    console    of a bar where there are many, and of a line that says what was chosen
    how        views, engine and precision, as `predictor` takes them
    Raises DataError, ModelFileError, UsageError or MissingExtraError; with `out` InterruptedRunError on SIGINT and
    SIGTERM, the rows so far kept beside it.
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
    return _counted(rows, len(files), console or Console(stderr=True)) if len(files) > FEW_FILES else rows


def _counted(rows: Iterator[Prediction], files: int, console: Console) -> Iterator[Prediction]:
    with reading_progress(console, "predicting") as progress:
        for done, row in enumerate(rows, 1):
            progress(done, files)
            yield row
