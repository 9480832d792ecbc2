"""Sample images for the page: photographs that installed libraries ship, and drawn shapes."""

import io
from collections.abc import Callable
from importlib.resources import files

from PIL import Image, ImageDraw

SIDE = 320


def _package_file(package: str, path: str) -> Callable[[], bytes]:
    return lambda: files(package).joinpath(path).read_bytes()


def _digit(number: int) -> Callable[[], bytes]:
    """Return a loader for the first test image of a digit."""

    def picture() -> bytes:
        from vgglass.data import sources

        dataset = sources.digits()
        found = next(sample for sample in dataset.splits["test"] if sample.label == number)
        return _png(Image.fromarray(found.source[..., 0]))  # type: ignore[index]

    return picture


def _shapes() -> bytes:
    """Draw edges in every direction, a corner, a circle, stripes and a gradient: features that first layers detect."""
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


# Read from the installed packages, never copied here: scikit-learn's two photographs (CC BY 2.0, credits in the same
# folder) and matplotlib's portrait of Grace Hopper (United States Navy, public domain).
SAMPLES: dict[str, Callable[[], bytes]] = {
    "flower": _package_file("sklearn.datasets.images", "flower.jpg"),
    "temple": _package_file("sklearn.datasets.images", "china.jpg"),
    "portrait": _package_file("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "shapes": _shapes,
}
DIGITS: dict[str, Callable[[], bytes]] = {f"digit-{number}": _digit(number) for number in (3, 8, 0)}


def names(classes: tuple[str, ...]) -> list[str]:
    """Return the samples that suit a model: digits for a digit classifier, photographs for any other."""
    return [*DIGITS, *SAMPLES] if set(classes) == set("0123456789") else [*SAMPLES, *DIGITS]


def read(name: str) -> bytes:
    """Return an encoded image. Raises KeyError for an unknown name."""
    return (SAMPLES | DIGITS)[name]()
