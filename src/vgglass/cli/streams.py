"""Standard output and error: in any encoding, and where nobody reads them any more."""

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
    """A stream in the place of one of the interpreter's; what can't be written to it is reported once.

    title  what to call it, and vital, whether it is the result: else the work goes on in silence where it is gone
    """

    def __init__(self, stream: io.TextIOWrapper, title: str, vital: bool) -> None:
        super().__init__(
            stream.buffer, stream.encoding, ERRORS, line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )  # fmt: skip
        self.title, self.vital = title, vital
        self._replaced = stream  # which would close the buffer when nobody held it

    def write(self, text: str, /) -> int:
        with self._reported():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._reported():
            super().flush()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Raises OSError with a name, of which there is none on a full disk."""
        try:
            yield
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # also for what is still buffered, which the interpreter's end would write
            os.close(nowhere)
            if self.vital:
                error.filename = self.title
                raise


def prepare() -> None:
    """Let both take any character, and standard error be no reason to stop."""
    codecs.register_error(ERRORS, _escaped)
    for name, title, vital in (("stdout", "standard output", True), ("stderr", "standard error", False)):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started this process
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, Stream(stream, title, vital))


def narrate() -> None:
    """Let standard output, too, be no reason to stop: for commands whose results are files."""
    if isinstance(sys.stdout, Stream):
        sys.stdout.vital = False


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Our own signs in ASCII; the letters of names, which must not become others, as JSON escapes them."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(PLAIN)
    return "".join(letter if letter.isascii() else json.dumps(letter)[1:-1] for letter in text), error.end
