"""Objects as a notebook shows them: a small table, in the language of the locale.

HTML with inline style alone, whose colours are the notebook's own, light or dark; all text in it is escaped.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from vgglass import locale, web
from vgglass.images import Pixels

MOST_ROWS = 12  # of a table
SIDE = 192  # of a picture: below 200 KB in base64, whatever it shows
FRAME = "border-left:3px solid #6b8fd6;padding:.1em 0 .1em .9em;margin:.3em 0;overflow-x:auto"
CELL = "padding:.1em 1em .1em 0;text-align:left;vertical-align:top;background:none;border:0"
SOFT = "opacity:.7;font-weight:normal"

Table = Sequence[Sequence[object]]


def words() -> dict[str, Any]:
    """The texts, in the language of the locale."""
    return locale.words(locale.language(None), "notebook")


def panel(kind: str, rows: Mapping[str, object], table: Table = (), picture: Pixels | None = None) -> str:
    """HTML of one object.

    kind   a key of the texts' titles
    rows   by a key of the texts' labels; None is left out
    table  its head first, of such keys or of texts of its own; of many rows only MOST_ROWS are shown
    """
    texts = words()
    labels = texts["labels"]
    lines = "".join(
        f"<tr>{_cell('th', labels.get(name, name), SOFT)}{_cell('td', _text(value, texts))}</tr>"
        for name, value in rows.items()
        if value is not None
    )
    parts = [f"<strong>{escape(texts['titles'][kind])}</strong>", _table(lines), _body(table, texts)]
    if picture is not None:
        shown = (
            f"max-width:{SIDE}px;width:100%;image-rendering:{'pixelated' if max(picture.shape[:2]) < 96 else 'auto'}"
        )
        parts.insert(1, f'<br><img alt="" style="{shown}" src="{web.thumbnail(picture, SIDE)}">')
    return f'<div style="{FRAME}">{"".join(parts)}</div>'


def _body(table: Table, texts: Mapping[str, Any]) -> str:
    if len(table) < 2:
        return ""
    head, *rows = table
    names = "".join(_cell("th", str(texts["labels"].get(name, name)), SOFT) for name in head)
    lines = "".join(
        f"<tr>{''.join(_cell('td', _text(value, texts)) for value in row)}</tr>" for row in rows[:MOST_ROWS]
    )
    rest = len(rows) - MOST_ROWS
    more = f'<span style="{SOFT}">{escape(texts["more"].format(count=rest))}</span>' if rest > 0 else ""
    return _table(f"<tr>{names}</tr>{lines}") + more


def _table(lines: str) -> str:
    return f'<table style="border-collapse:collapse;margin:.3em 0;color:inherit">{lines}</table>' if lines else ""


def _cell(tag: str, text: str, style: str = "") -> str:
    return f'<{tag} style="{CELL};{style}">{escape(text)}</{tag}>'


def _text(value: object, texts: Mapping[str, Any]) -> str:
    if isinstance(value, bool):
        return str(texts["yes" if value else "no"])
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def percent(share: float | None, interval: Sequence[float] | None = None) -> str | None:
    """A share in percent, with its interval in brackets; None for None."""
    if share is None:
        return None
    bounds = f" ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})" if interval else ""
    return f"{100 * share:.1f} %{bounds}"


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - MOST_ROWS
    return ", ".join([*names[:MOST_ROWS], *([words()["more"].format(count=rest)] if rest > 0 else [])])
