"""Pictures of arrays in a notebook: side by side, and moving."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MILLISECONDS = 300  # a frame
LEAST = 160  # side in pixels to which small arrays are enlarged


@dataclass(frozen=True)
class Moving:
    """A GIF, which a notebook shows. `save` writes it to a file."""

    data: bytes = field(repr=False)
    alt: str

    def save(self, path: str | Path) -> None:
        Path(path).write_bytes(self.data)

    def _repr_html_(self) -> str:
        encoded = base64.b64encode(self.data).decode()
        return f'<img class="pixels" alt="{html.escape(self.alt)}" src="data:image/gif;base64,{encoded}">'


def moving(frames: Sequence[NDArray[Any]], alt: str, milliseconds: int = MILLISECONDS) -> Moving:
    """Return frames (H, W) or (H, W, 3) as a GIF; numbers other than uint8 are scaled to the range of all frames."""
    low, high = min(float(frame.min()) for frame in frames), max(float(frame.max()) for frame in frames)
    pictures = [_enlarged(_pixels(frame, low, high)) for frame in frames]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    return Moving(file.getvalue(), alt)


@dataclass(frozen=True)
class Picture:
    """A PNG, which a notebook shows."""

    data: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.data


def show(arrays: Mapping[str, NDArray[Any]], scale: tuple[float, float] | None = None) -> Picture:
    """Return arrays (H, W) or (H, W, 3) side by side under their names; grey ones on their own range or on `scale`."""
    from matplotlib.figure import Figure

    tallest = max(np.squeeze(array).shape[0] / np.squeeze(array).shape[1] for array in arrays.values())
    figure = Figure(figsize=(2.6 * len(arrays), 2.4 * tallest + 0.5), dpi=80, layout="tight")
    low, high = scale or (None, None)
    for place, (name, array) in enumerate(arrays.items(), start=1):
        axes = figure.add_subplot(1, len(arrays), place)
        axes.imshow(np.squeeze(array), cmap="gray", vmin=low, vmax=high)
        axes.set_title(name, fontsize=10)
        axes.axis("off")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Picture(file.getvalue())


def _pixels(frame: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    if frame.dtype == np.uint8:
        return frame
    scaled: NDArray[np.uint8] = np.round((frame - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    return scaled


def _enlarged(pixels: NDArray[np.uint8]) -> Image.Image:
    times = max(1, -(-LEAST // max(pixels.shape[:2])))
    return Image.fromarray(pixels.repeat(times, axis=0).repeat(times, axis=1))
