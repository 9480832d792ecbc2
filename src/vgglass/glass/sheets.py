"""Pictures of feature maps: grids of channels with a colour scale, heat maps, and overlays on a photograph.

Drawn with Pillow as palette images: the colours of a matplotlib colour map, then a ramp of greys for the text.
"""

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vgglass.errors import MissingExtraError, UsageError
from vgglass.files import replacing
from vgglass.images import Pixels
from vgglass.locale import words
from vgglass.plotting import font

Scale = Literal["map", "layer", "all"]
Order = Literal["channel", "activation", "importance"]
SCALES, ORDERS = ("map", "layer", "all"), ("channel", "activation", "importance")

SIGNED, POSITIVE = "RdBu_r", "magma"  # diverging with white at zero; sequential from black
COLOURS, GREYS = 224, 32  # entries of the palette
WHITE = COLOURS  # the first grey

# In pixels:
MARGIN, GAP = 12, 4
TITLE, TEXT, CAPTION = 20, 14, 11  # text heights
LINE = 19  # from one line of text to the next
SMALLEST_TILE, LARGEST_ZOOMED, SHEET_WIDTH, SHEET_AREA = 32, 96, 1200, 720_000
CELL, CELLS_A_ROW = 12, 64  # for 1x1 maps
MARK = 3  # height of the bar that says how important a channel is
LEGEND_WIDTH, BAR = 256, 12
STRENGTH = 0.6  # opacity of the colours over a photograph
SHOWN = 0.995  # quantile of a map's values at which colours saturate: outliers at the border would dim the rest


@dataclass(frozen=True, eq=False)
class Sheet:
    """A grid picture with the positions of its tiles.

    channels, corners  of the tiles in order: number, and left and top in pixels
    tile               width and height of each
    legend             the sentences under the grid
    gap                columns of the maps' own size between a map and its parent's; see `Parents`
    """

    image: Image.Image
    channels: tuple[int, ...]
    corners: tuple[tuple[int, int], ...]
    tile: tuple[int, int]
    legend: str
    gap: int = 0

    def _repr_png_(self) -> bytes:
        return as_png(self.image)


@dataclass(frozen=True, eq=False)
class Parents:
    """What is drawn to the right of each map: the parent's map (C, H, W), with its number there."""

    maps: NDArray[np.float32]
    channels: Sequence[int]


@dataclass(frozen=True, eq=False)
class _Tile:
    """One picture of a grid: (h, w) palette indices, or (h, w, 3) colours.

    captions  above it: where each begins, in columns of the picture, and texts, of which the grid has room for the last
    mark      length of the bar above it in columns, of which it may have none; None for no bars in this grid
    """

    pixels: NDArray[np.uint8]
    captions: tuple[tuple[int, Sequence[str]], ...]
    mark: float | None = None


def grid(
    maps: NDArray[np.float32],
    title: str,
    *,
    scale: Scale = "map",
    order: Order = "channel",
    limit: float | None = None,
    importance: NDArray[np.float64] | None = None,
    parents: Parents | None = None,
    numbers: Sequence[int] | None = None,
    lang: str = "en",
) -> Sheet:
    """Draw every channel of maps (C, H, W) as a tile with its number.

    limit       the end of the scale shared by all layers: the largest `reach` of any
    importance  each channel's share of the layer's (C,), which marks it
    parents     drawn beside
    numbers     of the channels; default: from 0
    """
    both = maps if parents is None else np.concatenate([maps, parents.maps])
    ends = _colour_limits(both, scale, limit)
    signed = bool((both < 0).any())
    if order == "importance" and importance is None:
        order = "channel"
    keys = {"channel": None, "activation": maps.mean(axis=(1, 2)), "importance": importance}[order]
    places = np.arange(len(maps)) if keys is None else np.argsort(-keys, kind="stable")
    names = np.arange(len(maps)) if numbers is None else np.asarray(numbers)
    width = maps.shape[2]
    between = np.full((maps.shape[1], pair_gap(width)), WHITE, np.uint8)
    tiles = []
    for place in places:
        texts, mark = [str(names[place])], None
        if importance is not None:
            texts.insert(0, f"{texts[0]}  {percent(importance[place])}")
            mark = float(importance[place] / (importance.max() or 1)) * width
        pixels, captions = _palette_indices(maps[place], ends[place], signed), [(0, texts)]
        if parents is not None:
            beside = _palette_indices(parents.maps[place], ends[len(maps) + place], signed)
            pixels = np.hstack([pixels, between, beside])
            captions.append((width + between.shape[1], [str(parents.channels[place])]))
        tiles.append(_Tile(pixels, tuple(captions), mark))
    said = legend(scale, order, lang, importance=importance is not None, parents=parents is not None)
    gap = between.shape[1] if parents else 0
    return _sheet(tiles, names[places].tolist(), title, said, _bar(ends, scale, signed), gap)


def legend(scale: Scale, order: Order, lang: str, *, importance: bool = False, parents: bool = False) -> str:
    """Return the sentences, one a line, that explain a grid's colours, order and marks."""
    text: dict[str, str] = words(lang, "glass")["sheets"]
    lines = [text["legend"].format(scale=text[scale], order=text[order])]
    lines += [text["mark"]] if importance else []
    lines += [text["parents"]] if parents else []
    return "\n".join(lines)


