"""Breaks ten central lines of the package, one a room, and says which break no test notices: `make mutants`.

A line is looked for in all of the package, so that it may move. The tests named with it run on a copy that is broken
there alone; they are of the quick suite, for a mistake in these lines must be seen within minutes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "src" / "vgglass"


@dataclass(frozen=True)
class Mutant:
    """tests  what pytest is given, of which one must fail"""

    room: str
    line: str
    broken: str
    tests: str


MUTANTS = (
    Mutant(
        "images", "if orientation in (5, 6, 7, 8):", "if orientation in (5, 7, 8):",
        "test_images.py",
    ),
    Mutant(
        "preprocess", "return ((batch - mean) / std).transpose(0, 3, 1, 2)",
        "return (batch - mean).transpose(0, 3, 1, 2)", "test_preprocess.py",
    ),
    Mutant(
        "model", "return nn.BatchNorm2d(layer.output_shape[0])",
        "return nn.BatchNorm2d(layer.output_shape[0], eps=1e-3)", "test_model.py",
    ),
    Mutant(
        "engines", "return ops.divide(ops.subtract(x, mean), std)", "return ops.subtract(x, mean)",
        "test_engines.py",
    ),
    Mutant(
        "training step", 'group["lr"] = self.learning_rate(step) * group["share"] * group["unit"]',
        'group["lr"] = self.learning_rate(step) * group["share"]', "test_transfer.py -k would",
    ),
    Mutant(
        "checkpoint", 'if int(metadata["checksum"]) != _checksum(tensors):', "if not metadata:",
        "test_recovery.py -k damaged",
    ),
    Mutant(
        "evaluation metric", '"balanced_accuracy": mean(hits / np.maximum(of_class, 1)),',
        '"balanced_accuracy": mean(hits / np.maximum(taken_for, 1)),', "test_metrics.py",
    ),
    Mutant(
        "glass arithmetic", "return (self.x - self.mean) * self.slope + self.shift",
        "return self.x * self.slope + self.shift", "test_glass.py",
    ),
    Mutant(
        "server limit", "if size > self.one:", "if size > 2 * self.one:", "test_serving_hostile.py",
    ),
    Mutant(
        "prediction resume", 'if not text.endswith(b"\\n") or checksum != b"%08x" % zlib.crc32(text[:-1]):',
        'if not text.endswith(b"\\n"):', "test_prediction_resume.py",
    ),
)  # fmt: skip


def place_of(line: str) -> Path:
    """The one file of the package that holds this line, which it holds once."""
    found = [path for path in PACKAGE.rglob("*.py") for _ in range(path.read_text(encoding="utf-8").count(line))]
    if len(found) != 1:
        sys.exit(f"{line!r}: is in the package {len(found)} times, not once; write the mutant anew")
    return found[0]


def survives(mutant: Mutant, place: Path) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(PACKAGE, Path(folder) / "vgglass", ignore=shutil.ignore_patterns("__pycache__"))
        copy = Path(folder) / "vgglass" / place.relative_to(PACKAGE)
        copy.write_text(place.read_text(encoding="utf-8").replace(mutant.line, mutant.broken), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
        tests = mutant.tests.split()
        files = [str(HERE / word) if word.endswith(".py") else word for word in tests]
        done = subprocess.run(
            [*command, *files], env=os.environ | {"PYTHONPATH": folder}, capture_output=True, text=True, check=False
        )
    if done.returncode not in (0, 1):
        sys.exit(done.stdout + done.stderr)
    first = next((line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "")
    print(f"{mutant.room:20}{'SURVIVED' if not done.returncode else 'caught: ' + first[:150]}", flush=True)
    return not done.returncode


if __name__ == "__main__":
    places = [place_of(mutant.line) for mutant in MUTANTS]
    survivors = [mutant.room for mutant, place in zip(MUTANTS, places, strict=True) if survives(mutant, place)]
    sys.exit(f"survived: {', '.join(survivors)}" if survivors else 0)
