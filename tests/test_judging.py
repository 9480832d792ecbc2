"""A model on a folder: classes matched by name, ensembles, two models compared, and what gives no figure."""

import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.special import log_softmax

from glass_subjects import model as drawn
from glass_subjects import photograph
from vgglass import workflows
from vgglass.errors import DataError, ModelFileError
from vgglass.evaluation import predictions
from vgglass.modelfile import ModelFile

CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def model(seed: int = 0, classes: Sequence[str] = CLASSES) -> ModelFile:
    file = drawn("A", seed, classes=len(classes))
    return replace(file, record=replace(file.record, classes=tuple(classes)))


def reordered(file: ModelFile, order: Sequence[int]) -> ModelFile:
    """The same network, its classes in another order."""
    rows = list(order)
    weights = file.weights | {name: file.weights[name][rows] for name in ("fc8.weight", "fc8.bias")}
    classes = tuple(file.record.classes[row] for row in rows)
    record = replace(file.record, classes=classes)
    return replace(file, record=record, weights=weights, golden_logits=file.golden_logits[:, rows])


def pictures(folder: Path, counts: dict[str, int]) -> Path:
    for place, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(photograph(seed=100 * place + index)).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("judging") / "all", dict.fromkeys(CLASSES, 4))


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    given = pictures(tmp_path, {"ape": 2, "bee": 3, "fox": 1, "yak": 1})
    said = io.StringIO()
    found = workflows.predictions_on_split(model(), given, console=Console(file=said, width=300))
    assert found.labels.tolist() == [1, 1, 1, 5]
    assert found.missing == ("ant", "cat", "dog", "elk", "gnu")
    assert found.unknown == {"ape": 2, "yak": 1}
    assert [path.parent.name for path in found.sources if isinstance(path, Path)] == ["bee"] * 3 + ["fox"]
    assert "no all images of ant, cat, dog, elk, gnu: the figures say nothing of such classes" in said.getvalue()
    assert "left out 3 all images of classes that the model does not tell: ape, yak" in said.getvalue()
    figures = workflows.evaluate(model(), given).as_json()
    assert (figures["images"], figures["unknown"]) == (4, {"ape": 2, "yak": 1})
    assert figures["missing"] == ("ant", "cat", "dog", "elk", "gnu")


def test_the_order_of_classes_changes_nothing(folder: Path) -> None:
    order = [3, 0, 6, 1, 5, 2, 4]
    one, other = workflows.evaluate(model(), folder), workflows.evaluate(reordered(model(), order), folder)
    assert other.confusion.tolist() == one.confusion[np.ix_(order, order)].tolist()
    for name in ("top1", "top5", "balanced_accuracy", "macro_f1", "auc"):
        assert getattr(other, name) == pytest.approx(getattr(one, name)), name
        assert other.intervals[name] == pytest.approx(one.intervals[name], abs=0.05), name  # other draws


def test_an_ensemble_averages_probabilities_by_name(folder: Path) -> None:
    first, second = model(0), model(1)
    alone = [np.exp(workflows.predictions_on_split(each, folder).log_probabilities) for each in (first, second)]
    for other in (second, reordered(second, [6, 5, 4, 3, 2, 1, 0])):
        found = workflows.predictions_on_split(first, folder, ensemble=[other])
        np.testing.assert_allclose(np.exp(found.log_probabilities), (alone[0] + alone[1]) / 2, rtol=1e-5)
    evaluation = workflows.evaluate(first, folder, ensemble=[second], views="dense@64,96+crops@96")
    assert evaluation.protocol.as_json() == {
        "networks": "A+A", "train": "", "test": "64,96 + 96", "method": "dense+crops",
    }  # fmt: skip


def test_the_papers_training_sizes_are_told(folder: Path) -> None:
    def trained(**recipe: object) -> ModelFile:
        file = model()
        return replace(file, record=replace(file.record, recipe=recipe))

    assert (
        workflows.evaluate(trained(augmentation="paper"), folder).protocol.train == "73-146"
    )  # 256/224 and 512/224 of 64
    assert workflows.evaluate(trained(augmentation="flip"), folder).protocol.train == "64"
    assert workflows.evaluate(trained(augmentation="standard"), folder).protocol.train == ""


def test_an_ensemble_of_other_classes_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"class 'gnu': is told by one model of the ensemble and not by another \(2 "):
        workflows.predictions_on_split(model(), folder, ensemble=[model(1, (*CLASSES[:6], "yak"))])


def test_no_class_in_common_is_an_error(tmp_path: Path) -> None:
    given = pictures(tmp_path, {"ape": 1, "yak": 1})
    with pytest.raises(DataError, match=r"classes 'ape', 'yak' of .*: are unknown to the model, which tells ant, bee,"):
        workflows.evaluate(model(), given)


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    pictures(tmp_path / "train", {"ant": 2, "bee": 2})
    (tmp_path / "test" / "ant").mkdir(parents=True)
    with pytest.raises(DataError, match="has no test images; choose among train and all"):
        workflows.evaluate(model(), tmp_path, split="test")


