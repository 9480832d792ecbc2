"""The parts of shrinking: what is removed, what a channel is worth, what a layer costs, how the rest is fitted anew."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sizes import sized
from vgglass.architecture import COLUMNS, Architecture, Layer
from vgglass.errors import UsageError
from vgglass.model import VGG
from vgglass.shrinking import costs, reconstruction
from vgglass.shrinking.channels import Indices, composed, narrowed, removable, removed, widths, with_widths
from vgglass.shrinking.costs import Milliseconds, measured, multiply_adds
from vgglass.shrinking.distillation import distance
from vgglass.shrinking.importance import taylor
from vgglass.shrinking.rounds import Goal
from vgglass.shrinking.selection import group_of, groups_of, least_widths, select, select_as_quick


def tiny(name: str = "A", **options: object) -> Architecture:
    given = {"classes": 3, "channels": 1, "image_size": 32, "width": 1 / 16, "hidden": 8} | options
    return Architecture.named(name, **given)  # type: ignore[arg-type]


def network(architecture: Architecture, seed: int = 0) -> VGG:
    """Random weights, biases and batch norms, in evaluation mode."""
    torch.manual_seed(seed)
    made = VGG(architecture, "he")
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                value.normal_(0, 0.1)
            elif "bn" in name and value.is_floating_point():
                value.uniform_(0.5, 1.5)
    return made.eval()


def images(architecture: Architecture, count: int = 2, seed: int = 1) -> torch.Tensor:
    shape = (count, architecture.channels, architecture.image_size, architecture.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def masked(parent: VGG, kept: dict[str, Indices], x: torch.Tensor) -> torch.Tensor:
    """The parent's logits with the activations of the channels that went set to zero."""
    relus = {name.replace("conv", "relu").replace("fc", "relu"): channels for name, channels in kept.items()}

    def edit(layer: Layer, output: torch.Tensor) -> torch.Tensor:
        channels = relus.get(layer.name)
        if channels is None:
            return output
        mask = torch.zeros(output.shape[1])
        mask[torch.from_numpy(channels)] = 1
        return output * mask.view(1, -1, *[1] * (output.ndim - 2))

    return next(step.input for step in parent.walk(x, edit) if step.kind == "softmax")


@st.composite
def narrowings(draw: st.DrawFn) -> tuple[Architecture, dict[str, Indices]]:
    """A network without LRN, which mixes channels, and some channels of each of its layers."""
    name = draw(st.sampled_from([column for column in COLUMNS if column != "A-LRN"])) + draw(
        st.sampled_from(["", "_bn"])
    )
    architecture = tiny(name, head=draw(st.sampled_from(["vgg", "pooled"])), image_size=draw(st.sampled_from([32, 64])))
    kept = {}
    for layer, count in widths(architecture).items():
        chosen = draw(st.sets(st.integers(0, count - 1), min_size=1))
        kept[layer] = np.array(sorted(chosen), np.intp)
    return architecture, kept


@settings(max_examples=sized(15, 300))
@given(narrowings())
def test_a_narrowed_network_computes_its_parent_without_those_channels(
    made: tuple[Architecture, dict[str, Indices]],
) -> None:
    architecture, kept = made
    parent = network(architecture)
    child = VGG.from_weights(*narrowed(architecture, parent.weights(), kept))
    x = images(architecture)
    assert torch.allclose(child(x), masked(parent, kept, x), atol=1e-4, rtol=1e-4)


def test_nothing_removed_is_the_parent() -> None:
    architecture = tiny("vgg16_bn")
    parent, x = network(architecture), images(architecture)
    assert torch.equal(VGG.from_weights(*narrowed(architecture, parent.weights(), {}))(x), parent(x))


