"""Pictures of feature maps: grids of channels with a colour scale, heat maps, and overlays on a photograph.

Drawn with Pillow as palette images: the colours of a matplotlib colour map, then a ramp of greys for the text.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vgglass.errors import MissingExtraError, UsageError
from vgglass.files import replacing
from vgglass.glass.nonlinearities import FUNCTIONS, Depth, Response
from vgglass.images import Pixels
from vgglass.locale import words
from vgglass.plotting import font, missing_font, picture

Scale = Literal["map", "layer", "all"]
Order = Literal["channel", "activation"]
SCALES, ORDERS = ("map", "layer", "all"), ("channel", "activation")

SIGNED, POSITIVE = "RdBu_r", "magma"  # diverging with white at zero; sequential from black
COLOURS, GREYS = 224, 32  # entries of the palette
WHITE = COLOURS  # the first grey

# In pixels:
MARGIN, GAP = 12, 4
TITLE, TEXT, CAPTION = 20, 14, 11  # text heights
SMALLEST_TILE, LARGEST_ZOOMED, SHEET_WIDTH, SHEET_AREA = 32, 96, 1200, 720_000
CELL, CELLS_A_ROW = 12, 64  # for 1x1 maps
LEGEND_WIDTH, BAR = 256, 12
STRENGTH = 0.6  # opacity of the colours over a photograph
SHOWN = 0.995  # quantile of a map's values at which colours saturate: outliers at the border would dim the rest


@dataclass(frozen=True, eq=False)
class Sheet:
    """A grid picture with the positions of its tiles.

    channels, corners  of the tiles in order: number, and left and top in pixels
    tile               width and height of each
    legend             the sentence under the grid
    """

    image: Image.Image
    channels: tuple[int, ...]
    corners: tuple[tuple[int, int], ...]
    tile: tuple[int, int]
    legend: str

    def _repr_png_(self) -> bytes:
        return as_png(self.image)


def grid(
    maps: NDArray[np.float32],
    title: str,
    *,
    scale: Scale = "map",
    order: Order = "channel",
    limit: float | None = None,
    lang: str = "en",
) -> Sheet:
    """Draw every channel of maps (C, H, W) as a tile with its number.

    limit  the end of the scale shared by all layers: the largest `reach` of any
    """
    ends = _colour_limits(maps, scale, limit)
    signed = bool((maps < 0).any())
    means = maps.mean(axis=(1, 2))
    channels = np.argsort(-means, kind="stable") if order == "activation" else np.arange(len(maps))
    tiles = [_palette_indices(maps[channel], ends[channel], signed) for channel in channels]
    sentence = legend(scale, order, lang)
    return _sheet(tiles, [int(channel) for channel in channels], title, sentence, _bar(ends, scale, signed))


def legend(scale: Scale, order: Order, lang: str) -> str:
    """Return the sentence that explains a grid's colours and order."""
    text: dict[str, str] = words(lang, "glass")["sheets"]
    return text["legend"].format(scale=text[scale], order=text[order])


