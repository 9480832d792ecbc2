"""Masters and working copies, the moving average, uneven classes, the forecast of memory."""

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vgglass.architecture import Architecture
from vgglass.data import dataset, sources
from vgglass.errors import TrainingError
from vgglass.model import VGG
from vgglass.training import memory
from vgglass.training.memory import Forecast
from vgglass.training.precision import Weights
from vgglass.training.recipe import Recipe

SMALL = Architecture.named("vgg11_bn", classes=3, channels=1, image_size=32, width=0.0625, hidden=8)
CPU = torch.device("cpu")


def network() -> VGG:
    torch.manual_seed(0)
    return VGG(SMALL)


def test_small_updates_do_not_vanish_in_bfloat16() -> None:
    """1 + 1e-3 is 1 in bfloat16; a hundred such steps are 1.1 in float32 masters, and the copies follow."""
    half = Weights(network(), "bfloat16", decay=0)
    master, copy = half.masters["conv2_1.weight"], half.network.get_parameter("conv2_1.weight")
    assert (master.dtype, copy.dtype) == (torch.float32, torch.bfloat16)
    assert half.network.get_parameter("bn1_1.weight").dtype == torch.float32
    with torch.no_grad():
        master.fill_(1.0)
        half.sync_model()
        for _ in range(100):
            master.add_(1e-3)
            half.sync_model()
    assert torch.allclose(master, torch.tensor(1.1))
    assert torch.equal(copy, torch.full_like(copy, 1.1))
    assert torch.ones((), dtype=torch.bfloat16) + 1e-3 == 1


def test_gradients_of_the_copies_add_up_in_the_masters() -> None:
    half = Weights(network(), "bfloat16", decay=0)
    master, copy = half.masters["fc8.weight"], half.network.get_parameter("fc8.weight")
    for value in (1.0, 2**-9):  # the sum has more bits than bfloat16
        copy.grad = torch.full_like(copy, value)
        half.accumulate_gradients()
        assert copy.grad is None
    assert master.grad is not None
    assert torch.equal(master.grad, torch.full_like(master, 1 + 2**-9))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_state_and_load_are_inverse(precision: str) -> None:
    first, second = Weights(network(), precision, 0), Weights(VGG(SMALL), precision, 0)
    second.load({name: value.clone() for name, value in first.state().items()})
    images = torch.randn(2, 1, 32, 32, dtype=first.dtype)
    assert torch.equal(first.network.eval()(images), second.network.eval()(images))
    assert all(torch.equal(value, second.state()[name]) for name, value in first.state().items())


def test_the_average_by_hand() -> None:
    """Decays (1 + n) / (10 + n) until 0.3 is reached: 0.1, 2/11, 0.25, 4/13 > 0.3."""
    one = Weights(network(), "float32", decay=0.3)
    master, buffer = one.masters["fc8.bias"], one.network.get_buffer("bn1_1.running_mean")
    expected = 0.0
    for step, decay in enumerate([0.1, 2 / 11, 0.25, 0.3, 0.3]):
        with torch.no_grad():
            master.fill_(step + 1.0)
            buffer.fill_(step + 1.0)
        one.update_ema(step)
        expected = decay * expected + (1 - decay) * (step + 1)
    assert torch.allclose(one.average["fc8.bias"], torch.tensor(expected))
    assert torch.allclose(one.average["bn1_1.running_mean"], torch.tensor(expected))
    with one.evaluation_weights():
        assert torch.allclose(master, torch.tensor(expected))
    assert torch.equal(master, torch.full_like(master, 5.0))
    assert torch.allclose(one.as_network().get_parameter("fc8.bias"), torch.tensor(expected))
    assert one.as_network().get_buffer("bn1_1.num_batches_tracked") == 0


def test_the_saved_network_has_the_masters_digits() -> None:
    half = Weights(network(), "bfloat16", decay=0)
    saved = half.as_network()
    assert torch.equal(saved.get_parameter("conv1_1.weight"), half.masters["conv1_1.weight"])
    assert saved.get_parameter("conv1_1.weight").dtype == torch.float32


def test_lrn_computes_in_bfloat16_too() -> None:
    """torch has no kernel for it on the CPU."""
    plan = Recipe(architecture="A-LRN", channels=1, image_size=32, width=0.0625, hidden=(8, 8), dropout=0)
    torch.manual_seed(0)
    full = VGG(plan.network(3))
    images = torch.randn(2, 1, 32, 32)
    expected = full.get_submodule("norm1")(images)
    half = Weights(full, "bfloat16", decay=0).network
    found = half.get_submodule("norm1")(images.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().max() <= 2**-6 * expected.abs().max()
    half(images.bfloat16()).sum().backward()


def test_effective_numbers_by_hand() -> None:
    worth = dataset.effective_numbers(np.array([1, 2, 1000]))
    assert worth == pytest.approx([1.0, 1 + 0.999, (1 - 0.999**1000) / 0.001])
    class_weights = dataset.class_weights(np.array([1, 2, 1000]))
    assert class_weights * worth == pytest.approx(np.full(3, class_weights[0]))
    assert (class_weights * [1, 2, 1000]).sum() / 1003 == pytest.approx(1)


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=20))
def test_fewer_images_never_weigh_less(images: list[int]) -> None:
    found = dataset.class_weights(np.array(sorted(images)))
    assert all(one >= two - 1e-12 for one, two in itertools.pairwise(found))


