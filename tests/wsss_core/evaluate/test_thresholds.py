"""Threshold rules and the figures at what they choose, against brute force over levels."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsss_core.errors import InputError
from wsss_core.evaluate import (
    HistogramStack,
    NoThresholdError,
    Objective,
    ScoreHistogram,
    ThresholdChoice,
    ThresholdRule,
    choose_threshold,
    evaluate,
    gaussian_mixture_level,
    level_of,
    otsu_level,
)


def draw_maps(seed, count=7):
    """Draw maps whose scores are higher on the class; every third image does not hold it."""
    generator = np.random.default_rng(seed)
    scores, masks = [], []
    for position in range(count):
        shape = tuple(generator.integers(4, 12, 2))
        mask = generator.random(shape) < (0 if position % 3 == 2 else 0.4)
        mask[0, 0] |= position % 3 != 2
        offset = generator.integers(0, 120)
        drawn = generator.integers(0, 110, shape) + 40 * mask + offset
        scores.append(np.minimum(drawn, 255).astype(np.uint8))
        masks.append(mask)
    return scores, masks


def stacked(maps):
    return HistogramStack.from_histograms(map(ScoreHistogram.from_scores, *maps))


def scores_of(stack):
    return stack.pooled_scores(stack.holds_class)


def ratio(part, whole):
    return part / whole if whole else 0.0


def figures_by_loop(maps, levels):
    """Every figure from predictions cut at each image's level, in the order of Evaluation."""
    each, clear = [], []
    pooled = np.zeros(4, dtype=int)
    on_clear = np.zeros(4, dtype=int)
    for scores, mask, level in zip(*maps, levels, strict=True):
        predicted = scores >= level
        if not mask.any():
            clear.append(predicted.mean())
            on_clear += [0, int(predicted.sum()), 0, int((~predicted).sum())]
            continue
        counts = [
            int(region.sum())
            for region in (
                predicted & mask,
                predicted & ~mask,
                ~predicted & mask,
                ~predicted & ~mask,
            )
        ]
        each.append(ratio(counts[0], sum(counts[:3])))
        pooled += counts
    hit, false_alarm, missed, rest = map(int, pooled)
    foreground = ratio(hit, hit + false_alarm + missed)
    _, wrong, _, right = map(int, pooled + on_clear)  # over all images
    of_all = ratio(hit, hit + wrong + missed)
    return {
        "per_image_iou": math.fsum(each) / len(each),
        "dataset_iou": foreground,
        "dataset_miou": (foreground + ratio(rest, rest + false_alarm + missed)) / 2,
        "dataset_iou_all_images": of_all,
        "dataset_miou_all_images": (of_all + ratio(right, right + wrong + missed)) / 2,
        "clear_false_positive_share": math.fsum(clear) / len(clear),
        "precision": ratio(hit, hit + false_alarm),
        "recall": ratio(hit, hit + missed),
        "precision_all_images": ratio(hit, hit + wrong),
    }


@pytest.mark.parametrize(
    ("value", "level"), [(0, 0), (0.3, 77), (0.2, 51), (1 / 3, 85), (0.5, 128), (1e-9, 1), (1, 255)]
)
def test_a_fixed_value_is_the_smallest_level_that_reaches_it(value, level):
    assert level_of(value) == level
    assert choose_threshold("fixed", fixed=value).level == level


@given(st.floats(0, 1))
def test_any_fixed_value_cuts_as_the_unquantised_comparison_does(value):
    expected = next(level for level in range(256) if level / 255 >= value)
    assert level_of(value) == expected


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_fixed_value_outside_the_unit_interval_is_refused(value):
    with pytest.raises(InputError, match=r"^fixed threshold: .*\[0, 1\]"):
        choose_threshold("fixed", fixed=value)


@pytest.mark.parametrize("objective", list(Objective))
def test_tuning_takes_the_first_best_level_of_the_tune_split(objective):
    maps = draw_maps(1)
    by_level = [figures_by_loop(maps, [level] * 7)[objective] for level in range(256)]
    choice = choose_threshold("tuned", tune=stacked(maps), objective=objective)
    best = max(by_level)
    expected = next(level for level in range(256) if by_level[level] > best - 1e-12)
    assert choice.level == expected
    assert choice.image_levels is None


def test_tuning_never_looks_at_the_test_split():
    tune = stacked(draw_maps(1))
    choices = [
        choose_threshold("tuned", tune=tune, test=test).level
        for test in (None, stacked(draw_maps(2)), stacked(draw_maps(3)))
    ]
    assert len(set(choices)) == 1


@pytest.mark.parametrize("objective", list(Objective))
def test_the_dataset_oracle_reaches_the_best_figure_of_any_single_level(objective):
    maps = draw_maps(4)
    choice = choose_threshold("dataset_oracle", test=stacked(maps), objective=objective)
    reached = getattr(evaluate(choice, stacked(maps)), objective)
    best = max(figures_by_loop(maps, [level] * 7)[objective] for level in range(256))
    assert reached == pytest.approx(best, abs=1e-15)


def test_the_image_oracle_takes_each_image_s_first_best_level():
    maps = draw_maps(5)
    choice = choose_threshold("image_oracle", test=stacked(maps))
    assert choice.level is None
    for scores, mask, level in zip(*maps, choice.image_levels, strict=True):
        if not mask.any():
            assert np.isnan(level)
            continue
        curve = [
            int((mask & (scores >= t)).sum()) / int((mask | (scores >= t)).sum())
            for t in range(256)
        ]
        assert level == curve.index(max(curve))


