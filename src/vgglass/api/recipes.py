"""Recipes by name, path or field."""

from typing import TYPE_CHECKING, Any

from vgglass.modelfile import ModelFile

if TYPE_CHECKING:
    from vgglass.training.recipe import Recipe


def recipe_of(given: "str | Recipe | None", overrides: dict[str, Any], start: ModelFile | None) -> "Recipe":
    """The recipe with its overrides; what neither says of the network is as in the model that the run starts from."""
    from vgglass.training import recipe, transfer

    if isinstance(given, recipe.Recipe):
        return given.override(**overrides)
    values = recipe.values(given) if given else {}
    kept = transfer.fields_of(start.record) if start else {}
    chosen = values | overrides
    if "width" in chosen or ("architecture" in chosen and "widths" in kept):
        kept.pop("widths", None)  # one width a convolution holds for the model's own convolutions alone
    return recipe.Recipe().override(**kept | chosen)
