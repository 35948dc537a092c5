"""Scores of an image's maps without labels: agreement, entropy and area."""

import numpy as np
import pytest
from scipy.stats import entropy

from wsss_core.errors import InputError
from wsss_core.refine.label_free import map_agreement, map_area, map_entropy


def box(rows, columns, low=0.0, high=1.0):
    scores = np.full((1, 8, 8), low)
    scores[0, rows, columns] = high
    return scores


def test_agreement_is_the_overlap_of_the_two_objects():
    left, wide = box(slice(0, 4), slice(0, 4)), box(slice(0, 4), slice(0, 6))
    assert map_agreement(left, wide) == pytest.approx(16 / 24)
    assert map_agreement(wide, left) == pytest.approx(16 / 24)
    assert map_agreement(left, left) == 1
    assert map_agreement(left, box(slice(4, 8), slice(0, 4))) == 0


def test_agreement_does_not_see_the_scale_of_a_map():
    left = box(slice(0, 4), slice(0, 4))
    assert map_agreement(left, box(slice(0, 4), slice(0, 4), 0.7, 0.8)) == 1


def test_nothing_agrees_with_nothing_and_with_nothing_else():
    flat = np.full((1, 8, 8), 0.4)
    assert map_agreement(flat, flat) == 1
    assert map_agreement(flat, box(slice(0, 4), slice(0, 4))) == 0


def test_agreement_pools_the_pixels_of_classes():
    one = np.concatenate([box(slice(0, 4), slice(0, 4)), box(slice(0, 2), slice(0, 2))])
    other = np.concatenate([box(slice(0, 4), slice(0, 4)), box(slice(4, 6), slice(0, 2))])
    assert map_agreement(one, other) == pytest.approx(16 / (16 + 8))
    with pytest.raises(InputError, match="expected maps of one shape"):
        map_agreement(one, one[:1])


def test_entropy_is_that_of_each_score_as_a_probability():
    scores = np.random.default_rng(0).uniform(size=(2, 5, 5))
    expected = np.mean([entropy([p, 1 - p], base=2) for p in scores.ravel()])
    assert map_entropy(scores) == pytest.approx(expected)
    assert map_entropy(np.full((1, 2, 2), 0.5)) == 1
    assert map_entropy(box(slice(0, 4), slice(0, 4))) == 0


def test_area_is_the_share_of_pixels_of_some_class():
    assert map_area(box(slice(0, 4), slice(0, 4), 0.6, 0.9)) == pytest.approx(16 / 64)
    both = np.concatenate([box(slice(0, 4), slice(0, 4)), box(slice(0, 4), slice(2, 6))])
    assert map_area(both) == pytest.approx(24 / 64)
    assert map_area(np.full((1, 8, 8), 0.9)) == 0
