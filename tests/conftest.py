"""What every test relies on."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

from typed import vgglass

if TYPE_CHECKING:
    from served import Served
    from vgglass.glass import Subject

# Two workers of pytest-xdist share two cores: before torch is loaded, here and in what the tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=300, deadline=None)  # of `make test-slow`
settings.load_profile("quick")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(autouse=True, scope="session")
def english() -> object:
    """Commands speak the language of the locale; tests ask for Chinese where they want it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LC_ALL", "C.UTF-8")
        yield


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Examinations are remembered in a folder of the tests' own, not in the developer's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VGGLASS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the digits, as `vgglass train` leaves it; trained once for both workers."""
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "digits-run"
    with out.with_suffix(".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        if not out.exists():
            printed = vgglass("train", "--out", out, "--epochs", 3, "--set", "width=0.125", "--batch-size", 32).stdout
            assert f"vgglass evaluate --model {out / 'best.safetensors'}" in printed
    return out


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with every kind of layer, small.safetensors, and a photograph, photo.jpg."""
    from pages import save_named

    return save_named(tmp_path_factory.mktemp("page folder"))


@pytest.fixture(scope="session")
def page_server(page_folder: Path) -> "Iterator[Served]":
    """That network, served; one for all files of a worker, whose tests leave it as it was."""
    from served import Served

    with Served(page_folder, page_folder / "small.safetensors") as server:
        yield server


@pytest.fixture(scope="session")
def page_subject(page_folder: Path) -> "Subject":
    """That network and photograph, opened."""
    from vgglass import glass

    return glass.open_subject(page_folder / "small.safetensors", page_folder / "photo.jpg")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Pages are tested as a person opens them; skipped where there is no Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()
