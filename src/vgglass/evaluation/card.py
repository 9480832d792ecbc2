"""The model card: Markdown in English and Chinese, from a model's record and the evaluation just made.

A card has generated parts, each between '<!-- vgglass: NAME -->' and '<!-- /vgglass: NAME -->'. Writing it again
replaces them; all else in it is a person's and stays, and a part that a person took out stays out.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgglass import locale
from vgglass.data.sources import DIGITS
from vgglass.errors import DataError
from vgglass.evaluation.metrics import Evaluation
from vgglass.evaluation.robustness import Point, Robustness
from vgglass.files import replacing
from vgglass.modelfile import Record
from vgglass.statistics import wilson
from vgglass.weights import zoo

FILES = {"en": "card.md", "zh": "card.zh.md"}
PARTS = ("model", "data", "training", "evaluation", "robustness", "limits", "origin", "use")
MEASURED = ("evaluation", "robustness")  # which stay while the weights do, where they are not measured anew
LARGEST = 1 << 20  # bytes
MARK = re.compile(r"^<!-- (/?)vgglass: ([a-z]+) -->[ \t]*$", re.MULTILINE)
SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$#:@!])")
SHOWN_CLASSES, WEAKEST = 20, 3


@dataclass(frozen=True)
class Subject:
    """What a card is of.

    name   the model's file or pretrained name
    drift  whether it has a training record
    data, evaluation, robustness  of the evaluation just made: the data set's name, and what was found
    """

    name: str
    record: Record
    drift: bool
    data: str = ""
    evaluation: Evaluation | None = None
    robustness: Robustness | None = None


def write(subject: Subject, folder: Path) -> None:
    """Write the cards of both languages to a folder, or renew those there. Raises DataError and OSError."""
    texts = {lang: text_of(subject, lang, folder) for lang in FILES}  # all of them, before one is written
    for lang, text in texts.items():
        with replacing(folder / FILES[lang]) as temporary:
            temporary.write_text(text, encoding="utf-8")


def text_of(subject: Subject, lang: str, folder: Path | None = None) -> str:
    """The card in one language: that of the folder renewed, or a new one. Raises DataError for a broken one."""
    before = sound(folder / FILES[lang]) if folder else None
    parts = parts_of(subject, lang)
    if before is None:
        return _new(subject, lang, parts)
    if subject.record.digest in before:
        measured = {"evaluation": subject.evaluation, "robustness": subject.robustness}
        parts = {name: text for name, text in parts.items() if name not in MEASURED or measured[name]}
    pieces, end = [], 0
    for name, start, stop in _places(before, FILES[lang]):
        pieces += [before[end:start], f"\n{parts[name]}\n" if name in parts else before[start:stop]]
        end = stop
    return "".join([*pieces, before[end:]])


def sound(path: Path) -> str | None:
    """As `read`, of a card that is to be renewed. Raises DataError also for a broken mark."""
    text = read(path)
    if text is not None:
        list(_places(text, path))
    return text


def read(path: Path) -> str | None:
    """A card's text; None if there is none. Raises DataError for one that can't be read."""
    if not path.is_file():
        return None
    if path.stat().st_size > LARGEST:
        rule = f"is larger than {LARGEST:,} bytes, and a card is text that a person reads"
        raise DataError(path, rule, "move the file away: it is then written anew")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(path, f"can't be read ({error})", "save it as UTF-8, or move it away") from error


def _places(text: str, path: Path | str) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of the contents of each generated part. Raises DataError for marks that are not in pairs."""
    marks, seen = list(MARK.finditer(text)), set()
    for place in range(0, len(marks), 2):
        opening, *closing = marks[place : place + 2]
        name = opening[2]
        if opening[1] or not closing or closing[0].groups() != ("/", name) or name in seen:
            line = text.count("\n", 0, opening.start()) + 1
            rule = f"the mark {opening[0].strip()!r} in line {line} has no partner of its own"
            remedy = f"write <!-- vgglass: {name} --> before the part and <!-- /vgglass: {name} --> after it, once"
            raise DataError(path, rule, f"{remedy}; or move the file away: it is then written anew")
        seen.add(name)
        yield name, opening.end(), closing[0].start()


