"""A GIF of how a run learned: its loss, the first kernels and the answers to some images, point by point.

Or of an operation on an image, which `vgglass.glass.clip` draws.
"""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vgglass import plotting
from vgglass.errors import TrainingError, UsageError
from vgglass.files import replacing
from vgglass.learning import Learning, Point
from vgglass.locale import language, words
from vgglass.workflows.models import Model, load, require_torch

WIDTH, HEIGHT, MARGIN = 720, 420, 16
LEFT = 340  # width of the curve and the kernels
INK, SOFT, LINE, BLUE, ORANGE, BACK = "#1d1b19", "#5d5852", "#dcd7d0", "#1a5fd0", "#b85c00", "#ffffff"
FRAME, LAST = 160, 2500  # milliseconds of each frame and of the last
SHOWN = 8  # pinned images
SMOOTHED = 60  # places along the curve; a step's own loss jumps


def clip(
    source: str | Path, out: str | Path, *, layer: str | None = None, channel: int | None = None,
    model: Model | None = None, lang: str | None = None,
) -> Path:  # fmt: skip
    """Draw a GIF and return its path: how a run learned or, with a layer, the layer's operation on an image.

    source   the folder of a run that was trained with `train --watch`; or an image
    layer    conv1_1, relu1_1, pool1, fc6, …: its outputs are computed one after another, with their arithmetic
    channel  of the layer; the one with the largest output without
    model    a model file or a pretrained name, for an image; default vgg16

    Raises UsageError for a name that does not end in .gif, and for a layer or channel that can not be drawn;
    TrainingError where there is no record.

    >>> vgglass.clip("runs/mine", "learning.gif").name
    'learning.gif'
    >>> vgglass.clip("photos/3/digit-0705.png", "conv.gif", layer="conv1_1", model="runs/digits/best.safetensors").name
    'conv.gif'
    """
    source, out = Path(source), Path(out)
    if out.suffix.lower() != ".gif":
        raise UsageError(f"--out {out}", "is a GIF, and its name ends in .gif", "write, say, --out learning.gif")
    if layer is not None:
        drawn, times = _operation(source, layer, channel, model or "vgg16", language(lang))
    else:
        for name, value in (("model", model), ("channel", channel)):
            if value is not None:
                raise UsageError(f"--{name} {value}", "is for an operation on an image", "add, say, --layer conv1_1")
        drawn = _run(source, language(lang))
        times = [FRAME] * (len(drawn) - 1) + [LAST]
    with replacing(out) as temporary:
        drawn[0].save(temporary, "GIF", save_all=True, append_images=drawn[1:], loop=0, duration=times)
    return out


def _operation(
    image: Path, layer: str, channel: int | None, model: Model, lang: str
) -> tuple[list[Image.Image], list[int]]:
    if image.is_dir():
        raise UsageError(image, "is a folder, and a layer is drawn on one image", "name an image; or omit --layer")
    require_torch("the glass")
    from vgglass.glass import open_subject
    from vgglass.glass.clip import frames
    from vgglass.glass.sliding import slide

    return frames(slide(open_subject(load(model), image), layer, channel), lang)


def _run(folder: Path, lang: str) -> list[Image.Image]:
    if folder.is_file():
        raise UsageError(folder, "is a file, not the folder of a run", "for an image, add, say, --layer conv1_1")
    place = Learning(folder)
    about, say = place.about(), words(lang, "watch")["clip"]
    points = [place.point(step) for step in place.steps()]
    if not points:
        raise TrainingError(folder, "has a record without a point", "train again with --watch")
    drawing = _Drawing(about, place.pinned()["pixels"], place.losses(), points, say)
    return [drawing.frame(point) for point in points]


