"""Whether an image is like those trained on: the Gaussians, the threshold, what a file keeps, what predict says."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.covariance import LedoitWolf

from familiar_models import fitted
from glass_subjects import model as drawn
from glass_subjects import photograph
from vgglass import familiarity, modelfile, workflows
from vgglass.engines import ENGINES
from vgglass.errors import DataError, ModelFileError
from vgglass.familiarity import MEANS, WHITENING, Familiarity, Gaussians
from vgglass.modelfile import ModelFile

CLASSES = ("a", "b", "c")


def clusters(each: int = 20, channels: int = 6, seed: int = 0) -> tuple[Any, Any]:
    """Averages (n, D) and labels (n,) of three classes."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), each)
    centres = 3 + 2 * generator.random((3, channels))
    return np.abs(centres[labels] + generator.normal(0, 0.3, (len(labels), channels))), labels


def shrunk(residuals: Any) -> Any:
    kept = (1 - LedoitWolf(assume_centered=True).fit(residuals).shrinkage_) ** 3
    sample = residuals.T @ residuals / len(residuals)
    return kept * sample + (1 - kept) * np.trace(sample) / len(sample) * np.eye(len(sample))


def test_the_covariance_is_ledoit_and_wolfs_shrunk_further() -> None:
    residuals = np.random.default_rng(0).normal(size=(15, 8)) * np.arange(1, 9)
    expected = shrunk(residuals)
    np.testing.assert_allclose(familiarity.shrunk_covariance(residuals), expected, rtol=1e-10)
    np.testing.assert_array_equal(familiarity.shrunk_covariance(np.zeros((3, 2))), np.zeros((2, 2)))


def test_distances_are_mahalanobis_from_the_nearest_class() -> None:
    averages, labels = clusters()
    unit = averages / np.linalg.norm(averages, axis=1, keepdims=True)
    means = np.stack([unit[labels == label].mean(axis=0) for label in range(3)])
    inverse = np.linalg.inv(shrunk(unit - means[labels]))
    others = clusters(seed=1)[0]
    apart = (others / np.linalg.norm(others, axis=1, keepdims=True))[:, None] - means
    expected = np.sqrt(np.einsum("nkd,de,nke->nk", apart, inverse, apart).min(axis=1))
    found = familiarity.fit(averages, labels, CLASSES).distances(others)
    ratio = found / expected
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=0.02)  # a factor, and the arrays are float16


def test_distances_worked_by_hand() -> None:
    known = Gaussians(np.array([[1, 0], [0, 2]], np.float16), np.array([[1, 0], [0, 2]], np.float16))
    # (3, 4) has length 5: (0.6, 0.8), whitened (0.6, 1.6); from (1, 0) 2.72, from (0, 2) 0.52, both squared.
    np.testing.assert_allclose(known.distances(np.array([[3.0, 4.0], [0.0, 0.0]])), [math.sqrt(0.52), 1])
    assert Familiarity(known, 2.0).distances(np.array([[0.0, 0.0]])) == pytest.approx([0.5])


@pytest.mark.parametrize(("images", "rate", "place"), [(19, 0.05, 19), (39, 0.05, 38), (100, 0.05, 96), (9, 0.1, 9)])
def test_the_threshold_is_an_order_statistic(images: int, rate: float, place: int) -> None:
    distances = np.random.default_rng(0).permutation(np.arange(1.0, images + 1))
    assert familiarity.threshold(distances, rate) == place


@given(st.lists(st.floats(0, 1, width=16), min_size=20, max_size=60), st.sampled_from([0.05, 0.1, 0.3]))
def test_false_alarms_are_at_most_as_promised(distances: list[float], rate: float) -> None:
    """Any of n + 1 exchangeable images may be the one that comes last: the share that would alarm is the rate."""
    every = np.array(distances)
    alarms = sum(every[i] > familiarity.threshold(np.delete(every, i), rate) for i in range(len(every)))
    assert alarms <= rate * len(every) + 1e-9


