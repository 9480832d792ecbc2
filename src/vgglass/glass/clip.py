"""The frames of an operation on a photograph: its window, the numbers under it, and the outputs computed so far."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vgglass import plotting
from vgglass.glass import sheets
from vgglass.glass.operations import Numbers
from vgglass.glass.sliding import Sliding, window_of
from vgglass.glass.steps import Arithmetic, Convolution, FullyConnected, MaxPooling, Rectifier
from vgglass.locale import words

WIDTH, MARGIN, ROW = 960, 16, 23  # the last: from one line of text to the next
TOP, WHOLE, PART, BELOW = 72, 200, 240, 344  # of the pictures: their top, sides; the top of the numbers
CELL = (50, 24)  # width and height of a number's cell
INK, SOFT, LINE, ORANGE, BACK, PADDING = "#1d1b19", "#5d5852", "#cfc9c1", "#d9480f", "#ffffff", "#e9e6e1"
READ, FRAME, LAST = 1500, 160, 3000  # milliseconds: of frames to be read, of the others, of the last
READABLE = 3  # frames at the beginning
PRODUCTS = 7  # of a fully connected output
COLOURS = 160  # of all frames

Row = tuple[str, str]  # what a number is, and the number


def frames(sliding: Sliding, lang: str) -> tuple[list[Image.Image], list[int]]:
    """Draw a frame an output; return them and how long each stays, in milliseconds."""
    drawing = _Drawing(sliding, words(lang, "commands"))
    drawn = [drawing.frame(index) for index in range(len(sliding.steps))]
    # One palette for all: a colour that changes from frame to frame would flicker.
    sample = [np.asarray(drawn[index]) for index in (0, len(drawn) // 2, len(drawn) - 1)]
    palette = Image.fromarray(np.concatenate(sample)).quantize(COLOURS)
    times = [READ if index < READABLE or index == sliding.largest else FRAME for index in range(len(drawn))]
    times[-1] = LAST
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in drawn], times


def written(step: Arithmetic, sliding: Sliding, say: dict[str, str]) -> tuple[list[Row], list[Row]]:
    """The output as a written sum: its terms; and what they give, with what a ReLU behind the layer makes of it."""
    terms, result = step.terms, (say["result"].format(layer=step.layer.name), _number(step.recomputed))
    rectified = (say["rectified"], _number(max(0.0, step.recomputed)))
    if isinstance(terms, MaxPooling):
        values = ", ".join(_number(value) for value in terms.seen.values[0, terms.seen.inside])
        return [], [(f"max({values})", result[1])]
    if isinstance(terms, Rectifier):
        return [("x", _number(terms.x))], [rectified]
    assert isinstance(terms, Convolution | FullyConnected)
    sums = _channel_sums(terms, sliding, say) if isinstance(terms, Convolution) else _largest_products(terms, say)
    return [*sums, (say["bias"], _number(terms.bias))], [result, *([rectified] if sliding.rectified else [])]


def _channel_sums(terms: Convolution, sliding: Sliding, say: dict[str, str]) -> list[Row]:
    sums, shown = terms.channel_sums, sorted(sliding.shown)
    rows = [(say["channel"].format(channel=name_of(channel, sliding)), _number(sums[channel])) for channel in shown]
    if len(sums) > len(shown):
        rest = float(sums.sum() - sums[shown].sum())
        rows.append((say["rest"].format(count=len(sums) - len(shown)), _number(rest)))
    return rows


def _largest_products(terms: FullyConnected, say: dict[str, str]) -> list[Row]:
    products, most = terms.products, terms.largest[:PRODUCTS]
    rows = [
        (
            say["product"].format(index=at, input=_number(terms.inputs[at]), weight=_number(terms.weights[at])),
            _number(products[at]),
        )
        for at in most
    ]
    if len(products) > len(most):
        rest = float(products.sum() - products[most].sum())
        rows.append((say["otherProducts"].format(count=f"{len(products) - len(most):,}"), _number(rest)))
    return rows


def name_of(channel: int, sliding: Sliding) -> str:
    """An input channel's number, and the letter of its colour where the input is a colour photograph."""
    order = sliding.subject.record.preprocessing.channel_order
    return f"{channel} ({order[channel]})" if sliding.first and len(order) > 1 else str(channel)


