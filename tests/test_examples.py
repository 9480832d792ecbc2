"""The examples as a person runs them: without arguments, in an empty folder."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, folder: Path, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def execute(notebook: Path) -> None:
    """Run a notebook's code cells, one after the other, in one namespace."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    namespace: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{notebook.name} {cell['id']}", "exec"), namespace)  # noqa: S102


@pytest.mark.slow
def test_the_scripts_run_without_arguments(tmp_path: Path) -> None:
    printed = run("predict_rows.py", tmp_path)  # trains the model that it lacks
    top1 = float(printed.split("top-1 ")[1].split()[0])
    assert top1 > 0.5  # ten classes
    with (tmp_path / "runs" / "rows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 360
    assert sum(Path(row["path"]).parent.name == row["class"] for row in rows) / 360 == pytest.approx(top1, abs=0.01)
    printed = run("look_inside.py", tmp_path)  # with the same model
    assert "top-1" not in printed
    assert "recomputed = " in printed
    assert (tmp_path / "runs" / "conv2_1.png").exists()
    assert "top-1" in run("train_and_evaluate.py", tmp_path)  # again, over the run that is there


def test_the_notebook_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Its own assertions compare each number with the sum that it is explained by."""
    execute(EXAMPLES / "operations.ipynb")
    printed = capsys.readouterr().out
    assert "floor((8 + 2×1 − 1×(3 − 1) − 1) / 1) + 1 = 8" in printed
    assert "sum: 1.0" in printed


def test_no_output_is_kept_in_the_notebook() -> None:
    cells = json.loads((EXAMPLES / "operations.ipynb").read_text("utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
