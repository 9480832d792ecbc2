"""The training images nearest to one that is unfamiliar: by the glass's own numbers, with pictures, on the page."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, expect
from rich.console import Console

from familiar_models import fitted
from glass_subjects import photograph
from pages import save_named, visit, watched
from served import Served, encoded
from vgglass import glass, modelfile, workflows
from vgglass.data import manifest
from vgglass.server.routes.known import nearest

SEEDS = {"cat": (1, 2), "dog": (3, 4)}  # of photographs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that keeps the features of four photographs, which lie in a folder beside its run."""
    place = save_named(tmp_path_factory.mktemp("known"))
    for name, seeds in SEEDS.items():
        (place / "photos" / name).mkdir(parents=True)
        for seed in seeds:
            (place / "photos" / name / f"{seed}.png").write_bytes(encoded(photograph(70, 90, seed=seed), "PNG"))
    paths = [place / "photos" / name / f"{seed}.png" for name, seeds in SEEDS.items() for seed in seeds]
    file = modelfile.load(place / "small.safetensors")
    averages = [average(place / "small.safetensors", path) for path in paths]
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in paths]
    kept = {
        "training.features": np.array(averages, np.float16), "training.labels": np.array([0, 0, 1, 1]),
        "training.groups": np.arange(4),
        "training.digests": np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
    }  # fmt: skip
    strange = fitted(replace(file, mapped=None), 1e-3)  # every image is unfamiliar to it
    modelfile.save(replace(strange, attached=dict(strange.attached) | kept), place / "model.safetensors")
    manifest.write(
        workflows.read_training_data(place / "photos", Console(quiet=True), hold_out=False), place / manifest.OF_A_RUN
    )
    return place


def average(model: Path, path: Path) -> NDArray[np.float32]:
    pool5 = next(layer for layer in glass.walk(glass.open_subject(model, path)) if layer.name == "pool5")
    return np.asarray(pool5.maps.mean(axis=(1, 2)))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    with Served(folder, folder / "model.safetensors") as server:
        yield server


def test_the_nearest_by_hand() -> None:
    file = modelfile.ModelFile.__new__(modelfile.ModelFile)
    object.__setattr__(
        file,
        "attached",
        {
            "training.features": np.array([[1, 0], [0, 2], [1, 1], [0, 0]], np.float16),
            "training.labels": np.array([4, 5, 6, 7]),
            "training.digests": np.eye(4, 32, dtype=np.uint8),
        },
    )
    found = nearest(file, np.array([3, 0], np.float32), 3)
    assert [(each.label, round(each.cosine, 4)) for each in found] == [(4, 1.0), (6, 0.7071), (5, 0.0)]
    assert found[0].digest == bytes([1] + [0] * 31)
    object.__setattr__(file, "attached", {})
    assert nearest(file, np.ones(2, np.float32)) == []


def test_an_image_is_nearest_to_itself(server: Served, folder: Path) -> None:
    path = folder / "photos" / "dog" / "3.png"
    image = server.ask("POST", "/glass/images", path.read_bytes()).json["id"]
    first, *rest = server.ask("GET", f"/glass/images/{image}/known").json["known"]
    classes = modelfile.load(folder / "model.safetensors").record.classes
    assert (first["class"], round(first["similarity"], 3)) == (classes[1], 1.0)
    assert len(rest) == 3
    assert all(each["picture"].startswith("data:image/jpeg;base64,") for each in (first, *rest))
    whole = path.read_bytes()
    path.write_bytes(whole + b"another")
    try:
        changed = server.ask("GET", f"/glass/images/{image}/known").json["known"][0]
        assert (changed["similarity"], changed["picture"]) == (first["similarity"], None)
    finally:
        path.write_bytes(whole)


def test_the_page_shows_them(browser: Browser, server: Served, folder: Path) -> None:
    with watched(browser, server) as page:
        visit(page, server)
        page.set_input_files("#file", folder / "photos" / "cat" / "1.png")
        expect(page.locator("#unfamiliar")).to_be_visible()
        shown = page.locator("nearest-known figcaption").first
        expect(shown).to_contain_text("similarity 1.00")
        assert page.evaluate("[...document.querySelectorAll('nearest-known img')].every(each => each.naturalWidth > 0)")
        page.click("#language")
        expect(shown).to_contain_text("相似度 1.00")
