import math
import statistics

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics import holm, paired_difference, summarise

shares = st.floats(0.0, 1.0).map(lambda value: round(value, 6))


@given(st.lists(shares, min_size=2, max_size=8))
def test_mean_spread_and_interval_are_those_of_scipy(values):
    summary = summarise(values)

    assert summary.mean == pytest.approx(sum(values) / len(values))
    assert summary.sd == pytest.approx(statistics.stdev(values), abs=1e-12)
    assert summary.n == len(values)
    if summary.sd > 1e-9:
        low, high = scipy.stats.t.interval(
            0.95, len(values) - 1, loc=summary.mean, scale=scipy.stats.sem(values)
        )
        assert (summary.low, summary.high) == pytest.approx((low, high))


def test_the_interval_over_three_seeds_is_the_one_computed_by_hand():
    # mean 3, sd 1, t(2, .975) = 4.302653; half width 4.302653 / sqrt(3) = 2.484138
    summary = summarise([2.0, 3.0, 4.0])

    assert summary.low == pytest.approx(0.515862, abs=1e-5)
    assert summary.high == pytest.approx(5.484138, abs=1e-5)


def test_one_value_has_a_mean_and_no_spread():
    summary = summarise([0.4])

    assert (summary.mean, summary.sd, summary.n) == (0.4, None, 1)
    assert (summary.low, summary.high) == (None, None)


def test_no_value_has_no_mean():
    summary = summarise([])

    assert math.isnan(summary.mean)
    assert summary.n == 0


def test_missing_values_are_left_out_of_n():
    assert summarise([1.0, math.nan, 3.0]) == summarise([1.0, 3.0])


@given(st.dictionaries(st.integers(0, 9), st.tuples(shares, shares), min_size=2))
def test_the_paired_test_is_that_of_scipy(pairs):
    difference = paired_difference(
        {seed: pair[0] for seed, pair in pairs.items()},
        {seed: pair[1] for seed, pair in pairs.items()},
    )
    values, baseline = zip(*(pairs[seed] for seed in sorted(pairs)), strict=True)
    spread = statistics.stdev([a - b for a, b in zip(values, baseline, strict=True)])

    if spread > 1e-6:
        assert difference.p == pytest.approx(scipy.stats.ttest_rel(values, baseline).pvalue)


def test_only_seeds_that_both_sides_have_are_paired():
    difference = paired_difference({0: 0.5, 1: 0.9, 3: 0.1}, {1: 0.4, 0: 0.25, 2: 0.0})

    assert difference.by_seed == {0: 0.25, 1: 0.5}
    assert difference.summary.n == 2


def test_equal_differences_leave_nothing_to_judge_by():
    # 0.3 - 0.1 and 0.4 - 0.2 differ in the last bit alone.
    assert paired_difference({0: 0.3, 1: 0.4}, {0: 0.1, 1: 0.2}).p is None


def test_one_pair_has_neither_p_nor_interval_and_so_includes_zero():
    difference = paired_difference({0: 0.9}, {0: 0.1})

    assert difference.p is None
    assert difference.interval_includes_zero


def test_an_interval_excludes_zero_where_p_is_below_five_percent():
    sure = paired_difference({0: 0.30, 1: 0.32, 2: 0.31}, {0: 0.1, 1: 0.1, 2: 0.1})
    open_ = paired_difference({0: 0.30, 1: 0.02, 2: 0.31}, {0: 0.1, 1: 0.1, 2: 0.1})

    assert sure.p < 0.05
    assert not sure.interval_includes_zero
    assert open_.p > 0.05
    assert open_.interval_includes_zero


def test_holm_steps_down_as_computed_by_hand():
    # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, then never below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values):
    corrected = holm(p_values)

    pairs = [(p, c) for p, c in zip(p_values, corrected, strict=True) if p is not None]
    assert [c is None for c in corrected] == [p is None for p in p_values]
    assert all(p <= c <= 1 for p, c in pairs)
    in_order = [c for _, c in sorted(pairs)]
    assert in_order == sorted(in_order)
