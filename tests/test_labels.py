"""Confident learning: by hand, on features whose wrong labels are known, and as a person types it."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from pictures import photographs, save, scene
from typed import vgglass
from vgglass import workflows
from vgglass.data.folder import open_data
from vgglass.errors import DataError, TrainingError
from vgglass.evaluation import labels as judging
from vgglass.evaluation.labels import find_label_noise, judge
from vgglass.workflows import label_networks


def test_two_classes_by_hand() -> None:
    """Both thresholds are 0.6: the third image is confidently of class 1, the sixth of class 0."""
    first = np.array([0.9, 0.8, 0.1, 0.2, 0.3, 0.7])
    noise = find_label_noise(np.stack([first, 1 - first], axis=1), np.array([0, 0, 0, 1, 1, 1]))
    assert noise.joint.tolist() == [[2, 1], [1, 2]]
    assert noise.margins == pytest.approx([0.8, 0.6, -0.8, 0.6, 0.4, -0.4])
    assert noise.suspects.tolist() == [2, 5]
    assert noise.suggested.tolist() == [1, 1, 1, 0, 0, 0]


def test_the_confident_joint_is_cleanlabs_scaled_to_the_images_of_each_label() -> None:
    """cleanlab 2.9.0, compute_confident_joint(calibrate=False): [[3, 0, 1], [0, 3, 0], [0, 0, 2]]."""
    probabilities = np.array([
        [0.54, 0.3, 0.16], [0.47, 0.03, 0.5], [0.34, 0.55, 0.11], [0.51, 0.31, 0.18], [0.49, 0.19, 0.32],
        [0.04, 0.84, 0.12], [0.18, 0.78, 0.04], [0.02, 0.73, 0.25], [0.46, 0.43, 0.11],
        [0.46, 0.2, 0.34], [0.1, 0.35, 0.55], [0.4, 0.0, 0.6],
    ])  # fmt: skip
    noise = find_label_noise(probabilities, np.repeat([0, 1, 2], [5, 4, 3]))
    assert noise.joint.tolist() == [[3.75, 0, 1.25], [0, 4, 0], [0, 0, 3]]
    assert noise.suspects.tolist() == [2]  # of four margins below 0 the lowest: 1.25 images are wrong
    assert (noise.margins < 0).sum() == 4
    assert noise.suggested[2] == 1


def test_a_class_of_which_nothing_is_confident_is_taken_as_it_is() -> None:
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.5, 0.5], [0.5, 0.5]])
    noise = find_label_noise(probabilities[[0, 1]], np.array([0, 1]))
    assert noise.joint.tolist() == [[1, 0], [0, 1]]
    noise = find_label_noise(np.array([[0.4, 0.6], [0.6, 0.4], [0.05, 0.5], [0.1, 0.9]]), np.array([0, 0, 1, 1]))
    assert noise.joint.sum(axis=1).tolist() == [2, 2]


def blobs(each: int, classes: int = 3, size: int = 20) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    centres = generator.uniform(0, 10, (classes, size))
    labels = np.repeat(np.arange(classes), each)
    features = np.maximum(centres[labels] + generator.normal(0, 2, (len(labels), size)), 0)
    return features.astype(np.float32), labels


def test_wrong_labels_are_suspected_and_the_right_class_is_suggested() -> None:
    features, truth = blobs(40)
    given = truth.copy()
    given[[3, 50, 100]] = [1, 2, 0]
    noise = find_label_noise(judge(features, given, np.arange(120)).probabilities, given)
    assert set(noise.suspects.tolist()) == {3, 50, 100}
    assert noise.suggested[[3, 50, 100]].tolist() == [0, 1, 2]
    assert np.trace(noise.joint) == pytest.approx(117, abs=2)


def test_a_near_duplicate_with_the_same_wrong_label_vouches_for_nobody() -> None:
    features, given = blobs(20)
    features = np.concatenate([features, np.repeat(features[:1], 8, axis=0)])
    given = np.concatenate([given, np.full(8, 1)])
    given[0] = 1
    copies = [0, *range(60, 68)]
    apart, together = np.arange(68), np.arange(68)
    together[60:] = 0
    assert (find_label_noise(judge(features, given, apart).probabilities, given).margins[copies] > 0).all()
    assert (find_label_noise(judge(features, given, together).probabilities, given).margins[copies] < 0).all()


def test_the_length_of_a_feature_says_nothing() -> None:
    features, labels = blobs(15)
    scaled = features * np.linspace(0.5, 5, len(features), dtype=np.float32)[:, None]
    one, other = (judge(values, labels, np.arange(45)) for values in (features, scaled))
    assert one.penalty == other.penalty
    assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_the_strongest_penalty_within_one_standard_error_of_the_lowest_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs(20)
    losses = {}
    for penalty in judging.PENALTIES:
        with monkeypatch.context() as patch:
            patch.setattr(judging, "PENALTIES", (penalty,))
            answers = -np.log(judge(features, labels, np.arange(60)).probabilities[np.arange(60), labels])
            losses[penalty] = (answers.mean(), answers.std() / np.sqrt(60))
    lowest, error = min(losses.values())
    expected = min(penalty for penalty, (loss, _) in losses.items() if loss <= lowest + error)
    assert judge(features, labels, np.arange(60)).penalty == expected


def test_the_penalty_of_many_images_is_chosen_on_some(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs(20)
    monkeypatch.setattr(judging, "PENALTIES", (0.01,))
    monkeypatch.setattr(judging, "SEARCHED", 30)
    found = judge(features, labels, np.arange(60))
    assert found.penalty == 0.005  # twice the images, and C multiplies their summed loss
    assert found.probabilities.shape == (60, 3)
    assert judging._some_of_each_class(np.repeat([0, 1], [10, 2]), 6).tolist() == [0, 2, 4, 6, 8, 10, 11]
    assert judging._some_of_each_class(np.repeat([0, 1], [3, 2]), 5).tolist() == [0, 1, 2, 3, 4]


def test_features_that_do_not_differ_are_refused() -> None:
    with pytest.raises(TrainingError, match="are the same: to this network all images look alike"):
        judge(np.ones((8, 4), np.float32), np.repeat([0, 1], 4), np.arange(8))


# As a person types it.

FLIPPED = {"3": "8", "7": "1", "0": "5"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits that the model did not learn, with one image of three classes in another one's folder."""
    folder = workflows.write_digits("test", tmp_path_factory.mktemp("labels") / "digits")
    for label, wrong in FLIPPED.items():
        image = min((folder / label).iterdir())
        shutil.move(image, folder / wrong / f"flipped-{image.name}")
    return folder


