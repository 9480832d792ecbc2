"""ReLU beside tanh and sigmoid: what they do to numbers, and what is left of the gradient at the bottom."""

import math

import numpy as np
import pytest
import torch

from vgglass.glass import nonlinearities
from vgglass.glass.nonlinearities import Depth


def test_responses_by_hand() -> None:
    relu, tanh, sigmoid = nonlinearities.respond(torch.tensor([[-2.0, 0.0], [1.0, 3.0]]))
    assert relu.output.tolist() == [[0, 0], [1, 3]]
    assert tanh.output == pytest.approx(np.tanh([[-2, 0], [1, 3]]), abs=1e-6)
    assert sigmoid.output[0, 1] == 0.5
    assert (relu.zeros, tanh.zeros, sigmoid.zeros) == (0.5, 0.25, 0)
    assert relu.slope == 1
    assert tanh.slope == pytest.approx(1 - math.tanh(3) ** 2, rel=1e-5)
    share = 1 / (1 + math.exp(-3))
    assert sigmoid.slope == pytest.approx(share * (1 - share), rel=1e-5)
    assert relu.doubling == 0
    assert tanh.doubling == pytest.approx(abs(math.tanh(6) - 2 * math.tanh(3)) / math.tanh(3), rel=1e-5)
    assert all(row.nanoseconds > 0 for row in (relu, tanh, sigmoid))


def test_what_is_left_of_a_gradient() -> None:
    found = Depth("A", "relu", ("conv1_1", "fc8"), (0.5, 2.0), (2.3,) * 4 + (1.0,) * 5, 0.4)
    assert found.reach == 0.25
    assert found.learned
    assert not Depth("A", "relu", ("conv1_1",), (0.0,), (2.3,), 0.0).learned
    assert Depth("A", "relu", ("conv1_1", "fc8"), (1.0, 0.0), (2.3,), 0.0).reach == 0


@pytest.mark.parametrize(("name", "gain"), [("relu", 2**0.5), ("tanh", 5 / 3), ("sigmoid", 1.0)])
def test_every_function_starts_with_its_own_gain(name: str, gain: float) -> None:
    torch.manual_seed(0)
    _, weights = nonlinearities._network("E", name)
    weight = weights["conv5_2"].detach()
    assert float(weight.std()) == pytest.approx(gain / (weight[0].numel()) ** 0.5, rel=0.03)


def test_measuring_leaves_the_callers_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    nonlinearities.depth("A", "relu", 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_sigmoid_loses_the_gradient_on_the_way_down() -> None:
    relu, tanh, sigmoid = (nonlinearities.depth("A", name, 2) for name in nonlinearities.FUNCTIONS)
    assert relu.layers == tanh.layers
    assert len(relu.layers) == len(relu.gradients) == 11
    assert len(relu.losses) == 2
    assert 0.05 < relu.reach < 20
    assert 0.05 < tanh.reach < 20
    assert sigmoid.reach < 1e-5
    assert 0.2 < relu.zeros < 0.8
    assert tanh.zeros == sigmoid.zeros == 0
    assert nonlinearities.depth("A", "relu", 2) == relu
