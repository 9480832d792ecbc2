"""Move images between class folders by a person's corrections, so that every move can be put back.

All moves are written to a journal before the first file moves, and each is one rename on one file system: whichever
side of it a file is on says whether it has moved. So a run that was killed goes on, and can be undone, half-way.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgglass.data.corrections import Correction
from vgglass.data.layout import detect_layout
from vgglass.errors import DataError
from vgglass.files import replacing
from vgglass.names import printable

HIDDEN = ".vgglass-labels"  # in the folder itself, passed over wherever images are read
REMOVED = "removed"


@dataclass(frozen=True)
class Moves:
    """A journal: moves within a folder, in order.

    number     of the journal in its folder, from 1
    decisions  SHA-256 of the list that they come from
    files      from and to, relative to the folder
    folders    that they create, outermost first
    """

    folder: Path
    number: int
    decisions: str
    files: tuple[tuple[str, str], ...]
    folders: tuple[str, ...]

    @property
    def journal(self) -> Path:
        return self.folder / HIDDEN / f"{self.number}.json"

    def waiting(self) -> list[tuple[Path, Path]]:
        """Those that have not happened. Raises DataError where a file is on both sides or on neither."""
        pairs = [(self.folder / source, self.folder / target) for source, target in self.files]
        for source, target in pairs:
            if os.path.lexists(source) == os.path.lexists(target):
                fault = "both exist" if os.path.lexists(source) else "neither exists"
                remedy = f"put one file at one of the two places, or take the pair out of {self.journal}"
                raise DataError(f"{printable(source)} and {printable(target)}", f"one moved file, but {fault}", remedy)
        return [(source, target) for source, target in pairs if os.path.lexists(source)]

    def carry_out(self) -> None:
        """Write the journal, and move what has not moved. Raises DataError, OSError."""
        waiting = self.waiting()
        facts = {"decisions": self.decisions, "files": self.files, "folders": self.folders}
        with replacing(self.journal) as temporary:
            temporary.write_text(json.dumps(facts, indent=1))
        for folder in self.folders:
            (self.folder / folder).mkdir(exist_ok=True)
        for source, target in waiting:
            source.rename(target)

    def undo(self) -> int:
        """Put back what has moved, and remove the journal; the number of files. Raises DataError, OSError."""
        waiting = {source for source, _ in self.waiting()}
        moved = [(self.folder / source, self.folder / target) for source, target in reversed(self.files)]
        moved = [(source, target) for source, target in moved if source not in waiting]
        for source, target in moved:
            target.rename(source)
        self.journal.unlink()
        for made in (*map(self.folder.joinpath, reversed(self.folders)), self.journal.parent):
            if made.is_dir() and not any(made.iterdir()):
                made.rmdir()
        return len(moved)


def plan(folder: Path, corrections: Sequence[Correction], classes: Sequence[str], decisions: str) -> Moves:
    """Where each corrected image goes: to the class's folder in its part, or aside. Raises DataError."""
    layout = detect_layout(folder)
    homes = [(member.path, part) for (part, _), members in layout.folders.items() for member in members]
    files: list[tuple[str, str]] = []
    taken: set[Path] = set()
    for correction in corrections:
        source = correction.sample.source
        assert isinstance(source, Path)
        if source.is_symlink():
            rule = "is a link, which may not hold elsewhere"
            raise DataError(printable(source), rule, "write a --manifest in place of --move, or move it yourself")
        home, part = next((home, part) for home, part in homes if source.is_relative_to(home))
        if correction.label is None:
            target = folder / HIDDEN / REMOVED / source.relative_to(folder)
        else:
            label = classes[correction.label]
            shelves = layout.folders.get((part, label))
            shelf = shelves[0].path if shelves else layout.roots[part].path / label
            target = shelf / source.relative_to(home)
        target = _free(target, taken)
        taken.add(target)
        files.append((str(source.relative_to(folder)), str(target.relative_to(folder))))
    needed = {parent for target in taken for parent in target.parents if not parent.exists()}
    folders = sorted(needed, key=lambda path: len(path.parts))
    created = tuple(str(path.relative_to(folder)) for path in folders if path != folder / HIDDEN)
    return Moves(folder, len(journals(folder)) + 1, decisions, tuple(files), created)


def _free(wanted: Path, taken: set[Path]) -> Path:
    """The path, or the first of name-2, name-3 … that no file has."""
    target, number = wanted, 1
    while target in taken or os.path.lexists(target):
        number += 1
        target = wanted.with_stem(f"{wanted.stem}-{number}")
    return target


def journals(folder: Path) -> list[Moves]:
    """The journals of a folder, in order. Raises DataError."""
    found = sorted((folder / HIDDEN).glob("*.json"), key=lambda path: (len(path.name), path.name))
    return [_read(folder, path) for path in found]


def _read(folder: Path, path: Path) -> Moves:
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
        files = tuple((str(source), str(target)) for source, target in facts["files"])
        folders = tuple(map(str, facts["folders"]))
        for name in (*folders, *(name for pair in files for name in pair)):
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"{name!r} leads out of the folder")
        return Moves(folder, int(path.stem), str(facts["decisions"]), files, folders)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(path, f"not a journal of moves ({error})", "remove it, and move the files yourself") from error
