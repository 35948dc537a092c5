"""Relative foreground sensitivity against its formula and its bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsss_core.errors import InputError
from wsss_core.evaluate.reasons import feature_sensitivity, relative_foreground_sensitivity

ACCURACY = st.floats(0, 1)


def test_worked_values() -> None:
    # By hand: a = .75, so (.9 - .6) / (2 * .25) = .6, and the other way round; a = .5: 1 / 1.
    on_object, on_context = [0.6, 0.9, 0.0, 1.0, 0.3], [0.9, 0.6, 1.0, 0.0, 0.3]
    found = relative_foreground_sensitivity(on_object, on_context)
    np.testing.assert_allclose(found, [0.6, -0.6, 1, -1, 0])


def test_without_any_or_with_full_accuracy_it_is_zero() -> None:
    np.testing.assert_array_equal(relative_foreground_sensitivity([0, 1], [0, 1]), [0, 0])
    assert np.isnan(relative_foreground_sensitivity(np.nan, 0.5))


@given(ACCURACY, ACCURACY)
def test_it_lies_within_one_and_changes_sign_with_the_regions(one: float, other: float) -> None:
    found = relative_foreground_sensitivity(one, other)
    assert abs(found) <= 1 + 1e-12
    assert found == -relative_foreground_sensitivity(other, one)


@given(ACCURACY)
def test_it_is_one_where_the_accuracies_are_as_far_apart_as_their_mean_allows(mean: float) -> None:
    apart = min(mean, 1 - mean)
    if apart > 1e-9:
        found = relative_foreground_sensitivity(mean - apart, min(1.0, mean + apart))
        assert found == pytest.approx(1, abs=1e-6)


def test_accuracies_outside_their_range_are_refused() -> None:
    with pytest.raises(InputError, match="noisy_object: expected accuracies of 0 to 1, got 90"):
        relative_foreground_sensitivity(90.0, 0.5)
    with pytest.raises(InputError, match="noisy_context: expected the shape"):
        relative_foreground_sensitivity([0.5, 0.5], [0.5])


def test_features_give_the_sensitivity_of_each_image() -> None:
    generator = np.random.default_rng(0)
    clean, first, second = generator.normal(size=(3, 5, 7)) + 0.8
    found = feature_sensitivity(clean, first, second)
    for place in range(5):

        def similar(other: np.ndarray, place: int = place) -> float:
            one = clean[place]
            return max(
                0.0, one @ other[place] / np.sqrt((one @ one) * (other[place] @ other[place]))
            )

        a_object, a_context = similar(first), similar(second)
        mean = (a_object + a_context) / 2
        expected = (a_context - a_object) / (2 * min(mean, 1 - mean))
        assert found[place] == pytest.approx(expected)
    assert np.isnan(feature_sensitivity(np.zeros((1, 3)), np.ones((1, 3)), np.ones((1, 3))))
    with pytest.raises(InputError, match=r"three arrays of one shape \[N, D\]"):
        feature_sensitivity(clean, first[:2], second)
