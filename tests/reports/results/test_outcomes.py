"""Every figure is compared with a loop over the raw CAMs and masks, one threshold at a time."""

import math

import numpy as np
import pandas as pd
import pytest

from reports.ledger.parts import read_table
from reports.names import ANY_CLASS, MEAN_OF_CLASSES, MEASURES
from reports.results.outcomes import classification, trial_figures
from wsss_core.errors import InputError
from wsss_core.evaluate import compete, gaussian_mixture_level, otsu_level

KEY = {"CNN alone": "0000abababababab", "ViT alone": "0100abababababab"}


def naive_iou(cam, mask, level):
    marked = cam >= level
    return (marked & mask).sum() / max((marked | mask).sum(), 1)


def naive_figures(cams, masks, level):
    """The figures of method.md, section 5, at one level, straight from their definitions."""
    held = [(cam, mask) for cam, mask in zip(cams, masks, strict=True) if mask.any()]
    clear = [cam for cam, mask in zip(cams, masks, strict=True) if not mask.any()]
    marked = np.concatenate([(cam >= level).ravel() for cam, _ in held])
    truth = np.concatenate([mask.ravel() for _, mask in held])
    foreground = (marked & truth).sum() / (marked | truth).sum()
    background = (~marked & ~truth).sum() / (~marked | ~truth).sum()
    every, truths = cams >= level, np.asarray(masks)
    of_all = (every & truths).sum() / (every | truths).sum()
    rest = (~every & ~truths).sum() / (~every | ~truths).sum()
    return {
        "per_image_iou": np.mean([naive_iou(cam, mask, level) for cam, mask in held]),
        "dataset_iou": foreground,
        "dataset_miou": (foreground + background) / 2,
        "dataset_iou_all_images": of_all,
        "dataset_miou_all_images": (of_all + rest) / 2,
        "precision_all_images": (every & truths).sum() / max(every.sum(), 1),
        "precision": (marked & truth).sum() / max(marked.sum(), 1),
        "recall": (marked & truth).sum() / truth.sum(),
        "clear_false_positive_share": np.mean([(cam >= level).mean() for cam in clear]),
    }


def row(outcomes, rule, split="test", class_name="smoke", network="student"):
    found = outcomes.query(
        "rule == @rule and split == @split and class_name == @class_name and network == @network"
    )
    assert len(found) == 1
    return found.iloc[0]


@pytest.fixture(scope="module")
def scores(ledger):
    return read_table(ledger.results, "scores", keys=[KEY["CNN alone"]])


