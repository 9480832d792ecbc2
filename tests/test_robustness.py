"""Disturbances, and accuracy under them, by hand and beside what evaluation answers; nearest images by features."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics.pairwise import cosine_similarity

from glass_subjects import model
from pictures import save, scene
from vgglass import workflows
from vgglass.evaluation import robustness as room
from vgglass.evaluation.predictions import Predictions
from vgglass.evaluation.report import nearest
from vgglass.evaluation.robustness import DISTURBANCES, PLAIN, robustness
from vgglass.images import Pixels
from vgglass.preprocess import Preprocessing, fit
from vgglass.statistics import wilson

COLOUR = Preprocessing(32, 40, (0.0,) * 3, (1.0,) * 3)
GREY = Preprocessing(32, 32, (0.0,), (1.0,), "L")


def judged(sources: Any, labels: list[int], preprocessing: Preprocessing) -> Predictions:
    file = model("A", classes=2, image_size=32, channels=preprocessing.channels)
    record = replace(file.record, preprocessing=preprocessing)
    return Predictions(record, "test", tuple(sources), np.array(labels), np.zeros((len(labels), 2)))


def bright(squares: Pixels) -> Any:
    """A network that calls an image 1 where its mean is above 99."""
    means = squares.mean(axis=(1, 2, 3))
    return np.stack([np.full(len(means), 99.0), means], axis=1)


def test_accuracy_by_hand() -> None:
    """Flat images of 60, 120 and 200: at half brightness the middle one is taken for dark, at double the first for
    bright; what moves no mean changes nothing.
    """
    flat = [np.full((50, 40, 1), level, np.uint8) for level in (60, 120, 200)]
    told: list[tuple[int, int]] = []
    found = robustness(judged(flat, [0, 1, 1], GREY), bright, lambda done, total: told.append((done, total)))
    curves = {kind: {point.level: point.top1 for point in points} for kind, points in found.curves.items()}
    assert (found.images, found.split_images, told) == (3, 3, [(3, 3)])
    thirds = {0.3: 1 / 3, 0.5: 2 / 3, 0.75: 2 / 3, 1.0: 1.0, 1.35: 1.0, 2.0: 2 / 3}
    assert curves["brightness"] == pytest.approx(thirds)
    for kind in ("scale", "aspect", "resolution", "jpeg", "blur"):
        assert set(curves[kind].values()) == {1.0}
    point = next(point for point in found.curves["brightness"] if point.level == 0.5)
    assert (point.low, point.high) == pytest.approx(wilson(2, 3))
    for kind, points in found.curves.items():
        assert [point.level for point in points if point.plain] == [32.0 if kind == "scale" else PLAIN[kind]]


def test_the_plain_point_is_what_evaluation_answers(tmp_path: Path) -> None:
    """Photographs larger than the network, over several chunks."""
    labels = [index % 2 for index in range(35)]
    paths = [save(tmp_path / f"{index}.png", scene(index, 90, 70)) for index in range(35)]
    file = model("A", classes=2, image_size=32)
    file = replace(file, record=replace(file.record, preprocessing=replace(file.record.preprocessing, resize=40)))
    engine = workflows.engine(file, precision="float32")
    predicted = np.stack(list(workflows.evaluation_predictor(file).stream(paths))).argmax(axis=1)  # type: ignore[arg-type]
    answers = Predictions(file.record, "test", tuple(paths), np.array(labels), np.zeros((35, 2)))
    found = robustness(answers, engine)
    for points in found.curves.values():
        (plain,) = [point for point in points if point.plain]
        assert plain.top1 == np.mean(predicted == labels)


def test_many_images_are_thinned_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "IMAGES", 4)
    flat = [np.full((32, 32, 1), level, np.uint8) for level in range(0, 250, 25)]
    seen: list[int] = []

    def answer(squares: Pixels) -> Any:
        seen.extend(squares[:, 0, 0, 0])
        return bright(squares)

    found = robustness(judged(flat, [0] * 10, GREY), answer)
    assert (found.images, found.split_images) == (4, 10)
    assert seen[:4] == [0, 75, 150, 225]


def test_scale_is_for_networks_that_crop() -> None:
    assert room.levels(COLOUR)["scale"] == (32.0, 40.0, 46.0, 52.0, 60.0, 80.0)
    assert room.plain("scale", COLOUR) == 40
    assert "scale" not in room.levels(replace(COLOUR, fit="pad"))


@pytest.mark.parametrize("record", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("kind", DISTURBANCES)
def test_every_disturbance_disturbs_more_and_more(kind: str, record: Preprocessing) -> None:
    grain = np.random.default_rng(0).integers(-40, 41, (60, 90, 3))
    picture = np.clip(scene(3, 60, 90) + grain, 0, 255).astype(np.uint8)[..., : record.channels]
    source = picture if kind in room.BEFORE_FITTING else fit(picture, record)
    steps, plain = room.levels(record)[kind], room.plain(kind, record)
    for part in (steps[: steps.index(plain) + 1][::-1], steps[steps.index(plain) :]):
        changes = [
            float(np.abs(DISTURBANCES[kind](source, record, level, 0).astype(int) - fit(picture, record)).mean())
            for level in part
            if level != plain
        ]
        assert changes == sorted(changes)
        assert all(change > 0 for change in changes)
        assert all(
            DISTURBANCES[kind](source, record, level, 0).shape == (32, 32, record.channels) for level in part[1:]
        )


def test_blur_and_brightness_and_noise_are_their_formulas() -> None:
    square = fit(scene(3, 60, 90), COLOUR)
    blurred = DISTURBANCES["blur"](square, COLOUR, 0.04, 0)
    reference = np.stack([gaussian_filter(square[..., c].astype(float), 0.04 * 32) for c in range(3)], axis=2)
    assert np.abs(blurred - reference).max() <= 0.51
    grey = np.full((32, 32, 3), 100, np.uint8)
    assert set(DISTURBANCES["brightness"](grey, COLOUR, 1.35, 0).flat) == {135}
    assert set(DISTURBANCES["brightness"](grey, COLOUR, 3.0, 0).flat) == {255}
    noisy = [DISTURBANCES["noise"](grey, COLOUR, 16, seed).astype(int) for seed in (0, 0, 1)]
    assert (noisy[0] == noisy[1]).all()
    assert (noisy[0] != noisy[2]).any()
    assert noisy[0].std() == pytest.approx(16, rel=0.05)
    assert noisy[0].mean() == pytest.approx(100, abs=1)


def test_aspect_stretches_the_width() -> None:
    stripes = np.zeros((40, 40, 1), np.uint8)
    stripes[:, 16:24] = 255  # eight columns wide
    for level, columns in ((2.0, 16), (0.5, 4)):
        wide = DISTURBANCES["aspect"](stripes, replace(GREY, resize=40), level, 0)
        shorter = min(40, 40 * level)
        assert (wide[16, :, 0] > 127).sum() == pytest.approx(columns * 40 / shorter, abs=1)


def test_nearest_is_scikit_learns_cosine() -> None:
    generator = np.random.default_rng(0)
    images, training = (generator.normal(size=(count, 7)).astype(np.float32) for count in (4, 50))
    places, cosines = nearest(images, [training[:20], training[20:]], 5)
    expected = cosine_similarity(images, training)
    assert (places == np.argsort(-expected, axis=1)[:, :5]).all()
    assert cosines == pytest.approx(np.sort(expected, axis=1)[:, ::-1][:, :5], abs=1e-6)


def test_nearest_by_hand() -> None:
    training = np.array([[0, 2], [3, 0], [0, 0], [1, 1], [5, 0]], np.float32)
    places, cosines = nearest(np.array([[1, 0]], np.float32), [training], 9)
    assert places.tolist() == [[1, 4, 3, 0, 2]]  # equal cosines in their order
    assert cosines[0] == pytest.approx([1, 1, 0.5**0.5, 0, 0])
