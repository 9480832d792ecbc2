"""A journal of renames within a folder, so that each action happens whole, also after a kill -9, and can be undone.

An action is nothing but renames, on one file system: a new image is one from the hidden incoming folder, a removed one
goes to another hidden folder, a class is made by renaming an empty folder. Its line is on the disk before the first
rename, and whichever side of a rename a file is on says whether that has happened.
"""

import errno
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgglass.errors import DataError
from vgglass.files import synced

Rename = tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """One action.

    what     its kind, and `about`, what a sentence on it says
    gesture  what a person did: actions of one gesture are undone together
    renames  from and to, relative to the folder, in order
    """

    number: int
    what: str
    about: dict[str, Any]
    gesture: str
    renames: tuple[Rename, ...]


class Journal:
    """The entries that are in force. Opening finishes an action that was cut off. Raises DataError, OSError."""

    def __init__(self, top: Path, path: Path) -> None:
        self.top, self.path = top, path
        self.entries: list[Entry] = []
        self._numbers = 0
        *lines, _ = path.read_bytes().split(b"\n") if path.exists() else [b""]  # what has no newline was never finished
        self._bytes = sum(len(line) + 1 for line in lines)
        finish = None
        for place, line in enumerate(lines, 1):
            try:
                finish = self._read(json.loads(line))
            except (ValueError, KeyError, TypeError, IndexError) as error:
                rule = f"is no line of a journal of vgglass teach ({error})"
                remedy = "move the journal away; the images stay, and what it would undo can't be undone"
                raise DataError(f"{path}, line {place}", rule, remedy) from None
        if finish:
            entry, undone = finish
            with suppress(FileNotFoundError, FileExistsError):  # others have moved or removed files meanwhile
                self._take_back(entry.renames) if undone else self._carry_out(entry.renames)

    def do(self, what: str, about: dict[str, Any], gesture: str, renames: Sequence[Rename]) -> None:
        """Carry out an action, all of it or nothing. Raises OSError."""
        before, entry = self._bytes, Entry(self._numbers + 1, what, about, gesture, tuple(renames))
        self._append(vars(entry))
        try:
            self._carry_out(renames)
        except OSError:
            self._take_back(renames)
            os.truncate(self.path, before)
            self._bytes = before
            raise
        self._numbers = entry.number
        self.entries.append(entry)

    def undo(self) -> Entry:
        """Take the last entry back; what others have removed meanwhile stays away. Raises OSError."""
        entry = self.entries[-1]
        self._append({"undo": entry.number})
        self._take_back(entry.renames)
        return self.entries.pop()

    def _read(self, line: dict[str, Any]) -> tuple[Entry, bool]:
        """The entry that a line adds, or that it takes back."""
        if "undo" in line:
            entry = self.entries.pop()
            if entry.number != line["undo"]:
                raise ValueError("it undoes another entry than the last")
            return entry, True
        renames = tuple((str(source), str(target)) for source, target in line["renames"])
        for place in (place for pair in renames for place in pair):
            if Path(place).is_absolute() or ".." in Path(place).parts:
                raise ValueError(f"{place!r} leads out of the folder")
        entry = Entry(int(line["number"]), str(line["what"]), dict(line["about"]), str(line["gesture"]), renames)
        self.entries.append(entry)
        self._numbers = entry.number
        return entry, False

    def _append(self, line: dict[str, Any]) -> None:
        """A line, whole and on the disk, or nothing of it. Raises OSError."""
        data = json.dumps(line).encode() + b"\n"
        created = not self.path.exists()
        with self.path.open("ab", buffering=0) as file:
            file.truncate(self._bytes)
            try:
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(self._bytes)
                raise
        self._bytes += len(data)
        if created:
            synced(self.path.parent)

    def _carry_out(self, renames: Sequence[Rename]) -> None:
        for source, target in renames:
            _rename(self.top / source, self.top / target)

    def _take_back(self, renames: Sequence[Rename]) -> None:
        """Those that have happened; where others have put something in the old place meanwhile, that stays."""
        for source, target in reversed(renames):
            one, other = self.top / source, self.top / target
            if os.path.lexists(other) and not os.path.lexists(one):
                _rename(other, one)


def _rename(source: Path, target: Path) -> None:
    """Unless it has happened. Raises OSError."""
    if os.path.lexists(target):
        if not os.path.lexists(source):
            return
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
