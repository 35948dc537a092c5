"""Boundary IoU against a loop that asks each pixel for its neighbours."""

import numpy as np
import pytest

from wsss_core.errors import InputError
from wsss_core.evaluate import boundary_counts, boundary_iou


def near_outline(labels, value, truth, width):
    """The pixels of a class at most `width` from a pixel that is known not to be of it."""
    height, length = labels.shape
    found = set()
    for row in range(height):
        for column in range(length):
            if labels[row, column] != value or truth[row, column] == 255:
                continue
            for y in range(row - width, row + width + 1):
                for x in range(column - width, column + width + 1):
                    inside = 0 <= y < height and 0 <= x < length
                    if not inside or (labels[y, x] != value and truth[y, x] != 255):
                        found.add((row, column))
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width", [1, 2])
def test_counts_equal_a_loop_over_neighbours(seed, width):
    random = np.random.default_rng(seed)
    coarse = random.choice([0, 1, 2, 255], (2, 3, 4), p=[0.4, 0.3, 0.2, 0.1])
    predicted, truth = coarse.repeat(4, axis=1).repeat(3, axis=2)
    predicted[predicted == 255] = 0
    found = boundary_counts(predicted, truth, 2, width=width)
    for value in range(3):
        true = near_outline(truth, value, truth, width)
        guess = near_outline(predicted, value, truth, width)
        assert found[value].tolist() == [len(true & guess), len(true | guess)]


def test_the_border_of_the_image_is_an_outline_and_the_inside_is_not():
    mask = np.ones((7, 7), int)
    assert boundary_counts(mask, mask, 1, width=2)[1].tolist() == [49 - 9, 49 - 9]


def test_the_width_is_a_fiftieth_of_the_diagonal():
    mask = np.ones((300, 400), int)  # a diagonal of 500
    assert boundary_counts(mask, mask, 1)[1].tolist() == [120_000 - 280 * 380] * 2


def test_a_class_without_any_outline_has_no_figure():
    counts = boundary_counts(np.zeros((4, 4), int), np.zeros((4, 4), int), 1)
    assert np.isnan(boundary_iou(counts)[1])
    assert boundary_iou(counts)[0] == 1
    assert boundary_iou(np.array([[1, 4]])).tolist() == [0.25]


def test_a_width_below_one_pixel_is_refused():
    with pytest.raises(InputError, match="at least 1 pixel, got 0"):
        boundary_counts(np.zeros((4, 4), int), np.zeros((4, 4), int), 1, width=0)
