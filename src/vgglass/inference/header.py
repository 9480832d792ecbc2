"""The settings that predictions depend on, and journal lines with checksums."""

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
    """Everything that the rows of a journal depend on.

    model     digest of the parts of a model file that affect predictions
    top       classes per image
    folder    base of relative paths; empty if there are none
    settings  other options that affect predictions, by their command line names
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
    """The header for predictions of these files."""
    record = predictor.record
    relative = any(not path.is_absolute() for path in files)
    return Header(
        model_digest(record), min(top, len(record.classes)), str(Path.cwd()) if relative else "", predictor.settings
    )


def model_digest(record: Record) -> str:
    """SHA-256 of the parts of a model file that affect predictions."""
    values = record.as_json()
    names = ("architecture", "classes", "preprocessing", "temperature", "reject_threshold", "digest")
    decisive = [values[name] for name in names]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """A phrase on the values that differ; '' if none do."""
    other = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {_abbreviated(before.get(name))} and not {_abbreviated(now.get(name))}" for name in other)


def _abbreviated(value: Any) -> str:
    text = str(value) if value is not None else "unsaid"
    return f"{text[:12]}…" if len(text) == 64 else text  # a digest


def read_header(values: dict[str, Any]) -> Header:
    """Inverse of `Header.line`. Raises ValueError, TypeError or KeyError for other values."""
    found = Header(**{name: value for name, value in values.items() if name != "format"})
    if values["format"] != FORMAT or not isinstance(found.settings, dict):
        raise ValueError("another format")
    return found


def line(values: dict[str, Any]) -> bytes:
    """A line of checksum and ASCII JSON, which preserves paths that are not UTF-8."""
    text = json.dumps(values).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def parsed(found: bytes) -> dict[str, Any]:
    """Inverse of `line`. Raises ValueError for an incomplete or damaged line."""
    checksum, _, text = found.partition(b" ")
    if not text.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text[:-1]):
        raise ValueError("its checksum differs")
    values: dict[str, Any] = json.loads(text)
    return values
