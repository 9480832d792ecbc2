"""Pictures that are there from the start: photographs that installed libraries bring along, and drawn shapes."""

import io
from collections.abc import Callable
from importlib.resources import files

from PIL import Image, ImageDraw

SIDE = 320


def _packaged(package: str, path: str) -> Callable[[], bytes]:
    return lambda: files(package).joinpath(path).read_bytes()


def _digit(number: int) -> Callable[[], bytes]:
    """One of the embedded digits' test images."""

    def picture() -> bytes:
        from vgglass.data import sources

        dataset = sources.digits()
        found = next(sample for sample in dataset.splits["test"] if sample.label == number)
        return _png(Image.fromarray(found.source[..., 0]))  # type: ignore[index]

    return picture


def _shapes() -> bytes:
    """Edges in every direction, a corner, a circle, stripes and a gradient: what first layers answer to."""
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(picture)
    for x in range(SIDE // 2):
        draw.line((x, 0, x, SIDE // 2), (int(255 * x / (SIDE // 2)),) * 3)
    for index in range(10):
        draw.rectangle((SIDE // 2 + 16 * index, 0, SIDE // 2 + 16 * index + 7, SIDE // 2), "black")
    draw.ellipse((20, SIDE // 2 + 20, SIDE // 2 - 20, SIDE - 20), "#d9730d", "black", 4)
    draw.polygon(((SIDE // 2 + 20, SIDE - 20), (SIDE - 20, SIDE - 20), (3 * SIDE // 4, SIDE // 2 + 20)), "#1f6feb")
    return _png(picture)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


# Read where they are installed, never copied here: scikit-learn's two photographs (CC BY 2.0, credits beside them) and
# matplotlib's portrait of Grace Hopper (United States Navy, public domain).
SAMPLES: dict[str, Callable[[], bytes]] = {
    "flower": _packaged("sklearn.datasets.images", "flower.jpg"),
    "temple": _packaged("sklearn.datasets.images", "china.jpg"),
    "portrait": _packaged("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "shapes": _shapes,
}
DIGITS: dict[str, Callable[[], bytes]] = {f"digit-{number}": _digit(number) for number in (3, 8, 0)}


def names(classes: tuple[str, ...]) -> list[str]:
    """The samples that fit a model: digits for one that reads digits."""
    return [*DIGITS, *SAMPLES] if set(classes) == set("0123456789") else [*SAMPLES, *DIGITS]


def read(name: str) -> bytes:
    """An encoded picture. Raises KeyError for a name that there is not."""
    return (SAMPLES | DIGITS)[name]()
