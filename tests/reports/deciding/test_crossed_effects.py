import math

import numpy as np
import pytest
import scipy.stats

from reports.deciding import crossed_interval
from wsss_core.errors import InputError

FOUR = [[1.0, 3.0, 2.0, 6.0], [2.0, 4.0, 2.0, 8.0], [0.0, 3.0, 1.0, 4.0], [1.0, 2.0, 3.0, 6.0]]


def drawn(rng, shape, sds, of_group=1):
    """Values [seeds, images] with sds of seed, group, image and rest; groups of equal size."""
    seeds, images = shape
    seed, group, image, rest = sds
    groups = np.arange(images) // of_group
    values = (
        rng.normal(0, seed, (seeds, 1))
        + rng.normal(0, group, images)[groups]
        + rng.normal(0, image, images)
        + rng.normal(0, rest, shape)
    )
    return values, groups.tolist()


def test_a_layout_of_four_by_four_is_the_one_worked_by_hand():
    # Row means 3, 4, 2, 3 and column means 1, 3, 2, 6 around 3: sums of squares 4 * 2 = 8 and
    # 4 * (4 + 0 + 1 + 9) = 56. In all 70, so 6 are left. Mean squares 8/3, 56/3 and 6/9.
    interval = crossed_interval(FOUR)

    assert interval.mean == 3.0
    assert interval.mean_squares == pytest.approx((8 / 3, 56 / 3, 6 / 9))
    assert interval.standard_error**2 == pytest.approx((8 / 3 + 56 / 3 - 2 / 3) / 16)
    df = (62 / 3) ** 2 / ((8 / 3) ** 2 / 3 + (56 / 3) ** 2 / 3 + (2 / 3) ** 2 / 9)
    assert interval.df == pytest.approx(df)
    half = scipy.stats.t.ppf(0.975, df) * interval.standard_error
    assert (interval.low, interval.high) == pytest.approx((3 - half, 3 + half))
    assert interval.components.seed == pytest.approx(0.5)
    assert interval.components.image == pytest.approx(4.5)
    assert interval.components.group is None


def test_seeds_that_agree_leave_the_t_interval_over_images():
    images = [0.1, 0.4, 0.3, 0.9]
    low, high = scipy.stats.t.interval(0.95, 3, np.mean(images), scipy.stats.sem(images))

    interval = crossed_interval([images] * 3)

    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_images_that_agree_leave_the_t_interval_over_seeds():
    seeds = [0.1, 0.4, 0.3]
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(seeds), scipy.stats.sem(seeds))

    interval = crossed_interval([[value] * 5 for value in seeds])

    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_groups_of_one_size_are_images_whose_value_is_the_mean_of_the_group():
    values = np.random.default_rng(1).normal(size=(3, 12))
    groups = [k // 3 for k in range(12)]

    grouped = crossed_interval(values, groups)
    means = crossed_interval(values.reshape(3, 4, 3).mean(axis=2))

    assert (grouped.low, grouped.high) == pytest.approx((means.low, means.high))
    assert (grouped.images, grouped.groups) == (12, 4)


def test_an_image_twice_in_a_group_adds_nothing():
    values = np.random.default_rng(2).normal(size=(4, 6))

    once = crossed_interval(values)
    twice = crossed_interval(np.repeat(values, 2, axis=1), [k // 2 for k in range(12)])

    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_components_are_those_that_values_were_drawn_with():
    rng = np.random.default_rng(3)
    sds = (0.5, 1.0, 0.7, 0.4)
    found = []
    for _ in range(60):
        values, groups = drawn(rng, (8, 60), sds, of_group=3)
        c = crossed_interval(values, groups).components
        found.append((c.seed, c.group, c.image, c.rest))

    error = np.std(found, axis=0) / math.sqrt(len(found))
    assert np.all(np.abs(np.mean(found, axis=0) - np.square(sds)) < 4 * error)


@pytest.mark.ci
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("images", [30, 200])
@pytest.mark.parametrize(
    "sds", [(0.03, 0.0, 0.15, 0.08), (0.005, 0.1, 0.1, 0.1), (0.1, 0.05, 0.1, 0.05)]
)
def test_95_percent_intervals_cover_92_to_98_percent(seeds, images, sds):
    rng = np.random.default_rng(4)
    of_group = 3 if sds[1] else 1
    covered, runs = 0, 2_000
    for _ in range(runs):
        interval = crossed_interval(*drawn(rng, (seeds, images), sds, of_group))
        covered += interval.low <= 0.0 <= interval.high

    assert 0.92 <= covered / runs <= 0.98


def test_more_seeds_help_where_seeds_differ_and_more_images_where_images_do():
    rng = np.random.default_rng(5)
    of_seeds = crossed_interval(drawn(rng, (4, 30), (1.0, 0.0, 0.1, 0.1))[0])
    of_images = crossed_interval(drawn(rng, (4, 30), (0.0, 0.0, 1.0, 0.1))[0])

    for interval in (of_seeds, of_images):
        half = (interval.high - interval.low) / 2
        assert interval.half_width_with(4, 30) == pytest.approx(half, rel=0.02)
    half = of_seeds.half_width_with(4, 30)
    assert of_seeds.half_width_with(8, 30) < 0.7 * half
    assert of_seeds.half_width_with(4, 300) > 0.95 * half
    half = of_images.half_width_with(4, 30)
    assert of_images.half_width_with(4, 120) == pytest.approx(half / 2, rel=0.05)
    assert of_images.half_width_with(40, 30) > 0.95 * half


@pytest.mark.parametrize(
    ("values", "groups", "said"),
    [
        (np.zeros((0, 0)), None, "0 complete seeds"),
        ([[1.0, 2.0]], None, "1 complete seeds"),
        ([[1.0, 2.0], [math.nan, math.nan]], None, "1 complete seeds"),
        ([[1.0, 2.0], [2.0, 3.0]], ["a", "a"], "2 images of 1 groups"),
        ([[1.0, 2.0], [2.0, math.nan]], None, "1 of 4 values are missing"),
        ([[0.3, 0.3], [0.3, 0.3]], None, "All 4 values are equal (0.3)"),
    ],
)
def test_what_allows_no_interval_is_said(values, groups, said):
    interval = crossed_interval(values, groups)

    assert said in interval.note
    assert (interval.low, interval.high, interval.components) == (None, None, None)
    assert interval.half_width_with(5, 5) is None


def test_bad_values_are_refused():
    with pytest.raises(InputError, match=r"\[seeds, images\] was expected"):
        crossed_interval([1.0, 2.0])
    with pytest.raises(InputError, match="infinite"):
        crossed_interval([[1.0, math.inf]])
    with pytest.raises(InputError, match="1 groups for 2 images"):
        crossed_interval([[1.0, 2.0]], ["a"])
    with pytest.raises(InputError, match="two or more seeds"):
        crossed_interval(FOUR).half_width_with(1, 4)
