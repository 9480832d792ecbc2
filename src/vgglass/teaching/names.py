"""Which names a class, and the file of an image that was sent, may have on every system that the folder goes to."""

import re
from collections.abc import Collection
from pathlib import PurePosixPath

from vgglass.data.layout import part_names
from vgglass.data.listing import is_system_file
from vgglass.errors import UsageError
from vgglass.names import casefolded, normalised

LONGEST = 150  # bytes of UTF-8; file systems take 255, and numbers are appended
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)  # by Windows
BURST = re.compile(r"(camera-\d{8}-\d{6}-\d{3})-\d+")


class ClassNameError(UsageError):
    """A name that no class can have; `kind`: why, for the page's own sentence."""

    def __init__(self, kind: str, given: str, rule: str, remedy: str) -> None:
        super().__init__(f"class {given[:60]!r}", rule, remedy)
        self.kind = kind


def class_name(given: str, others: Collection[str]) -> str:
    """The name of a class beside others, as its folder has it. Raises ClassNameError."""
    name = normalised(given.strip())
    if not name:
        raise ClassNameError("empty", given, "has no name", "give it one")
    if found := FORBIDDEN.search(name):
        rule = f"holds {found[0]!r}, which a folder's name can't hold on every system"
        raise ClassNameError("forbidden", given, rule, "leave it out")
    if len(name.encode()) > LONGEST:
        raise ClassNameError("long", given, f"is longer than {LONGEST} bytes", "shorten it")
    if name.endswith(".") or RESERVED.fullmatch(name) or is_system_file(name):
        raise ClassNameError("reserved", given, "is a name that systems keep for themselves", "choose another")
    if alike := [other for other in others if casefolded(other) == casefolded(name)]:
        rule = f"is there already{f', as {alike[0]!r}' * (alike[0] != name)}"
        raise ClassNameError("taken", given, rule, "choose another name, or merge the two")
    if named := part_names([*others, name]):
        rule = f"would make {' and '.join(named)} parts of a data set, as train and test are, and not classes"
        raise ClassNameError("part", given, rule, "choose another name")
    return name


def file_name(given: str) -> str:
    """A file name for an image that was sent under this one, which is untrusted."""
    name = FORBIDDEN.sub("_", normalised(given.replace("\\", "/").rpartition("/")[2])).strip(" .")
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    if len(suffix.encode()) > 16:
        stem, suffix = name, ""
    stem = stem.encode()[: LONGEST - len(suffix.encode())].decode(errors="ignore").strip(" .")
    if not stem or RESERVED.fullmatch(stem) or is_system_file(stem + suffix):
        stem = f"image-{stem}" if stem else "image"
    return stem + suffix


def burst_of(path: str) -> str:
    """What the names of the images of one camera burst begin with; '' for any other image."""
    found = BURST.match(PurePosixPath(path).name)
    return found[1] if found else ""
