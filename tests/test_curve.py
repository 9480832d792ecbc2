"""Learning curves: the law against known ones, what the intervals hold, sizes and draws, the command and its pages."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

import vgglass
from typed import vgglass as typed
from vgglass import workflows
from vgglass.data import sources
from vgglass.errors import DataError
from vgglass.evaluation.curve import Curve, evaluated, learning_curve, power_law
from vgglass.workflows.curve import DRAWS, _order, fitted_at, steps
from vgglass.workflows.report import learning_curve as beside

SIZES = np.array([2, 4, 8, 16, 32, 60.0])


@pytest.mark.parametrize("law", [(0.05, 0.6, 0.5), (0.0, 0.8, 0.7), (0.1, 0.4, 0.35)])
def test_a_law_is_found_again(law: tuple[float, float, float]) -> None:
    errors = evaluated(np.array(law), SIZES)
    assert errors[0] == pytest.approx(law[0] + law[1] / 2 ** law[2])
    found = power_law(SIZES, errors[None], SIZES[None])
    assert found[0] == pytest.approx(law, abs=0.02)


def test_laws_do_not_rise_and_do_not_fall_below_zero() -> None:
    rising, falling = 0.1 + SIZES / 1000, np.maximum(0, 0.5 - SIZES / 60)
    (floor, slope, _), (least, _, _) = power_law(SIZES, np.stack([rising, falling]), np.stack([SIZES, SIZES]))
    assert slope == 0
    assert floor == pytest.approx(np.average(rising, weights=SIZES))
    assert least == 0


def test_a_size_without_weight_is_left_out() -> None:
    errors = evaluated(np.array([0.05, 0.6, 0.5]), SIZES)
    errors[0] = 0.9
    weights = np.where(SIZES > 2, SIZES, 0)
    assert power_law(SIZES, errors[None], weights[None])[0] == pytest.approx([0.05, 0.6, 0.5], abs=0.02)


def drawn(laws: Any, each: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Answers (DRAWS, S, m) of classes whose errors follow laws; every draw has the same last size."""
    generator, labels = np.random.default_rng(seed), np.repeat(np.arange(len(laws)), each)
    errors = np.stack([evaluated(np.array(law), SIZES) for law in laws])[labels].T
    hardness = generator.random(len(labels))  # an image is as hard for every fit
    right = hardness + 0.05 * generator.normal(0, 1, (DRAWS, len(SIZES), len(labels))) > errors
    right[:, -1] = right[0, -1]
    return right, labels


def test_the_class_that_gains_most_is_named_and_the_forecast_holds() -> None:
    laws, names = [(0.02, 0.1, 0.5), (0.02, 0.1, 0.5), (0.02, 1.2, 0.5)], ("cup", "fork", "glass")
    held = 0
    for seed in range(10):
        right, labels = drawn(laws, 100, seed)
        found = learning_curve(list(SIZES), right, labels, names, seed)
        truth = np.mean([evaluated(np.array(law), 120) for law in laws])
        forecast = found.points[len(SIZES)]
        assert (forecast.images, forecast.forecast) == (120, True)
        held += bool(forecast.low <= 1 - truth <= forecast.high)
    assert held >= 8
    assert found.most == "glass"
    assert [row.name for row in found.per_class] == list(names)
    _, low, high = found.gain
    said = f"Twice as many photographs would bring between {100 * low:.1f} and {100 * high:.1f} points; the class glass"
    assert str(found).startswith(said)
    assert found.points[3].top1 == pytest.approx(right[:, 3].mean())
    json.dumps(found.as_json())


