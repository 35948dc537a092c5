"""A histogram's curves are the numbers a loop over the thresholds gives, exactly."""

import doctest
import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import wsss_core.evaluate.score_histogram
from wsss_core.errors import InputError
from wsss_core.evaluate import ScoreHistogram


def curves_by_loop(scores, mask, ignore=None):
    """Every figure from its definition, one threshold and one confusion matrix at a time."""
    kept = np.ones_like(mask) if ignore is None else ~ignore
    figures = {
        name: []
        for name in ("iou", "background_iou", "precision", "recall", "false_positive_share")
    }
    for threshold in range(256):
        predicted = scores >= threshold
        hit = int((predicted & mask & kept).sum())
        false_alarm = int((predicted & ~mask & kept).sum())
        missed = int((~predicted & mask & kept).sum())
        correct_rest = int((~predicted & ~mask & kept).sum())
        for name, part, whole in (
            ("iou", hit, hit + false_alarm + missed),
            ("background_iou", correct_rest, correct_rest + false_alarm + missed),
            ("precision", hit, hit + false_alarm),
            ("recall", hit, hit + missed),
            ("false_positive_share", false_alarm, false_alarm + correct_rest),
        ):
            figures[name].append(part / whole if whole else 0.0)
    return figures


def assert_equals_loop(scores, mask, ignore=None):
    histogram = ScoreHistogram.from_scores(scores, mask, ignore=ignore)
    for name, expected in curves_by_loop(scores, mask, ignore).items():
        curve = getattr(histogram, name)()
        assert curve.dtype == np.float64
        assert curve.tolist() == expected, name


