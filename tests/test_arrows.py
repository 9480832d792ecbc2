"""Imports run one way: a room may use the rooms below it, never those above or beside it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vgglass

ROOT = Path(vgglass.__file__).parent
# Rooms from the bottom up; those on one line may not import one another.
LEVELS = (
    ("errors",),
    ("architecture", "files", "images", "signals", "names"),
    ("web", "plotting", "preprocess"),
    ("isolation",),
    ("modelfile",),
    ("model",),
    ("weights",),
    ("data", "engines"),
    ("inference", "training", "glass"),
    ("evaluation", "decoder"),
    ("replication",),
    ("workflows",),
    ("server",),
    ("cluster",),
    ("cli",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The rooms that a file imports, at its top or inside a function."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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
