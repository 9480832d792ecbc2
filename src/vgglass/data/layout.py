"""Which folder holds the images of which part and class, as people lay them out.

Classes are folders, flat or below folders of the parts train, validation and test. Folders around all of it are gone
into. Names count as a person sees them: Unicode's normal forms of one name are one class.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vgglass.data import parts
from vgglass.data.dataset import SPLITS, PassedOver, natural
from vgglass.data.listing import Folder, shown
from vgglass.data.parts import CLASS_FOLDERS, few
from vgglass.errors import DataError
from vgglass.names import as_seen, by_case, caseless


@dataclass(frozen=True)
class Layout:
    """The class folders of each part of a folder ('all': not divided), and what belongs to none.

    roots    by part, the folder that holds its class folders
    classes  in natural order, in Unicode's form C
    folders  by part and class, the folders of that class, some perhaps without an image
    remarks  what a person should know of parts and names
    """

    top: Path
    roots: Mapping[str, Folder]
    classes: tuple[str, ...]
    folders: Mapping[tuple[str, str], Sequence[Folder]]
    remarks: tuple[str, ...]
    passed_over: tuple[PassedOver, ...]

    def sentence(self, counts: Mapping[str, int]) -> str:
        """What was understood; counts: of the image files of each part."""
        undivided, said = "all" in self.roots, []
        for name, root in self.roots.items():
            place = shown(root.path.relative_to(self.top)) if root.path != self.top else ""
            held = [label for label in self.classes if self._holds(name, label)]
            count = f"{len(held)} class{'es' * (len(held) != 1)}, {counts[name]:,} image{'s' * (counts[name] != 1)}"
            whence = f"{place}, " * bool(place) if undivided else f"{name} from {place}, "
            said.append(f"{whence}{count}{f' ({few(held)})' * undivided}")
        how = "not divided" if undivided else "divided by its folders"
        return f"{shown(self.top)} is understood as {how}: {'; '.join([*said, *self.remarks])}."

    def _holds(self, part: str, label: str) -> bool:
        return any(folder.holds_images for folder in self.folders.get((part, label), ()))


def understand(top: Path) -> Layout:
    """Raises DataError where there are no class folders, or where two readings are possible."""
    passed_over: list[PassedOver] = []
    folder = _inside(Folder.at(top), lambda inner: parts.part_of(inner.name) is not None, passed_over)
    divided, remarks = parts.divided(folder)
    roots = {"all": folder}
    if divided:
        roots = {
            name: _inside(divided[name], _class_elsewhere(name, divided), passed_over)
            for name in SPLITS
            if name in divided
        }
        passed_over += _beside(folder, divided.values())
    classes = _classes(roots)
    folders: dict[tuple[str, str], list[Folder]] = {}
    for name, root in list(roots.items()):
        labelled = {inner: label for inner in root.folders if (label := _class_of(inner, classes))}
        passed_over += _beside(root, labelled)
        strangers = [inner.name for inner in root.folders if inner.holds_images and inner not in labelled]
        if divided and not any(inner.holds_images for inner in labelled):
            remarks.append(f"{name} is not used, for none of its folders ({few(strangers)}) is a class of train")
            del roots[name]
            continue
        for inner, label in labelled.items():
            folders.setdefault((name, label), []).append(inner)
        remarks += _of_a_part(name, labelled, strangers, classes)
    if not any(inner.holds_images for members in folders.values() for inner in members):
        loose = f" ({len(folder.images):,} lie loose in it)" if folder.images else ""
        raise DataError(top, f"no images in subfolders of it{loose}", CLASS_FOLDERS)
    alike = [names for names in by_case(classes).values() if len(names) > 1]
    remarks += [f"the classes {' and '.join(names)} differ by case alone" for names in alike]
    return Layout(top, roots, classes, folders, tuple(remarks), tuple(passed_over))


def _inside(folder: Folder, stays: Callable[[Folder], bool], passed_over: list[PassedOver]) -> Folder:
    """The folder that holds class folders or parts, where others are around it; `stays`: one not gone into."""
    chain = [folder]
    while True:
        holding = [inner for inner in chain[-1].folders if inner.holds_images]
        if len(holding) > 1 or (holding and stays(holding[0])):
            break
        if not holding or (holding[0].images and not parts.says_nothing(holding[0].name)):
            return folder
        chain.append(holding[0])
    for outer, inner in pairwise(chain):
        passed_over += _beside(outer, [inner])
    return chain[-1]


def _class_elsewhere(name: str, divided: Mapping[str, Folder]) -> Callable[[Folder], bool]:
    """Whether a folder that stands alone in this part is one of several classes in another."""
    held = [
        [inner.name for inner in root.folders if inner.holds_images] for part, root in divided.items() if part != name
    ]
    known = {caseless(label) for labels in held if len(labels) > 1 for label in labels}
    return lambda inner: caseless(inner.name) in known


def _classes(roots: Mapping[str, Folder]) -> tuple[str, ...]:
    """Those of train, or where there is no such part, of all. Raises DataError."""
    held = [roots[name] for name in ("train", "all") if name in roots] or list(roots.values())
    found = [inner for root in held for inner in root.folders if inner.holds_images or not parts.part_of(inner.name)]
    for inner in found:
        if shown(inner.path) != str(inner.path):
            raise DataError(shown(inner.path), "its name is not UTF-8", "rename the folder")
    return tuple(sorted({as_seen(inner.name) for inner in found}, key=natural))


def _class_of(folder: Folder, classes: Sequence[str]) -> str | None:
    """The class that a folder's name looks like; by case alone only where there is one such class."""
    name = as_seen(folder.name)
    if name in classes:
        return name
    alike = by_case(classes).get(caseless(name), ())
    return alike[0] if len(alike) == 1 else None


def _beside(folder: Folder, kept: Iterable[Folder]) -> list[PassedOver]:
    """What lies in a folder beside those that are kept."""
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


def _of_a_part(
    name: str, labelled: Mapping[Folder, str], strangers: Sequence[str], classes: Sequence[str]
) -> Iterator[str]:
    """What a person should know of the folders of a part."""
    if strangers:
        yield f"{name} has folders of no class of train, which are left out ({few(strangers)})"
    held = {label for inner, label in labelled.items() if inner.holds_images}
    if name in ("validation", "test") and (lacking := [label for label in classes if label not in held]):
        yield f"{name} lacks {few(lacking)}"
    for inner, label in labelled.items():
        if as_seen(inner.name) != label:
            yield f"{inner.name} of {name} is taken for the class {label}"
    for label, count in Counter(labelled.values()).items():
        if count > 1:
            yield f"{count} folders whose names look the same are the class {label}"