def test_too_few_images() -> None:
    with pytest.raises(
        DataError, match=r"18 held-out images: are too few for a false-alarm rate of 0\.05, which takes 19; add images"
    ):
        familiarity.threshold(np.arange(18.0))
    averages, labels = clusters()
    with pytest.raises(DataError, match=r"class 'd': has 0 training images, and what is unfamiliar is judged by two"):
        familiarity.fit(averages, labels, (*CLASSES, "d"))
    with pytest.raises(DataError, match=r"class 'd': has 1 training image, .* or more; add images of it, or leave it"):
        familiarity.fit(averages, np.r_[labels[:-1], 3], (*CLASSES, "d"))


def test_images_that_are_alike_within_their_classes_tell_nothing() -> None:
    averages = np.repeat(np.random.default_rng(0).uniform(size=(2, 6)), 3, axis=0)
    with pytest.raises(DataError, match="6 training images: are alike within each class, so that no distance"):
        familiarity.fit(averages, np.repeat([0, 1], 3), ("a", "b"))


def test_an_image_is_measured_by_the_other_folds() -> None:
    averages, labels = clusters()
    first, last = np.arange(30), np.arange(30, 60)
    found = familiarity.out_of_fold(averages, labels, [(last, first), (first, last)])
    assert len(found) == 60
    apart = familiarity.fit(averages[last], labels[last] - 1, CLASSES[:2]).distances(averages[first])
    np.testing.assert_array_equal(found[:30], apart)
    assert len(familiarity.out_of_fold(averages, labels, [])) == 0


# In a model file.


def test_a_file_keeps_it_and_may_lose_it(tmp_path: Path) -> None:
    model = fitted(drawn())
    model = replace(model, attached={**model.attached, "training.features": np.ones(3, np.float16)})
    modelfile.save(model, tmp_path / "m.safetensors")
    loaded = modelfile.load(tmp_path / "m.safetensors")
    found = familiarity.attached(loaded)
    assert found is not None
    assert found.threshold == 1.0
    np.testing.assert_array_equal(found.gaussians.whitening, model.attached[WHITENING])
    without = familiarity.detach(loaded)
    assert familiarity.attached(without) is None
    assert list(without.attached) == ["training.features"]


BROKEN = [
    ({MEANS: None}, {}, r"'familiarity.means' should be float16 \(7, 64\) and is missing; write or fetch the file"),
    ({MEANS: np.ones((6, 64), np.float16)}, {}, r"'familiarity.means' should be .* and is float16 \(6, 64\)"),
    ({WHITENING: np.ones((64, 64), np.float32)}, {}, r"'familiarity.whitening' should be .* and is float32 \(64, 64\)"),
    (
        {WHITENING: np.full((64, 64), np.nan, np.float16)},
        {},
        r"holds numbers that are infinite or not a number \(NaN\)",
    ),
    ({}, {"threshold": 0.0}, r"threshold of what is unfamiliar is 0\.0, no positive number; .* or run vgglass calib"),
    ({}, {"threshold": "1"}, r"threshold of what is unfamiliar is '1', no positive number"),
    (
        {},
        {"method": "tea leaves"},
        r"judges what is unfamiliar by 'tea leaves', and this vgglass by 'gaussian'; upgrade",
    ),
]


@pytest.mark.parametrize(("arrays", "about", "message"), BROKEN)
def test_a_damaged_file_is_refused_before_it_predicts(
    tmp_path: Path, arrays: dict[str, Any], about: dict[str, Any], message: str
) -> None:
    model = fitted(drawn())
    attached = {name: array for name, array in (dict(model.attached) | arrays).items() if array is not None}
    record = replace(model.record, familiarity=dict(model.record.familiarity) | about)
    path = tmp_path / "broken.safetensors"
    modelfile.save(replace(model, record=record, attached=attached), path)
    with pytest.raises(ModelFileError, match=message):
        workflows.predictor(path)


