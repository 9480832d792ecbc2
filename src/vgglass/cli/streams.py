"""Standard output and error that tolerate any encoding and closed pipes."""

import codecs
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ERRORS = "vgglass.escaped"
PLAIN = str.maketrans({"×": "x", "−": "-", "…": "...", "—": "-", "–": "-", "·": "*", "“": '"', "”": '"'})


class Stream(io.TextIOWrapper):
    """Replacement for sys.stdout or sys.stderr that reports a write error at most once.

    title  its name in error messages
    vital  whether it carries the result; otherwise write errors are ignored
    """

    def __init__(self, stream: io.TextIOWrapper, title: str, vital: bool) -> None:
        super().__init__(
            stream.buffer, stream.encoding, ERRORS, line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )  # fmt: skip
        self.title, self.vital = title, vital
        self._replaced = stream  # keep a reference: its finaliser would close the shared buffer

    def write(self, text: str, /) -> int:
        with self._handle_errors():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._handle_errors():
            super().flush()

    @contextmanager
    def _handle_errors(self) -> Iterator[None]:
        """On OSError redirect the stream to /dev/null; if vital, re-raise it with the title as its filename."""
        try:
            yield
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())  # also discards buffered text, which would be flushed at exit
            os.close(null)
            if self.vital:
                error.filename = self.title
                raise


def prepare() -> None:
    """Make both streams accept any character, and ignore write errors on standard error."""
    codecs.register_error(ERRORS, _escape_unencodable)
    for name, title, vital in (("stdout", "standard output", True), ("stderr", "standard error", False)):
        stream = getattr(sys, name)
        if stream is None:  # closed by the parent process
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, Stream(stream, title, vital))


def narrate() -> None:
    """Ignore write errors on standard output too, for commands whose results are files."""
    if isinstance(sys.stdout, Stream):
        sys.stdout.vital = False


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: replace our own symbols by ASCII, and escape other characters (of names) as JSON does."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(PLAIN)
    return "".join(letter if letter.isascii() else json.dumps(letter)[1:-1] for letter in text), error.end
