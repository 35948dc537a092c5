"""Pooling over images, against loops over images and thresholds."""

import math
import warnings

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.evaluate import HistogramStack, ScoreHistogram

CLEAR = 1, 4  # positions of the images without the class


@pytest.fixture(scope="module")
def maps():
    generator = np.random.default_rng(0)
    shapes = [(6, 9), (4, 4), (1, 1), (11, 3), (8, 8), (5, 7)]
    scores = [generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    masks = [generator.random(shape) < 0.4 for shape in shapes]
    masks[2][:] = True
    for position in CLEAR:
        masks[position][:] = False
    return scores, masks


@pytest.fixture(scope="module")
def stack(maps):
    return HistogramStack.from_histograms(map(ScoreHistogram.from_scores, *maps))


def confusion(maps, threshold, positions):
    """Hits, false alarms, misses and the rest, over the pixels of the images at these positions."""
    scores = np.concatenate([maps[0][n].ravel() for n in positions])
    mask = np.concatenate([maps[1][n].ravel() for n in positions])
    predicted = scores >= threshold
    return (
        int((predicted & mask).sum()),
        int((predicted & ~mask).sum()),
        int((~predicted & mask).sum()),
        int((~predicted & ~mask).sum()),
    )


def ratio(part, whole):
    return part / whole if whole else 0.0


HOLDING = 0, 2, 3, 5


def test_images_without_a_pixel_of_the_class_are_told_apart(stack):
    assert len(stack) == 6
    assert stack.holds_class.tolist() == [True, False, True, True, False, True]


def test_each_image_s_iou_is_that_of_its_own_histogram(maps, stack):
    for position, one in enumerate(map(ScoreHistogram.from_scores, *maps)):
        assert stack.iou()[position].tolist() == one.iou().tolist()


def test_the_total_is_the_sum_over_all_images(maps, stack):
    assert stack.total() == sum(map(ScoreHistogram.from_scores, *maps))


def test_per_image_iou_is_the_mean_over_images_that_hold_the_class(maps, stack):
    for threshold, value in enumerate(stack.per_image_iou()):
        each = []
        for position in HOLDING:
            hit, false_alarm, missed, _ = confusion(maps, threshold, [position])
            each.append(ratio(hit, hit + false_alarm + missed))
        assert value == pytest.approx(math.fsum(each) / len(each), abs=1e-15)


def test_dataset_figures_pool_the_pixels_of_images_that_hold_the_class(maps, stack):
    for threshold in range(256):
        hit, false_alarm, missed, rest = confusion(maps, threshold, HOLDING)
        foreground = ratio(hit, hit + false_alarm + missed)
        background = ratio(rest, rest + false_alarm + missed)
        assert stack.dataset_iou()[threshold] == foreground
        assert stack.dataset_miou()[threshold] == (foreground + background) / 2
        assert stack.precision()[threshold] == ratio(hit, hit + false_alarm)
        assert stack.recall()[threshold] == ratio(hit, hit + missed)


def test_false_positives_on_clear_images_are_the_mean_share_of_their_pixels(maps, stack):
    for threshold, value in enumerate(stack.clear_false_positive_share()):
        shares = [(maps[0][position] >= threshold).mean() for position in CLEAR]
        assert value == pytest.approx(sum(shares) / 2, abs=1e-15)


def test_images_without_the_class_change_no_iou(maps, stack):
    holding = HistogramStack(stack.foreground[list(HOLDING)], stack.background[list(HOLDING)])
    for name in ("per_image_iou", "dataset_iou", "dataset_miou", "precision", "recall"):
        assert getattr(stack, name)().tolist() == getattr(holding, name)().tolist()


def test_a_figure_over_no_image_is_nan_without_a_warning(stack):
    clear = HistogramStack(stack.foreground[list(CLEAR)], stack.background[list(CLEAR)])
    holding = HistogramStack(stack.foreground[list(HOLDING)], stack.background[list(HOLDING)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for empty in (clear, HistogramStack.from_histograms([])):
            for name in ("per_image_iou", "dataset_iou", "dataset_miou", "precision", "recall"):
                assert np.isnan(getattr(empty, name)()).all()
        assert np.isnan(holding.clear_false_positive_share()).all()
        assert not np.isnan(clear.clear_false_positive_share()).any()


def test_a_stack_of_nothing_has_an_empty_total():
    empty = HistogramStack.from_histograms([])
    assert len(empty) == 0
    assert empty.iou().shape == (0, 256)
    assert empty.total().iou().tolist() == [0.0] * 256


def test_stacks_of_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"^foreground: .*\[N, 256\], got the shape \[256\]$"):
        HistogramStack(np.zeros(256, np.int64), np.zeros(256, np.int64))
    with pytest.raises(InputError, match=r"^background: .*\(2\), got 3$"):
        HistogramStack(np.zeros((2, 256), np.int64), np.zeros((3, 256), np.int64))


def test_scores_are_pooled_over_the_labelled_images_wherever_their_masks_lie(maps, stack):
    labelled = np.array([True, True, False, False, True, False])  # two of them without a mask
    pixels = np.concatenate([maps[0][position].ravel() for position in (0, 1, 4)])
    counted = [int((pixels == level).sum()) for level in range(256)]
    assert stack.pooled_scores(labelled).tolist() == counted


def test_a_map_that_is_0_throughout_has_no_scores_to_pool():
    levels = np.eye(256, dtype=int)
    stack = HistogramStack(levels[[0, 0]], 3 * levels[[0, 5]])
    pooled = stack.pooled_scores(np.array([True, True]))
    assert {level: pooled[level] for level in np.flatnonzero(pooled)} == {0: 1, 5: 3}
    assert stack.pooled_scores(np.array([True, False])).sum() == 0


def test_labels_that_are_not_one_truth_for_each_image_are_refused(stack):
    with pytest.raises(InputError, match=r"^labelled: expected bool \[6\], got int64 \[6\]"):
        stack.pooled_scores(np.ones(6, dtype=np.int64))
    with pytest.raises(InputError, match=r"^labelled: expected bool \[6\], got bool \[5\]"):
        stack.pooled_scores(np.ones(5, dtype=bool))


@pytest.mark.parametrize("level", [0, 1, 90, 255])
def test_the_iou_at_a_level_is_that_of_the_curve_to_the_bit(stack, level):
    assert np.array_equal(stack.iou_at(level), stack.iou()[:, level])
    assert not stack.holds_class.all()
