"""Recipes: their files, fields and learning rates."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vgglass.errors import UsageError
from vgglass.training import recipe
from vgglass.training.recipe import Recipe
from vgglass.training.schedule import learning_rate


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epochs": "many"}, "recipe field epochs='many': must be int"),
        ({"epochs": 0}, "epochs 0: must be 1 or more"),
        ({"batch_size": 1.5}, "recipe field batch_size=1.5: must be int"),
        ({"nesterov": "maybe"}, "recipe field nesterov='maybe': must be bool"),
        ({"learning_rate": -1}, "learning rate -1.0: must be 0 or more"),
        (
            {"augmentation": "wild"},
            "augmentation 'wild': must be one of none, flip, shift, shift-flip, crop-flip, paper",
        ),
        ({"lerning_rate": 1}, "recipe field 'lerning_rate': not one of architecture"),
        ({"momentum": 1}, "momentum 1.0: must be at least 0 and below 1"),
        ({"architecture": "vgg99"}, "architecture 'vgg99': not one of A, A-LRN"),
    ],
)
def test_recipe_errors(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe().override(**overrides)


def test_recipes_are_read_by_name_and_path(tmp_path: Path) -> None:
    assert recipe.names() == ["columns", "digits", "fashion-mnist", "finetune", "modern", "paper", "transfer"]
    assert recipe.read("digits").channels == 1
    path = tmp_path / "mine.toml"
    path.write_text('architecture = "vgg13"\nlearning_rate = 1\n')
    assert recipe.read(str(path)) == replace(Recipe(), architecture="vgg13", learning_rate=1.0)
    assert Recipe().override(nesterov="false", epochs="7") == replace(Recipe(), nesterov=False, epochs=7)
    with pytest.raises(UsageError, match=r"recipe 'nothing': no such file; name a \.toml file, or one of columns"):
        recipe.read("nothing")
    path.write_text("epochs = = 1")
    with pytest.raises(UsageError, match="can't be read"):
        recipe.read(str(path))


@pytest.mark.parametrize("name", recipe.names())
def test_shipped_recipes_fit_together_and_say_what_they_give(name: str) -> None:
    assert recipe.read(name).network(10).classes == 10
    head = (Path(recipe.__file__).parents[1] / "recipes" / f"{name}.toml").read_text().split("\n\n")[0]
    assert all(f"# {word}" in head for word in ("Command:", "Hardware:", "Time:", "Result:"))


def test_learning_rate_warms_up_and_falls() -> None:
    plan = Recipe(epochs=10, warmup_epochs=2, learning_rate=0.1)
    rates = [learning_rate(plan, step, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.005)
    assert rates[19] == pytest.approx(0.1)
    assert rates[60] == pytest.approx(0.05)  # half of the cosine
    assert rates[99] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 79 / 80)))


def test_other_schedules() -> None:
    line = Recipe(epochs=10, warmup_epochs=2, learning_rate=0.1, schedule="linear")
    assert [learning_rate(line, step, 10) for step in (19, 20, 60, 99)] == pytest.approx([0.1, 0.1, 0.05, 0.1 / 80])
    plateau = replace(line, schedule="plateau")
    assert learning_rate(plateau, 4, 10, drops=3) == pytest.approx(0.025)  # warming up still
    assert learning_rate(plateau, 50, 10, drops=2) == pytest.approx(0.001)
