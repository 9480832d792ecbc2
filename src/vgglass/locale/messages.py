"""What commands and the server say, in Chinese: each sentence by the English template that it was made from.

The English stays where it is said. zh/messages.json maps its template, with the f-string's expressions as {0}, {1}, …,
to the Chinese one, in which a hole {0:own} takes words of the program's own, such as the name of a split.
tests/test_messages.py holds that no sentence of the source is missing.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.resources import files

from vgglass.errors import UserError
from vgglass.locale import spoken

HOLE, HOLES = re.compile(r"\{([0-9])(:own)?\}"), re.compile(r"((?:\{[0-9]\})+)")
JOINING = {"and", "or", "to", "of", "in"}
ASIDE = re.compile(r"; |, | \(")
QUOTED = re.compile(r"(['\"])[^'\"]*\1")  # no piece of a longer name
PLAIN = re.compile(rf"[-+]?[\d.,]+[%×]?|{QUOTED.pattern}")  # or a number
NAME = re.compile(r"(\w| (?! ))*")  # what a folder may be called: 'cats and dogs', 'layer 2'
HAN, LATIN = re.compile("[\u4e00-\u9fff]"), re.compile("[A-Za-z0-9]")
DEEPEST = 6  # sentences within sentences


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

    @cached_property
    def letters(self) -> int:
        """How much of a sentence it accounts for; nothing where it only joins, as '{0} and {1}'."""
        return 0 if self.only_joins else sum(letter.isalpha() for text in self.texts for letter in text)

    @cached_property
    def rank(self) -> tuple[bool, int]:
        return bool(self.texts[0]), sum(map(len, self.texts))

    @cached_property
    def only_joins(self) -> bool:
        return len(self.texts) > 1 and all(
            word in JOINING for text in self.texts for word in re.findall("[A-Za-z]+", text)
        )

    @cached_property
    def may_be_a_name(self) -> bool:
        """Whether it has fewer than two words and no punctuation, as 'layer {0}'."""
        text = "".join(self.texts)
        return len(re.findall(r"[A-Za-z]{2,}|\ba\b", text)) < 2 and bool(NAME.fullmatch(text))

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
    """Return the Chinese template by the English one, by room; 'joins' of sentences, and 'words' for {0:own}."""
    found: dict[str, dict[str, str]] = json.loads(
        (files("vgglass.locale") / "zh" / "messages.json").read_text(encoding="utf-8")
    )
    return found


@cache
def _templates() -> dict[str, list[Template]]:
    """Return the templates by their first letter, '' if they begin with a hole, or by the whole text without one."""
    rooms = catalogue()
    found: dict[str, list[Template]] = defaultdict(list)
    for english, chinese in (pair for room in rooms if room != "words" for pair in rooms[room].items()):
        template = Template.of(english, chinese)
        found[english if len(template.texts) == 1 else template.texts[0][:1]].append(template)
    return found


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

    depth  0; 1 for the value of an error, 2 and more where it fills a hole of another sentence: all these may be names
    """
    best = _list(english, depth)
    # Of two readings that say as much: a list of sentences, what begins with words, the longer one.
    rank = (True, 999) if "；" in best[0] else (False, 0)
    known = _templates()
    for template in known.get(english, []) + known.get(english[:1], []) + known[""] if depth < DEEPEST else ():
        values = template.values(english)
        if values is None:
            continue
        inside = sum(_sentence(value.strip(), max(depth, 1) + 1)[1] for value in values)
        plain = bool(values) and all(map((QUOTED if depth > 1 else PLAIN).fullmatch, values))
        if template.may_be_a_name and not plain:
            if depth or not english.isascii():
                continue
            inside = 0  # no sentence follows upon it: 'layer 2 holds no images' is of a folder of that name
        letters = template.letters + inside or int(template.only_joins and plain)
        if letters and (letters, template.rank) > (best[1], rank):
            best, rank = (_filled(template.chinese, values, max(depth, 1) + 1), letters), template.rank
    return best


def _filled(chinese: str, values: list[str], depth: int) -> str:
    words = catalogue()["words"]

    def said(hole: re.Match[str]) -> str:
        value = values[int(hole[1])]
        if hole[2] and (own := _line(value)) == value:
            own = " ".join(words.get(word, word) for word in value.split(" "))
        value = own if hole[2] else _line(value, depth)
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
        said = [_sentence(item, depth + 1) for item in items] if len(items) > 1 and all(items) else []
        letters = sum(count for _, count in said)
        if letters:
            return (chinese_mark if all(count for _, count in said) else mark).join(text for text, _ in said), letters
    return english, 0
