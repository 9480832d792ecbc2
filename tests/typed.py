"""Commands as a person types them: in this process, or in an interpreter of their own where that is the claim."""

import io
import os
import subprocess
import sys
from unittest import mock

from vgglass import cli

Done = subprocess.CompletedProcess[str]


def vgglass(*arguments: object, status: int = 0, given: str = "") -> Done:
    """Run one command in this process, as its own interpreter would: its status and what it printed.

    given  on standard input
    """
    words = ["vgglass", *map(str, arguments)]
    said, told = io.BytesIO(), io.BytesIO()
    with (
        mock.patch.dict(os.environ),  # commands set variables for the processes that they start
        mock.patch("sys.argv", words),
        mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(os.fsencode(given)))),
        mock.patch("sys.stdout", io.TextIOWrapper(said, "utf-8")),
        mock.patch("sys.stderr", io.TextIOWrapper(told, "utf-8")),
    ):
        try:
            cli.main()
            code: object = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        sys.stdout.flush()
        sys.stderr.flush()
        done = Done(words, int(str(code)), said.getvalue().decode(), told.getvalue().decode())
    assert done.returncode == status, done.stdout + done.stderr
    return done


def interpreted(*arguments: object, status: int = 0) -> Done:
    """Run one command in an interpreter of its own: for what is the process's."""
    command = [sys.executable, "-m", "vgglass", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done