def test_dead_channels_may_go() -> None:
    architecture = tiny("B")
    parent, x = network(architecture), images(architecture)
    dead = {"conv2_1": [1, 5], "conv4_2": [0], "conv5_2": [7, 31], "fc6": [2]}
    with torch.no_grad():
        for name, channels in dead.items():
            layer = parent.get_submodule(name)
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            layer.weight[channels] = 0
            layer.bias[channels] = -1  # type: ignore[index]
    kept = {name: np.setdiff1d(np.arange(count), dead.get(name, [])) for name, count in widths(architecture).items()}
    child = VGG.from_weights(*narrowed(architecture, parent.weights(), kept))
    assert torch.allclose(child(x), parent(x), atol=1e-6)
    assert removed(widths(architecture), kept) == dead


def test_what_is_kept_by_two_removals() -> None:
    first, second = {"a": np.array([0, 2, 3, 7]), "b": np.array([1])}, {"a": np.array([1, 3])}
    found = composed(first, second)
    assert (found["a"].tolist(), found["b"].tolist()) == ([2, 7], [1])


def test_a_factored_head_keeps_its_units() -> None:
    assert "fc6" in removable(tiny())
    assert "fc6" not in removable(tiny(ranks=(2, 0)))
    assert removable(tiny(head="pooled"))[-1] == "conv5_2"


def test_importance_is_the_change_of_the_loss() -> None:
    """Against finite differences in float64: a channel scaled by 1 + e changes the loss by e activation x gradient."""
    architecture = tiny("A")
    net = network(architecture).double()
    x, labels = images(architecture, 3).double(), torch.tensor([0, 2, 1])
    found = taylor(net, [(x[:2], labels[:2]), (x[2:], labels[2:])])
    assert set(found) == set(removable(architecture))

    def loss(name: str, channel: int, scale: float) -> torch.Tensor:
        def edit(layer: Layer, output: torch.Tensor) -> torch.Tensor:
            if layer.name != name.replace("conv", "relu").replace("fc", "relu"):
                return output
            factors = torch.ones(output.shape[1]).double()
            factors[channel] = scale
            return output * factors.view(1, -1, *[1] * (output.ndim - 2))

        logits = next(step.input for step in net.walk(x, edit) if step.kind == "softmax")
        return F.cross_entropy(logits, labels, reduction="none").detach()

    for name in ("conv1_1", "conv3_2", "fc7"):
        counted = range(architecture.layer(name).output_shape[0])
        changes = [float((loss(name, c, 1 + 1e-6) - loss(name, c, 1 - 1e-6)).abs().sum()) for c in counted]
        assert found[name] == pytest.approx(np.array(changes) / np.linalg.norm(changes), rel=1e-3, abs=1e-6)
    assert all(parameter.requires_grad for parameter in net.parameters())


# What goes.

ONE = {"a": 1, "b": 1}


def test_the_group_of_the_least_share_for_its_cost_goes_first() -> None:
    importance = {"a": np.array([4.0, 1.0, 3.0, 2.0]), "b": np.array([5.0, 5.0, 5.0, 5.0])}
    kept = select(importance, lambda counts: 10.0 * counts["a"] + 10.0 * counts["b"], 60, ONE, ONE)
    assert kept is not None
    # shares: a loses 1 of 10, then 2 of 9; b 5 of 20
    assert (kept["a"].tolist(), kept["b"].tolist()) == ([0, 2], [0, 1, 2, 3])
    dear = select(importance, lambda counts: 10.0 * counts["a"] + 100.0 * counts["b"], 340, ONE, ONE)
    assert dear is not None
    assert (len(dear["a"]), len(dear["b"])) == (4, 3)  # a quarter of b saves ten times as much


def test_no_network_is_narrower_than_the_least() -> None:
    importance = {"a": np.ones(4)}
    assert select(importance, lambda counts: float(counts["a"]), 0.5, ONE, ONE) is None
    kept = select(importance, lambda counts: float(counts["a"]), 1, ONE, ONE)
    assert kept is not None
    assert len(kept["a"]) == 1


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_the_widest_network_that_measures_as_quick(factor: float) -> None:
    """Planned at 25 of 100; measured, a network takes `factor` of its plan and 2 more."""
    importance, least = {"a": np.arange(1.0, 101)}, {"a": 1}
    measured: list[int] = []

    def quickness(counts: Mapping[str, int]) -> float:
        measured.append(counts["a"])
        return 25 / (factor * counts["a"] + 2)

    kept = select_as_quick(importance, lambda counts: float(counts["a"]), 25, ONE, least, quickness)
    assert kept is not None
    assert 1 <= quickness({"a": len(kept["a"])}) <= 1.05
    assert len(measured) <= 5


