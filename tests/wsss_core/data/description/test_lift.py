"""The interval of a lift, against likelihoods maximised by brute force and published figures."""

import math

import numpy as np
import pytest
from scipy.stats import binom, chi2

from wsss_core.data.description.lift import (
    Counted,
    effective,
    lift,
    lift_intervals,
    ratio_intervals,
)


def pearson_by_search(y1: float, n1: float, y2: float, n2: float, ratio: float) -> float:
    """Pearson's statistic at the shares that make the counts likeliest, found on a fine grid."""
    top = min(1.0, 1 / ratio)
    p2 = np.linspace(0, top, 400_001)[1:-1]
    p1 = p2 * ratio
    likelihood = np.zeros_like(p2)
    for count, share in ((y1, p1), (n1 - y1, 1 - p1), (y2, p2), (n2 - y2, 1 - p2)):
        if count:
            likelihood += count * np.log(share)
    best = int(likelihood.argmax())
    return float(
        sum(
            (y - n * p) ** 2 / (n * p * (1 - p))
            for y, n, p in ((y1, n1, p1[best]), (y2, n2, p2[best]))
        )
    )


@pytest.mark.parametrize(
    "counts", [(36, 40, 16, 80), (3, 12, 5, 7), (1, 30, 40, 50), (70, 100, 8, 100), (2.5, 6, 4, 9)]
)
@pytest.mark.parametrize("confidence", [0.95, 0.999])
def test_at_both_ends_the_statistic_has_its_quantile(counts, confidence):
    y1, n1, y2, n2 = counts
    low, high = ratio_intervals(Counted(y1, n1), Counted(y2, n2), confidence)
    assert low[0] < (y1 / n1) / (y2 / n2) < high[0]
    for end in (low[0], high[0]):
        assert pearson_by_search(*counts, end) == pytest.approx(chi2.ppf(confidence, 1), rel=1e-3)


def test_the_interval_is_the_one_that_koopman_prints():
    low, high = ratio_intervals(Counted(36, 40), Counted(16, 80))
    assert (round(float(low[0]), 2), round(float(high[0]), 2)) == (2.94, 7.15)


def test_many_intervals_at_once_are_those_of_each_alone():
    first, second = Counted(np.array([3.0, 9]), np.array([9.0, 9])), Counted(2.0, 8.0)
    together = ratio_intervals(first, second)
    for place, (y, n) in enumerate([(3.0, 9.0), (9.0, 9.0)]):
        alone = ratio_intervals(Counted(y, n), second)
        assert [end[place] for end in together] == [end[0] for end in alone]


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [((0, 10, 0, 10), 0, math.inf), ((0, 10, 4, 10), 0, None), ((4, 10, 0, 10), None, math.inf)],
)
def test_without_any_image_on_a_side_the_interval_is_open_there(counts, low, high):
    ends = ratio_intervals(Counted(*counts[:2]), Counted(*counts[2:]))
    for end, expected in zip(ends, (low, high), strict=True):
        assert end[0] == expected if expected is not None else math.isfinite(end[0]) and end[0] > 0


def test_the_lift_is_the_quotient_of_shares_and_its_ends_are_those_of_the_ratio():
    companion, rest = Counted(30, 40), Counted(10, 120)
    assert lift(companion, rest) == pytest.approx((30 / 40) / (40 / 160))
    low, high = lift_intervals(companion, rest, 40 / 160)
    for end, ratio in zip((low, high), ratio_intervals(companion, rest), strict=True):
        # If both shares had this ratio, and a quarter of the images the companion:
        with_it, without = ratio[0], 1.0
        assert end[0] == pytest.approx(with_it / (0.25 * with_it + 0.75 * without))


def test_the_interval_holds_the_lift_as_often_as_it_says():
    """Sums the probability of every possible outcome whose interval holds the true lift."""
    n1, n2, p1, p2 = 15, 25, 0.6, 0.3
    truth = p1 / ((n1 * p1 + n2 * p2) / (n1 + n2))
    covered = 0.0
    for y2 in range(n2 + 1):
        y1 = np.arange(n1 + 1)
        low, high = lift_intervals(Counted(y1, n1), Counted(y2, n2), n1 / (n1 + n2))
        inside = (low <= truth) & (truth <= high)
        covered += float((binom.pmf(y1, n1, p1) * inside).sum() * binom.pmf(y2, n2, p2))
    assert 0.93 < covered < 0.97


def test_images_without_groups_count_as_they_are():
    holding = np.array([1, 0, 1, 1, 0], bool)
    assert effective(holding, np.arange(5)) == Counted(pytest.approx(3), 5)


def test_copies_within_groups_add_nothing():
    once = np.array([1, 0, 1, 1, 0, 1, 0, 0, 1, 1], bool)
    copied = effective(np.repeat(once, 7), np.repeat(np.arange(10), 7))
    # The variance over groups has one degree of freedom less than there are groups.
    assert copied.images == pytest.approx(9)
    assert copied.holding / copied.images == pytest.approx(0.6)


def test_groups_that_differ_no_more_than_chance_cost_little():
    random = np.random.default_rng(0)
    holding = random.random(4000) < 0.3
    assert effective(holding, np.repeat(np.arange(400), 10)).images > 3000


@pytest.mark.parametrize("share", [0, 1])
def test_where_all_images_agree_a_group_counts_as_an_image(share):
    assert effective(np.full(12, share, bool), np.arange(12) // 4) == Counted(3.0 * share, 3.0)


def test_one_group_counts_as_one_image():
    assert effective(np.array([1, 0, 0, 0], bool), np.zeros(4, np.int64)) == Counted(0.25, 1.0)
