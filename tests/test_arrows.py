"""Imports run one way: a room may use the rooms below it, never those above or beside it."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import vgglass
from mutation_check import MUTANTS, place_of

ROOT = Path(vgglass.__file__).parent
# Rooms from the bottom up; those on one line may not import one another.
LEVELS = (
    ("errors",),
    ("architecture", "files", "images", "locale", "signals", "names", "statistics", "web"),
    ("learning", "notebook", "plotting", "preprocess"),
    ("isolation",),
    ("modelfile",),
    ("drift", "familiarity", "lineage", "model"),
    ("weights",),
    ("data", "engines"),
    ("benchmark", "inference", "training", "glass"),
    ("evaluation", "decoder"),
    ("replication", "shrinking"),
    ("teaching",),
    ("workflows",),
    ("course", "server"),
    ("cluster",),
    ("cli",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """The rooms that a file imports, at its top or inside a function."""
    return rooms_in(parsed(path), path)


def rooms_in(tree: ast.Module, path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its room"
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vgglass"):
            parts = (node.module or "").split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("vgglass.")}
    return rooms - {"__version__"}


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def test_every_room_has_a_level() -> None:
    assert {room_of(path) for path in FILES} <= LEVEL.keys(), "say in LEVELS where the new room stands"


def test_every_way_of_importing_counts(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("""
import numpy, vgglass.weights.zoo
from vgglass import images, model as network
def late():
    import vgglass.engines.openvino as engine
    from vgglass.data.folder import scan
""")
    assert imported(path) == {"weights", "images", "model", "engines", "data"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    for other in imported(path) - {room}:
        assert LEVEL[other] < LEVEL[room], f"{room} imports {other}"


def modules_in(path: Path) -> set[str]:
    """The modules that a file imports, at its top, inside a function or for the type checker; and names in them."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_no_modules_import_one_another_in_a_circle() -> None:
    dotted = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in dotted.items()}
    arrows = {
        # That a part names its package to reach another part is no circle.
        name: {other for other in modules_in(path) & modules.keys() - {name} if not name.startswith(f"{other}.")}
        for name, path in modules.items()
    }
    TopologicalSorter(arrows).prepare()  # a CycleError names the circle


# What a command may use: the jobs, the glass for its own commands, the places that serve, and words.
FOR_COMMANDS = {"cli", "cluster", "errors", "glass", "locale", "server", "workflows"}


@pytest.mark.parametrize("path", sorted((ROOT / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_a_command_calls_workflows_and_the_glass_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not ast.unparse(node).startswith("if TYPE_CHECKING:")]
    assert rooms_in(tree, path) <= FOR_COMMANDS


def test_the_page_draws_what_is_there() -> None:
    """ARCHITECTURE.md: every room is in its picture, in the order of LEVELS, and every file that it names exists."""
    page = (Path(__file__).parent.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")
    drawn = [line.split() for line in page.split("```")[1].splitlines()]
    lowest = [max((number for number, words in enumerate(drawn) if room in words), default=None) for room in LEVEL]
    assert None not in lowest, [room for room, line in zip(LEVEL, lowest, strict=True) if line is None]
    assert lowest == sorted(lowest, key=lambda line: line or 0, reverse=True)
    named = [name for name in re.findall(r"`([a-z_/]+\.py)`", page) if not name.startswith("tests/")]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_mutants_find_their_lines() -> None:
    """`make mutants` breaks them by their text."""
    assert len({place_of(mutant.line) for mutant in MUTANTS}) == len(MUTANTS) == 10


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import vgglass", "torch torchvision openvino matplotlib sklearn"),
        ("import vgglass.cli", "torch torchvision openvino matplotlib sklearn numpy fastapi uvicorn"),
        ("import vgglass.architecture", "numpy PIL torch"),
        ("import vgglass.modelfile", "torch openvino"),
        ("import vgglass.training.recipe, vgglass.data.audit", "torch torchvision"),
        ("import vgglass.server.app, vgglass.server.process", "torch torchvision matplotlib sklearn"),
        ("import vgglass.decoder", "torch openvino fastapi starlette uvicorn"),
        (
            "import vgglass.workflows, vgglass.inference, vgglass.engines.openvino",
            "torch torchvision matplotlib sklearn",
        ),
    ],
)
def test_light_imports_stay_light(statement: str, absent: str) -> None:
    code = f"import sys; {statement}; print(*({{name.split('.')[0] for name in sys.modules}} & set({absent.split()})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
