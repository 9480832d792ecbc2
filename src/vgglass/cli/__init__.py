"""The command line: parse, call the workflows, print. A file a group of commands; heavy imports inside the commands."""

import os
import sys
import warnings
from typing import Annotated

import typer

from vgglass.cli import (
    bench,
    calibrate,
    check,
    convert,
    curve,
    drift,
    evaluate,
    export,
    look,
    operations,
    output,
    paper,
    predict,
    serve,
    shrink,
    step,
    streams,
    teach,
    train,
)
from vgglass.errors import UserError
from vgglass.locale import language, speak
from vgglass.locale.messages import of_error

app = typer.Typer(
    name="vgglass",
    help="VGG image classification that you can see through.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    train.demo, check.check, train.train, train.clip, evaluate.evaluate, evaluate.compare,
    curve.curve, calibrate.calibrate, paper.paper, predict.predict, drift.drift, convert.summary, convert.convert,
    export.export, export.verify, bench.bench, shrink.shrink, serve.serve, teach.teach,
    look.look, step.step, look.fc, operations.pool, operations.conv, operations.relu,
):  # fmt: skip
    app.command()(command)
app.command(context_settings={"ignore_unknown_options": True})(operations.softmax)  # -1.5 is a number, not an option


def _version(wanted: bool) -> None:
    if wanted:
        from vgglass import __version__

        typer.echo(f"vgglass {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """VGG image classification that you can see through."""


def main() -> None:
    """Run one command; a UserError is one line on standard error and its exit status."""
    streams.prepare()
    speak(language(None))
    warnings.filterwarnings("ignore", module="PIL")  # our own limits and errors cover what Pillow warns about
    os.environ["MPLBACKEND"] = "agg"  # only files are drawn, and a configured GUI or notebook backend may be missing
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # or the interpreter would report a full disk, at exit
    except UserError as error:
        output.warn(f"error: {of_error(error)}", "red")
        sys.exit(error.exit_status)
    except OSError as error:  # reading is each room's own to explain; what is left is a place that can't be written
        if error.filename is None:
            raise
        reason = f"{error.filename}: {error.strerror}; check that it can be written, or choose another place"
        output.warn(f"error: {reason}.", "red")
        sys.exit(1)