def test_the_sampler_draws_every_class_as_often() -> None:
    samples = sources.digits().split("train")[:100]
    images = dataset.class_counts(samples, 10)
    shares = dataset.sample_weights(samples, images)
    labels = np.array([sample.label for sample in samples])
    assert [shares[labels == label].sum() for label in range(10)] == pytest.approx([0.1] * 10)


def test_uneven_classes_are_shown() -> None:
    names = ("ants", "bees", "wasps")
    assert dataset.balance_line(np.array([10, 25, 29]), names, "none") == ""
    said = dataset.balance_line(np.array([10, 5000, 31]), names, "none")
    assert said.startswith("uneven classes: from ants 10 (worth 10), wasps 31 (worth 31), bees 5,000 (worth 993) to")
    assert said.endswith("nothing makes up for it; --set balance=weights or balance=sampler would")
    assert dataset.balance_line(np.array([10, 25, 29]), names, "sampler") == ""
    assert dataset.balance_line(np.array([10, 25, 31]), names, "sampler").endswith("each class is drawn equally often")


def test_forecast_by_hand() -> None:
    """VGG-16 at 224: 138 million parameters four times over; the activations of 13 convolutions, ReLUs and pools."""
    architecture = Architecture.named("vgg16")
    plan = Recipe(architecture="vgg16", hidden=(4096, 4096), image_size=224)
    found = memory.forecast(plan, architecture, 16, "float32", CPU)
    assert found.fixed == 3 * 4 * 138_357_544
    assert found.images == 16
    factors = {"relu": 1, "dropout": 1, "maxpool": 3}  # a pool's output and, twice as wide, its places
    numbers = sum(math.prod(layer.output_shape) * factors.get(layer.kind, 0) for layer in architecture.layers())
    assert found.per_image == round(4 * numbers * 1.4)
    half = memory.forecast(plan.override(ema=0.9, accumulate=4), architecture, 16, "bfloat16", CPU)
    assert half.fixed == (4 + 2 + 4 + 4 + 2 + 4) * 138_357_544
    assert half.images == 4
    head = memory.forecast(plan.override(train="head"), architecture, 16, "float32", CPU)
    assert head.fixed == 4 * 138_357_544 + 8 * 123_642_856
    assert head.per_image < found.per_image / 500


def test_too_little_memory_names_what_would_fit() -> None:
    assert Forecast(1000, 100, 10, 2000).require() is None  # type: ignore[func-returns-value]
    assert Forecast(1000, 100, 10, 2000).largest == 10
    with pytest.raises(TrainingError, match=r"for 20 images at once; 2\.0 kB are free, in which 10 would fit: that is"):
        Forecast(1000, 100, 20, 2000).require()
    with pytest.raises(TrainingError, match="--batch-size 10, or --set accumulate=2"):
        Forecast(1000, 100, 20, 2000).require()
    with pytest.raises(TrainingError, match="a narrower network"):
        Forecast(3000, 100, 20, 2000).require()


def test_parts_are_counted_on() -> None:
    """20 images at once are a step of 80 in four parts; 10 at once are eight parts, or a step of 40."""
    with pytest.raises(TrainingError, match="--batch-size 40, or --set accumulate=8"):
        Forecast(1000, 100, 20, 2000, parts=4).require()


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that it has read give way to what asks for memory."""
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory._free(CPU) > 5000
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("4000\n")
    assert memory._free(CPU) == 1000
    (tmp_path / "memory.stat").write_text("anon 900\nactive_file 1000\ninactive_file 2000\n")
    assert memory._free(CPU) == 4000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._free(CPU) > 5000


PEAK = """
import re, sys, torch
from pathlib import Path
from vgglass.architecture import Architecture
from vgglass.model import VGG
from vgglass.training import memory
from vgglass.training.recipe import Recipe
plan = Recipe(architecture="vgg16_bn", image_size=160, width=0.5, momentum=0.9)
architecture = plan.network(10)
def peak():  # not ru_maxrss, which a process inherits from the one that started it
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
network = VGG(architecture).to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, fused=True)
for _ in range(2):
    network(torch.randn(16, 3, 160, 160).to(memory_format=torch.channels_last)).sum().backward()
    optimizer.step()
forecast = memory.forecast(plan, architecture, 16, "float32", torch.device("cpu"))
print(forecast.total / (peak() - before))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_forecast_is_near_the_measured_peak() -> None:
    printed = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout
    assert 0.67 < float(printed) < 1.5