class _Drawing:
    """What all frames have in common."""

    def __init__(self, sliding: Sliding, text: dict[str, dict[str, str]]) -> None:
        self.sliding, self.say, self.kind = sliding, text["clip"], text["kinds"][sliding.layer.kind]
        self.dense = sliding.layer.kind == "linear"
        boxes = np.array([window_of(step) for step in sliding.steps])
        self.top, self.left = boxes[:, :2].min(axis=0).tolist()
        self.height, self.width = ((boxes[:, :2] + boxes[:, 2:]).max(axis=0) - (self.top, self.left)).tolist()
        self.input = self._input_colours()
        self.output = _colours(sliding.outputs)
        self.whole = Image.fromarray(self.input)
        self.below = {"conv": 90 * len(sliding.shown), "linear": (PRODUCTS + 4) * ROW}.get(sliding.layer.kind, 3 * ROW)
        if self.dense:
            self.whole = sheets.photograph(sliding.subject.square).convert("RGB")

    def frame(self, index: int) -> Image.Image:
        sliding, step = self.sliding, self.sliding.steps[index]
        image = Image.new("RGB", (WIDTH, BELOW + self.below), BACK)
        draw = ImageDraw.Draw(image)
        row, column = step.position
        title = self.say["unit" if self.dense else "title"].format(
            layer=step.layer.name, kind=self.kind, channel=step.channel, row=row, column=column,
            count=f"{len(sliding.outputs):,}",
        )  # fmt: skip
        _write(draw, (MARGIN, 12), title, 18)
        note = self.say["colours"]
        draw.text((WIDTH - MARGIN, 30), note, SOFT, plotting.font(note, 12), anchor="rs")
        self._draw_input(image, draw, step)
        self._draw_output(image, draw, index)
        if isinstance(step.terms, Convolution):
            self._draw_products(draw, step.terms)
        elif isinstance(step.terms, MaxPooling):
            self._draw_window(draw, step.terms)
        self._draw_sum(draw, step)
        return image

    def _input_colours(self) -> NDArray[np.uint8]:
        """(H, W, 3): the photograph, or the input channel that matters most; of a fully connected layer all inputs."""
        sliding = self.sliding
        if sliding.first:
            return np.asarray(sheets.photograph(sliding.subject.square).convert("RGB"))
        if self.dense:
            side = int(np.ceil(np.sqrt(sliding.inputs.size)))
            flat = np.zeros(side * side, np.float32)
            flat[: sliding.inputs.size] = sliding.inputs.ravel()
            return _colours(flat.reshape(side, side))
        return _colours(sliding.inputs[sliding.shown[0]])

    def _draw_input(self, image: Image.Image, draw: ImageDraw.ImageDraw, step: Arithmetic) -> None:
        sliding, left = self.sliding, MARGIN + WHOLE + MARGIN
        height, width = sliding.layer.input_shape[1:]
        caption = self.say["photograph"].format(size=sliding.subject.square.shape[0])
        if not (sliding.first or self.dense):
            caption = self.say["input"].format(channel=sliding.shown[0], height=height, width=width)
        whole = _enlarged(self.whole, WHOLE)
        image.paste(whole, (MARGIN, TOP))
        _write(draw, (MARGIN, TOP - 22), caption, 13, SOFT)
        if self.dense:
            image.paste(_enlarged(Image.fromarray(self.input), PART), (left, TOP))
            _write(draw, (left, TOP - 22), self.say["inputs"].format(count=f"{sliding.inputs.size:,}"), 13, SOFT)
            return
        _frame(draw, (MARGIN, TOP), whole.width / width, (self.top, self.left, self.height, self.width), 1)
        part = np.pad(self.input, ((self.height,) * 2, (self.width,) * 2, (0, 0)))  # room for the layer's padding
        rows, columns = np.ogrid[self.top : self.top + self.height, self.left : self.left + self.width]
        part = part[rows + self.height, columns + self.width]
        part[(rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)] = np.array([233, 230, 225])
        picture = _enlarged(Image.fromarray(part), PART)
        image.paste(picture, (left, TOP))
        _write(draw, (left, TOP - 22), self.say["enlarged"], 13, SOFT)
        top, beside, *sides = window_of(step)
        _frame(draw, (left, TOP), picture.width / self.width, (top - self.top, beside - self.left, *sides), 3)

    def _draw_output(self, image: Image.Image, draw: ImageDraw.ImageDraw, index: int) -> None:
        """The square of outputs, up to this one, and the whole map behind it."""
        sliding, step, left = self.sliding, self.sliding.steps[index], MARGIN + WHOLE + MARGIN + PART + MARGIN
        cells = np.full((sliding.rows * sliding.columns, 3), 255, np.uint8)
        done = sliding.steps[: index + 1]
        cells[: len(done)] = [
            self.output[(each.channel, 0) if self.dense else each.position] for each in done
        ]  # the same colours as in the whole map
        picture = _enlarged(Image.fromarray(cells.reshape(sliding.rows, sliding.columns, 3)), PART)
        image.paste(picture, (left, TOP))
        draw.rectangle((left, TOP, left + picture.width, TOP + picture.height), outline=LINE)
        row, column = divmod(index, sliding.columns)
        _frame(draw, (left, TOP), picture.width / sliding.columns, (row, column, 1, 1), 3)
        first, last = sliding.steps[0], sliding.steps[-1]
        caption = self.say["outputs"].format(first=first.channel, last=last.channel)
        _write(draw, (left, TOP - 22), caption if self.dense else self.say["sofar"], 13, SOFT)
        if self.dense:
            return
        left += PART + MARGIN
        height, width = sliding.outputs.shape
        whole = _enlarged(Image.fromarray(self.output), WHOLE)
        image.paste(whole, (left, TOP))
        text = self.say["map"].format(channel=step.channel, height=height, width=width)
        _write(draw, (left, TOP - 22), text, 13, SOFT)
        _frame(draw, (left, TOP), whole.width / width, (*first.position, sliding.rows, sliding.columns), 1)

    def _draw_products(self, draw: ImageDraw.ImageDraw, terms: Convolution) -> None:
        for place, channel in enumerate(sorted(self.sliding.shown)):
            top, left = BELOW + place * 90, MARGIN
            caption = self.say["products"].format(channel=name_of(channel, self.sliding))
            _write(draw, (left, top - 18), caption, 13, SOFT)
            parts = (terms.seen.values[channel], terms.kernel[channel], terms.products[channel])
            for sign, numbers in zip((" × ", " = ", ""), parts, strict=True):
                _grid(draw, (left, top), numbers, terms.seen.inside if numbers is parts[0] else None)
                left += 3 * CELL[0]
                _write(draw, (left, top + 26), sign, 14)
                left += 22

    def _draw_window(self, draw: ImageDraw.ImageDraw, terms: MaxPooling) -> None:
        _write(draw, (MARGIN, BELOW - 18), self.say["window"], 13, SOFT)
        _grid(draw, (MARGIN, BELOW), terms.seen.values[0], terms.seen.inside, terms.winner)

    def _draw_sum(self, draw: ImageDraw.ImageDraw, step: Arithmetic) -> None:
        """Terms below one another, a rule, and their sum."""
        left = MARGIN if isinstance(step.terms, FullyConnected | Rectifier) else 2 * MARGIN + WHOLE + PART + 3 * MARGIN
        terms, results = written(step, self.sliding, self.say)
        for place, (name, number) in enumerate([*terms, *results]):
            top, right = BELOW + place * ROW, left + 416
            if terms and place == len(terms):
                draw.line((left, top - 2, right, top - 2), INK)
            colour = INK if place < len(terms) else ORANGE
            _write(draw, (left, top), name, 14, colour)
            draw.text((right, top + 14), number, colour, plotting.font(number, 14), anchor="rs")