def test_one_image_has_figures_and_no_intervals(tmp_path: Path) -> None:
    found = workflows.evaluate(model(), pictures(tmp_path, {"cat": 1}))
    assert (found.images, found.auc, found.intervals) == (1, None, {})
    assert found.undefined["intervals.top1"] == "there is one image, and an interval needs two or more"


@pytest.mark.parametrize("engine", ["openvino", "torch", "onnxruntime"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_an_error(folder: Path, engine: str, number: float) -> None:
    file = model()
    damaged = replace(file, weights=file.weights | {"fc8.bias": np.full_like(file.weights["fc8.bias"], number)})
    match = r"the network: answers with numbers that are infinite or not a number \(NaN\): its weights are damaged"
    with pytest.raises(ModelFileError, match=match):
        workflows.evaluate(damaged, folder, engine=engine)
    with pytest.raises(ModelFileError, match=match):
        workflows.compare(file, damaged, folder, engine=engine)
    with pytest.raises(ModelFileError, match=match):
        workflows.predict(damaged, [folder], engine=engine)


def test_two_models_are_compared_on_the_same_images(folder: Path) -> None:
    first, second = model(0), model(1)
    answers = [workflows.predictions_on_split(each, folder) for each in (first, second)]
    found = workflows.compare(first, second, folder)
    right, also = (each.right for each in answers)
    assert found.top1 == (right.mean(), also.mean())
    assert (found.only_first, found.only_second) == ((right & ~also).sum(), (also & ~right).sum())
    same = workflows.compare(first, reordered(first, [1, 0, 2, 3, 4, 6, 5]), folder)
    assert (same.only_first, same.only_second, same.p) == (0, 0, 1)
    assert not same.is_larger_than_chance


def test_models_of_some_classes_in_common_are_compared_on_these(folder: Path) -> None:
    other = model(1, ("fox", "yak", "ant", "ape"))
    found = workflows.compare(model(), other, folder)
    assert found.images == 8
    assert dict(found.unknown) == dict.fromkeys(("bee", "cat", "dog", "elk", "gnu"), 4)
    logs = workflows.predictions_on_split(other, folder).log_probabilities
    likeliest = np.array(other.record.classes)[log_softmax(logs, axis=1).argmax(axis=1)]
    assert found.top1[1] == np.mean(likeliest == np.repeat(["ant", "fox"], 4))
    with pytest.raises(DataError, match=re.escape("models of ant, bee, cat, dog, elk, ...: have no class in common")):
        workflows.compare(model(), model(1, ("ape", "yak")), folder)


def test_mcnemars_test_by_hand() -> None:
    assert predictions.mcnemar(1, 9) == pytest.approx(2 * (1 + 10) / 2**10)
    assert predictions.mcnemar(9, 1) == predictions.mcnemar(1, 9)
    assert predictions.mcnemar(5, 5) == predictions.mcnemar(0, 0) == 1
    first, second = np.array([True, False] + [True] * 10), np.array([False, True] + [True] * 10)
    found = predictions.compare_predictions(first, second, "test")
    assert (found.only_first, found.only_second, found.difference[0]) == (1, 1, 0)
    found = predictions.compare_predictions(np.zeros(10, bool), np.ones(10, bool), "test")
    assert found.p == pytest.approx(2 / 2**10)
    assert found.is_larger_than_chance
    assert found.difference[0] == 1


def test_classes_are_matched_as_a_person_sees_them(tmp_path: Path) -> None:
    """By any normal form of Unicode; by case alone where one class fits, which is said."""
    classes = ("café", "Dog", "elk", "ELK", "gnu", "yak")
    apart = unicodedata.normalize("NFD", "café")
    given = pictures(tmp_path, {apart: 1, "dog": 2, "Elk": 1, "GNU": 1, "gnu": 1})
    said = io.StringIO()
    found = workflows.predictions_on_split(model(classes=classes), given, console=Console(file=said, width=300))
    assert [classes[label] for label in found.labels] == ["café", "Dog", "Dog", "gnu"]
    assert found.unknown == {"Elk": 1, "GNU": 1}
    assert "class 'dog' is taken for the model's 'Dog'\n" in said.getvalue()
    composed, decomposed = model(1, ["café", "b"]), model(2, ["b", apart])
    given = pictures(tmp_path / "both", {"café": 2, "b": 2})
    alone = [workflows.predictions_on_split(one, given).log_probabilities for one in (composed, decomposed)]
    together = workflows.predictions_on_split(composed, given, ensemble=[decomposed])
    mean = np.log((np.exp(alone[0]) + np.exp(alone[1][:, ::-1])) / 2)
    assert together.log_probabilities == pytest.approx(mean, abs=1e-5)
    assert workflows.compare(composed, decomposed, given).images == 4
