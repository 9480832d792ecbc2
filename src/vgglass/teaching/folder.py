"""The folder that is taught by: a subfolder a class, whose images stand for it, and the hidden tray of those without.

It is a data set as it stands: check, train and evaluate take it, or its manifest.csv. What is hidden lies in .vgglass:
the tray, removed images, images that arrive, and the journal.
"""

import csv
import hashlib
import io
import itertools
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vgglass.data.dataset import natural
from vgglass.data.layout import part_names
from vgglass.data.listing import Folder, is_system_file
from vgglass.errors import DataError, UsageError
from vgglass.files import abandoned, discard, lock, replacing
from vgglass.names import normalised, printable
from vgglass.teaching import names
from vgglass.teaching.journal import Entry, Journal, Rename

HIDDEN = ".vgglass"
TRAY, REMOVED, INCOMING = f"{HIDDEN}/tray", f"{HIDDEN}/removed", f"{HIDDEN}/incoming"
MANIFEST, COLUMNS = "manifest.csv", ("path", "label", "sha256")
MOST, CLASSES = 50_000, 200  # images, with those in the tray, and classes


@dataclass(frozen=True)
class Item:
    """An image.

    path    relative to the folder, with slashes
    state   size and time of the last change of its content
    digest  SHA-256
    """

    number: int
    path: str
    state: tuple[int, int]
    digest: bytes

    @property
    def label(self) -> str | None:
        """Its class; None in the tray."""
        return None if self.path.startswith(f"{TRAY}/") else normalised(self.path.partition("/")[0])


