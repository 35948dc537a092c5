"""Confusion counts and means of IoU, against loops over single pixels in plain Python."""

import math
from fractions import Fraction

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.evaluate import ConfusionCounts, MeanIou, confusion_counts

CLASSES = 3


@pytest.fixture(params=range(4))
def maps(request):
    """Pairs of predicted and true maps: of other sizes, with void, absent classes, empty masks."""
    random = np.random.default_rng(request.param)
    pairs = []
    for _ in range(5):
        size = tuple(random.integers(3, 9, 2))
        held = random.integers(0, CLASSES + 1, 2)  # an image holds two values, maybe the same
        truth = random.choice([*held, 255], size).astype(np.uint8)
        predicted = random.integers(0, random.integers(1, CLASSES + 2), size).astype(np.uint8)
        pairs.append((predicted, truth))
    pairs.append((np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)))
    pairs.append((np.ones((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)))
    return pairs


def pixels(pair):
    predicted, truth = pair
    for row in range(truth.shape[0]):
        for column in range(truth.shape[1]):
            if truth[row, column] != 255:
                yield int(predicted[row, column]), int(truth[row, column])


def iou(found, value):
    """The IoU of a class over (predicted, true) pixels, exactly; None without a union."""
    both = sum(p == t == value for p, t in found)
    either = sum(value in (p, t) for p, t in found)
    return Fraction(both, either) if either else None


def mean(values):
    values = list(values)
    return math.nan if not values or None in values else float(sum(values) / len(values))


def brute_force(maps):
    images = [list(pixels(pair)) for pair in maps]
    everything = [pixel for image in images for pixel in image]
    classes = range(CLASSES + 1)
    occurring = {value for value in classes if any(t == value for _, t in everything)}
    pooled = {v: iou(everything, v) if v in occurring else None for v in classes}
    held = [{t for _, t in image} for image in images]
    per_class = [
        [iou(image, v) for image, holds in zip(images, held, strict=True) if v in holds]
        for v in classes
    ]
    class_means = [sum(each) / len(each) if each else None for each in per_class]
    of_images = [
        sum(iou(image, v) for v in holds) / len(holds)
        for image, holds in zip(images, held, strict=True)
        if holds
    ]
    return {
        MeanIou.DATASET: mean(pooled[v] for v in classes),
        MeanIou.FOREGROUND: mean(pooled[v] for v in classes if v),
        MeanIou.PRESENT: mean(x for x in (iou(everything, v) for v in classes) if x is not None),
        MeanIou.PER_CLASS: mean(class_means[1:]),
        MeanIou.PER_IMAGE: mean(of_images),
    }


@pytest.mark.parametrize("definition", MeanIou)
def test_every_mean_iou_equals_a_loop_over_pixels(maps, definition):
    counts = ConfusionCounts.of_maps(maps, CLASSES)
    found, expected = counts.mean_iou(definition), brute_force(maps)[definition]
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_counts_equal_a_loop_over_pixels(maps):
    for pair in maps:
        expected = np.zeros((CLASSES + 1, CLASSES + 1), int)
        for predicted, true in pixels(pair):
            expected[true, predicted] += 1
        assert np.array_equal(confusion_counts(*pair, CLASSES), expected)


def test_each_image_and_class_has_its_own_iou(maps):
    found = ConfusionCounts.of_maps(maps, CLASSES).image_iou()
    for row, pair in zip(found, maps, strict=True):
        exact = [iou(list(pixels(pair)), value) for value in range(CLASSES + 1)]
        expected = [math.nan if value is None else float(value) for value in exact]
        assert row == pytest.approx(expected, nan_ok=True)


def test_accuracies_and_dice_equal_a_loop_over_pixels(maps):
    counts = ConfusionCounts.of_maps(maps, CLASSES)
    everything = [pixel for pair in maps for pixel in pixels(pair)]
    right = sum(p == t for p, t in everything) / len(everything)
    assert counts.pixel_accuracy() == pytest.approx(right)
    weighted = 0.0
    for value in range(CLASSES + 1):
        true = sum(t == value for _, t in everything)
        if true:
            weighted += true / len(everything) * float(iou(everything, value))
    assert counts.frequency_weighted_iou() == pytest.approx(weighted)
    for value in range(CLASSES + 1):
        both = sum(p == t == value for p, t in everything)
        size = sum((p == value) + (t == value) for p, t in everything)
        expected = 2 * both / size if size else math.nan
        assert counts.dice()[value] == pytest.approx(expected, nan_ok=True)


def test_images_without_any_class_can_be_left_out(maps):
    found = ConfusionCounts.of_maps(maps, CLASSES).with_objects()
    holding = [pair for pair in maps if any(true for _, true in pixels(pair))]
    assert np.array_equal(found.pixels, ConfusionCounts.of_maps(holding, CLASSES).pixels)


def test_a_class_that_occurs_nowhere_makes_the_mean_unknown_but_where_only_present_ones_count():
    truth = np.array([[0, 1], [1, 0]])
    counts = ConfusionCounts.of_maps([(truth, truth)], 2)
    assert math.isnan(counts.mean_iou("dataset_miou"))
    assert counts.mean_iou("present_miou") == 1.0


def test_predictions_on_void_pixels_count_for_nothing():
    truth = np.array([[255, 255, 1]])
    for predicted in ([[0, 1, 1]], [[1, 1, 1]], [[255, 0, 1]]):
        found = confusion_counts(np.array(predicted), truth, 1)
        assert found.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("predicted", "truth", "said"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), r"\[2, 2\] predicted and \[2, 3\] true"),
        (np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), int), r"expected two of \[h, w\]"),
        (np.full((2, 2), 4), np.zeros((2, 2), int), "predicted value 4, expected 0 to 3, or 255"),
        (np.full((2, 2), 255), np.zeros((2, 2), int), "predicted value 255"),
        (np.zeros((2, 2), int), np.full((2, 2), -1), "true value -1"),
    ],
)
def test_maps_that_do_not_fit_are_refused(predicted, truth, said):
    with pytest.raises(InputError, match=said):
        confusion_counts(predicted, truth, CLASSES)


def test_counts_of_another_shape_and_unknown_means_are_refused():
    with pytest.raises(InputError, match=r"expected \[N, K \+ 1, K \+ 1\], got \[2, 2\]"):
        ConfusionCounts(np.zeros((2, 2), np.int64))
    with pytest.raises(InputError, match="at least one image"):
        ConfusionCounts.of_maps([], 1)
    with pytest.raises(InputError, match="'miou': expected one of dataset_miou"):
        ConfusionCounts(np.zeros((1, 2, 2), np.int64)).mean_iou("miou")
