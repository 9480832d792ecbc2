"""Sort images into folders by predicted class, as symbolic links, so that nothing is moved or copied."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vgglass.errors import DataError
from vgglass.inference.predictor import Prediction

# Characters that file systems reject (slash, NUL, surrogates), control characters, and the escape character itself.
UNSAFE = {ord("/"), ord("%"), 0x7F} | set(range(0x20)) | set(range(0xD800, 0xE000))
UNSURE, UNFAMILIAR = "%unsure", "%unfamiliar"  # can't clash with a class, as '%' is escaped in class names
DIGITS = (6, 64)  # of the path's digest in a link's name: a few, or all in case of a collision
LONGEST_NAME = 255  # bytes


def sorted_into(folder: Path, rows: Iterable[Prediction]) -> Iterator[Prediction]:
    """Pass rows through after linking each readable image under its class, or as unfamiliar or unsure.

    An image that is both is unfamiliar: what the network answers to it means nothing.

    Raises DataError, OSError.
    """
    for row in rows:
        if row.top:
            _link(Path(row.path), folder / _folder_of(row))
        yield row


def _folder_of(row: Prediction) -> str:
    if row.unfamiliar:
        return UNFAMILIAR
    return UNSURE if row.unsure else folder_name(row.label)


def folder_name(label: str) -> str:
    """Encode a class name as a folder name: injective, never hidden, and without path separators."""
    name = "".join(f"%{code:02X}" if (code := ord(letter)) in UNSAFE else letter for letter in label)
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _link(image: Path, folder: Path) -> None:
    """Create a link to the image unless it exists. Raises DataError if all its possible names are taken."""
    target = image.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in _candidate_names(image.name, target):
        try:
            (folder / name).symlink_to(target)
        except FileExistsError:
            if not _points_to(folder / name, target):
                continue
        return
    raise DataError(folder / name, f"is not the link to {image} that belongs there", "move it away")


def _candidate_names(name: str, target: Path) -> Iterator[str]:
    """Candidate names of a link: the image's own name, then names with a digest of its path."""
    yield name
    digest = hashlib.sha256(os.fsencode(target)).hexdigest()
    for digits in DIGITS:
        end = f"-{digest[:digits]}{Path(name).suffix}"
        stem = os.fsencode(Path(name).stem)[: LONGEST_NAME - len(os.fsencode(end))]
        yield os.fsdecode(stem) + end


def _points_to(link: Path, target: Path) -> bool:
    return link.is_symlink() and link.readlink() == target
