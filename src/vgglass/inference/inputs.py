"""What is to be predicted: files, folders and manifests as they are named, each image once."""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from vgglass import names
from vgglass.data import manifest
from vgglass.data.dataset import PassedOver
from vgglass.data.listing import Folder, summary
from vgglass.errors import DataError, UsageError

STANDARD_INPUT = Path("-")
Say = Callable[[str], None]


class SeenImages:
    """Images met so far. A folder may be spelled in many ways; two links that are named are two images."""

    def __init__(self) -> None:
        self._folders: dict[Path, str] = {}
        self._images: set[str] = set()

    def add(self, path: Path) -> bool:
        """Whether the image is a new one."""
        image, before = self.place(path), len(self._images)
        self._images.add(image)
        return len(self._images) > before

    def __contains__(self, path: Path) -> bool:
        return self.place(path) in self._images

    def place(self, path: Path) -> str:
        """The image's one spelling; a folder is looked up once, for there may be a million images in it."""
        folder = path.parent
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], path.name)  # noqa: PTH118 (a Path takes ten times as long)


def expand(paths: Iterable[Path], apart: Path | None = None, say: Say = lambda sentence: None) -> list[Path]:
    """Files as given, folders as the images below them, manifests as the files of their rows; each image once.

    `-` alone stands for a list on standard input. A file in the list that is not there is one more that can't be read.
    apart  a folder of links to images, which are not images of their own
    say    is told how a list was understood, and what in the folders is no image
    Raises DataError for a path or images that are not there, or a manifest that can't be read; UsageError for `-` among
    other paths; MissingExtraError.
    """
    given, passed_over = list(paths), list[PassedOver]()
    if STANDARD_INPUT not in given:
        found = [path for one in given for path in _named(names.existing(one), passed_over, say)]
    elif len(given) == 1:
        found = _listed(sys.stdin.buffer.read(), passed_over)
    else:
        raise UsageError("-", "stands for a list on standard input, and for all the paths", "give it alone")
    met = SeenImages()
    new = [path for path in found if met.add(path)]
    files = [path for path in new if not _is_link_below(apart, Path(met.place(path)))] if apart else new
    links = apart.resolve() if apart else None
    if said := summary(one for one in passed_over if not (links and one.path.absolute().is_relative_to(links))):
        say(said)
    if not files:
        raise DataError(apart, "holds all the images that are named", "name the folder that they came from")
    return files


def _is_link_below(folder: Path, image: Path) -> bool:
    return image.is_relative_to(folder.resolve()) and image.is_symlink()


def _named(path: Path, passed_over: list[PassedOver], say: Say) -> list[Path]:
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises where a folder above may not be read)
        raise DataError(path, f"does not exist{names.same_but_for_case(path)}", "check the path")
    found = _below(path, passed_over, say)
    if not found:
        instead = summary(passed_over)
        rule = f"holds no images ({instead})" if instead else "holds no images"
        raise DataError(path, rule, "name a folder that does, or files")
    return found


def _listed(data: bytes, passed_over: list[PassedOver]) -> list[Path]:
    """A path a line, or between NULs where there are any: a file's name may hold all but these. Raises DataError."""
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n") if line.strip()]
    given = data.split(b"\0") if b"\0" in data else lines
    paths = [names.existing(Path(os.fsdecode(name))) for name in given if name]
    found = [file for path in paths for file in (_images(path, passed_over) if os.path.isdir(path) else [path])]  # noqa: PTH112
    if not found:
        raise DataError("standard input", "names no images", "pipe a list into it: a path a line, as find prints")
    return found


def _images(folder: Path, passed_over: list[PassedOver]) -> list[Path]:
    listing = Folder.at(folder).listing()
    passed_over += listing.passed_over
    return listing.images


def _below(path: Path, passed_over: list[PassedOver], say: Say) -> list[Path]:
    if path.is_dir():
        return _images(path, passed_over)
    return manifest.paths(path, say) if manifest.names_one(path) else [path]
