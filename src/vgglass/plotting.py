"""Figures drawn by matplotlib in a common style, in any script with an installed font."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from vgglass.errors import MissingExtraError
from vgglass.files import replacing

BLUE, ORANGE = "#1f6feb", "#d9730d"
SHOWN_CLASSES = 12  # those whose share moved most
NUMBERED_CELLS = 30  # maximum number of classes for which cells are annotated


def curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot loss and accuracy by epoch, for training and, where there is one, validation."""
    epochs = [row["epoch"] for row in rows]
    with picture(9, 3.6, path) as figure:
        for place, name in enumerate(("loss", "accuracy"), start=1):
            axes = figure.add_subplot(1, 2, place)
            for split, colour in (("train", BLUE), ("validation", ORANGE)):
                if all(f"{split}_{name}" in row for row in rows):
                    axes.plot(epochs, [row[f"{split}_{name}"] for row in rows], color=colour, label=split, marker=".")
            axes.set(xlabel="epoch", ylabel=name)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.25)
            axes.legend(frameon=False)


def confusion(matrix: NDArray[np.int64], classes: tuple[str, ...], title: str, path: Path) -> list[str]:
    """Plot a confusion matrix (rows: true class, columns: predicted class), shaded by share of the row.

    Returns a sentence if no installed font has the characters of some class names, which are then numbered.
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


def trade_off(points: list[tuple[float, float, tuple[float, float]]], title: str, path: Path) -> None:
    """Plot accuracy against cost, from the first network to the smallest.

    points  milliseconds, top-1 and its 95 % interval of each
    """
    costs, tops, intervals = zip(*points, strict=True)
    below, above = ([abs(top - edge[side]) for top, edge in zip(tops, intervals, strict=True)] for side in (0, 1))
    with picture(6, 4, path) as figure:
        axes = figure.add_subplot()
        axes.errorbar(costs, tops, [below, above], color=BLUE, marker="o", capsize=3, linewidth=1.5, elinewidth=0.8)
        for place, (cost, top) in enumerate(zip(costs, tops, strict=True)):
            name = "parent" if place == 0 else f"{costs[0] / cost:.1f}×"
            axes.annotate(name, (cost, top), (6, 6), textcoords="offset points")
        axes.set(title=title, xlabel="milliseconds an image", ylabel="top-1 (95 % interval)")
        axes.set_xlim(0, 1.15 * max(costs))
        axes.grid(alpha=0.25)


def learning_curve(
    points: list[tuple[float, float, float, float, bool]], law: tuple[float, float, float], path: Path
) -> None:
    """Plot accuracy against images a class, and the power law through it as far as it is forecast.

    points  images, top-1, its 95 % interval, and whether it is a forecast
    law     a, b, c of 1 - (a + b n^-c)
    """
    floor, slope, exponent = law
    sizes = [point[0] for point in points]
    along = np.geomspace(sizes[0], sizes[-1], 200)
    with picture(6, 4, path) as figure:
        axes = figure.add_subplot()
        axes.plot(along, 1 - floor - slope * along**-exponent, color="0.5", linewidth=1, linestyle="--")
        for forecast, colour, label in ((False, BLUE, "measured"), (True, ORANGE, "forecast")):
            drawn = [point for point in points if point[4] == forecast]
            places, tops, lows, highs, _ = zip(*drawn, strict=True)
            spans = [[top - low for top, low in zip(tops, lows, strict=True)]]
            spans.append([high - top for top, high in zip(tops, highs, strict=True)])
            axes.errorbar(
                places, tops, np.maximum(spans, 0), color=colour, marker="o", capsize=3, linestyle="", label=label
            )
        axes.set(xlabel="training images a class", ylabel="top-1 (95 % interval)")
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:.4g}" for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, loc="lower right")


def drift(
    before: dict[str, NDArray[np.float64]], now: dict[str, list[float]], shares: NDArray[np.float64],
    classes: tuple[str, ...], moved: list[str], path: Path,
) -> None:  # fmt: skip
    """Plot what a model saw of its training images and what it sees now: a histogram a quantity, and the answers.

    shares  (2, K) of each class among the answers, before and now
    moved   quantities that are titled so
    """
    names = unwritable(classes)
    labels = [f"class {index}" if name in names else name for index, name in enumerate(classes)]
    with picture(3.4 * (len(before) + 1), 3.2, path) as figure:
        for place, (name, known) in enumerate(before.items(), start=1):
            axes = figure.add_subplot(1, len(before) + 1, place)
            bins = np.histogram_bin_edges(np.concatenate([known, now[name]]), 24)
            for values, colour, label in ((known, BLUE, "training record"), (now[name], ORANGE, "now")):
                axes.hist(
                    values, bins, weights=np.full(len(values), 1 / len(values)), color=colour, alpha=0.55, label=label
                )
            axes.set(title=f"{name}: moved" if name in moved else name, ylabel="share of the images")
        axes = figure.add_subplot(1, len(before) + 1, len(before) + 1)
        order = np.argsort(-np.abs(shares[1] - shares[0]), kind="stable")[:SHOWN_CLASSES]
        for offset, share, colour, label in (
            (-0.2, shares[0], BLUE, "training record"),
            (0.2, shares[1], ORANGE, "now"),
        ):
            axes.bar(np.arange(len(order)) + offset, share[order], 0.4, color=colour, alpha=0.7, label=label)
        axes.set_xticks(
            range(len(order)), [labels[index] for index in order], rotation=45, ha="right", parse_math=False
        )
        axes.set(title="answers: moved" if "answer" in moved else "answers")
        axes.legend(frameon=False)


@contextmanager
def picture(width: float, height: float, path: Path) -> Iterator[Any]:
    """A figure of width x height inches, written to `path` as PNG when the block ends. Raises MissingExtraError."""
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


# Fonts for figures, and a message about characters that no installed font has.

# Tried in this order for characters that the default font lacks.
CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "PingFang SC", "Hiragino Sans GB", "Heiti SC", "Microsoft YaHei", "SimHei", "Droid Sans Fallback",
)  # fmt: skip
EXAMPLE = 12  # characters of a text shown in the message


@cache
def families() -> list[str]:
    """matplotlib's default font and the installed CJK fonts, in order of preference."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    if not installed.intersection(CJK_FONTS):  # matplotlib's font cache may be outdated
        known = {font.fname for font in font_manager.fontManager.ttflist}
        for path in sorted(set(font_manager.findSystemFonts()) - known):
            with contextlib.suppress(RuntimeError):  # ignore damaged font files
                font_manager.fontManager.addfont(path)
        installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in CJK_FONTS if name in installed)]


