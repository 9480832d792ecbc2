"""Few images in folds: what the interval is and how often it holds, fits that never saw their images, refusals."""

import io
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from scipy.stats import binomtest

import vgglass
from test_probe import blobs
from typed import vgglass as typed
from vgglass import modelfile, workflows
from vgglass.data import sources
from vgglass.data.folder import open_data, trainable
from vgglass.errors import TrainingError, UsageError
from vgglass.evaluation.metrics import Evaluation
from vgglass.statistics import wilson
from vgglass.training import folds
from vgglass.training.probe import fit_probe, folds_of
from vgglass.training.recipe import Recipe

# The interval.


@pytest.mark.parametrize(("right", "images"), [(0, 7), (7, 7), (45, 50), (1, 1000)])
def test_wilson_is_scipys_and_knows_parts_of_images(right: int, images: int) -> None:
    reference = binomtest(right, images).proportion_ci(method="wilson")
    assert wilson(right, images) == pytest.approx((reference.low, reference.high), abs=1e-6)
    assert wilson(3.5, 3.5)[0] < wilson(4, 4)[0]


def test_what_images_are_worth_by_hand() -> None:
    single, pairs = np.arange(90), np.arange(90) // 2
    assert folds.interval(0.8, single, 5, 1) == pytest.approx(wilson(32, 40))  # 90 / (1 + 5/4)
    assert folds.interval(0.8, pairs, 5, 1) == pytest.approx(wilson(16, 20))
    worth = 90 / (1 / 2 + 10 / 9)
    assert folds.interval(0.8, single, 10, 2) == pytest.approx(wilson(0.8 * worth, worth))
    assert folds.interval(1, single, 5, 1)[0] < 0.92  # where every fold's accuracy is 1, theirs has no width


SETTINGS = [(2, 12, 1, 2.5), (2, 24, 1, 4.5), (5, 9, 1, 4.0), (3, 24, 3, 4.0)]  # classes, images, burst, distance
SIZE, FRESH, SETS = 16, 3000, 50
Classify = Callable[[Any, Any, Any, Any], NDArray[np.intp]]  # features, labels, groups, other features


def ridge(features: Any, labels: Any, _: Any, others: Any) -> NDArray[np.intp]:
    """Least squares with a penalty: closed form, and as dependent on single images as a fitted head."""
    mean, wanted = features.mean(axis=0), np.eye(labels.max() + 1)[labels]
    centred = features - mean
    weight = np.linalg.solve(centred.T @ centred + np.eye(SIZE), centred.T @ (wanted - wanted.mean(axis=0)))
    found: NDArray[np.intp] = ((others - mean) @ weight + wanted.mean(axis=0)).argmax(axis=1)
    return found


def fitted_head(features: Any, labels: Any, groups: Any, others: Any) -> NDArray[np.intp]:
    given = features.astype(np.float32)[None], labels, groups, np.ones(labels.max() + 1)
    found: NDArray[np.intp] = fit_probe(*given, 0).logits(others.astype(np.float32)).argmax(axis=1)
    return found


