"""vgglass clip."""

from pathlib import Path
from typing import Annotated

import typer

from vgglass.cli import output
from vgglass.cli.output import Language


def clip(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was trained with --watch.")],
    out: Annotated[Path, typer.Option(help="The .gif file to write.")] = Path("learning.gif"),
    lang: Language = None,
) -> None:
    """A GIF of how a network learned: its loss, the first kernels, the answers to some images."""
    from vgglass import workflows

    written = workflows.clip(run, out, lang=lang)
    output.console().print(f"Written: {written}", soft_wrap=True)
