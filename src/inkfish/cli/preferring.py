"""Learning from labels, and comparing what was learned: the commands of `inkfish prefer` that need torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from inkfish.cli.output import note
from inkfish.errors import MissingExtraError

try:
    from inkfish.recipes.prefer import compare as compare_recipe
    from inkfish.recipes.prefer import doctor as doctor_recipe
    from inkfish.recipes.prefer import frontier as frontier_recipe
    from inkfish.recipes.prefer import learning
    from inkfish.recipes.prefer import reward as reward_recipe
    from inkfish.recipes.prefer import rounds as rounds_recipe
    from inkfish.recipes.prefer import summaries as summaries_recipe
except ModuleNotFoundError as error:
    if error.name not in {"torch", "matplotlib", "tokenizers"}:
        raise
    raise MissingExtraError("learning from preferences", "train") from None

__all__ = ["compare", "doctor", "optimize", "reward", "rounds", "summaries"]

RecipeFile = Annotated[Path | None, Parameter(name="--recipe")]


def reward(
    config: Annotated[reward_recipe.Config, Parameter(name="*")] = reward_recipe.Config(),  # noqa: B008
    *,
    recipe_file: RecipeFile = None,
) -> int:
    """Train a reward model on labels.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    result = reward_recipe.run(config)
    return 0 if result.stopped is None else 128 + result.stopped


def optimize(
    config: Annotated[learning.Config, Parameter(name="*")], *, recipe_file: RecipeFile = None
) -> int:
    """Make a model write what is preferred.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    from inkfish.recipes.prefer import optimize as optimize_recipe

    result = optimize_recipe.run(config)
    if result.stopped is not None:
        return 128 + result.stopped
    if config.algorithm == "best-of-n":
        chooses = f"--best-of {config.samples} --reward {config.reward}"
        note(f"{comparing(config.start or config.model, config.model)} {chooses}")
    elif result.leads:
        note(comparing(str(result.folder), config.model))
    return 0


def comparing(model: str, other: str) -> str:
    """Return the command that holds a model against the one it began as."""
    return f"inkfish prefer compare HELD-OUT --model {model} --other {other}"


def rounds(
    config: Annotated[rounds_recipe.Config, Parameter(name="*")], *, recipe_file: RecipeFile = None
) -> int:
    """Sample, label and learn several times, each time from what the model writes by then.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    result = rounds_recipe.run(config)
    if result.stopped is not None:
        return 128 + result.stopped
    if result.policy is not None:
        note(comparing(str(result.policy), config.model))
    return 0


def compare(
    config: Annotated[compare_recipe.Config, Parameter(name="*")], *, recipe_file: RecipeFile = None
) -> int:
    """Let a judge decide which of two models writes better, or draw reward over divergence for runs.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    if config.frontier:
        frontier_recipe.run(config)
    else:
        compare_recipe.run(config)
    return 0


def summaries(
    config: Annotated[summaries_recipe.Config, Parameter(name="*")], *, recipe_file: RecipeFile = None
) -> int:
    """Hold summaries of several models beside the reference and lead-3: ROUGE, novelty, where they copy.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    summaries_recipe.run(config)
    return 0


def doctor(
    config: Annotated[doctor_recipe.Config, Parameter(name="*")], *, recipe_file: RecipeFile = None
) -> int:
    """Try every stage for two minutes, and say whether it works here and how long the real thing takes.

    Args:
        config: The settings.
        recipe_file: Settings from this TOML file, by their names with underscores; options come before it.
    """
    doctor_recipe.run(config)
    return 0
