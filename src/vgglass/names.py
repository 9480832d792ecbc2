"""Names as text, and compared after Unicode normalisation (UAX 15), with or without case."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path


def printable(path: Path | str) -> str:
    """The path as valid text, with bytes that are not UTF-8 escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def normalised(name: str) -> str:
    """The name in NFC: 'é' is one code point, whether written by macOS or Linux."""
    return unicodedata.normalize("NFC", name)


def group_by_case(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Group names by their `casefolded` form."""
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        found[casefolded(name)] = (*found.get(casefolded(name), ()), name)
    return found


def casefolded(name: str) -> str:
    return normalised(normalised(name).casefold())


def same_but_for_case(path: Path) -> str:
    """A hint for errors about a missing path: an existing name that differs only by case; '' if there is none."""
    folder = existing(path.parent)
    if path.exists():
        return ""
    try:
        alike = sorted(other.name for other in folder.iterdir() if casefolded(other.name) == casefolded(path.name))
    except OSError:
        return ""
    return f" (there is {alike[0]!r}, which differs by case alone)" if alike else ""


def existing(path: Path) -> Path:
    """The path, or if missing the existing path that is equal after Unicode normalisation, if it is unique."""
    if path.exists() or path.parent == path:
        return path
    folder = existing(path.parent)
    try:
        alike = [other for other in folder.iterdir() if normalised(other.name) == normalised(path.name)]
    except OSError:
        return path
    return alike[0] if len(alike) == 1 else path
