"""The step and the epoch, by hand and against torch."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from training_runs import WHOLE, one_epoch, trainer
from vgglass.data import dataset, sources
from vgglass.data.augment import mix
from vgglass.errors import TrainingError
from vgglass.model import VGG
from vgglass.training import plan, recipe
from vgglass.training import run as runs
from vgglass.training.batches import ImageBatches
from vgglass.training.precision import Weights
from vgglass.training.recipe import Recipe


def test_weight_decay_spares_biases_and_norms() -> None:
    network = VGG(Recipe(image_size=32, width=0.1).network(2))
    decayed, spared = runs.make_optimizer(Weights(network, "float32", 0), Recipe()).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (5e-4, 0)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert all(
        names[id(parameter)].split(".")[0][:2] in ("co", "fc") and names[id(parameter)].endswith("weight")
        for parameter in decayed["params"]
    )
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_first_step_is_plain_sgd() -> None:
    """One step of the loop, nesterov and decay included, against the formula written out."""
    one, _ = trainer(**WHOLE)
    before = {name: value.detach().clone() for name, value in one.network.named_parameters()}
    images, labels = next(iter(one.feed.training(0, 0)))
    loss = torch.nn.functional.cross_entropy(one.network.train()(images), labels)
    names = [name for name, _ in one.network.named_parameters()]
    slopes = dict(zip(names, torch.autograd.grad(loss, list(one.network.parameters())), strict=True))
    assert one_epoch(one)["train_loss"] == pytest.approx(loss.item(), rel=1e-4)
    slope = slopes["fc8.weight"] + 5e-4 * before["fc8.weight"]
    expected = before["fc8.weight"] - one.recipe.learning_rate * (slope + 0.9 * slope)
    assert torch.allclose(one.network.get_parameter("fc8.weight"), expected, atol=1e-6)


def test_a_step_in_parts_is_the_step_as_a_whole() -> None:
    """Without batch norm, whose statistics are those of the part."""
    found = []
    for parts in (1, 5):
        one, _ = trainer(architecture="vgg11", accumulate=parts, **WHOLE)
        row = one_epoch(one)
        found.append((row["train_loss"], row["train_accuracy"], one.network.get_parameter("fc8.weight").detach()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1] == found[1][1]
    assert torch.allclose(found[0][2], found[1][2], atol=1e-6)


def test_clipping_bounds_the_gradient() -> None:
    one, _ = trainer(clip_norm=1e-3, weight_decay=0, momentum=0, learning_rate=1, **WHOLE)
    before = {name: value.detach().clone() for name, value in one.network.named_parameters()}
    one_epoch(one)
    moved = sum(float((value.detach() - before[name]).square().sum()) for name, value in one.network.named_parameters())
    assert math.sqrt(moved) == pytest.approx(1e-3, rel=1e-3)


def test_a_step_of_mixed_images() -> None:
    one, _ = trainer(**WHOLE | {"augmentation": "strong"})
    images, targets = mix(*next(iter(one.feed.training(0, 0))), 10, 0, 0, 0)
    expected = torch.nn.functional.cross_entropy(one.network.train()(images), targets).item()
    assert one_epoch(one)["train_loss"] == pytest.approx(expected, rel=1e-4)


def test_class_weights_are_those_of_the_loss() -> None:
    one, _ = trainer(balance="weights", **WHOLE)
    images = dataset.class_counts(sources.digits().split("train"), 10)
    assert one.class_weights is not None
    assert one.class_weights.tolist() == pytest.approx(dataset.class_weights(images))
    one.class_weights = torch.arange(10.0)
    batch, labels = next(iter(one.feed.training(0, 0)))
    logits = one.network.train()(batch)
    expected = (torch.nn.functional.cross_entropy(logits, labels, reduction="none") * labels).mean().item()
    assert one_epoch(one)["train_loss"] == pytest.approx(expected, rel=1e-4)


def test_the_sampler_draws_by_class() -> None:
    one, _ = trainer(balance="sampler")
    assert isinstance(one.feed, ImageBatches)
    samples = sources.digits().split("train")
    assert one.feed.loader.weights is not None
    assert np.array_equal(one.feed.loader.weights, dataset.sample_weights(samples, dataset.class_counts(samples, 10)))


def test_a_step_is_seeded_and_rated_by_its_place() -> None:
    """Dropout hangs on the seed and the step alone; a block takes its share of the rate."""
    one, _ = trainer(seed=3, block_decay=0.5, **WHOLE | {"epochs": 2, "batch_size": 1000})
    row = one_epoch(one)
    assert torch.initial_seed() == (3 << 32) + 1
    assert 0 < row["waited"] < 1
    groups = one.optimizer.param_groups
    assert {group["share"] for group in groups} == {1, 0.5, 0.25, 0.125, 0.0625, 0.03125}
    assert all(group["lr"] == pytest.approx(row["learning_rate"] * group["share"]) for group in groups)


def test_the_average_is_what_is_validated() -> None:
    one, _ = trainer(ema=0.9)
    before = one.network.get_parameter("fc8.bias").detach().clone()
    one.weights.average["fc8.bias"][3] = 1e6
    threes = np.mean([sample.label == 3 for sample in sources.digits().split("validation")])
    assert one.validate()["validation_accuracy"] == pytest.approx(threes)
    assert torch.equal(one.network.get_parameter("fc8.bias"), before)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    """Also where the loss of the step before was still a number."""
    one, _ = trainer()
    one.checkpointer.out = tmp_path
    with torch.no_grad():
        one.weights.masters["fc8.bias"][0] = math.nan
    message = "fc8.bias after epoch 0, step 0: is not finite; training diverged; .* good checkpoint: none yet"
    with pytest.raises(TrainingError, match=message):
        one.checkpointer.save(keep=2)
    assert list(tmp_path.iterdir()) == []


def test_epochs_that_are_no_better() -> None:
    one, _ = trainer(epochs=9, schedule="plateau", plateau_epochs=2, patience=4)
    accuracies = [0.5, 0.6, 0.6, 0.55, 0.6, 0.5, 0.9]
    found = []
    for accuracy in accuracies:
        best = one.finish_epoch(accuracy)
        found.append((best, one.progress.rate_drops, one.progress.finished))
    assert found[:6] == [
        (True, 0, False), (True, 0, False), (False, 0, False), (False, 1, False), (False, 1, False), (False, 2, True)
    ]  # fmt: skip
    assert one.progress.best_epoch == 7


def test_paper_initialisation_is_fed_0_to_255() -> None:
    record, _ = plan.measure_statistics(
        sources.digits().split("train"), recipe.read("digits").override(initialisation="paper"), None
    )
    assert record.std == (1.0,)
    assert 70 < record.mean[0] < 85
