"""A prediction job's folder: `job.json` records what the rows depend on; `part-00000.parquet`, … hold them.

A part holds the rows of one shard: a slice of the sorted names, of a size fixed when the job starts. A single process
writes here, and each part atomically: an existing part is complete, and the missing parts are the remaining work.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vgglass import __version__, files
from vgglass.cluster.sources import Images
from vgglass.errors import UsageError
from vgglass.files import discard, replacing, temporaries
from vgglass.inference.resume import differences

HEADER = "job.json"
LOCK = ".lock"
FORMAT = 1


@dataclass(frozen=True)
class Job:
    """Everything that the rows of a folder depend on.

    model   digest of everything in the model file that affects its predictions
    top     classes per image
    images  digest of the sorted names
    count   number of images
    shard   images per part
    engine, precision, views  as resolved by the workers
    """

    model: str
    top: int
    images: str
    count: int
    shard: int
    engine: str
    precision: str
    views: str
    vgglass: str = __version__

    @property
    def parts(self) -> range:
        return range(-(-self.count // self.shard))

    def names(self, part: int, images: Images) -> list[bytes]:
        return list(images.names[part * self.shard : (part + 1) * self.shard])

    def size(self, part: int) -> int:
        return min(self.shard, self.count - part * self.shard)


def place(folder: Path, part: int) -> Path:
    return folder / f"part-{part:05}.parquet"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, creating the folder if needed. Raises UsageError, OSError."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder}", "is a file, and with --ray the rows go to a folder", "name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("ab") as lock:
        try:
            files.lock(lock)
        except BlockingIOError as error:
            remedy = "wait for it, or choose another --out"
            raise UsageError(f"--out {folder}", "another vgglass predict is writing there", remedy) from error
        for half_written in temporaries(folder / "*"):  # left by a killed process
            discard(half_written)
        yield


def recorded(folder: Path) -> Mapping[str, Any]:
    """Read job.json; empty if there is no job yet. Raises UsageError for a folder with other contents."""
    path = folder / HEADER
    if not path.exists():
        if any(file.name != LOCK for file in folder.iterdir()):
            rule = f"holds files and no {HEADER}, which says whose they are"
            raise UsageError(f"--out {folder}", rule, "name a new folder")
        return {}
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}")
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(path, f"is not the header of a job ({error})", "name a new folder") from error
    return values


def claim(folder: Path, job: Job, before: Mapping[str, Any]) -> None:
    """Write job.json, or check that it records this same job. Raises UsageError for another job, OSError."""
    header = {"format": FORMAT, **asdict(job)}
    if not before:
        with replacing(folder / HEADER) as temporary:
            temporary.write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
    elif found := differences(before, header):
        remedy = "repeat the command as it was, or name a new folder"
        raise UsageError(f"--out {folder}", f"holds another job's parts, with {found}", remedy)


def write(folder: Path, part: int, table: bytes) -> None:
    """Raises OSError."""
    with replacing(place(folder, part)) as temporary:
        temporary.write_bytes(table)


def failures(folder: Path, job: Job, part: int) -> int | None:
    """Return how many images of a part could not be read; None if the part is missing. Raises UsageError."""
    import pyarrow
    from pyarrow import parquet

    path = place(folder, part)
    if not os.path.lexists(path):
        return None
    try:
        errors = parquet.read_table(path, columns=["error"], partitioning=None).column("error")
    except pyarrow.ArrowException as error:
        raise UsageError(path, f"can't be read ({error})", "remove it, and it is made again") from error
    if len(errors) != job.size(part):
        raise UsageError(path, f"holds {len(errors)} rows, not {job.size(part)}", "remove it, and it is made again")
    return len(errors) - int(errors.null_count)
