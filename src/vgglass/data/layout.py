"""Detect the layout of an image folder: which subfolders are splits and which are classes.

Classes are folders, flat or below folders for train, validation and test. Enclosing folders are descended into. Names
are compared after Unicode normalisation: equivalent spellings of a name are one class.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vgglass.data.dataset import SPLITS, PassedOver, natural
from vgglass.data.listing import Folder
from vgglass.errors import DataError
from vgglass.names import casefolded, group_by_case, normalised, printable


@dataclass(frozen=True)
class Layout:
    """The class folders of each part of a folder ('all' if undivided), and what was skipped.

    roots    parent of the class folders, by part
    classes  in natural order, NFC-normalised
    folders  folders by part and class, possibly without images
    remarks  notes to the user on parts and names
    """

    top: Path
    roots: Mapping[str, Folder]
    classes: tuple[str, ...]
    folders: Mapping[tuple[str, str], Sequence[Folder]]
    remarks: tuple[str, ...]
    passed_over: tuple[PassedOver, ...]

    def sentence(self, counts: Mapping[str, int]) -> str:
        """A sentence on how the folder was interpreted; counts: image files by part."""
        undivided, clauses = "all" in self.roots, []
        for name, root in self.roots.items():
            place = printable(root.path.relative_to(self.top)) if root.path != self.top else ""
            held = [label for label in self.classes if self._has_images(name, label)]
            count = f"{len(held)} class{'es' * (len(held) != 1)}, {counts[name]:,} image{'s' * (counts[name] != 1)}"
            if undivided:
                clauses.append(f"{f'{place}, ' * bool(place)}{count} ({name_some(held)})")
            else:
                clauses.append(f"{name} from {place}, {count}")
        how = "not divided" if undivided else "divided by its folders"
        return f"{printable(self.top)} is understood as {how}: {'; '.join([*clauses, *self.remarks])}."

    def _has_images(self, part: str, label: str) -> bool:
        return any(folder.holds_images for folder in self.folders.get((part, label), ()))


def detect_layout(top: Path) -> Layout:
    """Detect the layout of a folder. Raises DataError if there are no class folders or the layout is ambiguous."""
    passed_over: list[PassedOver] = []
    folder = _descend(Folder.at(top), lambda inner: part_of(inner.name) is not None, passed_over)
    divided, remarks = parts_named(folder)
    roots = {"all": folder}
    if divided:
        roots = {
            name: _descend(divided[name], _is_class_elsewhere(name, divided), passed_over)
            for name in SPLITS
            if name in divided
        }
        passed_over += _skipped(folder, divided.values())
    classes = _classes(roots)
    folders: dict[tuple[str, str], list[Folder]] = {}
    for name, root in list(roots.items()):
        labelled = {inner: label for inner in root.folders if (label := _class_of(inner, classes))}
        passed_over += _skipped(root, labelled)
        unknown = [inner.name for inner in root.folders if inner.holds_images and inner not in labelled]
        if divided and not any(inner.holds_images for inner in labelled):
            remarks.append(f"{name} is not used, for none of its folders ({name_some(unknown)}) is a class of train")
            del roots[name]
            continue
        for inner, label in labelled.items():
            folders.setdefault((name, label), []).append(inner)
        remarks += _part_remarks(name, labelled, unknown, classes)
    if not any(inner.holds_images for members in folders.values() for inner in members):
        loose = f" ({len(folder.images):,} lie loose in it)" if folder.images else ""
        raise DataError(top, f"no images in subfolders of it{loose}", CLASS_FOLDERS)
    alike = [names for names in group_by_case(classes).values() if len(names) > 1]
    remarks += [f"the classes {' and '.join(names)} differ by case alone" for names in alike]
    return Layout(top, roots, classes, folders, tuple(remarks), tuple(passed_over))


def _descend(folder: Folder, stays: Callable[[Folder], bool], passed_over: list[PassedOver]) -> Folder:
    """Descend through enclosing folders to the one with class folders or parts, but not into one that `stays`."""
    chain = [folder]
    while True:
        holding = [inner for inner in chain[-1].folders if inner.holds_images]
        if len(holding) > 1 or (holding and stays(holding[0])):
            break
        if not holding or (holding[0].images and not says_nothing(holding[0].name)):
            return folder
        chain.append(holding[0])
    for outer, inner in pairwise(chain):
        passed_over += _skipped(outer, [inner])
    return chain[-1]


def _is_class_elsewhere(name: str, divided: Mapping[str, Folder]) -> Callable[[Folder], bool]:
    """Predicate: whether the only folder of this part is one of several classes in another part."""
    held = [
        [inner.name for inner in root.folders if inner.holds_images] for part, root in divided.items() if part != name
    ]
    known = {casefolded(label) for labels in held if len(labels) > 1 for label in labels}
    return lambda inner: casefolded(inner.name) in known


def _classes(roots: Mapping[str, Folder]) -> tuple[str, ...]:
    """The classes of train, or of all parts if there is no train. Raises DataError."""
    held = [roots[name] for name in ("train", "all") if name in roots] or list(roots.values())
    found = [inner for root in held for inner in root.folders if inner.holds_images or not part_of(inner.name)]
    for inner in found:
        if printable(inner.path) != str(inner.path):
            raise DataError(printable(inner.path), "its name is not UTF-8", "rename the folder")
    return tuple(sorted({normalised(inner.name) for inner in found}, key=natural))


def _class_of(folder: Folder, classes: Sequence[str]) -> str | None:
    """The class of a folder by its name; case is ignored if that leaves only one match."""
    name = normalised(folder.name)
    if name in classes:
        return name
    alike = group_by_case(classes).get(casefolded(name), ())
    return alike[0] if len(alike) == 1 else None


def _skipped(folder: Folder, kept: Iterable[Folder]) -> list[PassedOver]:
    """Everything in a folder except the subfolders to keep."""
    kept = list(kept)
    found = folder.content.passed_over + [PassedOver("no-class", path) for path in folder.images]
    for inner in folder.folders:
        if inner in kept:
            continue
        if inner.real in {other.real for other in kept}:
            found.append(PassedOver("linked-twice", inner.path, inner.real))
        elif files := inner.listing().files:
            found.append(PassedOver("no-class", inner.path, f"{files}", files))
    return found


def _part_remarks(
    name: str, labelled: Mapping[Folder, str], unknown: Sequence[str], classes: Sequence[str]
) -> Iterator[str]:
    """Notes to the user on the class folders of a part."""
    if unknown:
        yield f"{name} has folders of no class of train, which are left out ({name_some(unknown)})"
    held = {label for inner, label in labelled.items() if inner.holds_images}
    if name in ("validation", "test") and (lacking := [label for label in classes if label not in held]):
        yield f"{name} lacks {name_some(lacking)}"
    for inner, label in labelled.items():
        if normalised(inner.name) != label:
            yield f"{inner.name} of {name} is taken for the class {label}"
    for label, count in Counter(labelled.values()).items():
        if count > 1:
            yield f"{count} folders whose names look the same are the class {label}"


# Folders for train, validation and test, by their usual names. An ambiguous layout is refused with both
# interpretations: a folder named test may be a part or a class.

_WORDS = {
    "train": "train", "training": "train", "训练": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation", "验证": "validation",
    "test": "test", "testing": "test", "测试": "test",
}  # fmt: skip
_GENERIC = (
    "(?:sets?|datasets?|data|images?|imgs?|pictures|photos|samples|splits?|folder|files|seg|数据|集|图片|图像|样本)"
)
_NAME = re.compile(
    rf"(?:(?P<before>.+?)[\W_]+)?{_GENERIC}*(?P<word>{'|'.join(sorted(_WORDS, key=len, reverse=True))})"
    rf"(?:[\W_]*{_GENERIC})*[\W_]*\d*"
)
_ONLY_GENERIC = re.compile(rf"(?:{_GENERIC}[\W_]*)*")
CLASS_FOLDERS = "put each class's images in a subfolder of its name"
APART = "put all class folders into one folder named train"
SHOWN = 5  # names


def part_of(name: str) -> str | None:
    """The part that a folder's name denotes by itself: 'train', 'validation', 'test' or None."""
    return part_names([name]).get(name)


