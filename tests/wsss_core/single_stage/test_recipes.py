"""Recipes: AFA's values in force at given steps as a table, changes, and what is refused."""

import math
from typing import Any

import pytest

from wsss_core.errors import InputError
from wsss_core.single_stage import for_classes
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


WECLIP_BY_STEP = [
    # step of 30,000, whether the decoder's affinity chooses among attention
    (0, False),
    (15_000, False),
    (15_001, True),
    (29_999, True),
]


@pytest.mark.parametrize(("step", "chooses"), WECLIP_BY_STEP)
def test_what_of_weclip_is_in_force_at_a_step(step: int, chooses: bool) -> None:
    weclip, done = RECIPES["weclip"], step / RECIPE_TRAINING["weclip"]["iterations"]
    assert weclip.weights(done) == {"segmentation": 1.0, "affinity": 0.1}
    assert weclip.chooses_attention(done) == chooses


def test_weclip_is_trained_as_published() -> None:
    training = TrainingSettings(**RECIPE_TRAINING["weclip"])
    assert (training.learning_rate, training.head_multiple, training.batch_size) == (2e-4, 10, 4)
    assert training.rate(49, 30_000) == pytest.approx(2e-4)  # 50 steps of warm-up
    assert training.rate(50 + 14_975, 30_000) == pytest.approx(1e-4)
    weclip = RECIPES["weclip"]
    assert (weclip.decoder, weclip.encoder, weclip.cams) == ("fused_layers", "frozen", "text")
    assert (weclip.prompt, len(weclip.background_words)) == ("a clean origami {}.", 25)
    assert (weclip.attention_blocks, weclip.sinkhorn_rounds, weclip.box_threshold) == (8, 3, 0.4)
    assert (weclip.background, weclip.affinity_of, weclip.affinity_radius) == (
        "inverse",
        "decoder",
        8,
    )
    assert weclip.refiner_options == {"iterations": 20}
    assert weclip.classification == 0


DUPL_BY_STEP = [
    # step of 20,000, high score of a class that ends at 0.55, of one that ends at 0.7, filtered
    (0, 0.7, 0.7, False),
    (8_000, 0.55 + 0.15 * (1 + math.cos(0.4 * math.pi)) / 2, 0.7, False),
    (8_001, 0.55 + 0.15 * (1 + math.cos(0.40005 * math.pi)) / 2, 0.7, True),
    (10_000, 0.625, 0.7, True),
    (20_000, 0.55, 0.7, True),
]


@pytest.mark.parametrize(("step", "falling", "constant", "filtered"), DUPL_BY_STEP)
def test_what_of_dupl_is_in_force_at_a_step(
    step: int, falling: float, constant: float, filtered: bool
) -> None:
    changes = {"high_end": {"cat": 0.55, "dog": 0.7}, "filter_after": 0.4}
    losses = {"segmentation": {"weight": 0.2}, "discrepancy": 0.1}
    dupl = for_classes(recipe_of({"name": "plain", **changes, "losses": losses})[1], ["cat", "dog"])
    assert dupl.high_at(step / 20_000) == pytest.approx((falling, constant))
    assert dupl.filters(step / 20_000) == filtered
    assert dupl.weights(step / 20_000).get("segmentation", 0.0) == (0.2 if step > 2_000 else 0.0)


def test_published_values_of_crops_and_class_tokens_are_the_defaults() -> None:
    plain = RECIPES["plain"]
    assert (plain.crops, plain.crop_side, plain.crop_below, plain.crop_negative) == (
        8,
        96,
        0.7,
        0.2,
    )
    assert plain.crop_widths == (2048, 256, 1024)
    assert (plain.early_evidence, plain.late_evidence) == ((0.5, 0.25), (0.6, 0.35))
    assert [plain.late(step / 20_000) for step in (10_000, 10_001)] == [False, True]


def test_fields_that_came_later_change_no_key_of_a_recipe_that_does_not_use_them() -> None:
    """Keys of rows are hashes of this."""
    assert set(recipe_as_config(RECIPES["afa"])) == {
        *("decoder", "decoder_options", "pooling", "head_bias", "norms", "encoder", "cam_scales"),
        *("cam_flip", "high", "low", "refiner", "refiner_options", "shrink", "losses"),
        *("propagated_after", "affinity_blocks", "affinity_radius", "auxiliary_layer"),
        *("supervision", "decoders", "filter_after", "filter_pixels"),
        *("predict_scales", "predict_flip", "predict_crf"),
    }
    _, changed = recipe_of({"name": "afa", "high_end": 0.5})
    assert recipe_as_config(changed)["high_end"] == 0.5


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
        ({"name": "afa", "high_end": 0.3}, "high_end is 0.3; expected numbers of `low` to 1"),
        ({"name": "afa", "affinity_of": "decoder"}, "needs the loss 'affinity', which trains"),
    ],
)
def test_what_cannot_be_meant_is_said_in_a_line(given: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        recipe_of(given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
