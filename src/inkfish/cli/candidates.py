"""`inkfish prefer sample` and `simulate`: texts to be labelled, and a program that labels them; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from inkfish.cli.output import note
from inkfish.recipes.prefer import sample as sample_recipe
from inkfish.recipes.prefer import simulate as simulate_recipe

__all__ = ["sample", "simulate"]

RecipeFile = Annotated[Path | None, Parameter(name="--recipe")]


def sample(
    config: Annotated[sample_recipe.Config, Parameter(name="*")], *, recipe_file: RecipeFile = None
) -> int:
    """Write candidates to be labelled into a label store.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    result = sample_recipe.run(config)
    note(f"{result.added:,} items added, {result.items:,} in {result.store}")
    return 0


def simulate(
    config: Annotated[simulate_recipe.Config, Parameter(name="*")] = simulate_recipe.Config(),  # noqa: B008
    *,
    recipe_file: RecipeFile = None,
) -> int:
    """Label by a program, with the noise of people.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    result = simulate_recipe.run(config)
    note(f"{result.labelled:,} labelled")
    return 0
