"""Every English sentence that the program can say, found in its source, as a template of `vgglass.locale.messages`.

An expression inside an f-string becomes {0}, {1}, …; a choice between literals, such as a plural's ending, gives a
template for each. Run as a program it prints the templates that lack Chinese, by file, as JSON.
"""

import ast
import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from string import Formatter

import vgglass

ROOT = Path(vgglass.__file__).parent
WORD = re.compile(r"\(?[\"']?([A-Za-z]{2,}|a)(-?[0-9]+|'s|-[a-z]+)?[\"']?[,.:;?)]*")  # no option, no file name
Part = str | ast.expr  # literal text, or what is put in its place when the program runs

# What no reader of a command sees: help (English alone), OpenAPI's page, SQL, patterns.
UNSAID_FILES = {
    "server/documentation.py", "server/monitoring.py", "replication/published.py", "__init__.py",
}  # fmt: skip
PICTURES = {"plotting.py", "benchmark/picture.py"}  # labels are drawn in one language; whole sentences are printed
UNSAID_CALLS = {
    "FastAPI", "Query", "execute", "executemany", "search", "compile", "log", "Typer", "Option", "Argument",
    "startswith",
}  # fmt: skip
UNSAID_KEYWORDS = {"style", "header_style", "help", "summary", "description"}
UNSAID = {
    "bold red", "bold yellow", "red",  # styles
    "system volume information", "network trash folder", "temporary items", "Ankle boot",  # folders and a class
    "premature end", "unexpected end", "unknown pixel mode", "The least populated class",  # sought in others' messages
    "near duplicate of", "3, Pillow {0}, simplejpeg {1}", "object {0}", "done {0} by {1}",  # kept in files and stores
    "a node's output is named as its layer", "a step has just been made",  # assertions
    "<!-- vgglass: {0} -->", "`vgglass evaluate FOLDER --model {0}{1}`", "vgglass predict photo.jpg --model {0}",
    "vgglass look photo.jpg --model {0}", "vgglass serve --model {0}", "import vgglass",  # of a model card, in both
    "engine failed", "client left",  # the metrics' reasons
    "SELECT key, checksum, value FROM entries WHERE key IN ({0})",
    'sleep 1; exec rm -rf -- "$0"',  # a shell's
    "GET, HEAD, POST",  # headers
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'",
}  # fmt: skip


def templates(path: Path) -> dict[str, int]:
    """The templates of one source file and the line of each."""
    name = path.relative_to(ROOT).as_posix()
    if name in UNSAID_FILES:
        return {}
    found: dict[str, int] = {}
    for node, must in _spoken(ast.parse(path.read_text(encoding="utf-8")), False):
        for parts in _ways(node):
            for line in _lines(parts):
                text = _template(line)
                if name in PICTURES and not text.endswith("."):
                    continue
                if text not in UNSAID and "(?:" not in text and _is_sentence(text, least=1 if must else 2):
                    found.setdefault(text, node.lineno)
    return found


def _spoken(node: ast.AST, must: bool) -> Iterator[tuple[ast.expr, bool]]:
    """Strings outside of what is never said; `must` those that are given to an error or printed, be they one word."""
    if isinstance(node, ast.Constant | ast.JoinedStr) or _is_sum(node):
        assert isinstance(node, ast.expr)
        ways = _ways(node)
        if any(isinstance(part, str) and part for parts in ways for part in parts):
            yield node, must
        for hole in {id(part): part for parts in ways for part in parts if not isinstance(part, str)}.values():
            if hole is not node:
                yield from _spoken(hole, False)
        return
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in UNSAID_CALLS:
            return
        said = name in ("print", "warn", "echo", "secho", "translated")
        rule = {"RefusedError": 3, "MissingExtraError": 2}.get(name, 1) if name.endswith("Error") else len(node.args)
        skipped = 2 if name == "RefusedError" else 0  # the status, and the reason for the metrics
        yield from _spoken(node.func, False)
        for place, argument in enumerate(node.args):
            if place >= skipped:
                yield from _spoken(argument, said or place >= rule)
        for keyword in node.keywords:
            if keyword.arg not in UNSAID_KEYWORDS:
                yield from _spoken(keyword.value, False)
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _spoken(child, False)


def _is_sum(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and _is_text(node)


def _is_text(node: ast.AST) -> bool:
    """Whether its literals show that it is a string."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, str)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _is_text(left) or _is_text(right)
        case ast.BinOp(left=left, op=ast.Mult()):
            return _is_text(left)
        case ast.IfExp(body=body, orelse=orelse):
            return _is_text(body) or _is_text(orelse)
    return isinstance(node, ast.JoinedStr)


def _ways(node: ast.AST) -> list[list[Part]]:
    """Each way in which a string may read."""
    match node:
        case ast.Constant(value=str(text)):
            return [_fields(text)]
        case ast.JoinedStr(values=values):
            pieces: list[list[list[Part]]] = [
                [[str(each.value)]] if isinstance(each, ast.Constant) else _ways(each) for each in values
            ]
            return [[part for way in chosen for part in way] for chosen in product(*pieces)]
        case ast.FormattedValue(value=value):
            return _ways(value)
        case ast.BinOp(left=left, op=ast.Add(), right=right) if _is_sum(node):
            return [before + after for before in _ways(left) for after in _ways(right)]
        case ast.IfExp(body=body, orelse=orelse):
            return _ways(body) + _ways(orelse)
        case ast.BinOp(left=text, op=ast.Mult()) if _is_text(text):
            return [[""], *_ways(text)]
    assert isinstance(node, ast.expr)
    return [[node]]


def _fields(text: str) -> list[Part]:
    """A literal for str.format has expressions in its fields."""
    try:
        parsed = list(Formatter().parse(text))
    except ValueError:
        return [text]
    parts: list[Part] = []
    for literal, name, _, _ in parsed:
        parts.append(literal)
        if name is not None:
            parts.append(ast.Name(name))
    return parts


def _lines(parts: list[Part]) -> Iterator[list[Part]]:
    line: list[Part] = []
    for part in parts:
        if isinstance(part, str):
            first, *others = part.split("\n")
            line.append(first)
            for other in others:
                yield line
                line = [other]
        else:
            line.append(part)
    yield line


def _template(parts: list[Part]) -> str:
    texts: list[str] = []
    count = 0
    for part in parts:
        if isinstance(part, str):
            texts.append(part.replace("{", "{{").replace("}", "}}"))
        else:
            texts.append(f"{{{count}}}")
            count += 1
    return "".join(texts).strip()


def _is_sentence(text: str, least: int) -> bool:
    """`least` words, or one beside what is put in."""
    text = re.sub(r"[\w-]+=\S*", "", text)  # --set NAME=VALUE, hosts={0}
    words = [word for word in re.split(r"[\s|>]+", text) if WORD.fullmatch(word)]
    return len(words) >= (1 if re.search(r"\{\d", text) else least)


def sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


if __name__ == "__main__":
    from vgglass.locale import messages

    known = {text for texts in messages.catalogue().values() for text in texts}
    missing = {
        path.relative_to(ROOT).as_posix(): [text for text in templates(path) if text not in known] for path in sources()
    }
    print(json.dumps({name: texts for name, texts in missing.items() if texts}, ensure_ascii=False, indent=1))
