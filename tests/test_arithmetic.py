"""What a run multiplies in, and how: as asked for, or as measured."""

from pathlib import Path

import pytest
import torch

from vgglass.architecture import Architecture
from vgglass.engines import selection
from vgglass.errors import UsageError
from vgglass.training import arithmetic
from vgglass.training.arithmetic import choose
from vgglass.training.recipe import Recipe

CPU, GPU = torch.device("cpu"), torch.device("cuda")
PLAN = Recipe(architecture="vgg16", image_size=224)
LARGE = Architecture.named("vgg16", classes=2, image_size=224)
SMALL = Architecture.named("vgg16", classes=2, image_size=32, width=0.25)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[torch.dtype, str], float]:
    """What a measurement finds, for a test to change."""
    found = {(torch.float32, "direct"): 1.0, (torch.float32, "winograd"): 0.5, (torch.bfloat16, "direct"): 0.2}
    monkeypatch.setattr(arithmetic, "_seconds", lambda precision, way: found[precision, way])
    monkeypatch.setattr(selection, "remembered", lambda what, measure: measure())
    monkeypatch.setattr(selection, "measurements", lambda: Path("here"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    return found


def kept(precision: str, convolution: str) -> str:
    fixed = f"--set precision={precision} --set convolution={convolution}"
    return f"\nmeasured once on this machine and kept in here; the same anywhere: {fixed}"


def test_the_faster_of_three_ways(seconds: dict[tuple[torch.dtype, str], float]) -> None:
    assert choose(PLAN, LARGE, 16, CPU) == (
        "bfloat16", "direct",
        "precision: bfloat16 (measured 2.5 times as fast as float32 here)\n"
        "convolution: direct (bfloat16 is faster still)" + kept("bfloat16", "direct"),
    )  # fmt: skip
    seconds[torch.bfloat16, "direct"] = 0.45
    assert choose(PLAN, LARGE, 16, CPU) == (
        "float32", "winograd",
        "precision: float32 (bfloat16 measured 1.1 times as fast here)\n"
        "convolution: winograd (measured 2.0 times as fast as direct here)" + kept("float32", "winograd"),
    )  # fmt: skip
    seconds[torch.float32, "winograd"] = 0.9
    assert choose(PLAN, LARGE, 16, CPU) == (
        "bfloat16", "direct",
        "precision: bfloat16 (measured 2.2 times as fast as float32 here)\n"
        "convolution: direct (winograd measured 1.1 times as fast here)" + kept("bfloat16", "direct"),
    )  # fmt: skip


def test_the_first_measurement_is_the_one_that_counts(
    seconds: dict[tuple[torch.dtype, str], float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path))
    monkeypatch.setattr(arithmetic, "_seconds", lambda precision, way: seconds[precision, way])
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    first = choose(PLAN, LARGE, 16, CPU)
    assert first[0] == "bfloat16"
    assert str(tmp_path) in first[2]
    seconds[torch.bfloat16, "direct"] = 9.0  # a busy moment
    assert choose(PLAN, LARGE, 16, CPU) == first
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert choose(PLAN, LARGE, 16, CPU)[:2] == ("float32", "winograd")
    monkeypatch.undo()


def test_a_cpu_without_bfloat16(seconds: dict[tuple[torch.dtype, str], float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    precision, convolution, lines = choose(PLAN, LARGE, 16, CPU)
    assert (precision, convolution) == ("float32", "winograd")
    assert lines.startswith("precision: float32 (this CPU has no arithmetic in bfloat16)\n")


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_as_the_recipe_says(precision: str, seconds: dict[tuple[torch.dtype, str], float]) -> None:
    plan = PLAN.override(convolution="winograd", precision=precision)
    found = choose(plan, SMALL, 1, CPU)
    assert found[:2] == ("float32", "winograd")
    assert found[2].endswith("convolution: winograd (as the recipe says)")
    assert "kept" not in found[2]
    assert choose(PLAN.override(convolution="direct", precision="float32"), LARGE, 16, CPU) == (
        "float32", "direct", "precision: float32 (as the recipe says)\nconvolution: direct (as the recipe says)"
    )  # fmt: skip


def test_where_nothing_is_measured() -> None:
    no_layer = "convolution: direct (no layer that learns is large enough for winograd)"
    assert choose(PLAN.override(precision="float32"), SMALL, 16, CPU)[2].endswith(no_layer)
    assert choose(PLAN.override(precision="float32", train="head"), LARGE, 16, CPU)[2].endswith(no_layer)
    elsewhere = "convolution: direct (winograd is for float32 on a CPU)"
    assert choose(PLAN.override(precision="bfloat16"), LARGE, 16, CPU)[2].endswith(elsewhere)
    assert choose(PLAN.override(precision="float32"), LARGE, 16, GPU)[2].endswith(elsewhere)


def test_winograd_elsewhere_is_refused() -> None:
    message = "convolution 'winograd': is computed in float32 on a CPU; set convolution=auto"
    for plan, device in ((PLAN.override(precision="bfloat16"), CPU), (PLAN, GPU)):
        with pytest.raises(UsageError, match=message):
            choose(plan.override(convolution="winograd"), LARGE, 16, device)


@pytest.mark.parametrize("way", ["direct", "winograd"])
def test_measuring_leaves_the_callers_randomness(way: str) -> None:
    state = torch.get_rng_state()
    assert arithmetic._seconds(torch.float32, way) > 0
    assert torch.equal(torch.get_rng_state(), state)
