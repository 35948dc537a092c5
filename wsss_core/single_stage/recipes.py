"""Published single-stage recipes by name, each value of which can be changed.

Values are those of the authors' code (afa adcfa29, WeCLIP 0f47db4). Where a recipe counts steps, a
share of its own number of steps stands here. `plain` is what ToCo, DuPL, SeCo and MoRe share;
losses of theirs are turned on by name.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from wsss_core.errors import InputError, nearest, quoted
from wsss_core.single_stage.settings import SingleStageSettings
from wsss_core.single_stage.vocabulary import ScheduledTerm

_AFA = SingleStageSettings(
    decoder="all_mlp",
    pooling="max",
    head_bias=False,
    norms="frozen",
    cam_scales=(1.0, 0.5, 1.5),
    high=0.55,
    low=0.35,
    refiner="par",
    shrink=2,
    losses={
        "segmentation": ScheduledTerm(0.1, after=0.1),  # after 2,000 of 20,000 steps
        "affinity": ScheduledTerm(0.1, after=0.1),
    },
    propagated_after=0.3,  # after 6,000 steps
    affinity_blocks=2,
    affinity_radius=8,
    predict_scales=(1.0, 0.5, 0.75),
    predict_flip=True,
    predict_crf="afa",
)

_PLAIN = SingleStageSettings(
    decoder="large_fov",
    pooling="max",
    cam_scales=(1.0, 0.5, 1.5),
    high=0.7,
    low=0.25,
    refiner="par",
    losses={"segmentation": ScheduledTerm(0.1, after=0.1)},
    predict_scales=(1.0, 1.25, 1.5),
    predict_flip=True,
)

_BACKGROUND = (
    *("ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river"),
    *("sea", "railway", "railroad", "keyboard", "helmet", "cloud", "house", "mountain", "ocean"),
    *("road", "rock", "street", "valley", "bridge", "sign"),
)
"""What the classes of VOC are not."""

_WECLIP = SingleStageSettings(
    decoder="fused_layers",
    encoder="frozen",
    cams="text",
    cam_scales=(1.0,),
    cam_flip=False,
    background_words=_BACKGROUND,
    background="inverse",
    refiner="par",
    refiner_options={"iterations": 20},
    classification=0.0,
    losses={"segmentation": ScheduledTerm(1.0), "affinity": ScheduledTerm(0.1)},
    affinity_of="decoder",
    affinity_radius=8,
    attention_chosen_after=0.5,  # after 15,000 of 30,000 steps
    predict_flip=True,
)

RECIPES: Mapping[str, SingleStageSettings] = {"afa": _AFA, "plain": _PLAIN, "weclip": _WECLIP}
"""Recipe -> its settings."""

_SHARED_TRAINING: Mapping[str, Any] = {
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "head_multiple": 10.0,
    "lr_schedule": "poly",
    "flip": True,
    "rescale": (0.5, 2.0),
}

RECIPE_TRAINING: Mapping[str, Mapping[str, Any]] = {
    "afa": {
        **_SHARED_TRAINING,
        "iterations": 20_000,
        "batch_size": 4,
        "learning_rate": 6e-5,
        "power": 1.0,
        "lr_warmup": 0.075,  # 1,500 steps
    },
    "plain": {
        **_SHARED_TRAINING,
        "iterations": 20_000,
        "batch_size": 4,
        "learning_rate": 6e-5,
        "power": 0.9,
        "lr_warmup": 0.075,
    },
    "weclip": {
        **_SHARED_TRAINING,
        "iterations": 30_000,
        "batch_size": 4,
        "learning_rate": 2e-4,  # 2e-3 for the decoder
        "power": 1.0,
        "lr_warmup": 50 / 30_000,
    },
}
"""Recipe -> fields of `TrainingSettings`, for all that a study does not say itself."""


_DEFAULT = SingleStageSettings()


def recipe_of(given: str | Mapping[str, Any]) -> tuple[str, SingleStageSettings]:
    """Return a recipe's name and its settings with the changes that were asked for.

    Args:
        given: a name, or a mapping with `name` and the fields that change. `losses` changes single
            terms: a number is the weight, a mapping changes parts of the term, and null turns the
            loss off.

    Raises:
        InputError: an unknown recipe, field or loss, or a value out of its range.

    Example:
        >>> name, settings = recipe_of({"name": "afa", "losses": {"affinity": 0.2}})
        >>> name, settings.weights(0.5)
        ('afa', {'segmentation': 0.1, 'affinity': 0.2})

    """
    changes: dict[str, Any] = {"name": given} if isinstance(given, str) else dict(given)
    name = changes.pop("name", None)
    if not isinstance(name, str) or name not in RECIPES:
        near = nearest(str(name), RECIPES)
        hint = f"; nearest: {near!r}" if near else f"; expected one of {', '.join(RECIPES)}"
        raise InputError(f"recipe {quoted(name)} is unknown{hint}")
    settings = RECIPES[name]
    known = [one.name for one in fields(SingleStageSettings)]
    for key, value in changes.items():
        if key not in known:
            near = nearest(key, known, 0)
            raise InputError(f"recipe {name} has no {quoted(key)}; nearest: {near!r}")
        if key == "losses":
            changes[key] = _changed_losses(settings.losses, value)
        elif isinstance(value, list):
            changes[key] = tuple(value)
    return name, replace(settings, **changes)


def recipe_as_config(settings: SingleStageSettings) -> dict[str, Any]:
    """Return settings as JSON-able values, which keys are hashes of.

    Fields that came later are left out where they hold their default.
    """
    first = [one.name for one in fields(settings)].index("cams")
    later = {
        one.name
        for one in fields(settings)[first:]
        if getattr(settings, one.name) == getattr(_DEFAULT, one.name)
    }
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(settings).items()
        if name not in later
    }


def recipe_from_config(config: Mapping[str, Any]) -> SingleStageSettings:
    """Return the settings that `recipe_as_config` wrote."""
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in config.items()
    }
    values["losses"] = {name: ScheduledTerm(**term) for name, term in config["losses"].items()}
    return SingleStageSettings(**values)


def _changed_losses(terms: Mapping[str, ScheduledTerm], changes: Any) -> dict[str, ScheduledTerm]:
    if not isinstance(changes, Mapping):
        raise InputError(f"losses: expected names with their terms, got {quoted(changes)}")
    found = dict(terms)
    for name, change in changes.items():
        if change is None:
            found.pop(name, None)
        elif isinstance(change, Mapping):
            unknown = set(change) - {one.name for one in fields(ScheduledTerm)}
            if unknown or (name not in found and "weight" not in change):
                raise InputError(
                    f"losses: {name}: expected weight, after and until, got {quoted(dict(change))}"
                )
            found[name] = replace(found.get(name, ScheduledTerm(0.0)), **change)
        else:
            found[name] = replace(found.get(name, ScheduledTerm(0.0)), weight=change)
    return found
