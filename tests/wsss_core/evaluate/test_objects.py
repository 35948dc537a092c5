"""Objects found and false objects, against flood fill and an optimal assignment."""

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from wsss_core.errors import InputError
from wsss_core.evaluate import ObjectCounts, object_counts


def regions(mask):
    """The sets of pixels that touch, corners included."""
    left = {tuple(place) for place in np.argwhere(mask)}
    found = []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            row, column = edge.pop()
            region.add((row, column))
            for y, x in itertools.product((-1, 0, 1), repeat=2):
                if (place := (row + y, column + x)) in left:
                    left.remove(place)
                    edge.append(place)
        found.append(region)
    return found


def expected(predicted, truth, value, overlap, smallest):
    counted = {tuple(place) for place in np.argwhere(truth != 255)}
    objects = [r for r in regions(truth == value) if len(r) >= smallest]
    guesses = [
        r & counted
        for r in regions(predicted == value)
        if 2 * len(r & counted) >= len(r) and len(r & counted) >= smallest
    ]
    if not objects or not guesses:
        return len(objects), 0, len(guesses), len(guesses)
    iou = np.array([[len(o & g) / len(o | g) for g in guesses] for o in objects])
    rows, columns = linear_sum_assignment(iou >= overlap, maximize=True)
    found = int((iou[rows, columns] >= overlap).sum())
    return len(objects), found, len(guesses), len(guesses) - found


# Above one half an object overlaps one other at most, so every way to match gives the same.
@pytest.mark.parametrize("overlap", [0.51, 0.75, 1.0])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("smallest", [1, 4])
def test_counts_equal_flood_fill_and_an_optimal_assignment(seed, overlap, smallest):
    random = np.random.default_rng(seed)
    truth = random.choice([0, 0, 1, 2, 255], (7, 8)).repeat(2, axis=0).repeat(2, axis=1)
    predicted = np.where(random.random(truth.shape) < 0.12, random.integers(0, 3), truth)
    predicted[predicted == 255] = random.integers(0, 3)
    found = object_counts(predicted, truth, 2, overlap=overlap, smallest=smallest)
    for value in (1, 2):
        assert found[value - 1][:4] == expected(predicted, truth, value, overlap, smallest)


def test_one_prediction_over_two_objects_finds_one_of_them():
    truth = np.array([[1, 1, 1, 0, 1, 1]])
    (found,) = object_counts(np.ones_like(truth), truth, 1, overlap=0.3)
    assert found == ObjectCounts(objects=2, found=1, predicted=1, false=0)


def test_a_match_needs_the_stated_overlap():
    truth, predicted = np.array([[1, 1, 1, 1, 0]]), np.array([[0, 1, 1, 1, 1]])  # IoU 3 / 5
    assert object_counts(predicted, truth, 1, overlap=0.6)[0].found == 1
    assert object_counts(predicted, truth, 1, overlap=0.61)[0].found == 0


def test_a_prediction_that_is_mostly_void_is_neither_found_nor_false():
    truth = np.array([[255, 255, 0, 0, 0]])
    assert object_counts(np.array([[1, 1, 1, 0, 0]]), truth, 1, overlap=0.5)[0].predicted == 0
    assert object_counts(np.array([[0, 1, 1, 0, 0]]), truth, 1, overlap=0.5)[0].false == 1


def test_rates_are_over_all_images_and_unknown_without_objects():
    total = ObjectCounts.total([ObjectCounts(3, 1, 2, 1), ObjectCounts(1, 1, 2, 1)])
    assert (total.recall, total.precision, total.false_objects_an_image) == (0.5, 0.5, 1.0)
    nothing = ObjectCounts.total([])
    assert all(map(math.isnan, (nothing.recall, nothing.precision)))
    assert math.isnan(nothing.false_objects_an_image)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"overlap": 0}, "overlap: expected above 0, at most 1, got 0"),
        ({"overlap": 1.1}, "overlap"),
        ({"overlap": 0.5, "smallest": 0}, "smallest: expected 1 pixel or more, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        object_counts(np.zeros((2, 2), int), np.zeros((2, 2), int), 1, **given)
