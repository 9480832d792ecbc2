"""The page of an audit: one HTML file that opens from disk, its pictures inside it."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from vgglass import pages
from vgglass.atomic import replacing
from vgglass.data.audit import SERIOUS, Audit, Case, words
from vgglass.data.folder import Entry
from vgglass.errors import ImageError
from vgglass.isolation import DECODERS

CASES = 24  # of a kind that are shown; the page says how many more there are
FILES = 6  # of a case
SIDE = 160  # of a picture, at most


def write(audit: Audit, path: Path, lang: str = "en") -> None:
    """Fill the template with an audit and the words of both languages; it opens in `lang`. Raises OSError."""
    page = files("vgglass.data").joinpath("page.html").read_text(encoding="utf-8")
    page = page.replace("/*WORDS*/null", pages.script(words()))
    page = page.replace("/*FACTS*/null", pages.script(facts(audit) | {"lang": lang}))
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def facts(audit: Audit) -> dict[str, Any]:
    """What the page draws."""
    shown = [
        {
            "kind": kind,
            "serious": kind in SERIOUS,
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
    return pages.thumbnail(pixels, SIDE)
