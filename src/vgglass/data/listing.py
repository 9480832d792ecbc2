"""List a folder: its images, by name or content, and the skipped files with reasons.

The single definition of what counts as an image; check, train, evaluate and predict all use it.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, NoReturn

from vgglass import images
from vgglass.data.dataset import PassedOver, natural
from vgglass.errors import DataError
from vgglass.names import printable

# Image formats that vgglass may not read: such files are listed, so that they are reported with a reason.
SUFFIXES = images.SUFFIXES | {
    ".jfif", ".pjpeg", ".pjp", ".mpo", ".apng", ".dib", ".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".j2k",
    ".jpf", ".jpx", ".jxl", ".tga", ".psd", ".ppm", ".pgm", ".pbm", ".pnm", ".pcx", ".ico", ".icns", ".dds", ".exr",
    ".hdr", ".qoi", ".svg", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw",
}  # fmt: skip
BEGINNING = 32  # leading bytes that identify an image format
_SIGNATURES = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|\x89PNG\r\n\x1a\n"
    rb"|GIF8[79]a"
    rb"|RIFF....WEBP"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"  # BMP, by the length of its second header
    rb"|II[*+]\0|MM\0[*+]"  # TIFF, and most cameras' raw files
    rb"|....ftyp(avif|avis|hei[cxms]|hev[cx]|mif1|msf1|crx )"  # AVIF, HEIC, CR3
    rb"|\0\0\0\x0c(jP  |JXL )\r\n\x87\n|\xff\x4f\xff\x51|\xff\x0a"  # JPEG 2000, JPEG XL
    rb"|8BPS|v/1\x01|DDS |qoif|FUJIFILMCCD-RAW",
    re.DOTALL,
)

# Files of operating systems and devices: Windows, macOS, Linux, Synology, QNAP, FrontPage. Hidden names count as well.
_SYSTEM_NAMES = frozenset({
    "@eadir", "@tmp", "@__thumb", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx", "lost+found",
    "$recycle.bin", "recycler", "recycled", "system volume information", "found.000", "network trash folder",
    "temporary items", "icon\r", "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db",
    "desktop.ini", "picasa.ini", "zbthumbnail.info", "pspbrwse.jbf", "_vti_cnf", "__pycache__",
})  # fmt: skip

# Wording of each kind of finding in a summary.
_REASONS = {
    "no-class": "in no class's folder", "no-image": "no image", "system-file": "of a system or program",
    "linked-twice": "counted already, reached by a link",
}  # fmt: skip
SHOWN = 3  # names listed per kind


class Listing(NamedTuple):
    """Every image in a folder, recursively, in natural order, and everything skipped."""

    images: list[Path]
    passed_over: list[PassedOver]

    @property
    def files(self) -> int:
        return len(self.images) + sum(one.files for one in self.passed_over)


@dataclass(frozen=True)
class _Content:
    """Direct entries of a folder: images in natural order, targets of linked images, folders with links last."""

    images: list[Path]
    linked: dict[Path, str]
    folders: "list[Folder]"
    passed_over: list[PassedOver]


class Folder:
    """One folder, listed lazily.

    path  as given by the user
    real  resolved path, the identity of the folder
    """

    def __init__(self, path: Path, real: str, *, is_link: bool = False) -> None:
        self.path, self.real, self.is_link = path, real, is_link

    @classmethod
    def at(cls, path: Path) -> "Folder":
        return cls(path, os.path.realpath(path))

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def images(self) -> list[Path]:
        return self.content.images

    @property
    def folders(self) -> "list[Folder]":
        return self.content.folders

    @cached_property
    def holds_images(self) -> bool:
        return any(folder.images for folder in self.walk([]))

    @cached_property
    def content(self) -> _Content:
        """The direct entries of the folder. Raises DataError."""
        try:
            with os.scandir(self.path) as entries:
                found = sorted(entries, key=lambda entry: natural(entry.name))
        except OSError as error:
            refuse(error)
        content = _Content([], {}, [], [])
        linked_folders = []
        for entry in found:
            path = Path(entry.path)
            if is_system_file(entry.name):
                content.passed_over.extend(_system_files(entry, path))
            elif entry.is_dir(follow_symlinks=False):
                content.folders.append(Folder(path, os.path.join(self.real, entry.name)))  # noqa: PTH118
            elif entry.is_symlink() and path.is_dir():
                linked_folders.append(Folder(path, os.path.realpath(path), is_link=True))
            elif (reason := _reason_not_image(entry)) is not None:
                content.passed_over.append(PassedOver("no-image", path, reason))
            else:
                content.images.append(path)
                if entry.is_symlink():
                    content.linked[path] = os.path.realpath(path)
        content.folders.extend(linked_folders)
        return content

    def walk(self, passed_over: list[PassedOver]) -> "Iterator[Folder]":
        """This folder and all subfolders, each once, linked ones last; link cycles are cut. Raises DataError."""
        seen, linked, waiting = set(), list[Folder](), [self]
        while waiting or linked:
            folder = waiting.pop() if waiting else linked.pop(0)
            if folder.real in seen:
                passed_over.append(PassedOver("linked-twice", folder.path, folder.real))
                continue
            seen.add(folder.real)
            yield folder
            waiting += [below for below in reversed(folder.folders) if not below.is_link]
            for below in folder.folders:
                if below.is_link and any(_contains(below.real, inner) for inner in (self.real, folder.real)):
                    passed_over.append(PassedOver("linked-twice", below.path, below.real))
                elif below.is_link:
                    linked.append(below)

    def listing(self) -> Listing:
        """List recursively; a file reached through several links counts once. Raises DataError."""
        passed_over: list[PassedOver] = []
        folders = list(self.walk(passed_over))
        repeated = dict(_repeated_links(folders))
        for folder in folders:
            passed_over += folder.content.passed_over
        passed_over += [PassedOver("linked-twice", path, target) for path, target in repeated.items()]
        return Listing([path for folder in folders for path in folder.images if path not in repeated], passed_over)


def summary(passed_over: Iterable[PassedOver]) -> str:
    """A sentence on the number of skipped files by reason, with examples; '' if there are none."""
    by_kind: dict[str, list[PassedOver]] = {kind: [] for kind in _REASONS}
    for one in passed_over:
        if one.kind in by_kind:
            by_kind[one.kind].append(one)
    phrases = []
    for kind, found in by_kind.items():
        names = [
            f"{printable(one.path)}{f': {one.detail}' * (kind == 'no-image' and bool(one.detail))}" for one in found
        ]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        if found:
            phrases.append(f"{sum(one.files for one in found):,} {_REASONS[kind]} ({', '.join(names[:SHOWN])}{more})")
    return f"passed over: {'; '.join(phrases)}" if phrases else ""


def has_image_suffix(name: str) -> bool:
    """Whether a file name has an image suffix; for objects whose content is not at hand, as in a bucket."""
    return Path(name).suffix.lower() in SUFFIXES


def is_system_file(name: str) -> bool:
    """Whether a name is that of a system file or folder: hidden, a thumbnail cache, a recycle bin."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def refuse(error: OSError) -> NoReturn:
    raise DataError(error.filename, error.strerror or str(error), "check its permissions") from error


