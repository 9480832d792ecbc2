"""What the reference says, taken from the program: commands from their help, Python from its docstrings."""

import inspect
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import typer.core
from typer.testing import CliRunner

import vgglass
from vgglass import glass
from vgglass.cli import app

WIDTH = 88  # columns of a help text
DOWNLOAD = {
    "en": "*This chapter as a notebook, to run it yourself:* {{download}}`{file} <{path}>`",
    "zh": "*本章的 notebook，可以自己运行：* {{download}}`{file} <{path}>`",
}


def download(name: str, language: str) -> str:
    """Return the line with the link to a page's notebook."""
    file = f"{name.rpartition('/')[2]}.ipynb"
    return DOWNLOAD[language].format(file=file, path=f"/notebooks/{name}.ipynb")


def commands() -> list[str]:
    """Return the name of every command, in the order of the help."""
    group: Any = typer.main.get_command(app)
    return list(group.commands)


def help_of(command: str) -> str:
    """Return what `vgglass COMMAND --help` prints, without colours and frames."""
    with patch.object(typer.core, "HAS_RICH", False):
        printed = CliRunner().invoke(app, [command, "--help"], terminal_width=WIDTH, max_content_width=WIDTH)
    return printed.output.replace("Usage: root ", "Usage: vgglass ").strip()


def write_commands() -> str:
    """Return the help of every command, each under its name."""
    return "\n".join(f"## vgglass {name}\n\n```text\n{help_of(name)}\n```\n" for name in commands())


def members() -> dict[str, Any]:
    """Return what Python offers, by its dotted name."""
    offered = {f"vgglass.{name}": getattr(vgglass, name) for name in vgglass.__all__}
    return offered | {f"vgglass.glass.{name}": getattr(glass, name) for name in glass.__all__}


def write_python() -> str:
    """Return signature and docstring of everything public, each under its name."""
    lines = []
    for name, member in members().items():
        signature = str(inspect.signature(member)).replace("'", "")
        lines += [f"## {name}", "", "```python", f"{name}{signature}", "```", ""]
        lines += ["```text", inspect.getdoc(member) or "", "```", ""]
    return "\n".join(lines) + "\n"


WRITERS: dict[str, Callable[[], str]] = {"commands": write_commands, "python": write_python}
