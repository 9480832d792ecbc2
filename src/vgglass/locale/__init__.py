"""The user-facing texts in English and Chinese: folders en and zh with the same keys, one file per subject.

audit, report and glass belong to the self-contained pages, page to the server's, paper and commands to the terminal.
What else the program says is English in the code, and in Chinese by `messages`: zh/messages.json has no twin in en.
A value is a text or a nested object of texts. Placeholders are named: '{row}', with a format if Python fills them in:
'{share:.1%}'.
"""

import json
import os
from functools import cache
from importlib.resources import files
from typing import Any

from vgglass.errors import UsageError

LANGUAGES = ("en", "zh")
_spoken = "en"  # until a command says otherwise: what calls vgglass from Python reads English


def language(given: str | None) -> str:
    """Return 'en' or 'zh': as given, else from the environment. Raises UsageError."""
    if given is None:
        locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
        return "zh" if locale.startswith("zh") else "en"
    if given not in LANGUAGES:
        raise UsageError(f"--lang {given}", f"not one of {', '.join(LANGUAGES)}", "choose one of them")
    return given


def speak(lang: str) -> None:
    """Set the language of what this process prints from here on, in all of its threads."""
    global _spoken
    _spoken = lang


def spoken() -> str:
    return _spoken


@cache
def words(lang: str, subject: str) -> dict[str, Any]:
    """Return the texts of a subject in one language."""
    text = (files("vgglass.locale") / lang / f"{subject}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def of_page(subject: str) -> dict[str, Any]:
    """Return the texts of a page by language, for its script."""
    return {lang: words(lang, subject) for lang in LANGUAGES}