def kernels(weights: NDArray[np.float32], title: str, lang: str = "en") -> Sheet:
    """Draw first-layer kernels (outputs, C, k, k); in colour if C is 3 (grey is zero)."""
    largest = float(np.abs(weights).max()) or 1.0
    text = words(lang, "glass")["sheets"]
    if weights.shape[1] == 1:
        tiles = [_palette_indices(kernel[0], largest, True) for kernel in weights]
        bar = _Bar((f"−{number(largest)}", "0", number(largest)), signed=True)
        return _sheet(tiles, range(len(tiles)), title, text["weights"], bar)
    coloured = np.round((weights / largest + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
    return _sheet(list(coloured), range(len(coloured)), title, text["colours"].format(end=largest), None)


def heat(values: NDArray[np.float32], *, signed: bool = False, end: float | None = None) -> Image.Image:
    """Draw a map (H, W) as a picture of the same size; its colours saturate at `end` (default: its `reach`)."""
    return _indexed(_palette_indices(values, end or float(reach(values[None])[0]), signed), signed)


def overlay(
    values: NDArray[np.float32], pixels: Pixels, *, signed: bool = False, end: float | None = None
) -> Image.Image:
    """Blend a map over a photograph (H, W, C), converted to grey so that all colours are the map's."""
    grey = photograph(pixels).convert("L").convert("RGB")
    colours = heat(values, signed=signed, end=end).convert("RGB").resize(grey.size, Image.Resampling.BILINEAR)
    return Image.blend(grey, colours, STRENGTH)


def photograph(pixels: Pixels) -> Image.Image:
    """Convert uint8 (H, W, C) to a picture."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises UsageError for an unknown scale or order."""
    if value not in choices:
        raise UsageError(f"--{name} {value}", f"not one of {', '.join(choices)}", "choose one of them")


def as_png(picture: Image.Image) -> bytes:
    """Encode a picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(as_png(picture))


@dataclass(frozen=True)
class _Bar:
    """A colour bar and the labels of its two ends and middle."""

    labels: tuple[str, str, str]
    signed: bool


@dataclass(frozen=True)
class _Layout:
    """The layout of a grid, in pixels: tile size, gap and caption height; and tiles per row."""

    zoom: int
    tile: tuple[int, int]  # width, height
    gap: int
    caption: int
    columns: int

    @property
    def pitch(self) -> tuple[int, int]:
        return self.tile[0] + self.gap, self.tile[1] + self.gap + self.caption


def reach(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the value at which each channel's colours saturate (C,): the SHOWN quantile of its absolute values.

    Ignores NaN and infinity.
    """
    flat = np.abs(maps).reshape(len(maps), -1)
    flat[~np.isfinite(flat)] = 0
    kept = min(flat.shape[1] - 1, int(flat.shape[1] * SHOWN))
    most, largest = np.partition(flat, kept, axis=1)[:, kept], flat.max(axis=1)
    return np.where(most > 0, most, np.where(largest > 0, largest, 1)).astype(np.float64)


def _colour_limits(maps: NDArray[np.float32], scale: Scale, limit: float | None) -> NDArray[np.float64]:
    """Return the absolute value at which each channel's colours saturate (C,), for a scale."""
    own = reach(maps)
    if scale == "map":
        return own
    return np.full(len(maps), limit if scale == "all" and limit is not None else own.max())


def _palette_indices(values: NDArray[np.float32], end: float, signed: bool) -> NDArray[np.uint8]:
    """Map values to palette indices: zero is the middle colour if signed, else the first."""
    share = np.clip(values / end, -1, 1)
    indices: NDArray[np.float32] = (share + 1) / 2 * (COLOURS - 1) if signed else share * (COLOURS - 1)
    return np.round(indices).astype(np.uint8)


def number(value: float) -> str:
    """Format with at least three digits, and in the usual range without exponents."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def _bar(ends: NDArray[np.float64], scale: Scale, signed: bool) -> _Bar:
    end = "a" if scale == "map" else number(ends[0])
    return _Bar((f"−{end}", "0", end) if signed else ("0", "", end), signed)


def _layout(count: int, height: int, width: int) -> _Layout:
    """Choose numbered tiles of at least SMALLEST_TILE, or bare cells for 1x1 maps."""
    if height == width == 1:
        return _Layout(CELL, (CELL, CELL), 1, 0, min(count, CELLS_A_ROW))
    # Enlarge small maps if there are few of them.
    roomy = min(LARGEST_ZOOMED, int(math.sqrt(SHEET_AREA / count)))
    zoom = max(1, math.ceil(SMALLEST_TILE / max(height, width)), roomy // max(height, width))
    tile = width * zoom, height * zoom
    across, down = tile[0] + GAP, tile[1] + GAP + CAPTION
    columns = max(SHEET_WIDTH // across, math.ceil(math.sqrt(count * down / across)))
    return _Layout(zoom, tile, GAP, CAPTION, min(count, columns))


def _sheet(
    tiles: Sequence[NDArray[np.uint8]], channels: Sequence[int], title: str, sentence: str, bar: _Bar | None
) -> Sheet:
    """Draw tiles of one size, (h, w) palette indices or (h, w, 3) colours, between a title and a legend."""
    layout = _layout(len(tiles), *tiles[0].shape[:2])
    across, down = layout.pitch
    rows = math.ceil(len(tiles) / layout.columns)
    top = 2 * MARGIN + TITLE
    bottom = top + rows * down + MARGIN  # the end of the grid, where the legend starts
    legend = BAR + TEXT + MARGIN if bar else 0
    inner = max(layout.columns * across, LEGEND_WIDTH, _width(title, TITLE), _width(sentence, TEXT))
    letters = Image.new("L", (inner + 2 * MARGIN, bottom + legend + TEXT + MARGIN))
    draw = ImageDraw.Draw(letters)
    draw.text((MARGIN, MARGIN), title, 255, font(title, TITLE))
    corners = tuple(
        (MARGIN + index % layout.columns * across, top + index // layout.columns * down + layout.caption)
        for index in range(len(tiles))
    )
    if layout.caption:
        for channel, (left, corner_top) in zip(channels, corners, strict=True):
            draw.text((left, corner_top - CAPTION - 1), str(channel), 200, font("0", CAPTION))
    if bar:
        for label, share in zip(bar.labels, (0, 0.5, 1), strict=True):
            left = MARGIN + round(share * (LEGEND_WIDTH - _width(label, TEXT)))
            draw.text((left, bottom + BAR), label, 255, font(label, TEXT))
    draw.text((MARGIN, bottom + legend), sentence, 255, font(sentence, TEXT))
    canvas = (WHITE + np.asarray(letters).astype(np.int32) * (GREYS - 1) // 255).astype(np.uint8)
    if bar:
        canvas[bottom : bottom + BAR, MARGIN : MARGIN + LEGEND_WIDTH] = np.linspace(
            0, COLOURS - 1, LEGEND_WIDTH
        ).round()
    signed = bar is not None and bar.signed
    picture = _indexed(canvas, signed)
    if tiles[0].ndim == 3:
        picture = picture.convert("RGB")
    for tile, corner in zip(tiles, corners, strict=True):
        zoomed = tile.repeat(layout.zoom, axis=0).repeat(layout.zoom, axis=1)
        picture.paste(Image.fromarray(zoomed) if tile.ndim == 3 else _indexed(zoomed, signed), corner)
    return Sheet(picture, tuple(channels), corners, layout.tile, sentence)


def _width(text: str, height: int) -> int:
    return math.ceil(font(text, height).getlength(text))


def _indexed(indices: NDArray[np.uint8], signed: bool) -> Image.Image:
    height, width = indices.shape
    picture = Image.frombytes("P", (width, height), indices.tobytes())
    picture.putpalette(palette(signed=signed))
    return picture


@cache
def palette(*, signed: bool) -> bytes:
    """Return the RGB palette: COLOURS colours, then GREYS greys."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "torch", "pictures") from error
    colours = mpl.colormaps[SIGNED if signed else POSITIVE](np.linspace(0, 1, COLOURS))[:, :3]
    greys = np.linspace(1, 0, GREYS)[:, None].repeat(3, axis=1)
    entries: bytes = np.round(np.concatenate([colours, greys]) * 255).astype(np.uint8).tobytes()
    return entries


# Charts of the nonlinearities, drawn with matplotlib.

CHART_COLOURS = {"relu": "#d9730d", "tanh": "#1f6feb", "sigmoid": "#30a46c"}
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
        names, colours = [NAMES[row.name] for row in costs], [CHART_COLOURS[row.name] for row in costs]
        cheap.bar(names, [row.nanoseconds for row in costs], color=colours)
        cheap.set_title(text["cheap"])
        sparse.bar(names, [row.zeros for row in deepest], color=colours)
        sparse.set(title=text["sparse"].format(column=columns[-1]), ylim=(0, 1))
        line = torch.linspace(-4, 4, 161)
        for name, function in FUNCTIONS.items():
            linear.plot(line, function(line), color=CHART_COLOURS[name], label=NAMES[name])
        linear.set_title(text["linear"])
        linear.legend(frameon=False)
        for axes, column in zip(deep, columns, strict=True):
            for row in (row for row in depths if row.column == column):
                axes.semilogy(row.layers, row.gradients, color=CHART_COLOURS[row.function], marker=".")
            axes.set_title(text["deep"].format(column=column))
            axes.tick_params(axis="x", rotation=90)
        for row in deepest:
            loss.plot(range(1, len(row.losses) + 1), row.losses, color=CHART_COLOURS[row.function])
        loss.set(title=text["loss"].format(column=columns[-1]), xlabel=text["step"])
        for axes in figure.axes:
            axes.grid(alpha=0.25)
    return sentence


def _chart_texts(lang: str) -> tuple[str, dict[str, str]]:
    """Return the chart texts; English ones and a sentence that says so if no font supports the language."""
    sentence = missing_font(tuple(words(lang, "glass")["charts"].values()))
    return sentence, words("en" if sentence else lang, "glass")["charts"]