@pytest.mark.parametrize("classify", [ridge, pytest.param(fitted_head, marks=pytest.mark.slow)])
def test_the_interval_holds_the_truth_in_95_of_100_small_data_sets(classify: Classify) -> None:
    """200 data sets of Gaussian classes, some in bursts of near duplicates; truth: the mean on many fresh images."""
    generator, held = np.random.default_rng(0), []
    for classes, each, burst, apart in SETTINGS:
        means = generator.normal(0, apart / SIZE**0.5, (classes, SIZE))
        answers = np.arange(FRESH) % classes
        fresh = means[answers] + generator.normal(0, 1, (FRESH, SIZE))
        labels, groups = np.repeat(np.arange(classes), each), np.arange(classes * each) // burst
        truths, intervals = [], []
        for seed in range(SETS):
            features = means[labels] + generator.normal(0, 1, (classes * each // burst, SIZE))[groups]
            features = features + 0.1 * generator.normal(0, 1, features.shape)
            right = [
                classify(features[train], labels[train], groups[train], features[test]) == labels[test]
                for train, test in folds_of(labels, groups, 5, seed)
            ]
            intervals.append(folds.interval(float(np.concatenate(right).mean()), groups, 5, 1))
            truths.append((classify(features, labels, groups, fresh) == answers).mean())
        held += [low <= np.mean(truths) <= high for low, high in intervals]
    assert 0.92 <= np.mean(held) <= 0.98, np.mean(held)


# Fits that never saw their images.


def test_each_image_is_answered_by_a_whole_fit_without_it() -> None:
    """The penalty and the temperature too: what `fit_probe` makes of the other folds, to the bit."""
    features, labels = blobs(2, each=8, noise=2)
    groups, weights, done = np.arange(16), np.ones(2), []  # type: ignore[var-annotated]
    found = folds.judge(features[None], labels, groups, weights, folds=3, repeats=2, seed=7, count=done.append)
    for repeat in range(2):
        divided = list(folds_of(labels, groups, 3, 7 + repeat))
        for number, (train, test) in enumerate(divided):
            head = fit_probe(features[None, train], labels[train], groups[train], weights, 7)
            assert np.array_equal(found.logits[repeat, test], head.logits(features[test]).astype(np.float64))
            assert (found.folds[repeat, test] == number).all()
    assert not np.array_equal(found.folds[0], found.folds[1])
    assert sum(done) == 6
    right = found.logits.argmax(axis=2) == labels
    assert found.figures.top1 == pytest.approx(right.mean())
    assert found.figures.accuracies[1][2] == right[1, found.folds[1] == 2].mean()
    assert np.shape(found.figures.accuracies) == (2, 3)


def test_nothing_is_learned_of_labels_that_chance_gave() -> None:
    """A figure that chose its penalty on the same folds would lie above chance, and one with copies in it near 1."""
    generator = np.random.default_rng(3)
    firsts = generator.normal(0, 10, (40, 30)).astype(np.float32)
    features, labels = np.repeat(firsts, 3, axis=0), np.repeat(np.arange(40) % 2, 3)
    groups = np.repeat(np.arange(40), 3)
    found = folds.judge(features[None], labels, groups, np.ones(2), folds=5, repeats=1, seed=0).figures
    assert found.interval[0] < 0.5 < found.interval[1]
    assert found.interval[1] - found.interval[0] > 0.4  # 120 images are worth 40


@pytest.mark.parametrize(
    ("labels", "groups", "error", "message"),
    [
        ([0, 0, 0, 1], [0, 1, 2, 3], TrainingError, r"class 'b': has 1 images, and folds leave some out and learn "),
        ([0, 0, 0, 0], [0, 1, 2, 3], TrainingError, r"class 'b': has 0 images"),
        ([0, 0, 0, 1, 1], [0, 1, 2, 3, 3], TrainingError, r"class 'b': has 1 images.*near duplicates count as one; a"),
        (
            [0, 0, 0, 1, 1], [0, 1, 2, 3, 4], UsageError,
            r"--folds 3: more than the 2 images of class 'b', of which near duplicates count as one; choose at most 2",
        ),
    ],
)  # fmt: skip
def test_images_that_can_not_be_divided(
    labels: list[int], groups: list[int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        folds.require_folds(np.array(labels), np.array(groups), ("a", "b"), 3)


def test_as_many_folds_as_the_rarest_class_has_images() -> None:
    folds.require_folds(np.array([0, 0, 0, 1, 1]), np.arange(5), ("a", "b"), 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"folds": 1, "train": "head", "head": "pooled"}, r"folds 1: must be 0, or from 2 to 1000; its default is 0"),
        ({"repeats": 3, "train": "head", "head": "pooled"}, r"repeats 3: must be 1 without folds"),
    ],
)
def test_recipes_that_have_no_folds(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe(**fields)


# From one end to the other, on some of the digits as photographs.


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def in_its_own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGGLASS_CACHE", str(cache))


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of each of three digits, and a blot that no head will tell."""
    root, data = tmp_path_factory.mktemp("digits"), sources.digits()
    for name in "358":
        label = data.classes.index(name)
        chosen = [sample for sample in data.split("test") if sample.label == label][:12]
        for sample in chosen:
            path = root / name / f"{sample.id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert isinstance(sample.source, np.ndarray)
            Image.fromarray(sample.source[..., 0]).save(path)
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(root / "5" / "blot.png")
    return root


@pytest.fixture(scope="module")
def fitted(flat: Path, digits_run: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A head fitted to all of them, judged in folds twice, and what was said."""
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VGGLASS_CACHE", str(cache))
        best = vgglass.train(
            flat, out=tmp_path_factory.mktemp("fitted") / "run", source=digits_run / "best.safetensors", folds=4,
            repeats=2, console=Console(file=text, width=400),
        )  # fmt: skip
    return best, text.getvalue()


@pytest.fixture(scope="module")
def judged(fitted: tuple[Path, str], flat: Path, cache: Path) -> Evaluation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VGGLASS_CACHE", str(cache))
        return workflows.evaluate(fitted[0], flat, folds=4, repeats=2, console=Console(quiet=True))


def test_of_a_flat_folder_all_images_are_learned_from(fitted: tuple[Path, str]) -> None:
    best, said = fitted
    record = modelfile.load_record(best)
    assert record.data["images"] == {"train": 37}
    figures = record.metrics["folds"]
    assert (figures["folds"], figures["repeats"], figures["images"]) == (4, 2, 37)
    assert record.recipe["folds"] == 4
    low, high = figures["interval"]
    assert f"in 4 folds, 2 times: accuracy {figures['top1']:.4f} ({low:.4f} to {high:.4f}) on 37 images" in said
    assert "validation" not in record.metrics


def test_evaluate_repeats_what_train_did(fitted: tuple[Path, str], judged: Evaluation) -> None:
    assert judged.folds
    assert json.loads(json.dumps(judged.folds.as_json())) == modelfile.load_record(fitted[0]).metrics["folds"]
    assert judged.top1 == judged.folds.top1
    assert judged.intervals == {"top1": judged.folds.interval}
    assert judged.undefined["intervals.auc"] == "folds give one of top-1 alone"
    assert judged.confusion.sum() == judged.images == 37
    first = np.average(judged.folds.accuracies[0], weights=[10, 9, 9, 9])
    assert judged.confusion.trace() / 37 == pytest.approx(first, abs=0.02)  # folds of nine and ten images
    assert judged.used_for == ""


def test_a_folder_with_its_own_validation_keeps_it(flat: Path, tmp_path: Path) -> None:
    for place, name in product(("train", "val"), "35"):
        (tmp_path / place / name).mkdir(parents=True)
        listed = sorted((flat / name).glob("*.png"))
        for path in listed[:3] if place == "val" else listed[3:]:
            (tmp_path / place / name / path.name).write_bytes(path.read_bytes())
    divided = trainable(open_data(tmp_path), hold_out=False)
    assert {name: len(samples) for name, samples in divided.splits.items()} == {"train": 19, "validation": 6}
    whole = trainable(open_data(tmp_path / "train"), hold_out=False)
    assert {name: len(samples) for name, samples in whole.splits.items()} == {"train": 19}


def test_a_killed_fit_goes_on_with_all_images(fitted: tuple[Path, str], flat: Path) -> None:
    best, _ = fitted
    before = modelfile.load_record(best)
    best.unlink()  # as if killed before it was written
    vgglass.train(out=best.parent, resume=True, console=Console(quiet=True))
    after = modelfile.load_record(best)
    assert (after.digest, after.metrics) == (before.digest, before.metrics)


def test_the_command_line(flat: Path, fitted: tuple[Path, str], judged: Evaluation, tmp_path: Path) -> None:
    model, html = fitted[0], tmp_path / "report.html"
    options = ("--model", model, "--folds", 4, "--repeats", 2, "--picture", tmp_path / "confusion.png")
    printed = typed("evaluate", flat, *options, "--html", html).stdout
    assert judged.folds
    low, high = judged.folds.interval
    assert f"top-1 {judged.top1:.4f} ({low:.4f} to {high:.4f})   on 37 all images" in printed
    assert "in 4 folds, each image answered by a head that was fitted without it and its near duplicates" in printed
    assert "top-1 is the mean of 2 repeats, all else of the first" in printed
    assert ": folds give one of top-1 alone" in printed
    assert '"folds": {"folds": 4, "repeats": 2' in html.read_text(encoding="utf-8")
    assert '"fitted": true' in html.read_text(encoding="utf-8")  # no epochs to show
    typed("evaluate", flat, "--model", model, "--html", html, "--picture", tmp_path / "confusion.png")
    assert '"folds": null' in html.read_text(encoding="utf-8")
    figures = json.loads(typed("evaluate", flat, *options[:6], "--json").stdout)
    assert figures["folds"]["top1"] == judged.top1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--views", "dense", "--folds", 3),
            "--views: looks at one model, and --folds fits another in each; leave one",
        ),
        (("--explain", "--html", "r.html", "--folds", 3), "--explain: looks at one model, and --folds fits another in"),
        (("--repeats", 3), "--repeats: is of --folds; add, say, --folds 5"),
        (("--folds", 14), "--folds 14: more than the 12 images of class '3', of which near duplicates count as one"),
    ],
)
def test_options_that_say_nothing_of_folds(
    flat: Path, fitted: tuple[Path, str], options: tuple[Any, ...], message: str
) -> None:
    assert message in typed("evaluate", flat, "--model", fitted[0], *options, status=2).stderr


def test_a_network_that_learned_by_steps_has_no_fit_to_repeat(flat: Path, digits_run: Path, tmp_path: Path) -> None:
    model = digits_run / "best.safetensors"
    error = typed("evaluate", flat, "--model", model, "--folds", 3, status=2).stderr
    assert "--folds 3: repeats the fit of a head, and this model's head was not fitted" in error
