"""Every figure is compared with a loop over the raw CAMs and masks, one threshold at a time."""

import math

import numpy as np
import pytest

from reports.ledger import read_table
from reports.outcomes import MEAN_OF_CLASSES, classification, trial_figures

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
    return {
        "per_image_iou": np.mean([naive_iou(cam, mask, level) for cam, mask in held]),
        "dataset_iou": foreground,
        "dataset_miou": (foreground + background) / 2,
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


@pytest.mark.parametrize("objective", ["per_image_iou", "dataset_iou", "dataset_miou"])
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


def test_oracles_are_told_for_the_test_split_alone(scores):
    outcomes = trial_figures(scores, objective="per_image_iou", fixed=0.3).outcomes

    pairs = set(zip(outcomes["split"], outcomes["rule"], strict=True))
    assert pairs == {
        ("test", "fixed"),
        ("tune", "fixed"),
        ("test", "tuned"),
        ("tune", "tuned"),
        ("test", "dataset_oracle"),
        ("test", "image_oracle"),
    }


def test_without_a_tune_split_nothing_is_tuned(scores):
    outcomes = trial_figures(
        scores[scores["split"] == "test"], objective="per_image_iou", fixed=0.3
    ).outcomes

    assert set(outcomes["rule"]) == {"fixed", "dataset_oracle", "image_oracle"}


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
