"""Figures over all images against one confusion matrix that every image is added to.

That is how torchmetrics' JaccardIndex, mmseg and the VOC devkit count: the matrix of true and
predicted labels over all pixels of all images that are not ignored, then the IoU of each label.
"""

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.evaluate import (
    HistogramStack,
    MultiClassStack,
    Objective,
    ScoreHistogram,
    choose_threshold,
    compete,
    evaluate,
    threshold_sweep,
)

IGNORED = 255
CLASSES = ("smoke", "steam", "cloud")
LEVELS = (1, 2, 40, 100, 101, 180, 255)


def confusion(predicted, masks, labels):
    """Count pixel by pixel: rows are true labels, columns predicted ones."""
    matrix = np.zeros((labels, labels), int)
    for one, mask in zip(predicted, masks, strict=True):
        for guess, truth in zip(one.ravel(), mask.ravel(), strict=True):
            if truth != IGNORED:
                matrix[truth, guess] += 1
    return matrix


def jaccard(matrix):
    hits = np.diag(matrix)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hits
    return np.divide(hits, union, out=np.zeros(len(hits)), where=union > 0)


def drawn(seed, classes):
    """Return levels [K, 6, 7] and masks [6, 7] of eight images; some hold no class."""
    random = np.random.default_rng(seed)
    levels = [random.integers(0, 256, (classes, 6, 7)).astype(np.uint8) for _ in range(8)]
    levels[3][:] = 0
    masks = [random.integers(0, classes + 1, (6, 7)).astype(np.uint8) for _ in range(8)]
    for clear in (1, 3, 6):
        masks[clear][:] = 0
    masks[5][masks[5] == 1] = 0  # holds others, but not the first
    for mask in masks[::2]:
        mask[random.random(mask.shape) < 0.2] = IGNORED
    return levels, masks


def stack_of(levels, masks, number):
    each = (
        ScoreHistogram.from_scores(one, mask == number, ignore=mask == IGNORED)
        for one, mask in zip(levels, masks, strict=True)
    )
    return HistogramStack.from_histograms(each)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("level", LEVELS)
def test_one_class_has_the_iou_of_a_confusion_matrix_over_all_images(seed, level):
    levels, masks = drawn(seed, 1)
    stack = stack_of([one[0] for one in levels], masks, 1)
    matrix = confusion([(one[0] >= level).astype(int) for one in levels], masks, 2)
    background, foreground = jaccard(matrix)

    assert stack.dataset_iou(all_images=True)[level] == foreground
    assert stack.dataset_miou(all_images=True)[level] == pytest.approx(
        (background + foreground) / 2
    )
    marked = matrix[:, 1].sum()
    precision = matrix[1, 1] / marked if marked else 0.0
    assert stack.precision(all_images=True)[level] == precision
    assert stack.recall()[level] == matrix[1, 1] / matrix[1].sum()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("level", LEVELS)
def test_several_classes_have_the_miou_of_a_confusion_matrix_over_all_images(seed, level):
    levels, masks = drawn(seed, 3)
    competing = [compete(one) for one in levels]
    stack = MultiClassStack(
        {
            name: stack_of([one[k] for one in competing], masks, k + 1)
            for k, name in enumerate(CLASSES)
        },
        HistogramStack.from_histograms(
            ScoreHistogram.from_scores(
                one.max(axis=0), (mask > 0) & (mask != IGNORED), ignore=mask == IGNORED
            )
            for one, mask in zip(competing, masks, strict=True)
        ),
    )
    predicted = [np.where(one.max(axis=0) >= level, one.argmax(axis=0) + 1, 0) for one in competing]
    each = jaccard(confusion(predicted, masks, 4))

    assert stack.background_iou(all_images=True)[level] == pytest.approx(each[0])
    for number, name in enumerate(CLASSES, 1):
        assert stack.dataset_iou(name, all_images=True)[level] == pytest.approx(each[number])
        with_background = stack.iou_with_background(name, all_images=True)[level]
        assert with_background == pytest.approx((each[0] + each[number]) / 2)
    assert stack.dataset_miou(all_images=True)[level] == pytest.approx(each.mean())
    assert stack.objective("dataset_miou_all_images")[level] == pytest.approx(each.mean())
    assert stack.objective("dataset_iou_all_images")[level] == pytest.approx(each[1:].mean())


def test_false_positives_on_clear_images_lower_the_figures_over_all_images_alone():
    levels, masks = drawn(7, 1)
    before = stack_of([one[0] for one in levels], masks, 1)
    for clear in (1, 3, 6):
        levels[clear][:] = 255
    after = stack_of([one[0] for one in levels], masks, 1)

    for figure in ("dataset_iou", "dataset_miou", "precision"):
        of_positive = getattr(before, figure)(), getattr(after, figure)()
        np.testing.assert_array_equal(*of_positive)
        lower = getattr(after, figure)(all_images=True) < getattr(before, figure)(all_images=True)
        assert lower[200]


@pytest.mark.parametrize("objective", [one for one in Objective if one.over_all_images])
def test_a_rule_can_be_tuned_for_all_images(objective):
    levels, masks = drawn(2, 1)
    stack = stack_of([one[0] for one in levels], masks, 1)
    curve = []
    for level in range(256):
        matrix = confusion([(one[0] >= level).astype(int) for one in levels], masks, 2)
        background, foreground = jaccard(matrix)
        with_background = objective is Objective.DATASET_MIOU_ALL_IMAGES
        curve.append((foreground + background) / 2 if with_background else foreground)

    choice = choose_threshold("tuned", tune=stack, objective=objective)

    assert choice.level == int(np.argmax(curve))
    assert getattr(evaluate(choice, stack), objective) == pytest.approx(max(curve))


def test_the_per_image_oracle_says_nothing_over_images_that_it_has_no_mask_of():
    levels, masks = drawn(4, 1)
    stack = stack_of([one[0] for one in levels], masks, 1)
    found = evaluate(choose_threshold("image_oracle", test=stack), stack)

    unknown = {"dataset_iou_all_images", "dataset_miou_all_images", "precision_all_images"}
    for name in unknown | {"clear_false_positive_share"}:
        assert np.isnan(getattr(found, name))
    assert found.dataset_iou > 0


def test_without_the_class_a_figure_over_all_images_is_nan():
    levels, masks = drawn(5, 1)
    clear = stack_of([levels[1][0], levels[3][0]], [masks[1], masks[3]], 1)
    for figure in ("dataset_iou", "dataset_miou", "precision"):
        assert np.isnan(getattr(clear, figure)(all_images=True)).all()


def test_a_sweep_over_all_images_takes_precision_over_them_too():
    scores = [np.array([[0.9, 0.2]]), np.array([[0.9, 0.1]])]
    masks = [np.array([[1, 0]]), np.array([[0, 0]])]

    positive = threshold_sweep(scores, masks, objective="dataset_iou").best
    over_all = threshold_sweep(scores, masks, objective="dataset_iou_all_images").best

    assert (positive.iou, positive.precision) == (1.0, 1.0)
    assert (over_all.iou, over_all.precision) == (0.5, 0.5)
    with pytest.raises(InputError, match="dataset_miou_all_images"):
        threshold_sweep(scores, masks, objective="jaccard")
