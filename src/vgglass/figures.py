"""Pictures drawn by matplotlib, in one style, in any script that the machine has a font for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgglass.atomic import replacing
from vgglass.errors import MissingExtraError
from vgglass.lettering import families, unwritable

BLUE, ORANGE = "#1f6feb", "#d9730d"
NUMBERED_CELLS = 30  # more classes than this leave no room for a number in each cell


def curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Loss and accuracy by epoch, training beside validation."""
    epochs = [row["epoch"] for row in rows]
    with picture(9, 3.6, path) as figure:
        for place, name in enumerate(("loss", "accuracy"), start=1):
            axes = figure.add_subplot(1, 2, place)
            for split, colour in (("train", BLUE), ("validation", ORANGE)):
                axes.plot(epochs, [row[f"{split}_{name}"] for row in rows], color=colour, label=split, marker=".")
            axes.set(xlabel="epoch", ylabel=name)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.25)
            axes.legend(frameon=False)


def confusion(matrix: NDArray[np.int64], classes: tuple[str, ...], title: str, path: Path) -> list[str]:
    """Rows the true class, columns the predicted one, shaded by share of the row.

    Returns a sentence when no font on this machine can write some of the class names; they are then numbered.
    """
    missing = unwritable(classes)
    labels = [f"class {index}" if name in missing else name for index, name in enumerate(classes)]
    side = min(24.0, 3.5 + 0.42 * len(classes))
    with picture(side + 1, side, path) as figure:
        axes = figure.add_subplot()
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class")
        axes.set(title=title, xlabel="predicted", ylabel="true")
        axes.set_xticks(range(len(classes)), labels, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
        axes.set_yticks(range(len(classes)), labels, parse_math=False)
        if len(classes) <= NUMBERED_CELLS:
            for (row, column), count in np.ndenumerate(matrix):
                colour = "white" if shares[row, column] > 0.5 else "black" if count else "0.8"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    if not missing:
        return []
    examples = ", ".join(missing[:3])
    return [f"No font here can write {examples}: such classes are numbered; install a CJK font (Noto Sans CJK)."]


@contextmanager
def picture(width: float, height: float, path: Path) -> Iterator[Any]:
    """A figure of so many inches, written to `path` as PNG when the block ends."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "torch", "pictures") from error
    with mpl.rc_context({"font.family": families()}):
        figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", bbox_inches="tight")
