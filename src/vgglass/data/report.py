"""Report an audit: a self-contained HTML page, and a list of files to quarantine."""

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

CASES = 24  # shown per kind; the page gives the number of the others
FILES = 6  # shown per case
SIDE = 160  # maximum side of a thumbnail


def write_page(audit: Audit, path: Path, lang: str = "en") -> None:
    """Write the page of an audit, with texts in both languages, initially in `lang`. Raises OSError."""
    template = files("vgglass.data").joinpath("page.html").read_text(encoding="utf-8")
    page = web.filled(web.inlined(template), locale.of_page("audit"), facts(audit) | {"lang": lang})
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def facts(audit: Audit) -> dict[str, Any]:
    """The data of the page."""
    shown = [
        {
            "kind": kind,
            "serious": audit.is_serious(kind),
            "count": len(cases),
            "cases": [_case_as_json(audit, case) for case in cases[:CASES]],
        }
        for kind, cases in audit.findings.items()
    ]
    return audit.as_json() | {"findings": shown}


def _case_as_json(audit: Audit, case: Case) -> dict[str, Any]:
    found = [
        {"path": entry.id, "split": entry.split, "class": audit.label(entry), "picture": _thumbnail(entry)}
        for entry in case.entries[:FILES]
    ]
    about = {"detail": case.detail, "path": case.path, "changes": list(case.changes)}
    return {"files": found, "more": len(case.entries) - len(found)} | about


def _thumbnail(entry: Entry) -> str:
    """A JPEG thumbnail as a data URI; '' for an unreadable file."""
    if entry.facts.error:
        return ""
    try:
        pixels = DECODERS.decode(entry.source, least=SIDE) if isinstance(entry.source, Path) else entry.source
    except ImageError:  # removed or changed since the audit
        return ""
    return web.thumbnail(pixels, SIDE)


# Quarantine: a list of files to remove before training, and optionally moving them to another folder.

LIST = "quarantine.csv"
# Reason by kind; the first one that applies to a file is recorded.
REASONS = {
    "unreadable": "can't be read", "empty-file": "is empty", "truncated": "is truncated", "damaged": "is damaged",
    "too-narrow": "is too narrow", "label-conflict": "is the same picture as {} in another class",
    "leak": "is the same picture as {}, which is held out", "duplicate": "is a copy of {}",
}  # fmt: skip
# If two splits share an image, the one further to the right keeps it, so that scores on held-out images stay
# comparable with earlier ones.
KEEPS = ("all", "train", "validation", "test")


def files_to_remove(audit: Audit) -> list[tuple[Entry, str]]:
    """The files to remove, each with its reason, in the order of the survey.

    Unreadable, damaged and too narrow files; both sides of a label conflict, since only a person can tell which is
    right; of an image in two splits, the copies in the less held-out one; of equal contents, all but the first. Near
    duplicates within a split are kept.
    """
    reasons: dict[str, str] = {}
    for kind, reason in REASONS.items():
        for case in audit.findings.get(kind, ()):
            for entry, other in _to_remove(kind, case.entries):
                reasons.setdefault(entry.id, reason.format(other))
    return [(entry, reasons[entry.id]) for entry in audit.survey.entries if entry.id in reasons]


def _to_remove(kind: str, entries: tuple[Entry, ...]) -> Iterator[tuple[Entry, str]]:
    """The files of a case to remove, each with the id of the file that it duplicates or conflicts with (or '')."""
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
    """Raises UsageError unless `folder` is an image folder and `destination` is empty and outside of it."""
    if not folder.is_dir() or sources.holds_idx(folder):
        raise UsageError("--quarantine", f"moves files of class folders, and {folder} has none", "name their folder")
    inside, outside = destination.resolve(), folder.resolve()
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise UsageError(f"--quarantine {destination}", f"lies within {folder} or around it", "name a folder elsewhere")
    if destination.is_dir() and any(path.name != LIST for path in destination.iterdir()):
        raise UsageError(f"--quarantine {destination}", "holds other files", "name a new folder")


def write_quarantine(condemned: Iterable[tuple[Entry, str]], destination: Path, *, moving: bool) -> Path:
    """Write the quarantine list and, if `moving`, move the files, keeping their relative paths; the list's path.

    When moving, each line is written after its file was moved, so that after a failure the list has exactly the moved
    files. `destination` must have passed `require_place`. Raises OSError.
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
