"""Expand files, folders, manifests and standard input to a list of images without repetitions."""

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
    """A set of image paths, compared by resolved folder; links to one file count as different images."""

    def __init__(self) -> None:
        self._folders: dict[Path, str] = {}
        self._images: set[str] = set()

    def add(self, path: Path) -> bool:
        """Add an image; whether it is new."""
        image, before = self.place(path), len(self._images)
        self._images.add(image)
        return len(self._images) > before

    def __contains__(self, path: Path) -> bool:
        return self.place(path) in self._images

    def place(self, path: Path) -> str:
        """The canonical path of an image; folders are cached, since one may have a million images."""
        folder = path.parent
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], path.name)  # noqa: PTH118 (a Path takes ten times as long)


def expand(paths: Iterable[Path], apart: Path | None = None, say: Say = lambda sentence: None) -> list[Path]:
    """Expand folders to the images in them and manifests to their files; each image once.

    A single `-` reads a list from standard input; a missing file in it is kept and fails later as unreadable.
    apart  a folder of links to images (output of an earlier run), which is excluded
    say    receives sentences on how a list was interpreted and which files were skipped
    Raises DataError for a missing path, no images, or an unreadable manifest; UsageError for `-` among other paths;
    MissingExtraError.
    """
    arguments, passed_over = list(paths), list[PassedOver]()
    if STANDARD_INPUT not in arguments:
        found = [path for one in arguments for path in _expand_one(names.existing(one), passed_over, say)]
    elif len(arguments) == 1:
        found = _parse_list(sys.stdin.buffer.read(), passed_over)
    else:
        raise UsageError("-", "stands for a list on standard input, and for all the paths", "give it alone")
    seen = SeenImages()
    new = [path for path in found if seen.add(path)]
    files = [path for path in new if not _is_link_below(apart, Path(seen.place(path)))] if apart else new
    links = apart.resolve() if apart else None
    if sentence := summary(one for one in passed_over if not (links and one.path.absolute().is_relative_to(links))):
        say(sentence)
    if not files:
        raise DataError(apart, "holds all the images that are named", "name the folder that they came from")
    return files


def _is_link_below(folder: Path, image: Path) -> bool:
    return image.is_relative_to(folder.resolve()) and image.is_symlink()


def _expand_one(path: Path, passed_over: list[PassedOver], say: Say) -> list[Path]:
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises where a folder above may not be read)
        raise DataError(path, f"does not exist{names.same_but_for_case(path)}", "check the path")
    found = _list_path(path, passed_over, say)
    if not found:
        instead = summary(passed_over)
        rule = f"holds no images ({instead})" if instead else "holds no images"
        raise DataError(path, rule, "name a folder that does, or files")
    return found


def _parse_list(data: bytes, passed_over: list[PassedOver]) -> list[Path]:
    """Parse a list of paths, separated by NULs if there are any, else by newlines. Raises DataError."""
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n") if line.strip()]
    entries = data.split(b"\0") if b"\0" in data else lines
    paths = [names.existing(Path(os.fsdecode(name))) for name in entries if name]
    found = [file for path in paths for file in (_images(path, passed_over) if os.path.isdir(path) else [path])]  # noqa: PTH112
    if not found:
        raise DataError("standard input", "names no images", "pipe a list into it: a path a line, as find prints")
    return found


def _images(folder: Path, passed_over: list[PassedOver]) -> list[Path]:
    listing = Folder.at(folder).listing()
    passed_over += listing.passed_over
    return listing.images


def _list_path(path: Path, passed_over: list[PassedOver], say: Say) -> list[Path]:
    if path.is_dir():
        return _images(path, passed_over)
    return manifest.paths(path, say) if manifest.names_one(path) else [path]
