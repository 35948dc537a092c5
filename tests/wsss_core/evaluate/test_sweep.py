"""A sweep over thresholds in one call, beside a loop over the thresholds."""

import numpy as np
import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.evaluate import ThresholdSweep, threshold_sweep

RANDOM = np.random.default_rng(0)
SCORES = RANDOM.random((3, 12, 16)).astype(np.float32)
MASKS = (SCORES + RANDOM.normal(0, 0.3, SCORES.shape) > 0.6).astype(np.uint8)
WITH_IGNORED = np.where(RANDOM.random(MASKS.shape) < 0.2, 255, MASKS).astype(np.uint8)


def counted(scores, mask, level):
    """True positives, false positives and misses of the pixels that count, at one level."""
    predicted = np.round(scores * 255) >= level
    counts = mask != 255
    hit = (predicted & (mask == 1) & counts).sum()
    return hit, (predicted & (mask == 0) & counts).sum(), ((mask == 1) & ~predicted & counts).sum()


def by_loop(scores, masks):
    """IoU (the mean of the images' own), precision and recall (pooled), float64 [256] each."""
    curves = np.zeros((3, 256))
    for level in range(256):
        each = np.array([counted(s, m, level) for s, m in zip(scores, masks, strict=True)])
        hit, wrong, missed = each.sum(0)
        curves[0, level] = (each[:, 0] / each.sum(1)).mean()
        curves[1, level] = hit / max(hit + wrong, 1)
        curves[2, level] = hit / (hit + missed)
    return curves


@pytest.mark.parametrize("masks", [MASKS, WITH_IGNORED])
def test_a_batch_has_the_figures_of_a_loop_over_thresholds(masks):
    sweep = threshold_sweep(SCORES, masks)
    expected = by_loop(SCORES, masks)
    np.testing.assert_allclose([sweep.iou, sweep.precision, sweep.recall], expected)
    level = int(expected[0].argmax())
    assert sweep.best.level == level
    assert sweep.best.threshold == level / 255
    assert [sweep.best.iou, sweep.best.precision, sweep.best.recall] == pytest.approx(
        expected[:, level]
    )


def test_all_pixels_can_be_pooled_instead():
    pooled = threshold_sweep(SCORES, MASKS, objective="dataset_iou")
    one = threshold_sweep(np.concatenate(SCORES), np.concatenate(MASKS))
    np.testing.assert_array_equal(pooled.iou, one.iou)


@pytest.mark.parametrize(
    ("scores", "mask"),
    [
        (SCORES[0], MASKS[0]),
        (SCORES[:1], MASKS[0]),
        (SCORES[0], MASKS[0].astype(bool)),
        (SCORES[0].astype(np.float64), MASKS[0].astype(np.int64)),
        (np.round(SCORES[0] * 255).astype(np.uint8), MASKS[0]),
        ([SCORES[0]], [MASKS[0]]),
        (SCORES[0].tolist(), MASKS[0].tolist()),
    ],
)
def test_one_map_may_be_given_in_any_form(scores, mask):
    np.testing.assert_allclose(threshold_sweep(scores, mask).iou, by_loop(SCORES[:1], MASKS[:1])[0])


def test_maps_of_different_sizes_are_given_as_lists():
    sizes = [(5, 9), (12, 4)]
    scores = [SCORES[n, :h, :w] for n, (h, w) in enumerate(sizes)]
    masks = [WITH_IGNORED[n, :h, :w] for n, (h, w) in enumerate(sizes)]
    np.testing.assert_allclose(threshold_sweep(scores, masks).iou, by_loop(scores, masks)[0])


def test_ignored_pixels_may_be_told_apart_from_the_mask():
    expected = threshold_sweep(SCORES, WITH_IGNORED).iou
    apart = threshold_sweep(SCORES, WITH_IGNORED == 1, ignore=WITH_IGNORED == 255)
    np.testing.assert_array_equal(apart.iou, expected)
    other = np.where(WITH_IGNORED == 255, 7, WITH_IGNORED)
    np.testing.assert_array_equal(threshold_sweep(SCORES, other, ignore=7).iou, expected)


