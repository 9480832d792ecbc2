"""The learning rate of a step: a function of the recipe and of where the run stands."""

import math

from vgglass.training.recipe import Recipe

PLATEAU_FACTOR = 0.1  # paper, section 3.1


def learning_rate(recipe: Recipe, step: int, steps: int, drops: int = 0) -> float:
    """Linear warm-up to the recipe's rate, then its schedule.

    step, steps  of the whole run, counted from 0, and of one epoch
    drops        times that a plateau was met
    cosine: half a cosine down to 0 (Loshchilov and Hutter, 2017); linear: a line down to 0.
    """
    warmup, total = round(recipe.warmup_epochs * steps), recipe.epochs * steps
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    if recipe.schedule == "plateau":
        return recipe.learning_rate * PLATEAU_FACTOR**drops
    if recipe.schedule == "linear":
        return recipe.learning_rate * (1 - done)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