# Both sides of the size from which pixels are counted in pairs, odd numbers of pixels among them.
SIZES = [(1, 1), (1, 2), (7, 5), (64, 64), (199, 201), (201, 201), (240, 320)]


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("mask_share", [0.0, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("ignore_share", [None, 0.0, 0.01, 0.3, 1.0])
def test_random_maps_give_the_loop_s_curves(shape, mask_share, ignore_share):
    generator = np.random.default_rng([*shape, int(100 * mask_share)])
    scores = generator.integers(0, 256, shape, dtype=np.uint8)
    mask = generator.random(shape) < mask_share
    ignore = None if ignore_share is None else generator.random(shape) < ignore_share
    assert_equals_loop(scores, mask, ignore)


@pytest.mark.parametrize("score", [0, 1, 254, 255])
@pytest.mark.parametrize("mask_kind", ["empty", "full", "half"])
@pytest.mark.parametrize("shape", [(1, 1), (4, 6), (240, 320)])
def test_constant_maps_give_the_loop_s_curves(score, mask_kind, shape):
    scores = np.full(shape, score, dtype=np.uint8)
    mask = np.full(shape, mask_kind == "full")
    if mask_kind == "half":
        mask[: shape[0] // 2] = True
    assert_equals_loop(scores, mask)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), shape=arrays.array_shapes(min_dims=2, max_dims=2, max_side=9))
def test_any_small_map_gives_the_loop_s_curves(data, shape):
    scores = data.draw(arrays.arrays(np.uint8, shape))
    mask = data.draw(arrays.arrays(np.bool_, shape))
    ignore = data.draw(st.none() | arrays.arrays(np.bool_, shape))
    assert_equals_loop(scores, mask, ignore)


@pytest.mark.parametrize(("rows", "columns"), list(itertools.product([1, -1, 2], repeat=2)))
def test_strided_views_count_as_their_copies(rows, columns):
    generator = np.random.default_rng(3)
    scores = generator.integers(0, 256, (300, 402), dtype=np.uint8)[::rows, ::columns]
    mask = (generator.random((300, 402)) < 0.1)[::rows, ::columns]
    assert_equals_loop(scores, mask)
    assert_equals_loop(scores.T, mask.T)


def test_maps_at_an_odd_address_count_as_their_copies():
    buffer = np.random.default_rng(4).integers(0, 256, 250 * 250 + 1, dtype=np.uint8)
    scores = buffer[1:].reshape(250, 250)
    assert_equals_loop(scores, scores > 240)


def test_counting_leaves_the_inputs_as_they_were():
    generator = np.random.default_rng(5)
    scores = generator.integers(0, 256, (30, 30), dtype=np.uint8)
    mask, ignore = generator.random((2, 30, 30)) < 0.5
    before = scores.copy(), mask.copy(), ignore.copy()
    ScoreHistogram.from_scores(scores, mask, ignore=ignore)
    for array, copy in zip((scores, mask, ignore), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_the_sum_of_histograms_is_the_histogram_of_all_pixels():
    generator = np.random.default_rng(6)
    scores = generator.integers(0, 256, (5, 16, 16), dtype=np.uint8)
    masks = generator.random((5, 16, 16)) < 0.3
    each = [ScoreHistogram.from_scores(s, m) for s, m in zip(scores, masks, strict=True)]
    together = ScoreHistogram.from_scores(scores.reshape(80, 16), masks.reshape(80, 16))
    assert sum(each) == together
    assert each[0] + each[1] == each[1] + each[0]
    assert each[0] != each[1]


def test_a_histogram_does_not_add_to_other_things():
    histogram = ScoreHistogram.from_scores(np.zeros((1, 1), np.uint8), np.ones((1, 1), bool))
    for other in (1, 0.5, None):
        with pytest.raises(TypeError):
            other + histogram
        with pytest.raises(TypeError):
            histogram + other


def test_counts_read_back_as_uint32_make_the_same_histogram():
    generator = np.random.default_rng(7)
    scores = generator.integers(0, 256, (20, 20), dtype=np.uint8)
    histogram = ScoreHistogram.from_scores(scores, scores > 100)
    stored = ScoreHistogram(
        histogram.foreground.astype(np.uint32), histogram.background.astype(np.uint32)
    )
    assert stored == histogram
    assert stored.foreground.dtype == np.int64


def test_counts_cannot_be_overwritten_and_the_caller_s_array_still_can():
    foreground = np.zeros(256, dtype=np.int64)
    histogram = ScoreHistogram(foreground, np.ones(256, dtype=np.int64))
    with pytest.raises(ValueError, match="read-only"):
        histogram.foreground[0] = 1
    foreground[0] = 1


GOOD_SCORES = np.zeros((2, 3), np.uint8)
GOOD_MASK = np.zeros((2, 3), bool)


@pytest.mark.parametrize(
    ("scores", "mask", "ignore", "message"),
    [
        (GOOD_SCORES.tolist(), GOOD_MASK, None, "scores: .*uint8.* got list"),
        (GOOD_SCORES.astype(np.float32), GOOD_MASK, None, "scores: .*uint8.* got float32"),
        (GOOD_SCORES[None], GOOD_MASK, None, r"scores: .* got uint8 \[1, 2, 3\]"),
        (np.zeros((0, 3), np.uint8), np.zeros((0, 3), bool), None, r"scores: .*pixel.*\[0, 3\]"),
        (GOOD_SCORES, GOOD_MASK.astype(np.uint8), None, "mask: .*bool.* got uint8"),
        (GOOD_SCORES, GOOD_MASK.T, None, r"mask: .*\[2, 3\], got \[3, 2\]"),
        (GOOD_SCORES, None, None, "mask: .*bool.* got NoneType"),
        (GOOD_SCORES, GOOD_MASK, GOOD_MASK.T, r"ignore: .*\[2, 3\], got \[3, 2\]"),
        (GOOD_SCORES, GOOD_MASK, GOOD_SCORES, "ignore: .*bool.* got uint8"),
    ],
)
def test_a_map_of_another_type_or_shape_is_named_in_one_line(scores, mask, ignore, message):
    with pytest.raises(InputError, match=f"^{message}[^\n]*$"):
        ScoreHistogram.from_scores(scores, mask, ignore=ignore)


@pytest.mark.parametrize(
    ("foreground", "message"),
    [
        (np.zeros(255, np.int64), r"shape \[255\]"),
        (np.zeros((1, 256), np.int64), r"shape \[1, 256\]"),
        (np.zeros(256), "float64"),
        (np.full(256, -1), "-1"),
    ],
)
def test_counts_that_cannot_be_pixel_counts_are_refused(foreground, message):
    with pytest.raises(InputError, match=f"^foreground: .*{message}"):
        ScoreHistogram(foreground, np.zeros(256, np.int64))


def test_the_docstring_s_example_runs():
    results = doctest.testmod(wsss_core.evaluate.score_histogram)
    assert results.attempted >= 6
    assert results.failed == 0


def test_importing_the_package_loads_neither_torch_nor_pandas():
    script = (
        "import sys, wsss_core.evaluate; "
        "print([name for name in ('torch', 'pandas', 'ray', 'scipy') if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"