def as_html(text: str, below: int = 0) -> str:
    """A card as HTML that can do no harm: tags in it are shown as text, pictures as links, and no link is a script.

    below  how many levels its headings go down, under those of the page that they stand in
    """
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = reader.parse(MARK.sub("", text))
    for token in tokens:
        if token.type.startswith("heading"):
            token.tag = f"h{min(6, int(token.tag[1:]) + below)}"
    return str(reader.renderer.render(tokens, reader.options, {}))


def _new(subject: Subject, lang: str, parts: Mapping[str, str]) -> str:
    words = locale.words(lang, "card")
    chunks = [
        f"# {words['title'].format(name=escaped(subject.name))}", words["marks"],
        f"## {words['purpose']}", words["purposeNote"],
    ]  # fmt: skip
    for name, text in parts.items():
        chunks += [f"## {words['headings'][name]}", f"<!-- vgglass: {name} -->\n{text}\n<!-- /vgglass: {name} -->"]
    return "\n\n".join(chunks) + "\n"


def escaped(name: str) -> str:
    """A name as Markdown that shows it letter by letter, in one line."""
    return SPECIAL.sub(r"\\\1", _plain(name))


def _plain(name: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in name)


# The generated parts.


def parts_of(subject: Subject, lang: str) -> dict[str, str]:
    """The generated parts by name, in order, as Markdown."""
    words = locale.words(lang, "card") | {"report": locale.words(lang, "report"), "lang": lang}
    make = {
        "model": _model, "data": _data, "training": _training, "evaluation": _evaluation, "robustness": _robustness,
        "limits": _limits, "origin": _origin, "use": _use,
    }  # fmt: skip
    return {name: make[name](subject, words) for name in PARTS}


Words = Mapping[str, Any]


def _model(subject: Subject, words: Words) -> str:
    record, labels = subject.record, words["labels"]
    architecture, preprocessing = record.architecture, record.preprocessing
    rows = {
        "network": words["network"].format(
            name=architecture.name, parameters=architecture.parameters, multiply_adds=architecture.multiply_adds
        ),
        "classes": words["classes"].format(count=len(record.classes), names=_listed(record.classes, words)),
        "input": words["input"].format(
            side=preprocessing.size,
            channels=words["grey"] if preprocessing.channels == 1 else preprocessing.channel_order,
            fit=words["fits"][preprocessing.fit].format(resize=preprocessing.resize, side=preprocessing.size),
        ),
        "learned": _learned(record, words),
        "digest": f"`{record.digest}`",
        "versions": ", ".join(escaped(f"{name} {version}") for name, version in record.versions.items()),
    }
    return _list(f"**{labels[name]}**{words['colon']}{text}" for name, text in rows.items() if text)


def _learned(record: Record, words: Words) -> str:
    sentences, texts = [], words["learned"]
    if record.data.get("selected_on") == "train" and "epoch" not in record.metrics:
        sentences.append(texts["head"])
    elif record.metrics.get("epoch"):
        sentences.append(texts["epochs"].format(epoch=record.metrics["epoch"], epochs=record.recipe.get("epochs")))
    elif "epoch" in record.metrics:
        sentences.append(texts["start"])
    if shrunk := record.recipe.get("shrunk"):
        sentences.append(words["shrunk"].format(digest=shrunk["from"]))
    return str(words["semicolon"].join(sentences) or texts["unknown"])


def _data(subject: Subject, words: Words) -> str:
    data, labels, uses = subject.record.data, words["labels"], words["uses"]
    if "images" not in data:
        return f"{words['unknownData']}"
    fitted, rows = data.get("selected_on") == "train", []
    calibrated = data.get("calibration", {})
    for split, count in data["images"].items():
        digest = data["digests"][split]
        use = [uses["heldOut" if split == "validation" and fitted else split]]
        if digest == calibrated.get("digest"):
            use.append(uses["calibration"])
        rows.append([words["report"]["splits"][split], f"{count:,}", f"`{digest}`", words["comma"].join(use)])
    if calibrated and calibrated["digest"] not in data["digests"].values():
        split = words["report"]["splits"][calibrated["split"]]
        rows.append([split, f"{calibrated['images']:,}", f"`{calibrated['digest']}`", uses["calibration"]])
    about = [f"**{labels['data']}**{words['colon']}{_data_name(data['name'], words)}"]
    about.append(f"**{labels['manifest']}**{words['colon']}`{data['manifest']}`")
    table = _table([words["columns"][name] for name in ("split", "count", "digest", "use")], rows)
    return "\n\n".join([_list(about), table, _left_out(data, words), words["audit"]])


