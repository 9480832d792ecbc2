"""ReLU beside tanh and sigmoid: what they do to numbers, and what is left of the gradient at the bottom."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from vgglass.glass import nonlinearities
from vgglass.glass.nonlinearities import Depth, Response


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
    assert all(0 < row.nanoseconds < 100 for row in (relu, tanh, sigmoid))


def response(name: str, *rounds: float, doubling: float = 0.0) -> Response:
    return Response(name, np.zeros(1, np.float32), 0.5, rounds, 1.0, doubling)


def test_a_ratio_of_costs_where_the_rounds_agree() -> None:
    relu, tanh = response("relu", 0.2, 0.25, 0.3), response("tanh", 0.6, 0.7, 0.9)
    assert (relu.nanoseconds, tanh.nanoseconds) == (0.2, 0.6)
    assert tanh.times(relu) == pytest.approx(3)  # of 3, 2.8 and 3 times
    assert response("tanh", 0.6, 0.7, 1.2).times(relu) is None  # 3, 2.8 and 4 times
    assert relu.times(relu) == 1


def test_verdicts_say_what_the_figures_say() -> None:
    costs = [response("relu", 1, 1), response("tanh", 2, 2, doubling=0.4), response("sigmoid", 3, 3, doubling=0.5)]
    learned, guess = (2.3,) * 4 + (1.0,) * 5, (2.3,) * 9
    deep = [Depth("E", name, ("conv1_1",), (1.0,), losses, zeros) for name, losses, zeros in
            (("relu", learned, 0.5), ("tanh", learned, 0.0), ("sigmoid", guess, 0.0))]  # fmt: skip
    assert nonlinearities.verdicts(costs, deep) == (True, True, True, True)
    slow = [response("relu", 1.9, 1.9), *costs[1:]]
    assert nonlinearities.verdicts(slow, deep)[0] is False  # 1.05 times is no more than noise
    busy = [response("relu", 1, 3), *costs[1:]]
    assert nonlinearities.verdicts(busy, deep)[0] is None
    worse = [replace(deep[0], losses=guess, zeros=0.0), *deep[1:]]
    assert nonlinearities.verdicts(costs, worse) == (True, False, True, False)
    assert not nonlinearities.verdicts([response("relu", 1, 1, doubling=0.4), *costs[1:]], deep)[2]


def test_measuring_uses_one_thread_and_gives_the_others_back() -> None:
    before = torch.get_num_threads()
    with nonlinearities._one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


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