# In the engines, in one pass with the logits.


@pytest.mark.parametrize("name", list(ENGINES))
@pytest.mark.parametrize("head", ["vgg", "pooled"])
def test_logits_and_the_average_come_together(name: str, head: str) -> None:
    file = drawn("A", head=head)
    images = np.stack([photograph(64, 64, seed=seed) for seed in range(2)])
    how = {"engine": name, "precision": "float32"}
    logits, pool5 = (workflows.engine(file, output=output, **how)(images) for output in ("fc8", "pool5"))  # type: ignore[arg-type]
    both = workflows.engine(file, output="fc8+average", **how)(images)  # type: ignore[arg-type]
    np.testing.assert_allclose(both, np.hstack([logits, pool5.mean(axis=(2, 3))]), rtol=1e-5, atol=1e-5)
    large = np.stack([photograph(96, 128, seed=seed) for seed in range(2)])
    maps = workflows.engine(file, dense=True, **how)(large)  # type: ignore[arg-type]
    found = workflows.engine(file, output="fc8+average", dense=True, **how)(large)
    assert found.shape == (2, 7 + 64, *maps.shape[2:])
    np.testing.assert_allclose(found[:, :7], maps, rtol=1e-5, atol=1e-5)
    corner = workflows.engine(file, output="fc8+average", dense=True, **how)(images)[:, :, 0, 0]
    np.testing.assert_allclose(corner, both, rtol=1e-4, atol=1e-5)


# In predictions.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(8):
        Image.fromarray(photograph(64, 64, seed=seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def divided(folder: Path) -> ModelFile:
    """Its threshold lies between the distances of these images."""
    rows = workflows.predict(fitted(drawn()), [folder])
    return fitted(drawn(), float(np.median([row.distance for row in rows])))


def test_rows_say_what_is_unfamiliar(divided: ModelFile, folder: Path, tmp_path: Path) -> None:
    rows = list(
        workflows.stream_predictions(divided, [folder], out=tmp_path / "rows.jsonl", sort_into=tmp_path / "sorted")
    )
    assert {row.unfamiliar for row in rows} == {True, False}
    averages = workflows.engine(divided, output="fc8+average")(
        np.stack([np.asarray(Image.open(row.path)) for row in rows])
    )[:, 7:]
    known = familiarity.attached(divided)
    assert known is not None
    assert [row.distance for row in rows] == pytest.approx(known.distances(averages), rel=0.02)
    for row in rows:
        assert row.unfamiliar == (row.distance is not None and row.distance > 1)
        assert (row.as_json()["unfamiliar"], row.as_json()["distance"]) == (row.unfamiliar, row.distance)
    apart = {link.resolve() for link in (tmp_path / "sorted" / "%unfamiliar").iterdir()}
    assert apart == {Path(row.path).resolve() for row in rows if row.unfamiliar}


def test_the_distance_is_the_mean_over_the_views(divided: ModelFile, folder: Path) -> None:
    each = [workflows.predict(divided, [folder], views=views, precision="float32") for views in ("centre", "dense@64")]
    both = workflows.predict(divided, [folder], views="centre+dense@64", precision="float32")
    for row, *alone in zip(both, *each, strict=True):
        assert row.distance == pytest.approx(np.mean([one.distance for one in alone]), rel=1e-5)


def test_a_model_without_it_says_nothing(folder: Path, tmp_path: Path, divided: ModelFile) -> None:
    row = workflows.predict(drawn(), [folder])[0]
    assert (row.unfamiliar, row.distance) == (None, None)
    assert not {"unfamiliar", "distance"} & row.as_json().keys()
    modelfile.save(divided, tmp_path / "m.safetensors")
    workflows.export(tmp_path / "m.safetensors", tmp_path / "m.xml")
    exported = workflows.predict(tmp_path / "m.xml", [folder])[0]
    assert (exported.unfamiliar, exported.distance) == (None, None), "a graph gives class scores alone"
