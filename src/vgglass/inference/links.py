"""Images sorted into folders by what they are taken for: symbolic links, so that nothing is moved or copied."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vgglass.errors import DataError
from vgglass.inference.rows import Prediction

# What no file system takes (a slash, NUL, surrogates), what would steer a terminal, and the sign that encodes them.
UNSAFE = {ord("/"), ord("%"), 0x7F} | set(range(0x20)) | set(range(0xD800, 0xE000))
UNSURE = "%unsure"  # no class's folder: a '%' of a name is encoded
DIGITS = (6, 64)  # of a path's digest in a link's name: a few, and all where images share even those
LONGEST_NAME = 255  # bytes


def sorted_into(folder: Path, rows: Iterable[Prediction]) -> Iterator[Prediction]:
    """The rows as they come, each readable image linked to first: under its class, or as unsure.

    Raises DataError, OSError.
    """
    for row in rows:
        if row.top:
            _link(Path(row.path), folder / (UNSURE if row.unsure else folder_name(row.label)))
        yield row


def folder_name(label: str) -> str:
    """A class's name as one of a folder: no two classes share one, and none leaves its place or hides."""
    name = "".join(f"%{code:02X}" if (code := ord(letter)) in UNSAFE else letter for letter in label)
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _link(image: Path, folder: Path) -> None:
    """Add a link to the image, unless it is there. Raises DataError where all the names that it may have are taken."""
    target = image.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in _names(image.name, target):
        try:
            (folder / name).symlink_to(target)
        except FileExistsError:
            if not _leads(folder / name, target):
                continue
        return
    raise DataError(folder / name, f"is not the link to {image} that belongs there", "move it away")


def _names(name: str, target: Path) -> Iterator[str]:
    """The image's own name, then ones that tell it from another folder's image of that name."""
    yield name
    digest = hashlib.sha256(os.fsencode(target)).hexdigest()
    for digits in DIGITS:
        end = f"-{digest[:digits]}{Path(name).suffix}"
        stem = os.fsencode(Path(name).stem)[: LONGEST_NAME - len(os.fsencode(end))]
        yield os.fsdecode(stem) + end


def _leads(link: Path, target: Path) -> bool:
    return link.is_symlink() and link.readlink() == target
