"""Read image lists: CSV dialects, common column names, and paths of any operating system.

Unambiguous deviations from `path,label,split` are accepted, and `ImageList.understood` reports them.
"""

import codecs
import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vgglass.data.dataset import SPLITS
from vgglass.data.layout import part_of
from vgglass.errors import DataError
from vgglass.names import casefolded, group_by_case, normalised

SUFFIXES = (".csv", ".tsv")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# The first name of each is vgglass's own and takes precedence.
COLUMNS = {
    "path": (
        "path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_file", "image_filename",
        "image_name", "image_path", "images", "img", "img_name", "img_path", "路径", "文件", "文件名", "文件路径",
        "图片", "图片路径", "图像", "图像路径",
    ),
    "label": (
        "label", "labels", "class", "class_name", "classname", "classes", "category", "category_name", "label_name",
        "species", "target", "标签", "类", "类别", "类名", "分类", "种类",
    ),
    "split": ("split", "set", "subset", "partition", "划分", "数据集", "子集"),
}  # fmt: skip
HEADER = "name the columns path,label[,split] in the first line"
_EXCEL_SEPARATOR = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)  # Excel's separator declaration in the first line
BACKSLASHES, SPACES, ANOTHER_FORM = (
    "with backslashes", "with spaces around them", "in another Unicode form than the disk's"
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One image of a list.

    line   line number, from 1
    path   relative to the list's folder, or absolute
    file   the same path relative to the working directory; need not exist
    label  '' if not requested
    split  a member of SPLITS, or 'all' if the list has no such column
    """

    line: int
    path: str
    file: Path
    label: str
    split: str


@dataclass(frozen=True)
class ImageList:
    """Rows of a list, and a sentence on how it was interpreted; '' if it is in the standard form."""

    rows: tuple[Row, ...]
    understood: str = ""


def read(path: Path, needed: Sequence[str] = ("path", "label")) -> ImageList:
    """Read a list; `needed`: keys of COLUMNS that must be present. Raises DataError."""
    found = text(path)
    chosen = _EXCEL_SEPARATOR.match(found)
    separators = [chosen[1]] if chosen else list(SEPARATORS)
    start = chosen.end() if chosen else 0
    separator, header, columns = _find_header(path, found[start:], separators, needed)
    places = _PathResolver(path.parent)
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for line, cells in _cells(path, found[start:], separator, len(header), 1 if chosen else 0):
        place = f"{path}, line {line}"
        row = {meaning: cells[index] for meaning, index in columns.items()}
        for meaning in needed:
            if not row[meaning].strip():
                raise DataError(place, f"its {header[columns[meaning]]} is empty", "fill it in or remove the line")
        file = places.find(row["path"])
        key = os.path.normpath(file)
        if key in seen:
            raise DataError(place, f"names {row['path']!r} again, after line {seen[key]}", "remove one of them")
        seen[key] = line
        label = normalised(row["label"].strip()) if "label" in needed else ""
        shown = file.relative_to(path.parent) if file.is_relative_to(path.parent) else file
        rows.append(Row(line, str(shown), file, label, _split(row["split"], place) if "split" in row else "all"))
    if not rows:
        raise DataError(path, "holds no rows", "write a line for each image: path,label[,split]")
    return ImageList(tuple(rows), _interpretation(path, rows, separator, header, columns, places.odd))


def text(path: Path) -> str:
    """A file's text, decoded as UTF-8, or as UTF-16 if it has a byte order mark. Raises DataError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(path, error.strerror or str(error), "check the path and its permissions") from error
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        found = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        rule = "is not the UTF-16 that its mark says" if marked else "is not UTF-8"
        raise DataError(f"{path}, line {line}", rule, "save the file as UTF-8") from error
    if "\0" in found:
        line = found.count("\n", 0, found.index("\0")) + 1
        raise DataError(f"{path}, line {line}", "holds a NUL, which is no text", "save the file as UTF-8")
    return found


def lines(path: Path) -> tuple[str, ...]:
    """Non-empty lines of a file; quotes are removed if every line has them. Raises DataError."""
    found = [normalised(line.strip()) for line in io.StringIO(text(path), newline=None)]
    nonempty = tuple(line for line in found if line)
    if all(len(line) > 1 and line[0] == line[-1] == '"' for line in nonempty):
        return tuple(line[1:-1].replace('""', '"') for line in nonempty)
    return nonempty


def looks_like(row: Row) -> str:
    """The name of an existing file that differs from a missing one only by case; '' if there is none."""
    try:
        siblings = [path.name for path in row.file.parent.iterdir()]
    except OSError:
        return ""
    return next((name for name in siblings if casefolded(name) == casefolded(row.file.name)), "")


def _find_header(
    path: Path, found: str, separators: Sequence[str], needed: Sequence[str]
) -> tuple[str, list[str], dict[str, int]]:
    """Separator, column names, and column index by key of COLUMNS. Raises DataError."""
    headers = {}
    for separator in separators:
        try:
            first = next(csv.reader(io.StringIO(found, newline=""), delimiter=separator, skipinitialspace=True), [])
        except csv.Error:
            continue
        headers[separator] = [normalised(name.strip()) for name in first]
    for separator, names in headers.items():
        meanings = {_column_key(name) for name in names}
        if meanings.issuperset(needed):
            return separator, names, _columns(path, names, needed)
    separator = max(headers, key=lambda one: len(headers[one]), default=",")
    names = headers.get(separator, [])
    missing = next(name for name in needed if name not in {_column_key(name) for name in names})
    listed = ", ".join(map(repr, names)) or "nothing"
    between = f", separated by {SEPARATORS.get(separator, repr(separator))}" if len(names) > 1 else ""
    raise DataError(f"{path}, line 1", f"holds {listed}{between}: no column is called {missing!r}", HEADER)


def _column_key(name: str) -> str:
    usual = re.sub(r"[\s-]+", "_", name.casefold())
    return next((meaning for meaning, names in COLUMNS.items() if usual in names), "")


def _columns(path: Path, names: Sequence[str], needed: Sequence[str]) -> dict[str, int]:
    """Column index by key of COLUMNS. Raises DataError if a key matches two columns."""
    columns: dict[str, int] = {}
    for meaning in (*needed, *["split"] * ("label" in needed)):
        places = [place for place, name in enumerate(names) if _column_key(name) == meaning]
        preferred = [place for place in places if names[place].casefold() == meaning] or places
        if len(preferred) > 1:
            listed = " and ".join(repr(names[place]) for place in preferred)
            raise DataError(f"{path}, line 1", f"{listed} may each be the {meaning}", f"call one of them {meaning}")
        columns.update((meaning, place) for place in preferred)
    return columns


def _cells(path: Path, found: str, separator: str, width: int, before: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line after the header; empty lines, as spreadsheets leave them, are skipped."""
    lines = csv.reader(io.StringIO(found, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        next(lines, None)
        for cells in lines:
            number = before + lines.line_num
            while len(cells) > width and not cells[-1].strip():
                cells.pop()
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != width:
                rule = f"has {len(cells)} cells, and the first line {width}"
                raise DataError(f"{path}, line {number}", rule, "mend the line; a cell with a separator needs quotes")
            yield number, cells
    except csv.Error as error:
        raise DataError(f"{path}, line {before + lines.line_num}", f"is not CSV ({error})", "mend the line") from error


def _split(name: str, place: str) -> str:
    if part := part_of(name.strip()):
        return part
    raise DataError(place, f"split {name!r} is not one of {', '.join(SPLITS)}", "mend the line")


class _PathResolver:
    """Resolve paths, possibly written on another operating system, relative to a folder.

    odd  number of paths that had to be changed to resolve, by reason
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.odd = folder, Counter[str]()
        self._names: dict[Path, dict[str, list[Path]]] = {}

    def find(self, written: str) -> Path:
        """Resolve a path; the file need not exist."""
        exact, stripped = self.folder / written, self.folder / written.strip()
        slashed = self.folder / written.strip().replace("\\", "/")
        if os.path.lexists(exact):
            return exact
        for candidate, reason in ((stripped, SPACES), (slashed, BACKSLASHES)):
            if os.path.lexists(candidate):
                self.odd[reason] += 1
                return candidate
        for candidate in (stripped, slashed):
            if found := self._normalised_match(candidate):
                self.odd[ANOTHER_FORM] += 1
                return found
        return stripped

    def _normalised_match(self, path: Path) -> Path | None:
        """The existing path that is equal after Unicode normalisation, if it is unique."""
        if path == self.folder or path.parent == path or os.path.lexists(path):
            return path
        parent = self._normalised_match(path.parent)
        if parent is None:
            return None
        if parent not in self._names:
            self._names[parent] = {}
            for other in parent.iterdir() if parent.is_dir() else ():
                self._names[parent].setdefault(normalised(other.name), []).append(other)
        alike = self._names[parent].get(normalised(path.name), [])
        return alike[0] if len(alike) == 1 else None


def _interpretation(
    path: Path, rows: Sequence[Row], separator: str, header: Sequence[str], columns: dict[str, int], odd: Counter[str]
) -> str:
    notes = [] if separator == "," else [f"separated by {SEPARATORS.get(separator, repr(separator))}"]
    notes += [
        f"{header[place]!r} taken for the {meaning}"
        for meaning, place in columns.items()
        if header[place].casefold() != meaning
    ]
    notes += [f"{count:,} path{'s' * (count != 1)} {reason}" for reason, count in odd.items()]
    clashes = [names for names in group_by_case(sorted({row.label for row in rows})).values() if len(names) > 1]
    notes += [
        f"{' and '.join(map(repr, names))} differ in case alone and are {len(names)} classes" for names in clashes
    ]
    return f"{path}: {len(rows):,} images; {'; '.join(notes)}" if notes else ""
