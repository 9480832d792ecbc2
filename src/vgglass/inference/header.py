"""What rows depend on, and lines that tell whether they are as they were written."""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vgglass.inference.predictor import Predictor
from vgglass.modelfile import Record

FORMAT = 2


@dataclass(frozen=True)
class Header:
    """What the rows of a journal depend on.

    model     digest of all in a model file that decides its answers
    top       answers an image
    folder    that relative paths start at; empty where there are none
    settings  what else changes an answer, by the names that a person gives
    """

    model: str
    top: int
    folder: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        return line({"format": FORMAT, **asdict(self)})

    def facts(self) -> dict[str, Any]:
        return {"model": self.model, "top": self.top, "folder": self.folder, **self.settings}


def header(predictor: Predictor, top: int, files: Sequence[Path]) -> Header:
    """What the rows that a model gives to these files depend on."""
    record = predictor.record
    relative = any(not path.is_absolute() for path in files)
    return Header(
        model_digest(record), min(top, len(record.classes)), str(Path.cwd()) if relative else "", predictor.settings
    )


def model_digest(record: Record) -> str:
    """SHA-256 of all in a model file that decides its answers."""
    values = record.as_json()
    names = ("architecture", "classes", "preprocessing", "temperature", "reject_threshold", "digest")
    decisive = [values[name] for name in names]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is no longer as it was, for a person; '' where all is."""
    other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {_short(before.get(name))} and not {_short(now.get(name))}" for name in other)


def _short(value: Any) -> str:
    text = str(value) if value is not None else "unsaid"
    return f"{text[:12]}…" if len(text) == 64 else text  # a digest


def read_header(values: dict[str, Any]) -> Header:
    """Raises ValueError, TypeError or KeyError for what `Header.line` did not write."""
    found = Header(**{name: value for name, value in values.items() if name != "format"})
    if values["format"] != FORMAT or not isinstance(found.settings, dict):
        raise ValueError("another format")
    return found


def line(values: dict[str, Any]) -> bytes:
    """A checksum and JSON in ASCII: a path whose bytes are not UTF-8 comes back as it was."""
    text = json.dumps(values).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def parsed(found: bytes) -> dict[str, Any]:
    """Raises ValueError for a line that is torn or damaged."""
    checksum, _, text = found.partition(b" ")
    if not text.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text[:-1]):
        raise ValueError("its checksum differs")
    values: dict[str, Any] = json.loads(text)
    return values