def test_of_classes_alike_none_is_named_and_where_nothing_is_gained_that_is_said() -> None:
    right, labels = drawn([(0.1, 0.5, 0.5)] * 6, 20, 0)
    assert learning_curve(list(SIZES), right, labels, tuple("abcdef")).most is None
    nothing = learning_curve(list(SIZES), np.ones_like(right), labels, tuple("abcdef"))
    assert str(nothing) == "Twice as many photographs would bring nothing."


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([60, 60], [2, 4, 8, 16, 32, 60]), ([5, 2], [2, 4, 5]), ([64, 9], [2, 4, 8, 16, 32, 64])],
)
def test_sizes(counts: list[int], expected: list[int]) -> None:
    assert steps(np.array(counts), ("a", "b")) == expected


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([9, 1], r"class 'b': has 1 training image, and a curve begins with two of each class; add images of it"),
        ([4, 4], r"the classes: have 4 training images at most, too few to see a curve; add images, at least five"),
    ],
)
def test_too_few_images(counts: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        steps(np.array(counts), ("a", "b"))


def test_a_draws_smaller_sizes_are_parts_of_its_larger_and_no_judged_image_trains() -> None:
    generator = np.random.default_rng(0)
    labels = np.array([0] * 6 + [1] * 3 + [0, 1] * 10)
    vectors = (3 * labels[:, None] + generator.normal(0, 1, (len(labels), 5))).astype(np.float32)
    hostile = vectors.copy()
    hostile[9:] = np.nan  # a fit that took a judged image would refuse it
    done: list[int] = []
    images, right = fitted_at(vectors, labels, np.arange(29), 9, [2, 4, 6], 2, 0, lambda n, total: done.append(total))
    assert images == [2, 3.5, 4.5]  # of the second class there are three
    assert right.shape == (DRAWS, 3, 20)
    assert right[:, -1].all(axis=0).any()
    assert (right[:, -1] == right[0, -1]).all()
    assert done == [2 * DRAWS + 1] * (2 * DRAWS + 1)
    unseen = fitted_at(hostile, labels, np.arange(29), 9, [2, 4, 6], 2, 0, lambda *_: None)[1]
    assert unseen.shape == right.shape
    one, other = _order(labels[:9], 2, np.random.default_rng(1))
    assert sorted([*one, *other]) == list(range(9))


# From one end to the other, on some of the digits as photographs.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, data = tmp_path_factory.mktemp("digits"), sources.digits()
    for part, first, last in (("train", 0, 9), ("val", 9, 19)):
        for name in "358":
            chosen = [sample for sample in data.split("train") if data.classes[sample.label] == name][first:last]
            for sample in chosen:
                path = root / part / name / f"{sample.id}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                assert isinstance(sample.source, np.ndarray)
                Image.fromarray(sample.source[..., 0]).save(path)
    return root


def test_the_command_writes_what_a_report_shows(
    folder: Path, digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path / "cache"))
    model, out = digits_run / "best.safetensors", tmp_path / "out"
    printed = typed("curve", folder, "--from", model, "--out", out).stdout
    assert "Twice as many photographs would bring " in printed
    assert f"Written: {out / 'curve.json'}, {out / 'curve.png'}" in printed
    assert "judged by 30 images that trained no head; mean of 5 draws" in printed
    with Image.open(out / "curve.png") as picture:
        assert picture.width > 500
    figures = json.loads(typed("curve", folder, "--from", model, "--json").stdout)
    assert figures == json.loads((out / "curve.json").read_text())  # the same draws each time
    assert [point["images"] for point in figures["points"]] == [2, 4, 8, 9, 18, 36]
    shown = beside(out / "best.safetensors")
    assert shown is not None
    assert shown["judged"] == 30
    assert beside(tmp_path / "best.safetensors") is None
    (out / "curve.json").write_text("{}")
    with pytest.raises(
        DataError, match=r"curve\.json: is damaged \('points'\); write it anew with vgglass curve --out"
    ):
        beside(out / "best.safetensors")


def test_a_class_of_one_image_is_refused_before_anything_is_computed(digits_run: Path, tmp_path: Path) -> None:
    for part, counts in (("train", {"3": 6, "5": 1}), ("val", {"3": 2, "5": 2})):
        for name, count in counts.items():
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.random.default_rng(10 * index + len(name)).integers(0, 256, (32, 32)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{index}.png")
    with pytest.raises(DataError, match=r"class '5': has 1 training image, and a curve begins with two"):
        vgglass.curve(tmp_path, digits_run / "best.safetensors", console=Console(file=io.StringIO()))


def test_the_curve_of_python_is_what_the_command_draws(tmp_path: Path) -> None:
    right, labels = drawn([(0.1, 0.5, 0.5)] * 2, 30, 0)
    found: Curve = learning_curve(list(SIZES), right, labels, ("a", "b"))
    assert workflows.write_curve(found, tmp_path / "new") == (tmp_path / "new/curve.json", tmp_path / "new/curve.png")