def test_the_frame_holds_the_curves_and_the_plot_marks_the_best():
    sweep = threshold_sweep(SCORES, MASKS)
    frame = sweep.frame()
    assert list(frame) == ["threshold", "iou", "precision", "recall"]
    assert frame.threshold.iloc[[0, -1]].tolist() == [0, 1]
    np.testing.assert_array_equal(frame.iou, sweep.iou)
    axes = sweep.plot()
    iou, _, _, best = axes.get_lines()
    np.testing.assert_array_equal(iou.get_ydata(), sweep.iou)
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (sweep.best.threshold, sweep.best.iou)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "IoU",
        "precision",
        "recall",
    ]
    assert sweep.plot(axes) is axes


def test_it_prints_as_a_line_with_the_best_threshold():
    sweep = threshold_sweep(SCORES, MASKS)
    said = f"per_image_iou: {sweep.best.iou:.4f} at the threshold {sweep.best.threshold:.4f})"
    assert repr(sweep) == f"ThresholdSweep(3 images; {said}"
    empty = threshold_sweep(SCORES[0], np.zeros((12, 16), bool))
    assert repr(empty) == "ThresholdSweep(1 image; per_image_iou: no mask holds the class)"


def test_scores_that_keep_gradients_are_read():
    scores = torch.tensor(SCORES, requires_grad=True)
    np.testing.assert_array_equal(
        threshold_sweep(scores, torch.tensor(MASKS)).iou, threshold_sweep(SCORES, MASKS).iou
    )


def test_where_no_mask_holds_the_class_there_is_no_best():
    empty = threshold_sweep(SCORES[0], np.zeros((12, 16), bool))
    assert isinstance(empty, ThresholdSweep)
    assert np.isnan(empty.iou).all()
    with pytest.raises(
        InputError, match="mask: expected a pixel of the class in at least one mask"
    ):
        _ = empty.best


WRONG = [
    (SCORES[0], MASKS[0, :6], {}, r"mask: expected the scores' size \[12, 16\], got \[6, 16\]"),
    (SCORES[0] * 2, MASKS[0], {}, r"scores: expected values in \[0, 1\], got .* to 1.9"),
    (SCORES[0] * np.nan, MASKS[0], {}, r"scores: expected values in \[0, 1\], got nan"),
    (SCORES[0].astype(int), MASKS[0], {}, "expected floats in 0..1 or uint8 levels 0-255, got int"),
    (SCORES[0], MASKS[0] * 255, {}, "holds 255 and no 1, so 255 may be the class or ignored"),
    (
        SCORES[0],
        MASKS[0] * 15,
        {},
        r"got \[15\]; compare it with the class's number first, mask ==",
    ),
    (SCORES[0], MASKS[0] * 1.0, {}, "expected bool, or whole numbers 0, 1 and 255, got float64"),
    (SCORES[0], -MASKS[0].astype(int), {}, r"expected 1 for the class, .* got \[-1\]"),
    (SCORES, MASKS[:2], {}, "mask: expected one for each of 3 score maps, got 2"),
    (SCORES[:0], MASKS[:0], {}, r"scores: expected at least one map, got the shape \[0, 12, 16\]"),
    ([], [], {}, r"scores: expected \[H, W\], \[B, H, W\] or a list of \[H, W\], got .* \[0\]"),
    (SCORES[0, 0], MASKS[0, 0], {}, r"scores: expected \[H, W\], .* got the shape \[16\]"),
    (SCORES[None], MASKS[None], {}, r"scores: expected .* got the shape \[1, 3, 12, 16\]"),
    ([[1, 2], [3]], MASKS[0], {}, "scores: expected rows of one length"),
    (SCORES[0], MASKS[0], {"ignore": MASKS[0]}, r"ignore: expected a number, or bool .* got uint8"),
    (SCORES[0], MASKS[0], {"ignore": MASKS == 1}, "ignore: expected one array for each of 1"),
    (SCORES[0], MASKS[0], {"objective": "iou"}, "objective 'iou': expected one of per_image_iou"),
]


@pytest.mark.parametrize(("scores", "mask", "more", "said"), WRONG)
def test_wrong_input_is_a_sentence_that_says_what_was_expected(scores, mask, more, said):
    with pytest.raises(InputError, match=said):
        threshold_sweep(scores, mask, **more)


def test_a_mask_of_0_and_255_is_read_where_its_255_is_told():
    mask = MASKS[0] * np.uint8(255)
    assert not threshold_sweep(SCORES[0], mask, ignore=255).histograms.holds_class.any()
    np.testing.assert_allclose(
        threshold_sweep(SCORES[0], mask == 255).iou, by_loop(SCORES[:1], MASKS[:1])[0]
    )