def _data_name(name: str, words: Words) -> str:
    """A folder's own name, without where it lies."""
    return str(words["digits"]) if name == DIGITS else escaped(Path(name).name)


def _left_out(data: Mapping[str, Any], words: Words) -> str:
    found = data.get("left_out")
    if found is None:
        return f"{words['leftOutUnknown']}"
    return f"{words['leftOut'].format(**found) if any(found.values()) else words['leftOutNothing']}"


def _training(subject: Subject, words: Words) -> str:
    """The record's figures; those without an interval get Wilson's, by the number of images."""
    metrics, data, columns = subject.record.metrics, subject.record.data, words["columns"]
    judged, remarks, rows = words["judged"], words["remarks"], []
    for name in ("cross_validation", "folds"):
        if name in metrics:
            found = metrics[name]
            by = "foldsTrained" if found.get("networks") else name
            about = judged[by].format(count=found["images"], folds=found["folds"], repeats=found.get("repeats"))
            remark = remarks["cross_validation" if name == "cross_validation" else "plain"]
            rows.append([about, *_share(found["top1"], found["interval"], words), remark])
    for split, count in data.get("images", {}).items():
        if split in metrics:
            top1 = metrics[split]["top1"]
            interval = metrics[split].get("interval") or wilson(round(top1 * count), count)
            remark = "selection" if data["selected_on"] == split else "test" if split == "test" else "plain"
            about = words["images"][split].format(count=count)
            rows.append([about, *_share(top1, interval, words), remarks[remark]])
    if "shrinking" in metrics:
        found = metrics["shrinking"]
        last, about = found["curve"][-1], words["images"][found["split"]].format(count=found["images"])
        rows.append([about, *_share(last["top1"], last["interval"], words), remarks["plain"]])
    if not rows:
        return f"{words['noFigures']}"
    return _table([columns[name] for name in ("judgedOn", "top1", "interval", "remark")], rows)


def _evaluation(subject: Subject, words: Words) -> str:
    found, report, columns = subject.evaluation, words["report"], words["columns"]
    if found is None:
        return _not_measured(subject, words, "")
    images = words["images"][found.split].format(count=found.images)
    data, protocol = _data_name(subject.data, words), found.protocol
    about = words["judgedBy"].format(images=images, data=data, views=protocol.method, sizes=protocol.test)
    remark = report["cautions"][found.used_for] if found.used_for else words["new"]
    rows = []
    for name in ("top1", "top5", "balanced_accuracy", "macro_f1", "auc"):
        value = getattr(found, name)
        if value is not None:
            cells = _share(value, found.intervals.get(name), words)
            if name in ("macro_f1", "auc"):  # no shares
                cells = [f"{value:.3f}", "–".join(f"{end:.3f}" for end in found.intervals.get(name, ())) or "–"]
            rows.append([report["figures"][name], *cells])
    rows.append([words["ece"], _percent(found.calibration.ece, words), "–"])
    table = _table([columns[name] for name in ("figure", "value", "interval")], rows)
    return "\n\n".join([words["joined"].format(images=about, remark=remark), table, *_by_class(found, words)])


def _by_class(found: Evaluation, words: Words) -> Iterator[str]:
    rows = sorted((row for row in found.per_class if row.recall is not None), key=lambda row: row.recall or 0)
    weak = [
        words["weak"].format(name=escaped(row.name), recall=_percent(row.recall or 0, words), images=row.images)
        for row in rows[:WEAKEST]
    ]
    yield words["weakest"].format(classes=words["comma"].join(weak))
    if found.missing:
        yield words["report"]["missing"].format(classes=_listed(found.missing, words))
    if found.unknown:
        yield words["report"]["unknown"].format(classes=_listed(tuple(found.unknown), words))