def test_equally_good_levels_give_the_smallest():
    scores, mask = np.array([[10, 200]], np.uint8), np.array([[False, True]])
    one = stacked(([scores], [mask]))
    for rule in ("tuned", "dataset_oracle"):
        for objective in Objective:
            assert choose_threshold(rule, tune=one, test=one, objective=objective).level == 11
    assert choose_threshold("image_oracle", test=one).image_levels.tolist() == [11.0]


@pytest.mark.parametrize("level", [0, 1, 77, 128, 255])
def test_figures_at_one_level_equal_those_of_the_cut_maps(level):
    maps = draw_maps(6)
    found = evaluate(choose_threshold("fixed", fixed=level / 255), stacked(maps))
    for name, expected in figures_by_loop(maps, [level] * 7).items():
        assert getattr(found, name) == pytest.approx(expected, abs=1e-15), name


def test_figures_under_the_image_oracle_add_each_image_s_counts_at_its_own_level():
    maps = draw_maps(7)
    choice = choose_threshold("image_oracle", test=stacked(maps))
    found = dataclasses.asdict(evaluate(choice, stacked(maps)))
    expected = figures_by_loop(maps, choice.image_levels)
    for name in [name for name in found if name.endswith("_all_images")] + [
        "clear_false_positive_share"
    ]:
        assert np.isnan(found.pop(name))
        expected.pop(name)
    assert found == pytest.approx(expected, abs=1e-15)


def test_each_oracle_bounds_the_rules_that_see_less():
    for seed in range(10):
        tune, test = stacked(draw_maps(100 + seed)), stacked(draw_maps(200 + seed))
        shown = {"tune": tune, "test": test, "scores": scores_of(test)}
        reached = {
            rule: evaluate(choose_threshold(rule, **shown), test).per_image_iou
            for rule in ThresholdRule
        }
        for rule in ("fixed", "otsu", "gaussian_mixture", "tuned"):
            assert reached[rule] <= reached["dataset_oracle"] + 1e-15
        assert reached["dataset_oracle"] <= reached["image_oracle"] + 1e-15


def test_every_rule_says_what_it_peeks_at_and_which_are_upper_bounds():
    stack = stacked(draw_maps(8))
    shown = {"tune": stack, "test": stack, "scores": scores_of(stack)}
    said = {rule: choose_threshold(rule, **shown).peeks_at for rule in ThresholdRule}
    assert said == {
        "fixed": "nothing",
        "otsu": "scores and image-level labels",
        "gaussian_mixture": "scores and image-level labels",
        "tuned": "the tune split's masks",
        "dataset_oracle": "the test masks",
        "image_oracle": "each test image's mask",
    }
    oracles = {rule.value for rule in ThresholdRule if rule.is_oracle}
    assert oracles == {"dataset_oracle", "image_oracle"}


@pytest.mark.parametrize(
    ("rule", "split"), [("tuned", "tune"), ("dataset_oracle", "test"), ("image_oracle", "test")]
)
def test_a_rule_without_the_masks_it_peeks_at_names_the_split(rule, split):
    with pytest.raises(InputError, match=f"^threshold rule {rule}: .* {split} split$"):
        choose_threshold(rule)
    clear = stacked(([np.zeros((2, 2), np.uint8)], [np.zeros((2, 2), bool)]))
    with pytest.raises(InputError, match=f"^threshold rule {rule}: .* {split} split, got none"):
        choose_threshold(rule, tune=clear, test=clear)


@pytest.mark.parametrize(
    ("rule", "level_from"), [("otsu", otsu_level), ("gaussian_mixture", gaussian_mixture_level)]
)
def test_rules_without_masks_see_the_pooled_scores_and_nothing_else(rule, level_from):
    scores = scores_of(stacked(draw_maps(11)))
    choices = [
        choose_threshold(rule, tune=stack, test=stack, scores=scores)
        for stack in (None, stacked(draw_maps(12)), stacked(draw_maps(13)))
    ]
    assert {choice.level for choice in choices} == {level_from(scores)}


@pytest.mark.parametrize("rule", ["otsu", "gaussian_mixture"])
def test_a_rule_without_masks_finds_no_threshold_where_all_scores_are_equal(rule):
    with pytest.raises(NoThresholdError, match=f"^threshold rule {rule}: no level separates"):
        choose_threshold(rule, scores=np.bincount([9, 9, 9], minlength=256))
    with pytest.raises(NoThresholdError, match=f"^threshold rule {rule}: expected the scores"):
        choose_threshold(rule, test=stacked(draw_maps(9)))


def test_an_unknown_rule_or_objective_is_named_with_the_known_ones():
    with pytest.raises(InputError, match=r"^threshold rule 'best': .*fixed, otsu, "):
        choose_threshold("best")
    with pytest.raises(InputError, match=r"^objective 'dice': .*per_image_iou, dataset_iou, "):
        choose_threshold("tuned", objective="dice")


def test_levels_of_one_stack_are_refused_by_another():
    choice = choose_threshold("image_oracle", test=stacked(draw_maps(9, count=5)))
    with pytest.raises(InputError, match="the images that the per-image oracle saw"):
        evaluate(choice, stacked(draw_maps(9, count=6)))


@pytest.mark.parametrize("level", [None, -1, 256])
def test_a_choice_without_a_level_is_refused(level):
    choice = ThresholdChoice(ThresholdRule.FIXED, "nothing", level)
    with pytest.raises(InputError, match="level 0-255"):
        evaluate(choice, stacked(draw_maps(9)))