class _Drawing:
    """What all frames of one run have in common."""

    def __init__(
        self, about: dict[str, Any], pixels: NDArray[np.uint8], losses: NDArray[np.float32], points: list[Point],
        say: dict[str, str],
    ) -> None:  # fmt: skip
        self.about, self.say = about, say
        self.pictures = [Image.fromarray(each.squeeze()).convert("RGB") for each in pixels[:SHOWN]]
        self.judged = [(point.step, point.numbers["validation"]["loss"]) for point in points]
        self.curve = smoothed(losses[:, 0])
        known = [loss for _, loss in (*self.curve, *self.judged) if loss is not None and math.isfinite(loss)]
        self.top = min(max(known, default=1.0), 3 * math.log(len(about["classes"])))  # of a run that diverged

    def frame(self, point: Point) -> Image.Image:
        image = Image.new("RGB", (WIDTH, HEIGHT), BACK)
        draw = ImageDraw.Draw(image)
        judged = point.numbers["validation"]
        loss = "–" if judged["loss"] is None else f"{judged['loss']:.3f}"
        title = self.say["title"].format(
            step=f"{point.step:,}", steps=f"{self.about['steps']:,}", loss=loss, accuracy=f"{judged['accuracy']:.0%}"
        )
        _write(draw, (MARGIN, 10), title, 17)
        self._draw_curve(draw, point.step)
        self._draw_kernels(image, draw, point.arrays["kernels"])
        self._draw_answers(image, draw, point.arrays["probabilities"])
        return image.quantize(128, dither=Image.Dither.NONE)

    def _draw_curve(self, draw: ImageDraw.ImageDraw, now: int) -> None:
        left, top, width, height = MARGIN, 70, LEFT - 2 * MARGIN, 130
        _write(draw, (left, 44), self.say["curve"], 13, SOFT)
        draw.rectangle((left, top, left + width, top + height), outline=LINE)

        def place(step: int, loss: float) -> tuple[float, float]:
            along = math.log1p(step) / math.log1p(self.about["steps"])  # as the points are spaced
            return left + width * along, top + height * (1 - min(1.0, loss / self.top))

        line = [place(step, loss) for step, loss in self.curve if step <= now]
        if len(line) > 1:
            draw.line(line, BLUE, 2, joint="curve")
        for step, loss in self.judged:
            if step <= now and loss is not None:
                x, y = place(step, loss)
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), ORANGE)

    def _draw_kernels(self, image: Image.Image, draw: ImageDraw.ImageDraw, kernels: NDArray[np.float32]) -> None:
        """Each scaled to its own largest weight; grey is zero."""
        top, columns = 236, 8
        _write(draw, (MARGIN, 212), self.say["kernels"], 13, SOFT)
        side = min(38, (HEIGHT - top - MARGIN) // -(-min(len(kernels), 32) // columns))
        for index, kernel in enumerate(kernels[:32]):
            pixels = 128 + 127 * kernel / max(1e-12, float(np.abs(kernel).max()))
            tile = Image.fromarray(pixels.astype(np.uint8).transpose(1, 2, 0).squeeze()).convert("RGB")
            row, column = divmod(index, columns)
            image.paste(tile.resize((side - 3, side - 3), Image.Resampling.NEAREST),
                        (MARGIN + column * side, top + row * side))  # fmt: skip

    def _draw_answers(self, image: Image.Image, draw: ImageDraw.ImageDraw, answers: NDArray[np.float32]) -> None:
        """The likeliest class of each pinned image and its probability; blue where it is right."""
        classes, top = self.about["classes"], 70
        _write(draw, (LEFT + MARGIN, 44), self.say["answers"], 13, SOFT)
        pitch = (HEIGHT - top - MARGIN) // max(1, len(self.pictures))
        for row, (picture, label) in enumerate(zip(self.pictures, self.about["pinned"], strict=False)):
            y, side = top + row * pitch, min(36, pitch - 4)
            image.paste(picture.resize((side, side), Image.Resampling.NEAREST), (LEFT + MARGIN, y))
            best = int(np.nan_to_num(answers[row]).argmax())
            share = float(np.nan_to_num(answers[row, best]))
            colour = BLUE if best == label else ORANGE
            x = LEFT + MARGIN + 48
            draw.rectangle((x, y + 20, x + 250, y + 30), "#e9e6e1")
            draw.rectangle((x, y + 20, x + 250 * share, y + 30), colour)
            name = _short(classes[best])
            text = name if best == label else self.say["wrong"].format(answer=name, truth=_short(classes[label]))
            _write(draw, (x, y), f"{text}  {share:.0%}", 13, colour)


def smoothed(losses: NDArray[np.float32]) -> list[tuple[int, float]]:
    """Steps and mean losses over log-spaced stretches, those without a finite loss left out."""
    if not len(losses):
        return []
    edges = np.unique(np.geomspace(1, len(losses) + 1, SMOOTHED).round().astype(int))
    parts = [(int(end) - 1, losses[start - 1 : end - 1]) for start, end in itertools.pairwise(edges)]
    return [(step, float(part.mean())) for step, part in parts if np.isfinite(part).all()]


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: str = INK) -> None:
    draw.text(place, text, colour, plotting.font(text, size))
