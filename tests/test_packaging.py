"""What leaves the house: the wheel works where it is installed, and every file gives the same version."""

import csv
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vgglass
from glass_subjects import CLASSES, model
from vgglass import modelfile

ROOT = Path(__file__).parent.parent


def test_every_file_gives_the_same_version() -> None:
    """In the changelog it is the newest release, with its date; CITATION.cff has both."""
    released = re.search(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert released
    assert released[1] == vgglass.__version__
    citation = (ROOT / "CITATION.cff").read_text("utf-8").splitlines()
    assert f"version: {released[1]}" in citation
    assert f"date-released: {released[2]}" in citation


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """Its own files alone: the packages that it needs are lent by this environment, so that nothing is fetched."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = (tmp_path / "dist").glob("vgglass-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    bin_, pip = tmp_path / "venv" / "bin", [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    install = [*pip, "--python", str(bin_ / "python"), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))

    def run(*command: object) -> str:
        done = subprocess.run(
            [*map(str, command)], cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "VGGLASS_CACHE": str(tmp_path / "cache")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run(bin_ / "python", "-c", "import vgglass; print(vgglass.__file__)").startswith(str(site))
    assert run(bin_ / "vgglass", "--version") == f"vgglass {vgglass.__version__}\n"
    assert "--out" in run(bin_ / "vgglass", "demo", "--help")
    modelfile.save(model("A"), tmp_path / "model.safetensors")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "black.png")
    run(bin_ / "vgglass", "predict", "black.png", "--model", "model.safetensors", "--out", "rows.csv")
    (row,) = csv.DictReader((tmp_path / "rows.csv").read_text("utf-8").splitlines())
    assert (row["path"], row["error"]) == ("black.png", "")
    assert row["class"] in CLASSES