@pytest.fixture(scope="module")
def model(digits_run: Path) -> Path:
    return digits_run / "best.safetensors"


def test_flipped_digits_are_found(digits: Path, model: Path, tmp_path: Path) -> None:
    html, out = tmp_path / "labels.html", tmp_path / "labels.csv"
    result = vgglass("check", digits, "--labels", "--from", model, "--json", "--html", html, "--out", out)
    found = json.loads(result.stdout)
    assert (found["images"], found["folds"]) == (360, 10)
    assert found["agreeing"] > 330
    suspected = {row["path"]: row for row in found["suspects"]}
    for label, wrong in FLIPPED.items():
        path = next(path for path in suspected if path.startswith(f"{wrong}/flipped"))
        row = suspected[path]
        assert (row["label"], row["suggested"]) == (wrong, label)
        assert row["score"] < 0
        assert len(row["like_label"]) == len(row["like_suggested"]) == 3
        assert path not in row["like_label"]
        assert {Path(name).parent.name for name in row["like_suggested"]} == {label}
    scores = [row["score"] for row in found["suspects"]]
    assert scores == sorted(scores)
    assert len(scores) < 20
    assert {(pair["label"], pair["true"]) for pair in found["confusion"]} >= {(b, a) for a, b in FLIPPED.items()}
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["path"] for row in rows] == list(suspected)
    assert {row["decision"] for row in rows} == {""}
    assert f"Written: {html} (open it in a browser" in result.stderr


