"""Networks that learn by steps, judged in folds: each by what never saw its images, on tiny networks of some digits."""

import io
import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import vgglass
from typed import vgglass as typed
from vgglass import modelfile
from vgglass.data import sources
from vgglass.data.folder import open_data, trainable
from vgglass.errors import DataError, InterruptedRunError, TrainingError, UsageError
from vgglass.training import checkpoint, fold_answers, folds
from vgglass.training.fold_answers import Fold
from vgglass.training.loop import Trainer
from vgglass.training.recipe import Recipe
from vgglass.workflows import evaluate, train_folds
from vgglass.workflows.report import training_rows

TINY: dict[str, Any] = {
    "recipe": "digits", "width": 0.0625, "hidden": 16, "epochs": 2, "batch_size": 16, "precision": "float32",
    "ema": 0.5, "folds": 3, "workers": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of each of two digits."""
    root, data = tmp_path_factory.mktemp("digits"), sources.digits()
    for name in "38":
        label = data.classes.index(name)
        for sample in [sample for sample in data.split("test") if sample.label == label][:6]:
            path = root / name / f"{sample.id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert isinstance(sample.source, np.ndarray)
            Image.fromarray(sample.source[..., 0]).save(path)
    return root


def train(flat: Path | None, out: Path, **others: Any) -> tuple[Path, str]:
    text = io.StringIO()
    given = others if others.get("resume") else TINY | others
    return vgglass.train(flat, out=out, console=Console(file=text, width=400), **given), text.getvalue()


@pytest.fixture(scope="module")
def trained(flat: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return train(flat, tmp_path_factory.mktemp("trained") / "run")


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_all_images_train_the_model_and_no_epoch_is_chosen(trained: tuple[Path, str]) -> None:
    best, said = trained
    record = modelfile.load_record(best)
    assert record.data["images"] == {"train": 12}
    assert record.data["selected_on"] == "train"
    assert record.metrics["epoch"] == 2
    assert "validation" not in record.metrics
    assert record.metrics["folds"]["networks"]
    assert [row["epoch"] for row in rows(best.parent)] == [1, 2]
    assert not any(name.startswith("validation") for row in rows(best.parent) for name in row)
    assert (best.parent / "curves.png").exists()
    assert not (best.parent / "last.safetensors").exists()
    figures = record.metrics["folds"]
    assert "4 trainings of 2 epochs: one without each of 3 folds, whose images it judges, and one on all images" in said
    assert re.search(r"less than a minute to go, at \S+ s a step|about 0 h \d\d min to go, at", said)
    assert "fold 2 of 3: training on 8 images, to judge 4" in said
    assert f"in 3 folds: accuracy {figures['top1']:.4f} (" in said
    assert "each answered by a network trained without it and its near duplicates" in said


def test_each_image_is_answered_by_a_training_without_it(trained: tuple[Path, str], flat: Path, tmp_path: Path) -> None:
    """Fold 2's answers, to the bit, are those of a training on the other images alone, its last epoch's average."""
    out = trained[0].parent
    samples = trainable(open_data(flat), hold_out=False).split("train")
    answers = [Fold(out, 0, number).read() for number in range(3)]
    assert [len(rows) for rows in answers] == [4, 4, 4]
    assert set().union(*answers) == {sample.digest for sample in samples}
    for sample in samples:
        if sample.digest not in answers[1]:
            assert isinstance(sample.source, Path)
            place = tmp_path / "train" / sample.source.parent.name / sample.source.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(sample.source.read_bytes())
    chosen = [sample for sample in samples if sample.digest in answers[1]]
    alone = vgglass.train(
        tmp_path / "train", out=tmp_path / "run", console=Console(quiet=True), **TINY | {"folds": 2}
    )  # its folds are its own, and its model is of all its images
    of = [sample.source for sample in chosen if isinstance(sample.source, Path)]
    found = vgglass.predict(alone, of, engine="auto", precision="float32")
    for sample, row in zip(chosen, found, strict=True):
        assert row.top[0][1] == pytest.approx(np.exp(answers[1][sample.digest].max()), abs=1e-6)


def test_evaluate_and_the_report_show_the_folds(trained: tuple[Path, str], flat: Path, tmp_path: Path) -> None:
    best, html = trained[0], tmp_path / "report.html"
    figures = modelfile.load_record(best).metrics["folds"]
    options = ("--model", best, "--folds", 3, "--picture", tmp_path / "confusion.png")
    printed = typed("evaluate", flat, *options, "--html", html).stdout
    low, high = figures["interval"]
    assert f"top-1 {figures['top1']:.4f} ({low:.4f} to {high:.4f})   on 12 all images" in printed
    assert "in 3 folds, each image answered by a network that was trained without it and its near" in printed
    assert '"networks": true' in html.read_text(encoding="utf-8")
    judged = evaluate(best, flat, folds=3, console=Console(quiet=True))
    assert judged.confusion.sum() == 12
    assert judged.confusion.trace() / 12 == pytest.approx(figures["top1"])
    assert (tmp_path / "confusion.png").exists()
    assert "each by a network trained without it and its near duplicates, in 3 folds" in (
        best.with_name("card.md").read_text(encoding="utf-8")
    )
    assert training_rows(best, modelfile.load_record(best)) is None


def test_answers_that_are_not_of_this_model(trained: tuple[Path, str], flat: Path, tmp_path: Path) -> None:
    best, quiet = trained[0], Console(quiet=True)
    with pytest.raises(UsageError, match="--folds 4 --repeats 1: are others than those of the training, in each of w"):
        evaluate(best, flat, folds=4, console=quiet)
    with pytest.raises(UsageError, match="--folds 3: are answered in the run's folder; name the model file in it"):
        evaluate(modelfile.load(best), flat, folds=3, console=quiet)
    changed = tmp_path / "changed"
    shutil.copytree(flat, changed)
    Image.new("L", (8, 8), 90).save(changed / "3" / "new.png")
    with pytest.raises(DataError, match=r"was in no fold of the run in .*: the images have changed since"):
        evaluate(best, changed, folds=3, console=quiet)
    elsewhere = tmp_path / best.name
    elsewhere.write_bytes(best.read_bytes())
    with pytest.raises(TrainingError, match="is not there; train again with --folds"):
        evaluate(elsewhere, flat, folds=3, console=quiet)
    for number in range(3):
        rows = Fold(best.parent, 0, number).read()
        target = Fold(tmp_path, 0, number)
        samples = [s for s in trainable(open_data(flat), hold_out=False).split("train") if s.digest in rows]
        target.write(np.stack([np.eye(2)[1 - sample.label] for sample in samples]), samples)  # all are wrong
    with pytest.raises(DataError, match="holds answers of other networks than those of this model's training"):
        evaluate(elsewhere, flat, folds=3, console=quiet)
    Fold(tmp_path, 0, 2).answers.write_bytes(b"none")
    with pytest.raises(TrainingError, match=r"is damaged .*remove it, then --resume the run"):
        evaluate(elsewhere, flat, folds=3, console=quiet)


def test_interrupted_and_resumed_it_ends_with_the_same_bits_and_repeats_no_fold(
    trained: tuple[Path, str], flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, step = tmp_path / "run", Trainer.step
    steps: list[str] = []

    def counted(trainer: Trainer, *batch: Any) -> Any:
        steps.append(trainer.checkpointer.out.name)
        if len(steps) == 3:  # the first step of fold 2: a step an epoch
            os.kill(os.getpid(), signal.SIGINT)
        return step(trainer, *batch)

    monkeypatch.setattr(Trainer, "step", counted)
    with pytest.raises(InterruptedRunError, match=f"go on with: vgglass train --out {re.escape(str(out))} --resume"):
        train(flat, out)
    assert Fold(out, 0, 0).answers.exists()
    assert not Fold(out, 0, 1).answers.exists()
    best, said = train(None, out, resume=True)
    assert "1 of 3 folds are judged already" in said
    assert steps == [name for number in (1, 2, 3) for name in 2 * [f"repeat-0001-fold-000{number}"]] + 2 * ["run"]
    whole, again = modelfile.load_record(trained[0]), modelfile.load_record(best)
    assert (again.digest, again.metrics) == (whole.digest, whole.metrics)
    assert sorted(path.name for path in (out / "folds").iterdir()) == [
        f"repeat-0001-fold-000{number}.safetensors" for number in (1, 2, 3)
    ]
    with pytest.raises(TrainingError, match="has finished after 2 epochs; there is nothing to resume"):
        train(None, out, resume=True)
    with pytest.raises(TrainingError, match="was judged in folds, by networks of 2 epochs; leave out --epochs, or st"):
        train(None, out, resume=True, epochs=3)


def test_a_fine_tuned_network_begins_each_fold_with_a_head_fitted_without_it(
    flat: Path, digits_run: Path, tmp_path: Path
) -> None:
    """Started from a network of other images, repeated twice; and refused from one that knows these."""
    given: dict[str, Any] = {
        "source": digits_run / "best.safetensors",
        "train": "all",
        "folds": 2,
        "repeats": 2,
        "epochs": 1,
    }
    text = io.StringIO()
    best = vgglass.train(flat, out=tmp_path / "run", workers=0, console=Console(file=text, width=400), **given)
    record = modelfile.load_record(best)
    assert record.recipe["patience"] == 0  # of the recipe finetune, which has 3
    assert np.shape(record.metrics["folds"]["accuracies"]) == (2, 2)
    assert "fold 3 of 4: training on 6 images, to judge 6" in text.getvalue()
    assert text.getvalue().count("fitted: logistic regression") == 5
    with pytest.raises(UsageError, match=r"--from .*: has learned from images of this folder, so that in no fold"):
        vgglass.train(flat, out=tmp_path / "more", console=Console(quiet=True), **given | {"source": best})
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"patience": 3}, "folds 3: leave no validation images, by which patience stops; add --set patience=0"),
        (
            {"schedule": "plateau"},
            "folds 3: leave no validation images, by which a plateau is told; add --set schedule",
        ),
    ],
)
def test_recipes_that_validation_images_steer(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        Recipe(folds=3, **fields)
    Recipe(folds=3, **fields, train="head", head="pooled")  # which has no epochs


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"folds": 7}, "--folds 7: more than the 6 images of class '3', of which near duplicates count as one"),
        ({"watch": True}, "--watch: records one network, and --folds trains several; leave one of the two out"),
        ({"activation": "tanh"}, "--watch: records one network, and --folds trains several"),
    ],
)
def test_what_folds_can_not_do(flat: Path, tmp_path: Path, others: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        train(flat, tmp_path / "run", **others)
    assert not (tmp_path / "run").exists()


def test_ranks_and_a_fold_without_a_class(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vgglass.training.plan import plan_run

    dataset = trainable(open_data(flat), hold_out=False)
    run, _ = plan_run(Recipe(folds=2, width=0.0625, image_size=32, precision="float32"), dataset, None, None)
    with pytest.raises(UsageError, match="--folds 2: trains one network after another, which torchrun's ranks can't"):
        train_folds.require(run, dataset, None, ranks=True, watched=False)
    lopsided = [(np.arange(6), np.arange(6, 12)), (np.arange(6, 12), np.arange(6))]
    monkeypatch.setattr("vgglass.training.probe.folds_of", lambda *_: iter(lopsided))
    with pytest.raises(UsageError, match="--folds 2: leaves a fold without class '8' to learn from; choose another"):
        train_folds.require(run, dataset, None, ranks=False, watched=False)


def test_the_figures_are_those_of_the_answers_by_hand(flat: Path, tmp_path: Path) -> None:
    """Of twelve images, one wrong: 11 of 12 right, the interval that of 12 images over 1 + 3 / 2."""
    samples = trainable(open_data(flat), hold_out=False).split("train")
    for number in range(3):
        own = samples[number::3]
        scores = np.array([[0.0, -9.0] if sample.label == 0 else [-9.0, 0.0] for sample in own])
        if number == 1:
            scores[0] = scores[0, ::-1].copy()
        Fold(tmp_path, 0, number).write(scores, own)
    found = fold_answers.gathered(tmp_path, samples, np.arange(12), 2, 3, 1).figures
    assert found.top1 == pytest.approx(11 / 12)
    assert found.accuracies == ((1.0, 0.75, 1.0),)
    assert found.interval == pytest.approx(folds.interval(11 / 12, np.arange(12), 3, 1))
    assert found.networks
    assert fold_answers.begun(tmp_path)
    assert not checkpoint.newest_first(tmp_path)
