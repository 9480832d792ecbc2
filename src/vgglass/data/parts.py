"""Which folders hold the parts train, validation and test, by the names that people give them.

What can be read in two ways is refused with both: a folder named test may be a part or a class.
"""

import re
from collections.abc import Iterable, Sequence

from vgglass.data.listing import Folder
from vgglass.errors import DataError
from vgglass.names import as_seen

_WORDS = {
    "train": "train", "training": "train", "训练": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation", "验证": "validation",
    "test": "test", "testing": "test", "测试": "test",
}  # fmt: skip
_BESIDE = (
    "(?:sets?|datasets?|data|images?|imgs?|pictures|photos|samples|splits?|folder|files|seg|数据|集|图片|图像|样本)"
)
_NAME = re.compile(
    rf"(?:(?P<before>.+?)[\W_]+)?{_BESIDE}*(?P<word>{'|'.join(sorted(_WORDS, key=len, reverse=True))})"
    rf"(?:[\W_]*{_BESIDE})*[\W_]*\d*"
)
_ONLY_BESIDE = re.compile(rf"(?:{_BESIDE}[\W_]*)*")
CLASS_FOLDERS = "put each class's images in a subfolder of its name"
APART = "put all class folders into one folder named train"
SHOWN = 5  # names


def part_of(name: str) -> str | None:
    """The part that a folder of this name alone says: 'train', 'validation', 'test' or none."""
    return _named([name]).get(name)


def says_nothing(name: str) -> bool:
    """Whether a folder's name is one like data or images."""
    return _ONLY_BESIDE.fullmatch(as_seen(name).lower()) is not None


def few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + f" and {len(listed) - SHOWN} more" * (len(listed) > SHOWN)


def divided(folder: Folder) -> tuple[dict[str, Folder], list[str]]:
    """The parts that a folder is divided into, none where it holds the class folders, and what to say of the others.

    Raises DataError where two readings are possible.
    """
    named = _named([inner.name for inner in folder.folders])
    parts = [inner for inner in _once(folder.folders) if inner.name in named and inner.holds_images]
    classed = [inner for inner in parts if _holds_class_folders(inner)]
    others = [inner.name for inner in folder.folders if inner.name not in named and inner.holds_images]
    remarks = [
        f"{inner.name} holds no images" for inner in folder.folders if inner.name in named and not inner.holds_images
    ]
    if not classed:
        _require_classes(folder, parts, named, others)
        return {}, remarks
    if others and len(parts) == 1:
        raise DataError(
            folder.path,
            f"can be read in two ways: its classes are {few([parts[0].name, *others])}, "
            f"or {parts[0].name} holds the class folders and {few(others)} images of no class",
            f"move {few(others)} out of it, or, if these are the classes, {APART}",
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


def _named(names: Sequence[str]) -> dict[str, str]:
    """The names that say a part; what stands before it ('flowers' of flowers_train), two parts must have in common."""
    split: dict[str, tuple[str, str]] = {}
    for name in names:
        if found := _NAME.fullmatch(as_seen(name).lower()):
            before = found["before"] or ""
            split[name] = "" if says_nothing(before) else before, _WORDS[found["word"]]
    common = {one for one, part in split.values() if any(one == other and part != own for other, own in split.values())}
    return {name: part for name, (before, part) in split.items() if not before or before in common}


def _once(folders: Iterable[Folder]) -> list[Folder]:
    """The folders without links to others of them."""
    return list({folder.real: folder for folder in reversed(list(folders))}.values())[::-1]


def _holds_class_folders(folder: Folder) -> bool:
    return any(inner.holds_images for inner in folder.folders)


def _require_classes(folder: Folder, parts: Sequence[Folder], named: dict[str, str], others: Sequence[str]) -> None:
    """Raises DataError where a folder that no part divides may yet be meant as divided."""
    loose, said = [inner.name for inner in parts], {named[inner.name] for inner in parts}
    if len(loose) == 1 and not others:
        count = len(parts[0].images)
        raise DataError(parts[0].path, f"holds {count:,} images and no class folders", CLASS_FOLDERS)
    # Nothing can be learned from images of train without classes: then it is one. So are test1, test2, test3.
    if said - {"train"} and not (len(said) == 1 < len(loose)):
        parted = f"{few(loose)} {'is a part' if len(loose) == 1 else 'are parts'} without class folders"
        rule = f"can be read in two ways: its classes are {few([*others, *loose])}, or {parted}"
        raise DataError(folder.path, rule, f"move {few(loose)} out of it, or, if these are classes, {APART}")
    for inner in folder.folders:
        within = _named([name.name for name in inner.folders])
        holding = [below.name for below in inner.folders if below.name in within and below.holds_images]
        if len({within[name] for name in holding}) > 1:
            rule = f"can be read in two ways: {inner.name} is a class, or holds the parts {few(holding)}"
            remedy = f"name {inner.path} itself, or put the parts outermost, as in {holding[0]}/CLASS/"
            raise DataError(folder.path, rule, remedy)
