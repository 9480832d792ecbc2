"""What the chapters look at: the reader's picture or a sample, a digit, a network that knows digits."""

import os
from importlib.resources import as_file, files
from pathlib import Path

from rich.console import Console

from vgglass import images, modelfile
from vgglass.images import Pixels

VARIABLE = "VGGLASS_IMAGE"
SIDE = 640  # the longer side of a picture that a chapter works on: cells stay quick on any photograph
MODEL = "course-digits"
EPOCHS, WIDTH = 6, 0.125  # of the recipe `digits`: 8 s of one core, 0.98 on the test digits


def photo(source: str | Path | None = None) -> Pixels:
    """Return a picture as uint8 (H, W, 3): the file named, else that of VGGLASS_IMAGE, else a sample.

    Raises ImageError. The sample is scikit-learn's flower.jpg (CC BY 2.0), read from the installed package.
    """
    from vgglass.preprocess import resize

    if named := source or os.environ.get(VARIABLE):
        pixels = images.decode(Path(named))
    else:
        with as_file(files("sklearn.datasets.images") / "flower.jpg") as path:
            pixels = images.decode(path)
    height, width = pixels.shape[:2]
    share = min(1.0, SIDE / max(height, width))
    resized = resize(pixels, max(1, round(height * share)), max(1, round(width * share)), "bilinear")
    return resized.copy()  # Pillow's array is read-only, of which torch.from_numpy warns


def digit(number: int) -> Pixels:
    """Return the first test image of a digit, uint8 (8, 8, 1)."""
    from vgglass.data import sources

    found = next(sample for sample in sources.digits().split("test") if sample.label == number)
    assert not isinstance(found.source, Path)
    return found.source


def model() -> Path:
    """Return a model file of a small VGG-11 with batch norm that knows the embedded digits.

    The first call trains it, some ten seconds, and keeps it in the cache folder.
    """
    from vgglass import workflows
    from vgglass.files import cache_folder

    folder = cache_folder() / MODEL
    best = folder / "best.safetensors"
    if best.exists():
        modelfile.load_record(best)
        return best
    return workflows.train(
        None,
        out=folder,
        overwrite=folder.exists(),
        console=Console(quiet=True),
        epochs=EPOCHS,
        width=WIDTH,
        precision="float32",
    )
