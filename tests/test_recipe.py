"""Recipes: their files, fields and learning rates."""

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from vgglass.errors import UsageError
from vgglass.training import recipe
from vgglass.training.loop import learning_rate
from vgglass.training.recipe import Recipe


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epochs": "many"}, "recipe field epochs='many': must be a whole number; its default is 30"),
        ({"epochs": 0}, "epochs 0: must be from 1 to 1000000000; its default is 30"),
        ({"batch_size": 1.5}, "recipe field batch_size=1.5: must be a whole number; its default is 32"),
        ({"nesterov": "maybe"}, "recipe field nesterov='maybe': must be true or false; its default is True"),
        ({"learning_rate": -1}, "learning rate -1.0: must be above 0 and finite; its default is 0.02"),
        ({"widths": "64,many"}, "recipe field widths='64,many': must be whole numbers, separated by commas"),
        ({"fit": 3}, "recipe field fit=3: must be text; its default is 'crop'"),
        (
            {"augmentation": "wild"},
            "augmentation 'wild': must be one of none, flip, shift, shift-flip, crop-flip, paper",
        ),
        ({"convolution": "winograd"}, "convolution 'winograd': must be one of auto, direct; its default is 'auto'"),
        ({"lerning_rate": 1}, "recipe field 'lerning_rate': not one of architecture.*; did you mean learning_rate"),
        ({"momentum": 1}, "momentum 1.0: must be at least 0 and below 1; its default is 0.9"),
        ({"architecture": "vgg99"}, "architecture 'vgg99': not one of A, A-LRN"),
    ],
)
def test_recipe_errors(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe().override(**overrides)


NUMBERS = [field.name for field in fields(Recipe) if field.type in (int, float)]
OTHERS = [field.name for field in fields(Recipe) if field.type not in (int, float)]
NO_SENSE: tuple[Any, ...] = (
    math.inf,
    -math.inf,
    math.nan,
    "inf",
    "nan",
    -1,
    -0.5,
    10**400,
    10**40,
    True,
    None,
    "",
    [],
    b"1",
)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_any_sense_is_refused_by_its_name(name: str) -> None:
    finite = ("learning_rate", "weight_decay", "warmup_epochs", "clip_norm")
    for value in NO_SENSE:
        if value == 10**40 and name in finite:
            continue
        for work in (Recipe, Recipe().override):
            with pytest.raises(UsageError) as caught:
                work(**{name: value})
            assert name.replace("_", " ") in str(caught.value).replace("_", " "), value


@pytest.mark.parametrize("name", OTHERS)
def test_a_number_for_a_word_is_refused(name: str) -> None:
    values: tuple[Any, ...] = (math.inf, math.nan, 7, None, b"none", {})
    kinds = "text|true or false|whole numbers|a whole number for fc6 and fc7"
    for value in values:
        if value == 7 and name in ("hidden", "ranks"):
            continue
        with pytest.raises(UsageError, match=rf"recipe field {name}=.*: must be ({kinds})"):
            Recipe(**{name: value})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epochs = inf", "recipe field epochs=inf: must be a whole number"),
        ("learning_rate = inf", "learning rate inf: must be above 0 and finite"),
        ("learning_rate = 0", "learning rate 0.0: must be above 0 and finite"),
        ("weight_decay = nan", "recipe field weight_decay=nan: must be a number"),
        ("momentum = 2", "momentum 2.0: must be at least 0 and below 1"),
        ("batch_size = -32", "batch size -32: must be from 1 to"),
        ("label_smoothing = 2", "label smoothing 2.0: must be at least 0 and below 1"),
        ("ema = 1.0", "ema 1.0: must be at least 0 and below 1"),
        ("dropout = 1", r"dropout 1.0: a share to zero lies in \[0, 1\)"),
        ("block_decay = 0", "block decay 0.0: must be above 0 and at most 1"),
        ("epochs = true", "recipe field epochs=True: must be a whole number"),
        ("nesterov = 1", "recipe field nesterov=1: must be true or false"),
        ("seed = -1", "seed -1: must be from 0 to 4294967295"),
        ("image_size = 1000000", "image size 1000000: must be at most 8192"),
        ("width = nan", "recipe field width=nan: must be a number"),
        ("widths = [64, 0]", "2 widths: vgg11_bn has 8 convolutions"),
        ("date = 2026-01-01", "recipe field 'date': not one of"),
        ("[training]\nepochs = 3", "recipe field 'training': not one of"),
    ],
)
def test_a_file_of_no_sense(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(f"{line}\n")
    with pytest.raises(UsageError, match=message):
        recipe.read(str(tmp_path / "mine.toml"))


def test_recipes_are_read_by_name_and_path(tmp_path: Path) -> None:
    assert recipe.names() == ["columns", "digits", "fashion-mnist", "finetune", "modern", "paper", "shrink", "transfer"]
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
