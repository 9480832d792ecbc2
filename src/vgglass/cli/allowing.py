"""The limit on an image, as an option of every command that reads the images of a person."""

from typing import Annotated

import typer


def _allow(pixels: int | None) -> None:
    if pixels is not None:
        from vgglass import workflows

        workflows.limit_pixels(pixels)


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