def test_what_is_printed(digits: Path, model: Path) -> None:
    printed = vgglass("check", digits, "--labels", "--from", model).stdout
    assert f"{digits}: 360 labels judged by heads that did not see the image (10 folds); 3" in printed
    assert "8, rather 3 (margin -" in printed
    assert "Estimated images of another class than their label:" in printed
    assert "To decide:  add --html labels.html, or --out labels.csv" in printed


def test_small_networks_judge_in_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photographs(tmp_path / "photos", cat=6, dog=6)
    monkeypatch.setattr(label_networks, "FOLDS", 2)
    monkeypatch.setattr(label_networks, "EPOCHS", (1, 1))
    trained: list[set[str]] = []

    def watched(place: Path, **options: Any) -> Path:
        trained.append({sample.id for sample in open_data(place).split("train")})
        assert (options["channels"], options["image_size"], options["epochs"]) == (3, 64, 1)
        return workflows.train(place, **options | {"image_size": 32, "width": 0.0625})

    monkeypatch.setattr(label_networks, "train", watched)
    found = workflows.check_labels(folder, console=Console(quiet=True))
    assert (found.images, found.folds, found.penalty) == (12, 2, None)
    assert [len(ids) for ids in trained] == [6, 6]
    assert trained[0] | trained[1] == {sample.id for sample in open_data(folder).split("all")}


@pytest.mark.slow
def test_without_weights_small_networks_are_trained_in_folds(digits: Path, tmp_path: Path) -> None:
    result = vgglass("check", digits, "--labels", "--html", tmp_path / "labels.html")
    assert "training a small network on 288 images, to judge 72 (fold 1)" in result.stderr
    assert "360 labels judged by small networks that did not see the image (5 folds)" in result.stdout
    for label, wrong in FLIPPED.items():
        assert f": {wrong}, rather {label} (margin" in result.stdout


def test_folders_whose_labels_no_head_can_judge(tmp_path: Path, model: Path) -> None:
    def refused(folder: Path, message: str) -> None:
        error = vgglass("check", folder, "--labels", "--from", model, status=1).stderr
        assert message in error

    one = photographs(tmp_path / "one", cat=3)
    refused(one, "has one class, 'cat', and a label is wrong only where another could be right")
    few = photographs(tmp_path / "few", cat=3, dog=1)
    rule = "class 'dog' of {}: has {}, and a label is judged by other pictures of its class; add images"
    refused(few, rule.format(few, "1 image"))
    save(few / "dog" / "again.jpg", scene(1000), quality=50)
    refused(few, rule.format(few, "2 images, all of one picture"))
    with pytest.raises(DataError, match="a label is judged by other pictures of its class"):
        workflows.check_labels(few, model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "x.csv"), "--out: belongs to --labels; add --labels"),
        (("--apply", "x.csv"), "--apply: belongs to --labels; add --labels"),
        (("--labels", "--preprocessing", "keras"), "--preprocessing: is of the weights that --from names; add --from"),
        (("--labels", "--from", "m", "--out", "x.txt"), "--out x.txt: the list of suspects is a .csv file"),
        (("--labels", "--from", "m", "--recipe", "paper"), "--recipe: has no place beside --labels; leave it out"),
        (("--labels", "--manifest", "x.parquet"), "--manifest: has no place beside --labels"),
        (("--labels", "--undo", "--from", "m"), "--from: has no place beside --undo"),
        (("--labels", "--apply", "x.csv"), "--apply: writes a manifest or moves files, and neither is asked for"),
        (("--labels", "--apply", "x.csv", "--html", "x"), "--html: has no place beside --apply"),
        (
            ("--labels", "--apply", "x.csv", "--manifest", "x.parquet", "--move"),
            "--manifest: would name files that --move moves; choose one of them",
        ),
        (
            ("--labels", "--apply", "x.csv", "--manifest", "x.parquet", "--yes"),
            "--yes: lets --move move files; add --move",
        ),
    ],
)
def test_options_that_go_together_and_not(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    error = vgglass("check", tmp_path, *options, status=2).stderr
    assert message in error
    assert len(error.splitlines()) == 1
