"""What comes of an audit: one HTML page that opens from disk, and a list of files that ought to leave the folder."""

import csv
import shutil
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from vgglass import locale, web
from vgglass.data import sources
from vgglass.data.audit import Audit, Case
from vgglass.data.folder import Entry
from vgglass.errors import ImageError, UsageError
from vgglass.files import replacing
from vgglass.isolation import DECODERS

CASES = 24  # of a kind that are shown; the page says how many more there are
FILES = 6  # of a case
SIDE = 160  # of a picture, at most


def write_page(audit: Audit, path: Path, lang: str = "en") -> None:
    """Fill the template with an audit and the words of both languages; it opens in `lang`. Raises OSError."""
    template = files("vgglass.data").joinpath("page.html").read_text(encoding="utf-8")
    page = web.filled(web.inlined(template), locale.of_page("audit"), facts(audit) | {"lang": lang})
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def facts(audit: Audit) -> dict[str, Any]:
    """What the page draws."""
    shown = [
        {
            "kind": kind,
            "serious": audit.is_serious(kind),
            "count": len(cases),
            "cases": [_case(audit, case) for case in cases[:CASES]],
        }
        for kind, cases in audit.findings.items()
    ]
    return audit.as_json() | {"findings": shown}


def _case(audit: Audit, case: Case) -> dict[str, Any]:
    found = [
        {"path": entry.id, "split": entry.split, "class": audit.label(entry), "picture": _picture(entry)}
        for entry in case.entries[:FILES]
    ]
    return {"files": found, "more": len(case.entries) - len(found), "detail": case.detail, "path": case.path}


def _picture(entry: Entry) -> str:
    """A small JPEG as a data URI; '' for a file that can't be read."""
    if entry.facts.error:
        return ""
    try:
        pixels = DECODERS.decode(entry.source, least=SIDE) if isinstance(entry.source, Path) else entry.source
    except ImageError:  # it was there a moment ago
        return ""
    return web.thumbnail(pixels, SIDE)


# Files that ought to leave a folder before training: a list, and on demand their removal to another folder.

LIST = "quarantine.csv"
# By kind, the reason; the first that fits a file is its own.
REASONS = {
    "unreadable": "can't be read", "empty-file": "is empty", "truncated": "is truncated", "damaged": "is damaged",
    "too-narrow": "is too narrow", "label-conflict": "is the same picture as {} in another class",
    "leak": "is the same picture as {}, which is held out", "duplicate": "is a copy of {}",
}  # fmt: skip
# Of two splits that share a picture the one further to the right keeps it: then the figures on held-out images stay
# comparable with earlier ones.
KEEPS = ("all", "train", "validation", "test")


def files_to_remove(audit: Audit) -> list[tuple[Entry, str]]:
    """The files that ought to go, each with its reason, in the order of the survey.

    Unreadable, damaged and too narrow files; both sides of a label conflict, for only a person can tell which is right;
    of a picture in two splits the copies in the less held-out one; of equal contents all but the first. Near duplicates
    within a split stay.
    """
    reasons: dict[str, str] = {}
    for kind, reason in REASONS.items():
        for case in audit.findings.get(kind, ()):
            for entry, other in _leaving(kind, case.entries):
                reasons.setdefault(entry.id, reason.format(other))
    return [(entry, reasons[entry.id]) for entry in audit.survey.entries if entry.id in reasons]


def _leaving(kind: str, entries: tuple[Entry, ...]) -> Iterator[tuple[Entry, str]]:
    """The files of a case that go, each with another one that explains it."""
    if kind == "leak":
        kept = max(entries, key=lambda entry: KEEPS.index(entry.split))
        yield from ((entry, kept.id) for entry in entries if entry.split != kept.split)
    elif kind == "duplicate":
        yield from ((entry, entries[0].id) for entry in entries[1:])
    elif kind == "label-conflict":
        for entry in entries:
            yield entry, next(other.id for other in entries if other.label != entry.label)
    else:
        yield from ((entry, "") for entry in entries)


def require_place(folder: Path, destination: Path) -> None:
    """Raises UsageError for data that are no folder of files, and for a place that is not apart from it and empty."""
    if not folder.is_dir() or sources.holds_idx(folder):
        raise UsageError("--quarantine", f"moves files of class folders, and {folder} has none", "name their folder")
    inside, outside = destination.resolve(), folder.resolve()
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise UsageError(f"--quarantine {destination}", f"lies within {folder} or around it", "name a folder elsewhere")
    if destination.is_dir() and any(path.name != LIST for path in destination.iterdir()):
        raise UsageError(f"--quarantine {destination}", "holds other files", "name a new folder")


def write_quarantine(condemned: Iterable[tuple[Entry, str]], destination: Path, *, moving: bool) -> Path:
    """Write the list of what ought to go and, where `moving`, move it there under its path in the folder; the list.

    When moving, each line is written as its file has moved: after a failure midway the list is what was moved.
    The place is one that `require_place` allows. Raises OSError.
    """
    destination.mkdir(parents=True, exist_ok=True)
    with (destination / LIST).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "reason"])
        for entry, reason in condemned:
            if moving:
                assert isinstance(entry.source, Path)
                target = destination / entry.id
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(entry.source, target)
            rows.writerow([entry.id, reason])
            file.flush()
    return destination / LIST
