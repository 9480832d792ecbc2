"""Features kept in a fitted head's file, and classes added to them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import vgglass
from vgglass import modelfile, workflows
from vgglass.data import sources
from vgglass.errors import UsageError
from vgglass.model import VGG
from vgglass.preprocess import Preprocessing
from vgglass.training.kept import KeptFeatures
from vgglass.training.recipe import Recipe

QUIET = Console(quiet=True)
OLD, NEW = ("0", "1", "4"), ("6", "7")


def digits(folder: Path, classes: tuple[str, ...], first: int = 0) -> Path:
    """Of each class 20 digits to learn from and 8 to be judged by."""
    data = sources.digits()
    for name in classes:
        of_class = [sample for sample in data.split("train") if data.classes[sample.label] == name][first : first + 28]
        for number, sample in enumerate(of_class):
            path = folder / ("train" if number < 20 else "val") / name / f"{sample.id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(sample.source)[..., 0]).save(path)
    return folder


def train(data: Path, out: Path, source: Path, **options: Any) -> tuple[Path, str]:
    text = io.StringIO()
    best = vgglass.train(data, out=out, source=source, console=Console(file=text, width=400), **options)
    return best, text.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random convolutions, which tell digits apart well enough; three classes fitted to them."""
    place = tmp_path_factory.mktemp("kept")
    torch.manual_seed(0)
    recipe = Recipe(architecture="vgg11", width=0.25, hidden=(8, 8), channels=1, image_size=32)
    preprocessing = Preprocessing(32, 32, (80.0,), (80.0,), "L", "squash")
    network = VGG(recipe.network(2), "kaiming").eval()
    modelfile.save(network.to_file(("a", "b"), preprocessing), place / "random.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VGGLASS_CACHE", str(place / "cache"))
        train(digits(place / "old", OLD), place / "run", place / "random.safetensors")
    return place


@pytest.fixture(autouse=True)
def its_own_cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGGLASS_CACHE", str(place / "cache"))


def test_a_fitted_head_keeps_what_it_was_fitted_to(place: Path) -> None:
    model = modelfile.load(place / "run" / "best.safetensors")
    kept = KeptFeatures.of(model)
    assert kept.features.shape == (60, 128)
    assert model.attached["training.features"].dtype == np.float16
    assert np.bincount(kept.labels).tolist() == [20, 20, 20]
    assert len(np.unique(kept.digests, axis=0)) == 60
    logits = kept.features @ model.weights["fc8.weight"].T + model.weights["fc8.bias"]
    assert (logits.argmax(axis=1) == kept.labels).mean() > 0.9


def test_added_classes_give_what_all_at_once_gives(place: Path, tmp_path: Path) -> None:
    best, said = train(digits(tmp_path / "new", NEW), tmp_path / "run", place / "run" / "best.safetensors", add=True)
    added = modelfile.load(best)
    assert added.record.classes == (*OLD, *NEW)
    old = added.record.metrics["old_classes"]
    assert old["images"] == 60
    assert f"accuracy {old['before']:.4f} before and {old['after']:.4f} among all, out of fold on 60 images" in said
    assert old["after"] > old["before"] - 0.1
    whole = digits(digits(tmp_path / "all", OLD), NEW)
    both = [
        vgglass.evaluate(path, whole, split="validation", console=QUIET).top1
        for path in (best, train(whole, tmp_path / "whole", place / "random.safetensors")[0])
    ]
    assert both[0] == pytest.approx(both[1], abs=0.051)
    again, _ = train(digits(tmp_path / "more", ("9",)), tmp_path / "again", best, add=True)
    assert len(KeptFeatures.of(modelfile.load(again)).labels) == 120
    assert modelfile.load(again).record.preprocessing == added.record.preprocessing


def test_an_interrupted_addition_goes_on_and_can_be_previewed(place: Path, tmp_path: Path) -> None:
    source, new = place / "run" / "best.safetensors", digits(tmp_path / "new", NEW)
    best, _ = train(new, tmp_path / "run", source, add=True)
    whole = best.read_bytes()
    best.unlink()  # as if killed while the head was fitted
    for folder in (None, new):
        best.unlink(missing_ok=True)
        vgglass.train(folder, out=tmp_path / "run", resume=True, console=QUIET)
        assert best.read_bytes() == whole
    workflows.preview(new, tmp_path / "preview.png", source=source, add=True, console=QUIET)
    with Image.open(tmp_path / "preview.png") as drawn:
        assert drawn.width > 100
    with pytest.raises(UsageError, match=r"--add: fits a head as that of the model --from was fitted; name that model"):
        workflows.preview(new, tmp_path / "preview.png", add=True, console=QUIET)


def test_what_can_not_be_added_is_said(place: Path, tmp_path: Path) -> None:
    model = place / "run" / "best.safetensors"
    with pytest.raises(UsageError, match=r"--add .*new: adds classes, and the model has 4 already; leave them out"):
        train(digits(tmp_path / "new", ("4", "6")), tmp_path / "run", model, add=True)
    assert not list((tmp_path / "run").glob("*.safetensors"))
    with pytest.raises(UsageError, match="--add: needs a model that keeps the features of its training images"):
        train(tmp_path / "new", tmp_path / "run", place / "random.safetensors", add=True)
    none, _ = train(place / "old", tmp_path / "none", place / "random.safetensors", keep_features="false")
    assert modelfile.load(none).attached.keys() & {"training.features", "training.digests"} == set()
    with pytest.raises(UsageError, match="without --set keep_features=false"):
        train(tmp_path / "new", tmp_path / "run", none, add=True)
    with pytest.raises(UsageError, match="--add: fits a head as that of the model --from was fitted"):
        train(tmp_path / "new", tmp_path / "run", model, add=True, seed=3)


def test_features_beyond_float16_stay_finite() -> None:
    kept = KeptFeatures(
        np.full((2, 2), 1e6, np.float32), np.array([0, 1]), np.array([0, 1]), np.zeros((2, 32), np.uint8)
    )
    assert np.isfinite(kept.attached()["training.features"]).all()
