import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from reports.deciding import compare_collapses, sign_test


@pytest.mark.parametrize(("positive", "negative"), [(0, 0), (5, 0), (3, 4), (2, 9)])
def test_the_p_of_signs_is_that_of_scipys_binomial_test(positive, negative):
    signs = sign_test([1.0] * positive + [-1.0] * negative)

    n = positive + negative
    expected = scipy.stats.binomtest(positive, n, 0.5).pvalue if n else 1.0
    assert signs.p == pytest.approx(expected)


def test_the_e_value_of_signs_averages_the_likelihood_ratio_over_all_chances():
    signs = sign_test([1.0] * 7 + [-2.0] * 2 + [0.0])
    expected, _ = scipy.integrate.quad(lambda q: q**7 * (1 - q) ** 2 / 0.5**9, 0, 1)

    assert signs.log_e == pytest.approx(math.log(expected))


def test_signs_raise_no_more_false_alarms_than_stated_under_the_worst_skew():
    # The mean and its tests fail here: -1 or +9, whose median is 0 if both are as likely.
    rng = np.random.default_rng(3)
    positive = rng.random((4_000, 40)) < 0.5
    alarms = 0
    for path in positive:
        k = path.cumsum()
        es = [sign_test([9.0] * int(k[n]) + [-1.0] * int(n + 1 - k[n])).log_e for n in (7, 19, 39)]
        alarms += max(es) >= math.log(20)

    assert alarms / 4_000 < 0.05


def test_collapses_are_compared_over_pairs_in_which_one_side_alone_collapsed():
    collapses = compare_collapses(
        [True, True, False, None, True], [True, False, False, True, False]
    )

    assert (collapses.positive, collapses.negative) == (2, 0)
    assert (collapses.ties, collapses.missing) == (2, 1)
    assert collapses.p == 0.5


def test_collapses_of_rows_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="2 trials are compared with 1"):
        compare_collapses([True, False], [True])