@pytest.mark.parametrize("objective", MEASURES)
def test_tuned_takes_the_tune_splits_best_level_and_scores_it_on_test(ledger, scores, objective):
    tune = ledger.cams["CNN alone", 0, "tune", "student", "smoke"]
    curve = [naive_figures(tune, ledger.masks["tune", "smoke"], t)[objective] for t in range(256)]
    level = int(np.argmax(curve))
    test = ledger.cams["CNN alone", 0, "test", "student", "smoke"]

    tuned = row(trial_figures(scores, objective=objective, fixed=0.3).outcomes, "tuned")

    assert tuned["level"] == level
    assert tuned["threshold"] == pytest.approx(level / 255)
    assert tuned["peeks_at"] == "the tune split's masks"
    expected = naive_figures(test, ledger.masks["test", "smoke"], level)
    assert {name: tuned[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_the_fixed_rule_cuts_at_the_first_level_that_reaches_its_value(ledger, scores):
    outcomes = trial_figures(scores, objective="per_image_iou", fixed=0.3).outcomes
    masks = ledger.masks

    for split in ("test", "tune"):
        cams = ledger.cams["CNN alone", 0, split, "student", "smoke"]
        expected = naive_figures(cams, masks[split, "smoke"], math.ceil(0.3 * 255))
        fixed = row(outcomes, "fixed", split)
        assert {name: fixed[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_the_image_oracle_takes_each_images_own_best(ledger, scores):
    cams = ledger.cams["CNN alone", 0, "test", "student", "smoke"]
    masks = ledger.masks["test", "smoke"]
    best = [
        max(naive_iou(cam, mask, t) for t in range(256))
        for cam, mask in zip(cams, masks, strict=True)
        if mask.any()
    ]

    outcomes = trial_figures(scores, objective="per_image_iou", fixed=0.3).outcomes
    oracle = row(outcomes, "image_oracle")

    assert oracle["per_image_iou"] == pytest.approx(np.mean(best))
    assert math.isnan(oracle["level"])
    assert math.isnan(oracle["clear_false_positive_share"])


def test_rules_that_see_the_test_split_are_told_for_it_alone(scores):
    outcomes = trial_figures(scores, objective="per_image_iou", fixed=0.3).outcomes

    pairs = set(zip(outcomes["split"], outcomes["rule"], strict=True))
    assert pairs == {
        ("test", "fixed"),
        ("tune", "fixed"),
        ("test", "tuned"),
        ("tune", "tuned"),
        ("test", "otsu"),
        ("test", "gaussian_mixture"),
        ("test", "dataset_oracle"),
        ("test", "image_oracle"),
    }


def test_without_a_tune_split_nothing_is_tuned(scores):
    outcomes = trial_figures(
        scores[scores["split"] == "test"], objective="per_image_iou", fixed=0.3
    ).outcomes

    assert set(outcomes["rule"]) == {
        "fixed",
        "otsu",
        "gaussian_mixture",
        "dataset_oracle",
        "image_oracle",
    }


def test_where_no_mask_holds_the_class_only_the_fixed_rule_stands(ledger, scores):
    clear = scores[scores["foreground"].map(np.sum) == 0]

    outcomes = trial_figures(clear, objective="per_image_iou", fixed=0.3).outcomes

    assert set(outcomes["rule"]) == {"fixed"}
    assert outcomes["per_image_iou"].isna().all()
    assert outcomes["clear_false_positive_share"].notna().all()


def test_accuracies_follow_from_the_counts_of_right_predictions(ledger, scores):
    logits = ledger.logits["CNN alone", 0, "test", "student", "smoke"]
    held = ledger.masks["test", "smoke"].any(axis=(1, 2))
    hits, rejections = (logits[held] > 0).sum(), (logits[~held] <= 0).sum()

    tuned = row(trial_figures(scores, objective="per_image_iou", fixed=0.3).outcomes, "tuned")

    assert tuned["accuracy"] == pytest.approx((hits + rejections) / len(logits))
    assert tuned["balanced_accuracy"] == pytest.approx(
        (hits / held.sum() + rejections / (~held).sum()) / 2
    )
    assert (tuned["images"], tuned["images_with_class"]) == (15, 10)


def test_balanced_accuracy_needs_both_labels():
    figures = classification(np.array([True, True]), np.array([1.0, -1.0]))

    assert figures["accuracy"] == 0.5
    assert math.isnan(figures["balanced_accuracy"])


def test_several_classes_get_rows_of_their_own_and_their_unweighted_mean(tmp_path, build_ledger):
    ledger = build_ledger(tmp_path, classes=("smoke", "steam"), seeds=(0,), counts=(4, 7))
    scores = read_table(ledger.results, "scores", keys=[KEY["ViT alone"]])

    figures = trial_figures(scores, objective="per_image_iou", fixed=0.3)

    by_class = {
        name: naive_figures(
            ledger.cams["ViT alone", 0, "test", "student", name], ledger.masks["test", name], 77
        )
        for name in ("smoke", "steam")
    }
    mean = row(figures.outcomes, "fixed", class_name=MEAN_OF_CLASSES)
    for name in by_class["smoke"]:
        values = [by_class["smoke"][name], by_class["steam"][name]]
        assert row(figures.outcomes, "fixed", class_name="steam")[name] == pytest.approx(values[1])
        assert mean[name] == pytest.approx(np.mean(values))
    curves = figures.curves
    np.testing.assert_allclose(
        curves["student", MEAN_OF_CLASSES],
        (curves["student", "smoke"] + curves["student", "steam"]) / 2,
    )


def test_a_figure_that_one_class_lacks_has_no_mean(tmp_path, build_ledger):
    ledger = build_ledger(tmp_path, classes=("smoke", "steam"), seeds=(0,), counts=(4, 7))
    scores = read_table(ledger.results, "scores", keys=[KEY["ViT alone"]])
    untuned = (scores["class_name"] == "steam") & (scores["split"] == "tune")

    outcomes = trial_figures(scores[~untuned], objective="per_image_iou", fixed=0.3).outcomes

    assert math.isnan(row(outcomes, "tuned", class_name=MEAN_OF_CLASSES)["per_image_iou"])
    assert not math.isnan(row(outcomes, "fixed", class_name=MEAN_OF_CLASSES)["per_image_iou"])


def test_curves_and_image_ious_are_those_of_a_loop_over_thresholds(ledger, scores):
    figures = trial_figures(scores, objective="dataset_iou", fixed=0.3)
    cams = ledger.cams["CNN alone", 0, "test", "student", "smoke"]
    masks = ledger.masks["test", "smoke"]
    key = ("student", "smoke")

    for level in (0, 1, 100, 200, 255):
        expected = naive_figures(cams, masks, level)["dataset_iou"]
        assert figures.curves[key][level] == pytest.approx(expected)
        for i in (0, 2, 7):  # the third is clear
            assert figures.image_iou[key][i, level] == pytest.approx(
                naive_iou(cams[i], masks[i], level)
            )
    marked = [(cams[2] >= level).mean() for level in range(256)]
    np.testing.assert_allclose(figures.clear_share[key][2], marked)
    assert figures.images[key][2] == "images/test_0002.png"


LEVEL_FROM = {"otsu": otsu_level, "gaussian_mixture": gaussian_mixture_level}


@pytest.mark.parametrize("rule", LEVEL_FROM)
def test_rules_without_masks_cut_where_the_scores_of_the_labelled_images_part(ledger, scores, rule):
    cams, masks = ledger.cams["CNN alone", 0, "test", "student", "smoke"], ledger.masks
    labelled = masks["test", "smoke"].any(axis=(1, 2))
    level = LEVEL_FROM[rule](np.bincount(cams[labelled].ravel(), minlength=256))

    found = row(trial_figures(scores, objective="per_image_iou", fixed=0.3).outcomes, rule)

    assert found["level"] == level
    assert found["peeks_at"] == "scores and image-level labels"
    expected = naive_figures(cams, masks["test", "smoke"], level)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rule", LEVEL_FROM)
def test_a_rule_without_masks_is_left_out_where_scores_show_no_two_groups(scores, rule):
    everything_at_9 = np.zeros(256, np.uint32)
    everything_at_9[9] = 100
    flat = scores.assign(
        foreground=[everything_at_9 * labelled for labelled in scores["labelled"]],
        background=[everything_at_9] * len(scores),
    )

    outcomes = trial_figures(flat, objective="per_image_iou", fixed=0.3).outcomes

    assert rule not in set(outcomes["rule"])
    assert {"fixed", "tuned", "dataset_oracle"} <= set(outcomes["rule"])


@pytest.mark.parametrize("objective", MEASURES)
def test_the_price_is_the_distance_to_the_best_single_level_on_test(ledger, scores, objective):
    cams, masks = ledger.cams["CNN alone", 0, "test", "student", "smoke"], ledger.masks
    best = max(naive_figures(cams, masks["test", "smoke"], t)[objective] for t in range(256))

    outcomes = trial_figures(scores, objective=objective, fixed=0.3).outcomes

    for rule in ("fixed", "otsu", "gaussian_mixture", "tuned"):
        found = row(outcomes, rule)
        assert found["price"] == pytest.approx(best - found[objective], abs=1e-12)
        assert found["price"] >= 0
    for rule in ("dataset_oracle", "image_oracle"):
        assert math.isnan(row(outcomes, rule)["price"])
    assert outcomes.loc[outcomes["split"] == "tune", "price"].isna().all()


def histograms(levels, masks):
    return {
        "foreground": [
            np.bincount(a[m], minlength=256) for a, m in zip(levels, masks, strict=True)
        ],
        "background": [
            np.bincount(a[~m], minlength=256) for a, m in zip(levels, masks, strict=True)
        ],
    }


@pytest.fixture(scope="module")
def competing():
    """Levels uint8 [N, 2, h, w] of two competing classes, and their rows; half hold one each."""
    generator = np.random.default_rng(1)
    held = [(True, False), (False, True), (True, True), (False, False)] * 3
    levels, frames = [], []
    masks = np.zeros((12, 2, 10, 10), bool)
    for number, holds in enumerate(held):
        masks[number, 0, :4] = holds[0]
        masks[number, 1, 6:] = holds[1]
        noise = generator.integers(0, 80, (2, 10, 10)) + 110 * masks[number]
        levels.append(compete(noise.astype(np.uint8)))
    levels = np.stack(levels)
    of_class = {name: (levels[:, k], masks[:, k]) for k, name in enumerate(("smoke", "steam"))}
    of_class[ANY_CLASS] = levels.max(axis=1), masks.any(axis=1)
    for name, (maps, truth) in of_class.items():
        for split in ("tune", "test"):
            frames.append(
                pd.DataFrame(
                    {
                        "network": "student",
                        "split": split,
                        "image": [f"{i}.png" for i in range(12)],
                        "class_name": name,
                        "labelled": truth.any(axis=(1, 2)),
                        "logit": 1.0,
                        **histograms(maps, truth),
                    }
                )
            )
    return levels, masks, pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("rule", LEVEL_FROM)
def test_several_classes_share_the_level_at_which_the_winning_scores_part(competing, rule):
    levels, masks, rows = competing
    labelled = masks.any(axis=(1, 2, 3))
    winning = levels.max(axis=1)[labelled]
    level = LEVEL_FROM[rule](np.bincount(winning.ravel(), minlength=256))

    outcomes = trial_figures(rows, objective="per_image_iou", fixed=0.3).outcomes

    each = [row(outcomes, rule, class_name=name) for name in ("smoke", "steam")]
    assert [found["level"] for found in each] == [level, level]
    for k, found in enumerate(each):
        ious = [naive_iou(levels[i, k], masks[i, k], level) for i in range(12) if masks[i, k].any()]
        assert found["per_image_iou"] == pytest.approx(np.mean(ious))
    mean = row(outcomes, rule, class_name=MEAN_OF_CLASSES)
    oracle = row(outcomes, "dataset_oracle", class_name=MEAN_OF_CLASSES)
    assert mean["price"] == pytest.approx(oracle["per_image_iou"] - mean["per_image_iou"])


OWN_RULE = """
VERSION = 1
def three_quarters(tune, scores):
    assert (tune is None) or tune.foreground.shape[1] == 256
    seen = scores.cumsum()
    return int((seen < 0.75 * seen[-1]).sum())
three_quarters.peeks_at = "the test images' scores"
def zero(tune, scores):
    return 0
"""


@pytest.fixture
def own_rules(tmp_path, monkeypatch):
    (tmp_path / "own_outcome_rules.py").write_text(OWN_RULE)
    monkeypatch.chdir(tmp_path)


def test_a_rule_of_one_s_own_has_rows_as_any_other(own_rules, ledger, scores):
    name = "own_outcome_rules:three_quarters"
    cams, masks = ledger.cams["CNN alone", 0, "test", "student", "smoke"], ledger.masks
    labelled = masks["test", "smoke"].any(axis=(1, 2))
    ascending = np.sort(cams[labelled].ravel())
    level = ascending[math.ceil(0.75 * len(ascending)) - 1]

    figures = trial_figures(scores, objective="per_image_iou", fixed=0.3, own_rules=[name])

    found = row(figures.outcomes, name)
    assert (found["level"], found["peeks_at"]) == (level, "the test images' scores")
    expected = naive_figures(cams, masks["test", "smoke"], level)
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-12)
    assert found["price"] > 0


def test_of_several_classes_an_own_rule_s_level_leaves_room_for_nothing_competing(
    own_rules, competing
):
    figures = trial_figures(
        competing[2], objective="dataset_iou", fixed=0.3, own_rules=["own_outcome_rules:zero"]
    )
    assert row(figures.outcomes, "own_outcome_rules:zero")["level"] == 1


def test_an_own_rule_that_is_not_there_is_an_error_that_names_it(scores):
    with pytest.raises(InputError, match="threshold rule 'no_such_module:rule'"):
        trial_figures(
            scores, objective="per_image_iou", fixed=0.3, own_rules=["no_such_module:rule"]
        )
