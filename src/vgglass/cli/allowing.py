"""The limit on an image, as an option of every command that reads the images of a person."""

import os
from typing import Annotated

import typer


def _allow(pixels: int | None) -> None:
    """Into the environment: the processes that decode for this one read it there too."""
    if pixels is not None:
        from vgglass.images import limits

        os.environ[limits.VARIABLE] = str(pixels)


MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        callback=_allow,
        expose_value=False,
        help="The largest image that is decoded: 50 million pixels take up to 500 MB and 2 s.",
    ),
]