def _reason_not_image(entry: "os.DirEntry[str]") -> str | None:
    """None for an image; otherwise the reason it is not one, '' if there is no specific reason."""
    if has_image_suffix(entry.name):
        return None
    try:
        if not stat.S_ISREG(entry.stat().st_mode):
            return "not a regular file"  # opening a pipe would block
        with Path(entry.path).open("rb", buffering=0) as file:
            return None if _SIGNATURES.match(file.read(BEGINNING)) else ""
    except OSError as error:
        return error.strerror or str(error)


def _system_files(entry: "os.DirEntry[str]", path: Path) -> list[PassedOver]:
    if not entry.is_dir(follow_symlinks=False):
        return [PassedOver("system-file", path)]
    files = sum(len(names) for _, _, names in os.walk(path))
    return [PassedOver("system-file", path, f"{files}", files)] if files else []


def _contains(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep)


def _repeated_links(folders: Sequence[Folder]) -> Iterator[tuple[Path, str]]:
    """Links to files that are already listed, with their targets."""
    linked = [(path, target) for folder in folders for path, target in folder.content.linked.items()]
    if not linked:
        return
    seen = {
        os.path.join(folder.real, path.name)  # noqa: PTH118
        for folder in folders
        for path in folder.images
        if path not in folder.content.linked
    }
    for path, target in linked:
        if target in seen:
            yield path, target
        seen.add(target)