def _robustness(subject: Subject, words: Words) -> str:
    found, report, columns = subject.robustness, words["report"], words["columns"]
    if found is None:
        return _not_measured(subject, words, " --html report.html --robustness")
    rows = []
    for kind, points in found.curves.items():
        worst = min((point for point in points if not point.plain), key=lambda point: point.top1)
        name = words["disturbance"].format(kind=report["kinds"][kind], axis=report["kindAxes"][kind])
        rows.append([name, _level(kind, worst, words), *_share(worst.top1, (worst.low, worst.high), words)])
    plain = next(point.top1 for points in found.curves.values() for point in points if point.plain)
    table = _table([columns[name] for name in ("kind", "level", "top1", "interval")], rows)
    return f"{words['robustImages'].format(count=found.images, plain=_percent(plain, words))}\n\n{table}"


def _not_measured(subject: Subject, words: Words, options: str) -> str:
    command = f"`vgglass evaluate FOLDER --model {_plain(shlex.quote(subject.name)).replace('`', '?')}{options}`"
    return f"{words['notEvaluated'].format(command=command)}"


def _level(kind: str, point: Point, words: Words) -> str:
    if kind in ("resolution", "blur"):
        return _percent(point.level, words, 0)
    return ("×" if kind in ("aspect", "brightness") else "") + f"{point.level:g}"


def _limits(subject: Subject, words: Words) -> str:
    record, texts = subject.record, words["limits"]
    known, fitted, found = record.familiarity, record.data.get("calibration"), subject.evaluation
    threshold, lines = record.reject_threshold, [texts["closed"].format(classes=len(record.classes))]
    if threshold is None:
        lines.append(texts["noThreshold"])
    else:
        lines.append(texts["threshold"].format(threshold=_percent(threshold, words)))
    if record.temperature is not None and fitted:
        images = words["images"][fitted["split"]].format(count=fitted["images"])
        lines.append(texts["temperature"].format(temperature=record.temperature, images=images))
    else:
        lines.append(texts["cvTemperature" if "cross_validation" in record.metrics else "noTemperature"])
    if "false_alarm_rate" in known:
        lines.append(texts["familiar"].format(rate=_percent(known["false_alarm_rate"], words), images=known["images"]))
        if found and found.familiar:
            lines.append(texts["familiarHere"].format(share=_percent(found.familiar.share, words)))
    else:
        lines.append(texts["noFamiliar"])
    lines.append(texts["drift" if subject.drift else "noDrift"])
    unknowable = _list(texts[name] for name in ("labels", "elsewhere", "causes", "worth"))
    return f"{_list(lines)}\n\n{texts['cannotKnow']}\n\n{unknowable}"


def _origin(subject: Subject, words: Words) -> str:
    recipe, texts = subject.record.recipe, words["origin"]
    start = recipe.get("from")
    if start:
        kind = "named" if start["model"] in zoo.names() else "file"
        name = escaped(Path(start["model"]).name)
        lines = [texts[kind].format(name=name, digest=start["digest"])]
    elif recipe.keys() - {"shrunk"}:
        lines = [texts["scratch"]]
    else:
        lines = [texts["itself" if subject.name in zoo.names() else "converted"]]
    if "images" in subject.record.data:
        lines.append(texts["images"])
    return "\n\n".join(lines)


def _use(subject: Subject, words: Words) -> str:
    """Indented code, which no name of a file can end."""
    name = _plain(shlex.quote(subject.name))
    commands = [
        f"    vgglass predict photo.jpg --model {name}", f"    vgglass look photo.jpg --model {name}",
        f"    vgglass serve --model {name}",
    ]  # fmt: skip
    python = [
        "    import vgglass",
        f'    vgglass.predict({json.dumps(_plain(subject.name), ensure_ascii=False)}, ["photo.jpg"])',
    ]
    return "\n".join([words["useNote"], "", *commands, "", words["usePython"], "", *python])


# Numbers, lists and tables.


def _percent(share: float, words: Words, decimals: int = 1) -> str:
    return f"{100 * share:.{decimals}f}{'%' if words['lang'] == 'zh' else ' %'}"


def _share(value: float, interval: Sequence[float] | None, words: Words) -> list[str]:
    if not interval:
        return [_percent(value, words), "–"]
    return [_percent(value, words), f"{100 * interval[0]:.1f}–{_percent(interval[1], words)}"]


def _listed(names: Sequence[str], words: Words) -> str:
    shown = words["comma"].join(map(escaped, names[:SHOWN_CLASSES]))
    rest = len(names) - SHOWN_CLASSES
    return f"{shown} {words['more'].format(count=rest)}" if rest > 0 else shown


def _list(lines: Iterator[str] | Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