def unwritable(texts: tuple[str, ...]) -> list[str]:
    """The texts for which no font has every character."""
    return [
        text
        for text in texts
        if not any(all(ord(letter) in characters for letter in text) for _, characters in _fonts())
    ]


def missing_font(texts: tuple[str, ...]) -> str:
    """A sentence for the user if no font has the characters of some texts; '' otherwise."""
    missing = unwritable(texts)
    examples = ", ".join(text if len(text) <= EXAMPLE else f"{text[:EXAMPLE]}…" for text in missing[:3])
    return f"No font here can write {examples}: install a CJK font (Noto Sans CJK)." if missing else ""


def font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """The first font with every character of a text, at `size` pixels; the default font if there is none."""
    face = next(
        (face for face, characters in _fonts() if all(ord(letter) in characters for letter in text)), _fonts()[0][0]
    )
    return _load_font(face, size)


@dataclass(frozen=True)
class _Face:
    """One font of a file: a collection (.ttc) has separate fonts for Japanese and Chinese glyph variants."""

    path: str
    index: int


@cache
def _load_font(face: _Face, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(face.path, size, face.index)


@cache
def _fonts() -> list[tuple[_Face, frozenset[int]]]:
    from matplotlib import font_manager, ft2font

    found = [font_manager.findfont(family) for family in families()]
    faces = [_Face(str(path), path.face_index) for path in found]
    return [(face, frozenset(ft2font.FT2Font(face.path, face_index=face.index).get_charmap())) for face in faces]