class TaughtFolder:
    """A folder, locked against other processes. Raises DataError, OSError."""

    def __init__(self, top: Path) -> None:
        self.top = top
        _require_flat(top)
        for place in (TRAY, REMOVED, INCOMING):
            (top / place).mkdir(parents=True, exist_ok=True)
        self._lock = (top / HIDDEN / "lock").open("w")
        try:
            lock(self._lock)
        except BlockingIOError:
            self._lock.close()
            raise DataError(top, "is taught in another process already", "use its page, or stop it first") from None
        self._numbers = itertools.count(secrets.randbelow(1 << 31) << 20)  # no number means another image after a start
        self.items: dict[str, Item] = {}
        with ExitStack() as failed:
            failed.callback(self.close)
            self.journal = Journal(top, top / HIDDEN / "journal.jsonl")
            self.rescan()
            failed.pop_all()
        for unfinished in abandoned(top / INCOMING / "*"):
            discard(unfinished)

    def close(self) -> None:
        self._lock.close()

    @property
    def classes(self) -> list[str]:
        """In natural order; also those without images."""
        return sorted(self._homes(), key=natural)

    def rescan(self) -> None:
        """Compare with the disk, to which others may have written. Raises DataError, OSError."""
        homes = [folder for folder in Folder.at(self.top).folders if not folder.is_link]
        folders = [*homes, Folder.at(self.top / TRAY)]
        found = [path for folder in folders for path in folder.listing().images if not path.is_symlink()]
        if len(found) > MOST:
            raise DataError(self.top, f"holds {len(found):,} images", f"teach by {MOST:,} or fewer")
        before, self.items = self.items, {}
        for path in found:
            place = path.relative_to(self.top).as_posix()
            status = path.stat()
            state = status.st_size, status.st_mtime_ns
            known = before.get(place)
            same = known is not None and known.state == state
            self.items[place] = known if known and same else self._item(place, state, _digest(path))

    def add(self, data: bytes, name: str, label: str | None, gesture: str) -> Item:
        """Put an image into a class, or the tray; its own file name is made safe. Raises UsageError, OSError."""
        home = self._home(label)
        digest = hashlib.sha256(data).digest()
        arrived = f"{INCOMING}/{secrets.token_hex(8)}"
        target = self._free(f"{home}/{names.file_name(name)}", set())
        with replacing(self.top / arrived) as temporary:
            temporary.write_bytes(data)
        try:
            self._do("add", {"class": label}, gesture, [(arrived, target)])
        except OSError:
            (self.top / arrived).unlink(missing_ok=True)
            raise
        status = (self.top / target).stat()
        item = self._item(target, (status.st_size, status.st_mtime_ns), digest)
        self.items[target] = item
        return item

    def move(self, items: Sequence[Item], label: str | None, gesture: str) -> None:
        """To a class, or the tray. Raises UsageError, OSError."""
        home, taken = self._home(label), set[str]()
        going = [item for item in items if item.label != label]
        renames = [(item.path, self._free(f"{home}/{_within(item)}", taken)) for item in going]
        if renames:
            self._do("move", {"count": len(renames), "class": label}, gesture, renames)

    def remove(self, items: Sequence[Item], gesture: str) -> None:
        """Out of sight; undoing brings them back. Raises OSError."""
        taken = set[str]()
        renames = [(item.path, self._free(f"{REMOVED}/{_within(item)}", taken)) for item in items]
        if renames:
            self._do("remove", {"count": len(renames)}, gesture, renames)

    def add_class(self, given: str, gesture: str) -> None:
        """Raises UsageError, OSError."""
        name = names.class_name(given, self.classes)
        if len(self._homes()) >= CLASSES:
            raise UsageError(f"class {name!r}", f"would be one more than {CLASSES}", "merge or delete some first")
        empty = f"{INCOMING}/{secrets.token_hex(8)}"
        (self.top / empty).mkdir()
        self._do("add-class", {"class": name}, gesture, [(empty, name)])

    def rename_class(self, old: str, given: str, gesture: str) -> None:
        """Raises UsageError, OSError."""
        homes = self._homes()
        self._home(old)
        new = names.class_name(given, [name for name in homes if name != old])
        if new != old:
            self._do("rename", {"class": old, "to": new}, gesture, [(homes[old], new)])

    def merge(self, old: str, into: str, gesture: str) -> None:
        """Move all images of a class to another one, and the class away. Raises UsageError, OSError."""
        if old == into:
            raise UsageError(f"class {old!r}", "can't be merged into itself", "choose another class")
        self._empty("merge", {"class": old, "to": into}, gesture, old, self._home(into))

    def delete_class(self, name: str, gesture: str) -> None:
        """Move all images of a class to the tray, and the class away. Raises UsageError, OSError."""
        self._empty("delete-class", {"class": name}, gesture, name, TRAY)

    def undo(self) -> list[Entry]:
        """Take back all actions of the last gesture, from the last. Raises UsageError, OSError."""
        if not self.journal.entries:
            raise UsageError("undo", "nothing has been done that could be undone", "do something first")
        gesture = self.journal.entries[-1].gesture
        undone: list[Entry] = []
        while self.journal.entries and (not undone or (gesture and self.journal.entries[-1].gesture == gesture)):
            undone.append(self.journal.undo())
            self._follow([(target, source) for source, target in reversed(undone[-1].renames)])
        self.rescan()
        return undone

    def write_manifest(self) -> None:
        """The labelled images as a list, where anything has changed. Raises OSError."""
        path = self.top / MANIFEST
        table = io.StringIO(newline="")
        csv.writer(table, lineterminator="\n").writerows([COLUMNS, *self._rows()])
        text = table.getvalue().encode()
        if not path.exists() or path.read_bytes() != text:
            with replacing(path) as temporary:
                temporary.write_bytes(text)

    def _rows(self) -> Iterable[tuple[str, str, str]]:
        for path in sorted(self.items, key=natural):
            item = self.items[path]
            if item.label is not None:
                yield path, item.label, item.digest.hex()

    def _empty(self, what: str, about: dict[str, Any], gesture: str, old: str, home: str) -> None:
        self._home(old)
        folder, taken = self._homes()[old], set[str]()
        going = [item for item in self.items.values() if item.label == old]
        renames = [(item.path, self._free(f"{home}/{_within(item)}", taken)) for item in going]
        renames.append((folder, self._free(f"{REMOVED}/{folder}", taken)))  # with whatever else lies in it
        self._do(what, about | {"count": len(going)}, gesture, renames)

    def _do(self, what: str, about: dict[str, Any], gesture: str, renames: Sequence[Rename]) -> None:
        self.journal.do(what, about, gesture, renames)
        self._follow(renames)

    def _follow(self, renames: Sequence[Rename]) -> None:
        """Keep the items by their new paths: images keep their numbers when they move."""
        for source, target in renames:
            inside = [source] if source in self.items else [p for p in self.items if p.startswith(f"{source}/")]
            for path in inside:
                item = self.items.pop(path)
                place = target + path[len(source) :]
                if not place.startswith((f"{REMOVED}/", f"{INCOMING}/")):
                    self.items[place] = Item(item.number, place, item.state, item.digest)

    def _item(self, path: str, state: tuple[int, int], digest: bytes) -> Item:
        return Item(next(self._numbers), path, state, digest)

    def _homes(self) -> dict[str, str]:
        """The folder of each class; of two whose names look the same, the first."""
        found: dict[str, str] = {}
        with os.scandir(self.top) as entries:
            for entry in sorted(entries, key=lambda entry: natural(entry.name)):
                if entry.is_dir(follow_symlinks=False) and not is_system_file(entry.name):
                    found.setdefault(normalised(entry.name), entry.name)
        return found

    def _home(self, label: str | None) -> str:
        """Raises UsageError."""
        if label is None:
            return TRAY
        if (home := self._homes().get(label)) is None:
            raise UsageError(f"class {label[:60]!r}", "is not there", "it may have been renamed: choose another")
        return home

    def _free(self, wanted: str, taken: set[str]) -> str:
        """The path, or the first of name-2, name-3 … that nothing has, in any case of its letters."""
        path, number = PurePosixPath(wanted), 1
        place = path
        while str(place).casefold() in taken or os.path.lexists(self.top / place):
            number += 1
            place = path.with_stem(f"{path.stem}-{number}")
        taken.add(str(place).casefold())
        return str(place)


def _within(item: Item) -> str:
    """Its path below its class or the tray, as one name."""
    return PurePosixPath(item.path).name


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _require_flat(top: Path) -> None:
    """Create the folder unless it exists. Raises DataError for one that holds something else than classes."""
    if top.exists() and not top.is_dir():
        raise DataError(printable(top), "is no folder", "name one, or a new one")
    top.mkdir(parents=True, exist_ok=True)
    folders = [entry for entry in os.scandir(top) if entry.is_dir() and not is_system_file(entry.name)]
    inner = [entry.name for entry in folders]
    for linked in (entry.name for entry in folders if entry.is_symlink()):
        rule = "is a link, and images are moved in and out of class folders"
        raise DataError(printable(top / linked), rule, "copy the folder here in its place")
    for name in inner:
        if printable(name) != name:
            raise DataError(printable(top / name), "its name is not UTF-8", "rename the folder")
    if parts := part_names(inner):
        rule = f"is divided into {' and '.join(parts)}, and is taught by class folders alone"
        raise DataError(printable(top), rule, f"name one of them, as {printable(top / next(iter(parts)))}")
    manifest = top / MANIFEST
    if manifest.exists() and not manifest.read_bytes().startswith(",".join(COLUMNS).encode()):
        rule = "is there already, and not as vgglass teach writes it"
        raise DataError(printable(manifest), rule, "rename it, or name another folder")
