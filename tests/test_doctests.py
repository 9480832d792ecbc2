"""The examples in the docstrings of what `import vgglass` offers run, in one folder, as a person would type them."""

import doctest
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import vgglass
from vgglass import workflows

# Those that use what an earlier one wrote come after it.
NAMES = ["train", *(name for name in vgglass.__all__ if name != "train")]
LONG = {"check_labels", "curve", "paper", "shrink"}


@pytest.fixture(scope="module")
def folder(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with photographs, the model of a run, and a pretrained model in the cache."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "runs").mkdir()
    shutil.copytree(digits_run, folder / "runs" / "digits")
    workflows.write_digits("test", folder / "photos")
    (folder / "cache").mkdir()
    shutil.copyfile(digits_run / "best.safetensors", folder / "cache" / "vgg16.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VGGLASS_CACHE", str(folder / "cache"))
        yield folder


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in NAMES])
def test_the_example_runs(folder: Path, name: str) -> None:
    finder = doctest.DocTestFinder(recurse=False)
    found = finder.find(getattr(vgglass, name), name, module=False, globs={"vgglass": vgglass})
    assert sum(len(each.examples) for each in found) > 0, "a public name has an example"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for each in found:
        runner.run(each, out=said.append)
    assert runner.failures == 0, "".join(said)
