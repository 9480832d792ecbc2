"""What commands and the server say, in Chinese: each sentence by the English template that it was made from.

The English stays where it is said. zh/messages.json maps its template, with the f-string's expressions as {0}, {1}, …,
to the Chinese one, in which a hole {0:word} takes a word of the program's own, such as the name of a split.
tests/test_messages.py holds that no sentence of the source is missing.
"""

import json
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from vgglass.errors import UserError
from vgglass.locale import spoken

HOLE, HOLES = re.compile(r"\{([0-9])(:word)?\}"), re.compile(r"((?:\{[0-9]\})+)")
ASIDE = re.compile(r"; |, | \(")
PLAIN = re.compile(r"[-+]?[\d.,]+[%×]?|(['\"]).*\1")  # a number, or in quotes: no piece of a longer name
NAME = re.compile(r"[\w ]*")  # what a folder may be called: 'cats and dogs', 'layer 2'
HAN, LATIN = re.compile("[\u4e00-\u9fff]"), re.compile("[A-Za-z0-9]")
DEEPEST = 5  # sentences within sentences


@dataclass(frozen=True)
class Template:
    """An English template, by the texts between its holes, and the Chinese one.

    together  how many holes lie between two texts, with nothing between them: 1 or 2
    """

    texts: tuple[str, ...]
    together: tuple[int, ...]
    chinese: str

    @staticmethod
    def of(english: str, chinese: str) -> "Template":
        pieces = HOLES.split(english)
        return Template(tuple(pieces[::2]), tuple(holes.count("{") for holes in pieces[1::2]), chinese)

    @property
    def letters(self) -> int:
        return sum(letter.isalpha() for text in self.texts for letter in text)

    @property
    def length(self) -> int:
        return sum(map(len, self.texts))

    @property
    def may_be_a_name(self) -> bool:
        """Whether it has fewer than two words and no punctuation."""
        text = "".join(self.texts)
        return len(re.findall("[A-Za-z]{2,}", text)) < 2 and bool(NAME.fullmatch(text))

    def values(self, sentence: str) -> list[str] | None:
        """What fills the holes where `sentence` was made from this template, each as short as can be; None if not."""
        first, *between = self.texts
        if not between:
            return [] if sentence == first else None
        last, place, found = between.pop(), len(first), []
        end = len(sentence) - len(last)
        if not (sentence.startswith(first) and sentence.endswith(last) and place <= end):
            return None
        for text in between:
            until = sentence.find(text, place, end)
            if until < 0:
                return None
            found.append(sentence[place:until])
            place = until + len(text)
        found.append(sentence[place:end])
        return [each for value, holes in zip(found, self.together, strict=True) for each in _parted(value, holes)]


def _parted(value: str, holes: int) -> list[str]:
    """Return what fills holes side by side: a value, and what may be said of it after a comma or in brackets."""
    if holes == 1:
        return [value]
    aside = ASIDE.search(value)
    cut = aside.start() if aside else len(value)
    return [value[:cut], value[cut:]]


@cache
def catalogue() -> dict[str, dict[str, str]]:
    """Return the Chinese template by the English one, by room; 'joins' of sentences, and 'words' for {0:word}."""
    found: dict[str, dict[str, str]] = json.loads(
        (files("vgglass.locale") / "zh" / "messages.json").read_text(encoding="utf-8")
    )
    return found


@cache
def _templates() -> list[Template]:
    rooms = catalogue()
    return [Template.of(*pair) for room in rooms if room != "words" for pair in rooms[room].items()]


def translated(text: str, lang: str | None = None) -> str:
    """Return what is said in English in `lang`, by default the language of the command; what is unknown stays."""
    if (lang or spoken()) == "en":
        return text
    return "\n".join(_line(line) for line in text.split("\n"))


def of_error(error: UserError, lang: str | None = None) -> str:
    """Return an error's whole sentence."""
    if (lang or spoken()) == "en":
        return str(error)
    value = _line(error.value, 1) if isinstance(error.value, str) else error.value  # a path stays
    return f"{value}：{_line(error.rule)}；{_line(error.remedy)}。"


def _line(line: str, depth: int = 0) -> str:
    """Return one sentence with the spaces around it, less the one before full-width punctuation."""
    chinese, _ = _sentence(line.strip(), depth)
    before, after = line[: len(line) - len(line.lstrip())], line[len(line.rstrip()) :]
    return (before[1:] if chinese[:1] in ("，", "；", "（") else before) + chinese + after


@lru_cache(maxsize=4096)
def _sentence(english: str, depth: int) -> tuple[str, int]:
    """Return a sentence in Chinese, or as it is if no template made it, and how many letters templates account for.

    depth  in how many sentences it fills a hole: there it might also be a name
    """
    best, length = (english, 0), 0
    for template in _templates() if depth < DEEPEST else ():
        values = template.values(english)
        if values is None:
            continue
        if (depth or not english.isascii()) and template.may_be_a_name and not all(map(PLAIN.fullmatch, values)):
            continue
        letters = template.letters + sum(_sentence(value.strip(), depth + 1)[1] for value in values)
        if letters and (letters, template.length) > (best[1], length):
            best, length = (_filled(template.chinese, values, depth + 1), letters), template.length
    return best if best[1] or not depth else _list(english, depth)


def _filled(chinese: str, values: list[str], depth: int) -> str:
    words = catalogue()["words"]

    def said(hole: re.Match[str]) -> str:
        value = values[int(hole[1])]
        value = words.get(value, value) if hole[2] else _line(value, depth)
        before, after = hole.string[: hole.start()][-1:], hole.string[hole.end() :][:1]
        if before in ("或", "并"):
            value = value.removeprefix("请")  # one 'please' is enough
        return " " * _meet(before, value[:1]) + value + " " * _meet(value[-1:], after)

    return HOLE.sub(said, chinese)


def _meet(left: str, right: str) -> bool:
    """Whether a Chinese character meets a Latin letter or a digit, which takes a space."""
    return any(HAN.match(one) and LATIN.match(other) for one, other in ((left, right), (right, left)))


def _list(english: str, depth: int) -> tuple[str, int]:
    """Return a list with those of its items in Chinese that are sentences."""
    for mark, chinese_mark in (("; ", "；"), (", ", "，")):
        items = english.split(mark)
        said = [_sentence(item, depth + 1) for item in items] if len(items) > 1 else []
        letters = sum(count for _, count in said)
        if letters:
            return (chinese_mark if all(count for _, count in said) else mark).join(text for text, _ in said), letters
    return english, 0