def test_where_none_is_just_as_quick_the_nearest_that_is_quick_enough() -> None:
    """Half of the channels or all: 4 take 1.5 times what is wanted, 2 take 0.75 of it."""
    kept = select_as_quick(
        {"a": np.arange(1.0, 5)}, lambda counts: float(counts["a"]), 3, {"a": 2}, {"a": 2},
        lambda counts: {4: 0.67, 2: 1.33}[counts["a"]],
    )  # fmt: skip
    assert kept is not None
    assert len(kept["a"]) == 2
    one = {"a": np.ones(4)}
    assert select_as_quick(one, lambda counts: float(counts["a"]), 0.5, ONE, ONE, lambda counts: 1.0) is None


def test_wide_layers_lose_whole_groups() -> None:
    assert (group_of(512, 16), group_of(64, 16), group_of(63, 16), group_of(7, 16)) == (16, 16, 7, 1)
    assert groups_of({"wide": 512, "narrow": 8}, 16) == {"wide": 16, "narrow": 1}
    assert least_widths({"wide": 512, "middle": 128, "narrow": 8}, 16) == {"wide": 32, "middle": 16, "narrow": 1}
    kept = select({"a": np.arange(1.0, 71)}, lambda counts: float(counts["a"]), 60, {"a": 16}, {"a": 16})
    assert kept is not None
    assert len(kept["a"]) == 48  # of 70 first the 6 that fill no group, then one
    assert kept["a"][0] == 22


# What it costs.


def test_the_time_of_layers_is_found_from_some_networks() -> None:
    architecture = Architecture.named("A", classes=10, head="pooled", image_size=32, width=0.5)

    def times(network: Architecture) -> dict[str, float]:
        return {
            layer.name: 0.5 + 0.01 * layer.input_shape[0] + 0.002 * layer.input_shape[0] * layer.output_shape[0]
            for layer in network.layers()
            if layer.kind in ("conv", "linear")
        }

    done: list[int] = []
    found = measured(architecture, times, 16, done.append)
    assert sum(done) == len(costs.SHARES)
    narrow = {name: count // 2 + 3 for name, count in widths(architecture).items()}
    expected = sum(times(with_widths(architecture, narrow)).values())
    assert found(narrow) == pytest.approx(expected, rel=1e-3)
    assert Milliseconds(architecture, found.coefficients)(widths(architecture)) == pytest.approx(
        sum(times(architecture).values()), rel=1e-3
    )


def test_a_layer_that_the_clock_does_not_see_is_quick_and_no_division_by_zero() -> None:
    architecture = tiny()
    names = [layer.name for layer in architecture.layers() if layer.kind in ("conv", "linear")]
    found = measured(architecture, lambda network: dict.fromkeys(names, 0.0), 16, lambda count: None)
    assert found(widths(architecture)) == pytest.approx(len(names) * costs.LEAST, rel=0.2)


def test_multiply_adds_of_widths() -> None:
    architecture = tiny()
    assert multiply_adds(architecture, widths(architecture)) == architecture.multiply_adds
    fewer = dict.fromkeys(widths(architecture), 1)
    assert multiply_adds(architecture, fewer) < architecture.multiply_adds / 4


# What is left is fitted anew.


def with_one(inputs: Tensor) -> Tensor:
    return torch.cat([inputs, torch.ones(len(inputs), 1)], 1)


def test_a_layer_is_fitted_to_what_a_relu_lets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstruction, "RIDGE", 1e-3)  # six inputs are not three thousand
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, 6, generator=generator)
    right = nn.Linear(6, 4)
    outputs = right(inputs).detach()
    layer = nn.Linear(6, 4)
    one, zero = torch.ones(4), torch.zeros(4)
    missed = reconstruction.fit(layer, with_one(inputs), outputs, one, zero)
    assert missed < 5e-3  # the ridge holds it back by a little
    # Garbage where the output is negative: to a ReLU it is all the same.
    spoilt = torch.where(outputs < 0, outputs * 50, outputs)
    other = nn.Linear(6, 4)
    missed = reconstruction.fit(other, with_one(inputs), spoilt, one, zero)
    plain = torch.linalg.lstsq(with_one(inputs), spoilt).solution
    by_squares = F.relu(with_one(inputs) @ plain) - F.relu(spoilt)
    least_squares = float(by_squares.square().sum() / F.relu(spoilt).square().sum())
    assert missed < least_squares / 2