def _colours(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(sheets.heat(values, signed=bool((values < 0).any())).convert("RGB"))


def _enlarged(picture: Image.Image, side: int) -> Image.Image:
    """The picture with its longer side as long as this, its pixels as squares."""
    zoom = side / max(picture.size)
    return picture.resize(
        (round(picture.width * zoom), round(picture.height * zoom)),
        Image.Resampling.NEAREST if zoom >= 1 else Image.Resampling.BOX,
    )


def _frame(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], zoom: float, box: tuple[int, ...], width: int
) -> None:  # fmt: skip
    """Frame the cells of a box (top, left, height, width) of a picture that lies at a corner."""
    top, left, height, across = (side * zoom for side in box)
    x, y = corner[0] + left, corner[1] + top
    draw.rectangle((round(x), round(y), round(x + across), round(y + height)), outline=ORANGE, width=width)


def _grid(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], numbers: Numbers, inside: NDArray[np.bool_] | None,
    winner: tuple[int, int] | None = None,
) -> None:  # fmt: skip
    """Write numbers in cells; those of the padding on grey, the winner framed."""
    for (row, column), value in np.ndenumerate(numbers):
        left, top = corner[0] + column * CELL[0], corner[1] + row * CELL[1]
        box = (left, top, left + CELL[0], top + CELL[1])
        draw.rectangle(box, PADDING if inside is not None and not inside[row, column] else BACK, LINE)
        text = next((text for text in (_number(value), f"{value:.2g}") if len(text) <= 7), f"{value:.0e}")
        middle = (left + CELL[0] // 2, top + CELL[1] // 2)
        draw.text(middle, text, ORANGE if (row, column) == winner else INK, plotting.font(text, 12), anchor="mm")
    if winner:
        left, top = corner[0] + winner[1] * CELL[0], corner[1] + winner[0] * CELL[1]
        draw.rectangle((left, top, left + CELL[0], top + CELL[1]), outline=ORANGE, width=2)


def _number(value: float) -> str:
    value += 0.0  # no -0
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: str = INK) -> None:
    """Text whose baseline lies `size` below the place, in whatever font has its characters."""
    draw.text((place[0], place[1] + size), text, colour, plotting.font(text, size), anchor="ls")
