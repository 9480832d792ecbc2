"""What a run multiplies in: as asked for, or as measured."""

from pathlib import Path

import pytest
import torch

from vgglass.engines import selection
from vgglass.training import precision as arithmetic
from vgglass.training.precision import choose

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> dict[torch.dtype, float]:
    """What a measurement finds, for a test to change."""
    found = {torch.float32: 0.5, torch.bfloat16: 0.2}
    monkeypatch.setattr(arithmetic, "_seconds", found.__getitem__)
    monkeypatch.setattr(selection, "remembered", lambda what, measure: measure())
    monkeypatch.setattr(selection, "measurements", lambda: Path("here"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    return found


def kept(precision: str) -> str:
    return f"\nmeasured once on this machine and kept in here; the same anywhere: --set precision={precision}"


def test_the_faster_of_two(seconds: dict[torch.dtype, float]) -> None:
    said = "precision: bfloat16 (measured 2.5 times as fast as float32 here)" + kept("bfloat16")
    assert choose("auto", CPU) == ("bfloat16", said)
    seconds[torch.bfloat16] = 0.45
    said = "precision: float32 (bfloat16 measured 1.1 times as fast here)" + kept("float32")
    assert choose("auto", CPU) == ("float32", said)


def test_the_first_measurement_is_the_one_that_counts(
    seconds: dict[torch.dtype, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("VGGLASS_CACHE", str(tmp_path))
    monkeypatch.setattr(arithmetic, "_seconds", seconds.__getitem__)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    first = choose("auto", CPU)
    assert first[0] == "bfloat16"
    assert str(tmp_path) in first[1]
    seconds[torch.bfloat16] = 9.0  # a busy moment
    assert choose("auto", CPU) == first
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert choose("auto", CPU)[0] == "float32"


def test_a_cpu_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert choose("auto", CPU) == ("float32", "precision: float32 (this CPU has no arithmetic in bfloat16)")


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_as_the_recipe_says(precision: str, device: torch.device) -> None:
    assert choose(precision, device) == (precision, f"precision: {precision} (as the recipe says)")


@pytest.mark.parametrize("precision", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.slow)])
def test_measuring_leaves_the_callers_randomness(precision: torch.dtype) -> None:
    state = torch.get_rng_state()
    assert arithmetic._seconds(precision) > 0
    assert torch.equal(torch.get_rng_state(), state)
