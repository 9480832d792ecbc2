"""Fonts for pictures: in any script that this machine has a font for, and a word for what it can't write."""

import contextlib
from dataclasses import dataclass
from functools import cache

from PIL import ImageFont

# Tried in this order for characters that the default font lacks.
CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "PingFang SC", "Hiragino Sans GB", "Heiti SC", "Microsoft YaHei", "SimHei", "Droid Sans Fallback",
)  # fmt: skip
EXAMPLE = 12  # characters of a text that are shown as what can't be written


@cache
def families() -> list[str]:
    """matplotlib's default font and the CJK fonts that are installed, in the order to try them."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    if not installed.intersection(CJK_FONTS):  # matplotlib's list may be older than the fonts
        known = {font.fname for font in font_manager.fontManager.ttflist}
        for path in set(font_manager.findSystemFonts()) - known:
            with contextlib.suppress(RuntimeError):  # a damaged font file is no font
                font_manager.fontManager.addfont(path)
        installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in CJK_FONTS if name in installed)]


def unwritable(texts: tuple[str, ...]) -> list[str]:
    """Those of the texts that none of the fonts has every character of."""
    return [text for text in texts if not any(all(ord(letter) in has for letter in text) for _, has in _fonts())]


def missing_font(texts: tuple[str, ...]) -> str:
    """A sentence for a person when some of the texts can't be written here; '' when all can."""
    missing = unwritable(texts)
    examples = ", ".join(text if len(text) <= EXAMPLE else f"{text[:EXAMPLE]}…" for text in missing[:3])
    return f"No font here can write {examples}: install a CJK font (Noto Sans CJK)." if missing else ""


def font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """The first font that has every character of a text, in pixels; the default one where none has."""
    face = next((face for face, has in _fonts() if all(ord(letter) in has for letter in text)), _fonts()[0][0])
    return _opened(face, size)


@dataclass(frozen=True)
class _Face:
    """One font of a file: a collection (.ttc) holds the Japanese forms of a character beside the Chinese ones."""

    path: str
    index: int


@cache
def _opened(face: _Face, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(face.path, size, face.index)


@cache
def _fonts() -> list[tuple[_Face, frozenset[int]]]:
    from matplotlib import font_manager, ft2font

    found = [font_manager.findfont(family) for family in families()]
    faces = [_Face(str(path), path.face_index) for path in found]
    return [(face, frozenset(ft2font.FT2Font(face.path, face_index=face.index).get_charmap())) for face in faces]