def says_nothing(name: str) -> bool:
    """Whether a folder's name is generic, like data or images."""
    return _ONLY_GENERIC.fullmatch(normalised(name).lower()) is not None


def name_some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + f" and {len(listed) - SHOWN} more" * (len(listed) > SHOWN)


def parts_named(folder: Folder) -> tuple[dict[str, Folder], list[str]]:
    """The parts that a folder is divided into (none if it holds the class folders), and remarks on the others.

    Raises DataError if the layout is ambiguous.
    """
    named = part_names([inner.name for inner in folder.folders])
    parts = [inner for inner in _without_links(folder.folders) if inner.name in named and inner.holds_images]
    classed = [inner for inner in parts if _has_class_folders(inner)]
    others = [inner.name for inner in folder.folders if inner.name not in named and inner.holds_images]
    remarks = [
        f"{inner.name} holds no images" for inner in folder.folders if inner.name in named and not inner.holds_images
    ]
    if not classed:
        _require_unambiguous(folder, parts, named, others)
        return {}, remarks
    if others and len(parts) == 1:
        raise DataError(
            folder.path,
            f"can be read in two ways: its classes are {name_some([parts[0].name, *others])}, "
            f"or {parts[0].name} holds the class folders and {name_some(others)} images of no class",
            f"move {name_some(others)} out of it, or, if these are the classes, {APART}",
        )
    found: dict[str, Folder] = {}
    for inner in classed:
        part = named[inner.name]
        if part in found:
            rule = f"has two folders for the part {part}: {found[part].name} and {inner.name}"
            raise DataError(folder.path, rule, "put their images into one of them, or move one out of it")
        found[part] = inner
    for inner in parts:
        if inner not in classed:
            count = len(inner.listing().images)
            remarks.append(
                f"{inner.name} is not used, for its {count:,} image{'s' * (count != 1)} lie in no class's folder"
            )
    return found, remarks