def test_a_batch_norm_after_the_layer_is_taken_into_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstruction, "RIDGE", 1e-3)
    generator = torch.Generator().manual_seed(0)
    inputs, right = torch.randn(400, 6, generator=generator), nn.Linear(6, 4)
    outputs, layer = right(inputs).detach(), nn.Linear(6, 4)
    scale, shift = torch.tensor([2.0, -0.5, 1.0, 0.1]), torch.tensor([0.3, -0.2, 0.0, 1.0])
    missed = reconstruction.fit(layer, with_one(inputs), outputs, scale, shift)
    wanted = F.relu(outputs * scale + shift)
    left = F.relu(layer(inputs).detach() * scale + shift) - wanted
    assert missed == pytest.approx(float(left.square().sum() / wanted.square().sum()), rel=1e-3)
    assert missed < 5e-3


@given(st.floats(-3, 3), st.floats(0, 3), st.sampled_from([0.01, 0.1, 1.0]))
def test_the_nearest_output_is_the_best(found: float, passed: float, penalty: float) -> None:
    z = float(reconstruction._nearest(torch.tensor([found]), torch.tensor([passed]), penalty))
    grid = torch.linspace(-4, 4, 4001)
    loss = (F.relu(grid) - passed).square() + penalty * (grid - found).square()
    assert (max(z, 0) - passed) ** 2 + penalty * (z - found) ** 2 <= float(loss.min()) + 1e-5


def test_few_rows_and_many_give_the_same_fit() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 30, generator=generator), torch.randn(20, 2, generator=generator)
    wide = reconstruction._solver(x, 0.5)(y)
    direct = torch.linalg.solve(x.T @ x + 0.5 * torch.eye(30), x.T @ y)
    assert torch.allclose(wide, direct, atol=1e-4)
    tall = reconstruction._solver(x.repeat(2, 1), 0.5)(y.repeat(2, 1))
    assert torch.allclose(tall, torch.linalg.solve(2 * x.T @ x + 0.5 * torch.eye(30), 2 * x.T @ y), atol=1e-4)


