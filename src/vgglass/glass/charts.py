"""Charts of the nonlinearities, drawn with matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vgglass.glass.nonlinearities import FUNCTIONS, Depth, Response
from vgglass.locale import words
from vgglass.plotting import missing_font, picture

COLOURS = {"relu": "#d9730d", "tanh": "#1f6feb", "sigmoid": "#30a46c"}
NAMES = {"relu": "ReLU", "tanh": "tanh", "sigmoid": "sigmoid"}


def responses(before: NDArray[np.float32], found: Sequence[Response], channel: int, path: Path, lang: str) -> str:
    """Draw one channel's map (H, W) before and after each function, on one colour scale: blue negative, red positive.

    Returns a sentence if no font supports the language.
    """
    sentence, text = _chart_texts(lang)
    maps = [(text["before"], before), *((NAMES[row.name], row.output.reshape(before.shape)) for row in found)]
    end = max(float(np.abs(values).max()) for _, values in maps) or 1.0
    with picture(3.2 * len(maps), 3.4, path) as figure:
        for place, (name, values) in enumerate(maps, start=1):
            axes = figure.add_subplot(1, len(maps), place)
            image = axes.imshow(values, cmap="RdBu_r", vmin=-end, vmax=end)
            axes.set_title(text["zeros"].format(name=name, share=(values == 0).mean()), fontsize=10)
            axes.axis("off")
        figure.colorbar(image, ax=figure.axes, fraction=0.02)
        figure.suptitle(text["channel"].format(channel=channel), fontsize=10)
    return sentence


def claims(costs: Sequence[Response], depths: Sequence[Depth], path: Path, lang: str) -> str:
    """Chart the study note's four claims about ReLU: cheap, sparse, linear, trains deep (for every column measured).

    Returns a sentence if no font supports the language.
    """
    sentence, text = _chart_texts(lang)
    columns = list(dict.fromkeys(row.column for row in depths))
    deepest = [row for row in depths if row.column == columns[-1]]
    with picture(13, 7.5, path) as figure:
        cheap, sparse, linear, *deep, loss = (figure.add_subplot(2, 3, place) for place in range(1, 7))
        names, colours = [NAMES[row.name] for row in costs], [COLOURS[row.name] for row in costs]
        cheap.bar(names, [row.nanoseconds for row in costs], color=colours)
        cheap.set_title(text["cheap"])
        sparse.bar(names, [row.zeros for row in deepest], color=colours)
        sparse.set(title=text["sparse"].format(column=columns[-1]), ylim=(0, 1))
        line = torch.linspace(-4, 4, 161)
        for name, function in FUNCTIONS.items():
            linear.plot(line, function(line), color=COLOURS[name], label=NAMES[name])
        linear.set_title(text["linear"])
        linear.legend(frameon=False)
        for axes, column in zip(deep, columns, strict=True):
            for row in (row for row in depths if row.column == column):
                axes.semilogy(row.layers, row.gradients, color=COLOURS[row.function], marker=".")
            axes.set_title(text["deep"].format(column=column))
            axes.tick_params(axis="x", rotation=90)
        for row in deepest:
            loss.plot(range(1, len(row.losses) + 1), row.losses, color=COLOURS[row.function])
        loss.set(title=text["loss"].format(column=columns[-1]), xlabel=text["step"])
        for axes in figure.axes:
            axes.grid(alpha=0.25)
    return sentence


def _chart_texts(lang: str) -> tuple[str, dict[str, str]]:
    """Return the chart texts; English ones and a sentence that says so if no font supports the language."""
    sentence = missing_font(tuple(words(lang, "glass")["charts"].values()))
    return sentence, words("en" if sentence else lang, "glass")["charts"]
