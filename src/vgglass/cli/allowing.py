"""The --max-pixels option, shared by every command that reads a user's images."""

from typing import Annotated

import typer


def _set_limit(pixels: int | None) -> None:
    if pixels is not None:
        from vgglass import workflows

        workflows.limit_pixels(pixels)


MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        callback=_set_limit,
        expose_value=False,
        help="The largest image that is decoded: 50 million pixels take up to 500 MB and 2 s.",
    ),
]