@pytest.mark.parametrize("name", ["vgg11_bn", "C"])
@torch.no_grad()
def test_a_network_is_fitted_back_where_a_channel_was_double(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a channel's weights lie on its double: without it, the next layer must be fitted to get them back."""
    monkeypatch.setattr(reconstruction, "ROWS", 1536)
    architecture = tiny(name)
    parent, x = network(architecture), images(architecture, 24)
    kept = {layer: np.arange(count) for layer, count in widths(architecture).items()}
    for layer in ("conv3_1", "conv4_1"):
        for tensor, value in parent.state_dict().items():
            if tensor.startswith((f"{layer}.", f"{layer.replace('conv', 'bn')}.")) and value.ndim:
                value[1] = value[0]
        kept[layer] = kept[layer][kept[layer] != 1]
    child = VGG.from_weights(*narrowed(architecture, parent.weights(), kept))
    before = float((child(x) - parent(x)).square().mean())
    wanted = reconstruction.targets(parent, x, 0, lambda count: None)
    done: list[int] = []
    missed = reconstruction.refit(child, x, wanted, kept, done.append)
    after = float((child(x) - parent(x)).square().mean())
    assert after < before / 20
    assert set(missed) == set(removable(architecture))
    assert len(done) == len(missed)


def test_the_patches_of_a_convolution_are_its_inputs() -> None:
    layer = tiny("C").layer("conv3_1")
    module, x = nn.Conv2d(8, 16, 3, padding=1), torch.randn(2, 8, 8, 8)
    places = torch.tensor([[0, 9, 63], [7, 30, 31]])
    assert module.bias is not None
    found = reconstruction._patches(x, places, layer) @ module.weight.flatten(1).T + module.bias
    assert torch.allclose(found, reconstruction._at(module(x), places), atol=1e-5)


def test_images_to_fit_to_are_bounded_by_memory() -> None:
    counts = reconstruction.image_counts(Architecture.named("vgg16"), 600)
    names = ("conv1_2", "conv2_1", "conv3_1", "conv4_1", "conv5_3", "fc6")
    blocks = [(400 << 20) // (4 * channels * side**2) for channels, side in ((64, 112), (128, 56), (256, 28))]
    assert [counts[name] for name in names] == [600, *blocks, 600, 600]
    assert set(reconstruction.image_counts(tiny(), 50).values()) == {50}


@torch.no_grad()
def test_blocks_with_other_numbers_of_images_are_fitted_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer images in one block, more in the next: those begin at the image again."""
    monkeypatch.setattr(reconstruction, "ROWS", 1536)
    architecture = tiny("C")
    parent, x = network(architecture), images(architecture, 40)
    kept = {layer: np.arange(count) for layer, count in widths(architecture).items()}
    monkeypatch.setattr(reconstruction, "MEMORY", 4 * 20 * 4 * 16 * 16)  # of 4 channels after pool1: 20 images
    counts = reconstruction.image_counts(architecture, 40)
    assert sorted(set(counts.values())) != [40]
    wanted = reconstruction.targets(parent, x, 0, lambda count: None)
    assert {name: len(places) for name, places in wanted.places.items()} == counts
    child = VGG.from_weights(*narrowed(architecture, parent.weights(), kept))
    missed = reconstruction.refit(child, x.half(), wanted, kept, lambda count: None)
    assert max(missed.values()) < 1e-4  # nothing was removed, and every row stands beside its own


# How far a child is from its parent.


def test_the_distance_of_a_child_from_its_parent() -> None:
    pool5, logits = torch.tensor([[1.0, 3.0]])[..., None, None], torch.tensor([[2.0, 0.0]])
    assert float(distance(pool5, pool5, logits, logits)) == 0
    # features: (1 + 4) / (1 + 9); probabilities at temperature 2: p = sigmoid(1), q = 1/2
    found = distance(torch.tensor([[2.0, 1.0]])[..., None, None], pool5, torch.zeros(1, 2), logits)
    p = 1 / (1 + math.exp(-1))
    soft = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    assert float(found) == pytest.approx(0.5 + 4 * soft, rel=1e-5)


# What is asked for.


def test_the_rounds_of_a_goal() -> None:
    assert Goal(speed=4).ratios() == pytest.approx([2, 4])
    assert Goal(multiply_adds=0.5).ratios() == pytest.approx([2])
    assert Goal(speed=1).ratios() == [1]
    assert Goal(largest_loss=1).ratios()[:2] == pytest.approx([1.4, 1.96])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 4, "multiply_adds": 0.25}, "--speed, --multiply-adds, --largest-loss: say the same in three ways"),
        ({}, "name one"),
        ({"speed": 0.5}, r"--speed 0.5: says how many times as quick: 1 or more; take, say, 4"),
        ({"speed": math.nan}, "--speed nan"),
        ({"speed": math.inf}, "--speed inf"),
        ({"multiply_adds": 1.5}, r"--multiply-adds 1.5: is a share of the parent's; take, say, 0.25"),
        ({"multiply_adds": 0}, "--multiply-adds 0"),
        ({"largest_loss": -1}, r"--largest-loss -1: is in points of top-1; take, say, 1.0"),
    ],
)
def test_a_goal_that_makes_no_sense(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Goal(**options)
