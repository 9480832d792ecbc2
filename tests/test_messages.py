"""Every sentence of commands and errors has its Chinese, and what is put into it stays as it is."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

import sentences
from vgglass.locale.messages import HOLE, catalogue, translated

FOUND = {path.relative_to(sentences.ROOT).as_posix(): sentences.templates(path) for path in sentences.sources()}
ENGLISH = sorted({text for texts in FOUND.values() for text in texts})
KNOWN = {text: chinese for room, texts in catalogue().items() if room != "words" for text, chinese in texts.items()}
HAN = re.compile("[\u4e00-\u9fff]")
# Names, formulas and command lines, which Chinese writes alike.
ALIKE = {
    "logits {0}", "int8", "{0} MiB", "{0} KiB", "vgglass {0}", "Host {0}", "Origin {0}", "folds {0}", "rank {0}",
    "an EfficientNet", "a vision transformer", "pip install 'vgglass[torch]'", "vgglass train --out {0} --resume",
    "{0} ({1} MB)", "has {0} vgglass", "top-1                           {0} float32, {1} int8", "torch, CUDA graph",
    "{0} look --model {1} {2} --out {3}", "{0} serve --model {1}", "true or false", "crop, pad or squash",
    "vgglass train FOLDER --train all --out ANOTHER --from", "vgglass {0}, torch {1}, {2}", "{0}, OpenVINO {1}",
}  # fmt: skip


def test_no_sentence_lacks_its_chinese() -> None:
    missing = [
        f"{path}, line {line}: {text}"
        for path, texts in FOUND.items()
        for text, line in texts.items()
        if text not in KNOWN
    ]
    assert not missing, "add them to locale/zh/messages.json"


def test_no_chinese_is_left_of_a_sentence_that_is_gone() -> None:
    said = ENGLISH | catalogue()["joins"].keys() | catalogue()["system"].keys()
    assert KNOWN.keys() <= said
    assert sum(len(texts) for room, texts in catalogue().items() if room != "words") == len(KNOWN), "one in two rooms"


def test_the_catalogue_is_written_as_other_texts_are() -> None:
    path = sentences.ROOT / "locale" / "zh" / "messages.json"
    text = path.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2) + "\n", "a key twice?"


def test_both_languages_have_the_same_holes() -> None:
    for english, chinese in KNOWN.items():
        holes = sorted(hole[1] for hole in HOLE.finditer(english))
        assert sorted(hole[1] for hole in HOLE.finditer(chinese)) == holes == sorted(set(holes)), english
        assert HAN.search(chinese) or english in ALIKE | catalogue()["joins"].keys(), english


VALUES = st.one_of(st.integers(0, 10**6).map(str), st.from_regex("'[a-z0-9_]{1,8}'", fullmatch=True))


@given(st.sampled_from(ENGLISH), st.lists(VALUES, min_size=10, max_size=10))
def test_what_a_sentence_is_made_of_stays(english: str, values: list[str]) -> None:
    written = english.format(*values)
    chinese = translated(written, "zh")
    assert chinese != written or KNOWN[english] == english
    assert all(value in chinese for value in values[: len(HOLE.findall(english))])
    assert translated(written, "en") == written


def test_every_sentence_is_found_again() -> None:
    for english in ENGLISH:
        values = [", " * (f"}}{{{place}}}" in english) + f"'value{place}'" for place in range(10)]
        filled = HOLE.sub(r"{\1}", KNOWN[english]).format(*values).replace(" ", "")
        assert translated(english.format(*values), "zh").replace(" ", "") == filled, english
