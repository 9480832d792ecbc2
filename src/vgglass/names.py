"""Names as a person sees them: the same letters are one name, however Unicode composes them (UAX 15)."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path


def normalised(name: str) -> str:
    """The name in normal form C: 'é' is one letter, whether macOS or Linux wrote it."""
    return unicodedata.normalize("NFC", name)


def group_by_case(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Names by what they have in common where case is no matter, which is `casefolded`."""
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        found[casefolded(name)] = (*found.get(casefolded(name), ()), name)
    return found


def casefolded(name: str) -> str:
    return normalised(normalised(name).casefold())


def same_but_for_case(path: Path) -> str:
    """For an error about a path that is not there, what is and differs by case alone; '' where nothing is."""
    folder = existing(path.parent)
    if path.exists():
        return ""
    try:
        alike = sorted(other.name for other in folder.iterdir() if casefolded(other.name) == casefolded(path.name))
    except OSError:
        return ""
    return f" (there is {alike[0]!r}, which differs by case alone)" if alike else ""


def existing(path: Path) -> Path:
    """The path, or where nothing is there, the one that looks the same and exists."""
    if path.exists() or path.parent == path:
        return path
    folder = existing(path.parent)
    try:
        alike = [other for other in folder.iterdir() if normalised(other.name) == normalised(path.name)]
    except OSError:
        return path
    return alike[0] if len(alike) == 1 else path
