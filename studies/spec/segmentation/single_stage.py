"""Single-stage configurations: their recipe, and the training settings that it brings along."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from studies.spec.settings import Training, TrainingChange
from wsss_core.errors import InputError
from wsss_core.single_stage.recipes import RECIPE_TRAINING, recipe_of

SINGLE_STAGE: Literal["single-stage"] = "single-stage"
"""The paradigm of rows whose decoder is trained together with the classifier."""


def _recipe(given: Any) -> dict[str, Any]:
    """Return a recipe as a mapping with its name; raise ValueError unless it is one."""
    if not isinstance(given, str | Mapping):
        raise ValueError("expected the name of a recipe, or a mapping with `name` and its changes")
    try:
        name, _ = recipe_of(given)
    except (InputError, TypeError) as error:
        raise ValueError(str(error)) from error
    return {"name": name} if isinstance(given, str) else dict(given)


Recipe = Annotated[dict[str, Any], BeforeValidator(_recipe)]
"""A recipe's name, or a mapping with `name` and what changes, see `recipe_of`."""


def with_recipe_training(
    study: Training, recipe: Mapping[str, Any], *narrower: TrainingChange
) -> Training:
    """Return a study's training with a recipe's values for all that the study does not say.

    Args:
        study: its section `training`.
        recipe: the recipe.
        narrower: the changes of a backbone and a configuration, which may say how long.

    """
    said = set(study.model_fields_set)
    if "epochs" in said or any({"epochs", "iterations"} & one.model_fields_set for one in narrower):
        said.add("iterations")
    brought = RECIPE_TRAINING[recipe["name"]]
    kept = {name: value for name, value in brought.items() if name not in said}
    return study.model_copy(update=kept)
