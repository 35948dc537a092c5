import math
import statistics

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from reports.pairing import FoldedSeed
from reports.statistics import holm, paired_difference, summarise, summarise_pairs

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


def of_folds(values: dict[tuple[int, int], float]) -> dict[FoldedSeed, float]:
    return {FoldedSeed(*pair): value for pair, value in values.items()}


def corrected(of_fold: list[float]) -> tuple[float, float, float]:
    """Mean, standard error and p by formula (9) of Nadeau and Bengio with n2/n1 = 1/(k - 1)."""
    k = len(of_fold)
    error = math.sqrt((1 / k + (1 / k) / (1 - 1 / k)) * statistics.variance(of_fold))
    mean = statistics.fmean(of_fold)
    return mean, error, 2 * scipy.stats.t.sf(abs(mean / error), k - 1)


@given(st.lists(st.tuples(shares, shares), min_size=2, max_size=8, unique=True))
def test_seeds_of_a_fold_are_averaged_and_the_interval_over_folds_is_nadeau_and_bengios(pairs):
    values = {(seed, fold): pair[seed] for fold, pair in enumerate(pairs, 1) for seed in (0, 1)}
    difference = paired_difference(of_folds(values), of_folds(dict.fromkeys(values, 0.25)))
    of_fold = [sum(pair) / 2 - 0.25 for pair in pairs]
    assert len(difference.by_seed) == 2 * len(pairs)
    assert difference.summary.n == len(pairs)
    if statistics.stdev(of_fold) > 1e-6:
        mean, error, p = corrected(of_fold)
        assert difference.summary.mean == pytest.approx(mean, abs=1e-12)
        assert difference.p == pytest.approx(p)
        low, high = scipy.stats.t.interval(0.95, len(pairs) - 1, loc=mean, scale=error)
        assert (difference.summary.low, difference.summary.high) == pytest.approx((low, high))


def test_pairs_are_matched_by_seed_and_fold_and_not_by_either_alone():
    values = of_folds({(0, 1): 0.9, (0, 2): 0.5, (1, 1): 0.7})
    baseline = of_folds({(0, 1): 0.4, (1, 2): 0.5, (1, 1): 0.6})
    difference = paired_difference(values, baseline)
    assert difference.by_seed == pytest.approx(of_folds({(0, 1): 0.5, (1, 1): 0.1}))
    assert (difference.summary.n, difference.p) == (1, None)  # one fold tells nothing of others


def test_more_seeds_on_the_same_folds_make_no_interval_over_folds_narrower():
    once = of_folds({(0, fold): fold / 10 for fold in (1, 2, 3)})
    often = of_folds({(seed, fold): fold / 10 for seed in range(9) for fold in (1, 2, 3)})
    assert summarise_pairs(often).low == pytest.approx(summarise_pairs(once).low)
    assert summarise(often.values()).low > summarise_pairs(often).low


def test_learners_that_are_equal_differ_seldom_over_folds_and_often_if_all_trials_counted():
    # Each learner regresses noise on a variable of its own; its five seeds differ little. Counted
    # as independent trials they find a difference in far more than 5 % of the data sets.
    random = np.random.default_rng(0)
    sets, size, k = 200, 40, 5
    found = {"all trials": 0, "folds": 0}
    for _ in range(sets):
        x, y = random.normal(size=(2, size)), random.normal(size=size)
        loss: dict[tuple[int, int], float] = {}
        for fold in range(k):
            test = np.arange(size) % k == fold
            slopes = (x[:, ~test] @ y[~test]) / (x[:, ~test] ** 2).sum(axis=1)
            errors = ((y[test] - slopes[:, None] * x[:, test]) ** 2).mean(axis=1)
            for seed in range(5):
                loss[seed, fold] = errors[0] - errors[1] + random.normal(scale=0.01)
        counted = dict(enumerate(loss.values()))
        found["all trials"] += paired_difference(counted, dict.fromkeys(counted, 0.0)).p < 0.05
        folded = [of_folds(one) for one in (loss, dict.fromkeys(loss, 0.0))]
        found["folds"] += paired_difference(*folded).p < 0.05
    assert found["all trials"] / sets > 0.2
    assert found["folds"] / sets < 0.05