def pair_gap(width: int) -> int:
    """Return the columns between a map of this width and its parent's; none between single numbers."""
    return 0 if width == 1 else max(1, width // 28)


def percent(share: float) -> str:
    """Format a share in a few characters: '12%', '3.4%', '0.0%'."""
    return f"{100 * share:.{0 if share > 0.0995 else 1}f}%"


def kernels(weights: NDArray[np.float32], title: str, lang: str = "en") -> Sheet:
    """Draw first-layer kernels (outputs, C, k, k); in colour if C is 3 (grey is zero)."""
    largest = float(np.abs(weights).max()) or 1.0
    text = words(lang, "glass")["sheets"]
    if weights.shape[1] == 1:
        tiles = [_palette_indices(kernel[0], largest, True) for kernel in weights]
        bar = _Bar((f"−{number(largest)}", "0", number(largest)), signed=True)
        return _sheet(_numbered(tiles), range(len(tiles)), title, text["weights"], bar)
    coloured = np.round((weights / largest + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
    return _sheet(_numbered(coloured), range(len(coloured)), title, text["colours"].format(end=largest), None)


def _numbered(tiles: Iterable[NDArray[np.uint8]]) -> list[_Tile]:
    return [_Tile(pixels, ((0, [str(number)]),)) for number, pixels in enumerate(tiles)]


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


def _layout(count: int, height: int, width: int, *, marked: bool) -> _Layout:
    """Choose numbered tiles of at least SMALLEST_TILE, or bare cells for 1x1 maps."""
    if height == 1:
        return _Layout(CELL, (width * CELL, CELL), width, 0, min(count, CELLS_A_ROW // width))
    # Enlarge small maps if there are few of them.
    roomy = min(LARGEST_ZOOMED, int(math.sqrt(SHEET_AREA / count)))
    zoom = max(1, math.ceil(SMALLEST_TILE / height), roomy // height)
    tile = width * zoom, height * zoom
    caption = CAPTION + marked * (MARK + 1)
    across, down = tile[0] + GAP, tile[1] + GAP + caption
    columns = max(SHEET_WIDTH // across, math.ceil(math.sqrt(count * down / across)))
    return _Layout(zoom, tile, GAP if width == height else 3 * GAP, caption, min(count, columns))


def _sheet(
    tiles: Sequence[_Tile], channels: Sequence[int], title: str, sentences: str, bar: _Bar | None, gap: int = 0
) -> Sheet:
    """Draw tiles of one size between a title and a legend."""
    layout = _layout(len(tiles), *tiles[0].pixels.shape[:2], marked=tiles[0].mark is not None)
    across, down = layout.pitch
    rows = math.ceil(len(tiles) / layout.columns)
    top = 2 * MARGIN + TITLE
    bottom = top + rows * down + MARGIN  # the end of the grid, where the legend starts
    legend = BAR + TEXT + MARGIN if bar else 0
    lines = sentences.split("\n")
    inner = max(layout.columns * across, LEGEND_WIDTH, _width(title, TITLE), *(_width(line, TEXT) for line in lines))
    height = bottom + legend + len(lines) * LINE
    letters = Image.new("L", (inner + 2 * MARGIN, height + MARGIN - LINE + TEXT))
    draw = ImageDraw.Draw(letters)
    draw.text((MARGIN, MARGIN), title, 255, font(title, TITLE))
    corners = tuple(
        (MARGIN + index % layout.columns * across, top + index // layout.columns * down + layout.caption)
        for index in range(len(tiles))
    )
    if layout.caption:
        room = layout.tile[0] / len(tiles[0].captions)
        brief = any(_width(texts[0], CAPTION) > room for tile in tiles for _, texts in tile.captions)
        for tile, corner in zip(tiles, corners, strict=True):
            _draw_captions(draw, tile, corner, layout, brief=brief)
    if bar:
        for label, share in zip(bar.labels, (0, 0.5, 1), strict=True):
            left = MARGIN + round(share * (LEGEND_WIDTH - _width(label, TEXT)))
            draw.text((left, bottom + BAR), label, 255, font(label, TEXT))
    for number, line in enumerate(lines):
        draw.text((MARGIN, bottom + legend + number * LINE), line, 255, font(line, TEXT))
    canvas = (WHITE + np.asarray(letters).astype(np.int32) * (GREYS - 1) // 255).astype(np.uint8)
    if bar:
        canvas[bottom : bottom + BAR, MARGIN : MARGIN + LEGEND_WIDTH] = np.linspace(
            0, COLOURS - 1, LEGEND_WIDTH
        ).round()
    signed = bar is not None and bar.signed
    picture = _indexed(canvas, signed)
    if tiles[0].pixels.ndim == 3:
        picture = picture.convert("RGB")
    for tile, corner in zip(tiles, corners, strict=True):
        zoomed = tile.pixels.repeat(layout.zoom, axis=0).repeat(layout.zoom, axis=1)
        picture.paste(Image.fromarray(zoomed) if zoomed.ndim == 3 else _indexed(zoomed, signed), corner)
    return Sheet(picture, tuple(channels), corners, layout.tile, sentences, gap)


def _draw_captions(
    draw: ImageDraw.ImageDraw, tile: _Tile, corner: tuple[int, int], layout: _Layout, *, brief: bool
) -> None:
    """Draw a tile's texts above it, the last of each if `brief`, and the bar of its mark."""
    left, top = corner
    for column, texts in tile.captions:
        text = texts[-1 if brief else 0]
        draw.text((left + column * layout.zoom, top - layout.caption - 1), text, 200, font("0", CAPTION))
    if tile.mark:
        end = left + max(1, round(tile.mark * layout.zoom))
        draw.rectangle((left, top - MARK - 1, end - 1, top - 2), 150)


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
