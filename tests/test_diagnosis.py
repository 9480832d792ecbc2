"""Failures that are named: no start, no numbers, dead channels, waiting for data."""

import math
from pathlib import Path

import pytest
import torch

import vgglass
from training_runs import QUICK, quiet, trainer
from vgglass.model import VGG
from vgglass.training import diagnostics, recipe
from vgglass.training.recipe import Recipe


def test_dead_channels_and_waiting_are_said_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "DEAD_SHARE", 0.0)
    monkeypatch.setattr(diagnostics, "WAIT_SHARE", 0.0)
    console, text = quiet()
    vgglass.train(out=tmp_path / "run", console=console, **QUICK | {"epochs": 1, "batch_size": 512})
    assert "dead ReLUs, zero on all images" in text.getvalue()
    assert "of the time the steps waited for data" in text.getvalue()


def test_a_network_that_does_not_start_is_named() -> None:
    shallow, deep = recipe.read("digits").network(10), Recipe(architecture="vgg16").network(10)
    said = diagnostics.stuck_loss_warning(299, 1000, [math.log(10)] * 50, shallow)
    assert "after 300 steps the loss is 2.303, and guessing gives ln(10) = 2.303" in said
    assert said.endswith("What helps: more epochs, longer warm-up, another learning rate.")
    assert diagnostics.stuck_loss_warning(48, 49, [math.log(10)] * 49, deep) == ""  # too short a run to judge
    assert (
        "What helps: batch norm (an architecture ending in _bn: a deep VGG without it often never starts), fewer layers"
        in diagnostics.stuck_loss_warning(299, 1000, [math.log(10)] * 50, deep)
    )
    assert diagnostics.stuck_loss_warning(299, 1000, [1.5] * 50, shallow) == ""
    assert diagnostics.stuck_loss_warning(298, 1000, [math.log(10)] * 50, shallow) == ""


def test_the_run_says_that_it_does_not_start(tmp_path: Path) -> None:
    console, text = quiet()
    stuck = {"learning_rate": 1e-30, "epochs": 3, "batch_size": 64, "label_smoothing": 0}
    vgglass.train(out=tmp_path / "run", console=console, **QUICK | stuck)
    assert text.getvalue().count("The network has not started to learn") == 1


def test_where_a_number_stopped_being_one() -> None:
    torch.manual_seed(0)
    network = VGG(recipe.read("digits").override(width=0.0625, hidden=8, architecture="vgg11").network(10))
    images = torch.randn(2, 1, 32, 32)

    def place() -> str:
        return diagnostics.first_nonfinite(network, network.walk(images), images)

    assert place() == "the loss, of logits that are finite"
    with torch.no_grad():
        network.get_parameter("fc7.bias")[3] = math.inf
        assert place() == "fc7's bias"
        network.get_parameter("conv3_1.weight")[0] = 3e38
        assert place() == "the output of conv3_1"
        images[0] = math.nan
        assert place() == "the input"


def test_dead_channels_are_counted() -> None:
    torch.manual_seed(0)
    network = VGG(recipe.read("digits").override(width=0.0625, hidden=8, architecture="vgg11").network(10)).eval()
    with torch.no_grad():
        network.get_parameter("conv1_1.bias")[1] = -1e6  # one of four
        network.get_parameter("fc6.bias")[:] = -1e6
        network.get_parameter("fc7.bias")[:] = 1.0
    dead = diagnostics.dead_channels(network.walk(torch.randn(5, 1, 32, 32)))
    assert dead["relu1_1"] == 0.25
    assert dead["relu6"] == 1.0
    assert "relu7" not in dead
    said = diagnostics.dead_relu_warning(dead)
    assert "dead ReLUs, zero on all images that were looked at: " in said
    assert "relu6 100% of the channels" in said
    assert "relu1_1" not in said
    assert diagnostics.dead_relu_warning({"relu1_1": 0.79}) == ""
    assert diagnostics.dead_relu_warning({"relu1_1": 0.8})


def test_waiting_for_data_is_said() -> None:
    assert diagnostics.data_wait_warning(0.24) == ""
    assert diagnostics.data_wait_warning(0.4).startswith(
        "40% of the time the steps waited for data. What helps: more --workers"
    )


def test_hopeless_first_logits_are_named() -> None:
    wrong, _ = trainer(architecture="E", initialisation="paper", width=0.5, hidden=256)
    images, _ = next(iter(wrong.feed.training(0, 0)))
    assert diagnostics.initialisation_warning(wrong.network, images, "paper").startswith("the first logits reach")
    fine, _ = trainer()
    assert diagnostics.initialisation_warning(fine.network, images, "glorot") == ""
    assert not fine.network.get_buffer("bn1_1.running_mean").any()  # looking changed nothing