def part_names(names: Sequence[str]) -> dict[str, str]:
    """Names that denote a part; a prefix ('flowers' of flowers_train) must be shared by two parts."""
    split: dict[str, tuple[str, str]] = {}
    for name in names:
        if found := _NAME.fullmatch(normalised(name).lower()):
            before = found["before"] or ""
            split[name] = "" if says_nothing(before) else before, _WORDS[found["word"]]
    common = {one for one, part in split.values() if any(one == other and part != own for other, own in split.values())}
    return {name: part for name, (before, part) in split.items() if not before or before in common}


def _without_links(folders: Iterable[Folder]) -> list[Folder]:
    """The folders, without links to others among them."""
    return list({folder.real: folder for folder in reversed(list(folders))}.values())[::-1]


def _has_class_folders(folder: Folder) -> bool:
    return any(inner.holds_images for inner in folder.folders)


def _require_unambiguous(folder: Folder, parts: Sequence[Folder], named: dict[str, str], others: Sequence[str]) -> None:
    """Raises DataError if a folder without parts could also be interpreted as divided."""
    loose, mentioned = [inner.name for inner in parts], {named[inner.name] for inner in parts}
    if len(loose) == 1 and not others:
        count = len(parts[0].images)
        raise DataError(parts[0].path, f"holds {count:,} images and no class folders", CLASS_FOLDERS)
    # A train folder without class folders would be useless, so it must be a class. So are test1, test2, test3.
    if mentioned - {"train"} and not (len(mentioned) == 1 < len(loose)):
        parted = f"{name_some(loose)} {'is a part' if len(loose) == 1 else 'are parts'} without class folders"
        rule = f"can be read in two ways: its classes are {name_some([*others, *loose])}, or {parted}"
        raise DataError(folder.path, rule, f"move {name_some(loose)} out of it, or, if these are classes, {APART}")
    for inner in folder.folders:
        within = part_names([name.name for name in inner.folders])
        holding = [below.name for below in inner.folders if below.name in within and below.holds_images]
        if len({within[name] for name in holding}) > 1:
            rule = f"can be read in two ways: {inner.name} is a class, or holds the parts {name_some(holding)}"
            remedy = f"name {inner.path} itself, or put the parts outermost, as in {holding[0]}/CLASS/"
            raise DataError(folder.path, rule, remedy)
