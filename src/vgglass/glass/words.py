"""What the pictures and the page say, in English ('en') and Chinese ('zh'): words.json holds all of it."""

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def both() -> dict[str, Any]:
    """By language, then by the place where a text stands."""
    words: dict[str, Any] = json.loads(files("vgglass.glass").joinpath("words.json").read_text(encoding="utf-8"))
    return words


def words(lang: str, place: str) -> dict[str, str]:
    """The texts of one place: 'sheets' or 'charts'."""
    texts: dict[str, str] = both()[lang][place]
    return texts
