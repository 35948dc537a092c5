"""Argmax at every threshold: counts and means against label maps that are made one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wsss_core.errors import InputError
from wsss_core.evaluate import (
    ConfusionCounts,
    MeanIou,
    ScoreHistogram,
    WinnerHistogram,
    argmax_sweep,
    compete,
    winners,
)

LEVELS = (0, 1, 2, 3, 100, 101, 254, 255)
VOID = 255


def label_map(levels: np.ndarray, thresholds: list[int]) -> np.ndarray:
    """Class k + 1 of the first highest level where it reaches the class's threshold, else 0."""
    found = np.zeros(levels.shape[1:], int)
    for y, x in np.ndindex(found.shape):
        column = [int(value) for value in levels[:, y, x]]
        best = column.index(max(column))
        found[y, x] = best + 1 if max(column[best], 1) >= thresholds[best] else 0
    return found


def counted(predicted: np.ndarray, truth: np.ndarray, classes: int) -> list[list[int]]:
    table = [[0] * (classes + 1) for _ in range(classes + 1)]
    for p, t in zip(predicted.ravel().tolist(), truth.ravel().tolist(), strict=True):
        if t != VOID:
            table[t][p] += 1
    return table


@st.composite
def some_images(draw: st.DrawFn) -> tuple[list[tuple[np.ndarray, np.ndarray]], int]:
    classes = draw(st.integers(1, 4))
    values = st.sampled_from(LEVELS)  # ties and both ends come up often
    images = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        levels = draw(arrays.arrays(np.uint8, (classes, *shape), elements=values))
        kinds = st.sampled_from([0, 0, VOID, *range(1, classes + 1)])
        images.append((levels, draw(arrays.arrays(np.uint8, shape, elements=kinds))))
    return images, classes


@settings(max_examples=20, deadline=None)
@given(drawn=some_images())
def test_every_mean_at_every_threshold_is_that_of_the_label_maps(drawn):
    images, classes = drawn
    sweep = argmax_sweep(iter(images), classes)
    confusion = sweep.pooled().confusion()
    for level in LEVELS[1:]:
        tables = [counted(label_map(s, [level] * classes), t, classes) for s, t in images]
        assert confusion[level].tolist() == np.sum(tables, axis=0).tolist()
        assert sweep.pooled().confusion_at(level).tolist() == confusion[level].tolist()
        every = ConfusionCounts(np.array(tables))
        held = every.holds[:, 1:].any(axis=1)
        some = every.of_images(np.flatnonzero(held)) if held.any() else None
        for definition in MeanIou:
            found = sweep.mean_iou(definition)[level]
            assert found == pytest.approx(every.mean_iou(definition), nan_ok=True)
            found = sweep.mean_iou(definition, all_images=False)[level]
            expected = some.mean_iou(definition) if some else float("nan")
            assert found == pytest.approx(expected, nan_ok=True)


@settings(max_examples=20, deadline=None)
@given(drawn=some_images(), data=st.data())
def test_a_threshold_for_each_class_cuts_its_own_winners(drawn, data):
    images, classes = drawn
    levels = data.draw(st.lists(st.sampled_from(LEVELS), min_size=classes, max_size=classes))
    pooled = argmax_sweep(images, classes).pooled()
    tables = [counted(label_map(s, levels), t, classes) for s, t in images]
    assert pooled.confusion_at(levels).tolist() == np.sum(tables, axis=0).tolist()


@settings(max_examples=20, deadline=None)
@given(drawn=some_images())
def test_the_histograms_of_each_class_are_those_of_competing_maps(drawn):
    images, classes = drawn
    for levels, truth in images:
        found = WinnerHistogram.from_scores(levels, truth)
        left = compete(levels)
        out = truth == VOID
        for k in range(classes):
            held = truth == k + 1
            assert found.of_class(k) == ScoreHistogram.from_scores(left[k], held, ignore=out)
        held = (truth > 0) & ~out
        best = left.max(axis=0)
        assert found.of_any_class() == ScoreHistogram.from_scores(best, held, ignore=out)


def test_voc_s_mean_of_three_pixels_by_hand():
    levels = np.array([[[200, 90, 10]], [[20, 120, 30]]], np.uint8)
    sweep = argmax_sweep([(levels, np.array([[1, 2, 0]]))], 2)
    # Up to 30 the third pixel is class 2: IoUs 0, 1 and 1/2. Up to 120 all is right. Above it
    # class 2 is background: 1/2, 1 and 0; above 200 all is: 1/3, 0 and 0.
    curve = sweep.mean_iou()
    assert curve[[1, 30, 31, 120]].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert curve[[121, 200, 201, 255]] == pytest.approx([0.5, 0.5, 1 / 9, 1 / 9])
    assert np.isnan(curve[0])
    assert sweep.best_level() == 31


def test_a_class_that_no_image_holds_leaves_no_mean_but_that_of_those_present():
    levels = np.zeros((2, 1, 2), np.uint8)
    levels[0] = 9
    sweep = argmax_sweep([(levels, np.array([[1, 0]]))], 2)
    assert sweep.best_level() is None
    assert sweep.best_level("present_miou") == 1
    assert sweep.mean_iou("present_miou")[[1, 10]].tolist() == [0.25, 0.25]


def test_images_are_taken_one_after_the_other():
    alive = []

    def drawn():
        for number in range(3):
            alive.append(number)
            yield np.full((1, 2, 2), 80 * number, np.uint8), np.array([[number % 2, 0], [0, 0]])

    assert argmax_sweep(drawn(), 1).images.tolist() == [1, 2]
    assert alive == [0, 1, 2]


GOOD = np.zeros((2, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "classes", "said"),
    [
        ([], 2, r"^images: expected at least one, got none$"),
        ([(GOOD, np.zeros((2, 3), int))], 3, r"^image 0: 2 classes, expected 3$"),
        ([(GOOD.astype(float), np.zeros((2, 3), int))], 2, r"^levels: expected uint8 \[K, h, w\]"),
        ([(GOOD, np.zeros((3, 2), int))], 2, r"^truth: expected whole numbers \[2, 3\], got int64"),
        ([(GOOD, np.zeros((2, 3)))], 2, r"^truth: expected whole numbers \[2, 3\], got float64"),
        ([(GOOD, np.full((2, 3), 3))], 2, r"^truth: value 3, expected 0 to 2, or 255$"),
        ([(GOOD, np.full((2, 3), -1))], 2, r"^truth: value -1, expected 0 to 2, or 255$"),
        ([], 255, r"^classes: expected 1 to 254, got 255$"),
    ],
)
def test_other_images_are_refused_in_one_line(images, classes, said):
    with pytest.raises(InputError, match=said):
        argmax_sweep(images, classes)


@pytest.mark.parametrize("levels", [256, -1, [1], [1, 2, 3], 0.5])
def test_levels_that_fit_no_class_are_refused(levels):
    histogram = WinnerHistogram.from_scores(GOOD, np.zeros((2, 3), int))
    with pytest.raises(InputError, match=r"^levels: expected a whole number 0-255, or 2 of them"):
        histogram.confusion_at(levels)


def test_254_classes_are_told_apart_and_blocks_of_pixels_do_not_show():
    levels = np.zeros((254, 1, 254), np.uint8)
    levels[range(254), 0, range(254)] = 2
    assert winners(levels)[0].tolist() == [list(range(254))]
    large = np.random.default_rng(0).integers(0, 256, (3, 300, 250)).astype(np.uint8)
    winner, level = winners(large)
    assert np.array_equal(winner, large.argmax(axis=0))
    assert np.array_equal(level, np.maximum(large.max(axis=0), 1))
