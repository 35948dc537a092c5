"""Recipes: AFA's values in force at given steps as a table, changes, and what is refused."""

from typing import Any

import pytest

from wsss_core.errors import InputError
from wsss_core.single_stage.recipes import (
    RECIPE_TRAINING,
    RECIPES,
    recipe_as_config,
    recipe_from_config,
    recipe_of,
)
from wsss_core.training.settings import TrainingSettings

AFA_BY_STEP = [
    # step of 20,000, weight of segmentation, of affinity, labels from
    (0, 0.0, 0.0, "cam"),
    (2000, 0.0, 0.0, "cam"),
    (2001, 0.1, 0.1, "cam"),
    (6000, 0.1, 0.1, "cam"),
    (6001, 0.1, 0.1, "propagated"),
    (19999, 0.1, 0.1, "propagated"),
]


@pytest.mark.parametrize(("step", "segmentation", "affinity", "labels"), AFA_BY_STEP)
def test_what_of_afa_is_in_force_at_a_step(
    step: int, segmentation: float, affinity: float, labels: str
) -> None:
    afa, done = RECIPES["afa"], step / RECIPE_TRAINING["afa"]["iterations"]
    weights = afa.weights(done)
    assert weights.get("segmentation", 0.0) == segmentation
    assert weights.get("affinity", 0.0) == affinity
    assert afa.labels_from(done) == labels


def test_afa_is_trained_as_published() -> None:
    training = TrainingSettings(**RECIPE_TRAINING["afa"])
    assert (training.learning_rate, training.weight_decay, training.head_multiple) == (
        6e-5,
        0.01,
        10,
    )
    # Poly of power 1 after 1,500 steps of warm-up: half of the rate half way between.
    assert training.rate(1499, 20_000) == pytest.approx(6e-5)
    assert training.rate(1500 + 9250, 20_000) == pytest.approx(3e-5)
    afa = RECIPES["afa"]
    assert (afa.high, afa.low, afa.cam_scales) == (0.55, 0.35, (1.0, 0.5, 1.5))
    assert (afa.pooling, afa.head_bias, afa.norms, afa.decoder) == (
        "max",
        False,
        "frozen",
        "all_mlp",
    )
    assert (afa.affinity_radius, afa.affinity_blocks, afa.refiner) == (8, 2, "par")


def test_each_value_can_be_changed_and_each_loss_turned_off() -> None:
    _, settings = recipe_of(
        {
            "name": "afa",
            "high": 0.6,
            "propagated_after": None,
            "losses": {"affinity": None, "segmentation": {"weight": 0.2}},
        }
    )
    assert settings.high == 0.6
    assert settings.weights(0.1) == {}
    assert settings.weights(0.2) == {"segmentation": 0.2}


def test_a_recipe_comes_back_whole_from_json() -> None:
    for recipe in RECIPES.values():
        assert recipe_from_config(recipe_as_config(recipe)) == recipe


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("aff", "recipe 'aff' is unknown; nearest: 'afa'"),
        ({"high": 0.5}, "recipe None is unknown"),
        ({"name": "afa", "hihg": 0.5}, "recipe afa has no 'hihg'; nearest: 'high'"),
        ({"name": "afa", "high": 2}, "high is 2; expected a number of 0 to 1"),
        ({"name": "afa", "low": 0.9}, "no higher than `high`"),
        ({"name": "afa", "losses": {"afinity": 1}}, "losses: 'afinity' is unknown"),
        ({"name": "afa", "losses": {"affinity": {"wait": 1}}}, "expected weight, after and until"),
        ({"name": "afa", "losses": {"affinity": -1}}, "expected a weight of 0 or more"),
        ({"name": "afa", "losses": {"affinity": None}}, "propagated_after needs the loss"),
        ({"name": "afa", "cam_scales": [0.5, 2]}, "1 among them"),
        ({"name": "afa", "decoder": "unet"}, "decoder is 'unet'; expected one of all_mlp"),
        ({"name": "afa", "shrink": 0}, "shrink is 0"),
    ],
)
def test_what_cannot_be_meant_is_said_in_a_line(given: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        recipe_of(given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
