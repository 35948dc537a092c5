"""Otsu's threshold against a loop over all thresholds of the variance between the classes."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsss_core.errors import InputError
from wsss_core.evaluate import otsu_level


def mean(scores):
    return Fraction(sum(scores), len(scores))


def variance_between(scores, level):
    """Between-class variance of the pixels themselves, in exact arithmetic."""
    below = [score for score in scores if score < level]
    above = [score for score in scores if score >= level]
    if not below or not above:
        return Fraction(0)
    shares = Fraction(len(below) * len(above), len(scores) ** 2)
    return shares * (mean(below) - mean(above)) ** 2


@given(st.lists(st.integers(0, 255), min_size=2, max_size=40).filter(lambda s: len(set(s)) > 1))
def test_the_level_is_the_first_of_those_with_the_greatest_variance_between_the_sides(scores):
    variances = [variance_between(scores, level) for level in range(256)]
    found = otsu_level(np.bincount(scores, minlength=256))
    assert found == variances.index(max(variances))


def test_it_depends_on_the_shape_of_the_histogram_and_not_on_the_number_of_pixels():
    counts = np.random.default_rng(3).integers(0, 50, 256)
    # Sums of this many scores exceed what 64-bit products of them can hold.
    assert otsu_level(counts * 10**12) == otsu_level(counts)


def test_two_equally_good_levels_give_the_lower_one():
    counts = np.zeros(256, dtype=int)
    counts[[100, 110, 120]] = 7  # symmetric: between either pair
    assert otsu_level(counts) == 101


@pytest.mark.parametrize("level", [0, 13, 255])
def test_scores_of_one_level_or_none_have_no_threshold(level):
    counts = np.zeros(256, dtype=int)
    assert otsu_level(counts) is None
    counts[level] = 1000
    assert otsu_level(counts) is None


def test_two_levels_are_parted_just_above_the_lower_one():
    counts = np.zeros(256, dtype=int)
    counts[[254, 255]] = 1, 10**6
    assert otsu_level(counts) == 255


@pytest.mark.parametrize(
    "counts", [np.ones(255, int), np.ones(256), np.full(256, -1), np.ones((2, 256), int)]
)
def test_what_cannot_be_pixel_counts_is_refused(counts):
    with pytest.raises(InputError, match=r"^scores: expected whole counts \[256\]"):
        otsu_level(counts)
