import numpy as np
import pytest
import scipy.stats

from reports.deciding import BoundaryShape, GroupSequential, TMixture, sequential_interval
from wsss_core.errors import InputError

POCOCK, OBRIEN_FLEMING = BoundaryShape.POCOCK, BoundaryShape.OBRIEN_FLEMING


# Jennison and Turnbull, Group Sequential Methods (2000), tables 2.1 and 2.3, two-sided 0.05.
@pytest.mark.parametrize(
    ("shape", "looks", "printed"),
    [
        (POCOCK, 2, 2.178),
        (POCOCK, 5, 2.413),
        (POCOCK, 10, 2.555),
        (OBRIEN_FLEMING, 2, 1.977),
        (OBRIEN_FLEMING, 5, 2.040),
        (OBRIEN_FLEMING, 10, 2.087),
    ],
)
def test_boundaries_of_large_samples_are_the_published_ones(shape, looks, printed):
    test = GroupSequential(first=5_000, last=5_000 * looks, every=5_000, shape=shape)

    assert test.half_width(5_000 * looks, 0.05) == pytest.approx(printed, abs=0.015)
    first = printed if shape is POCOCK else printed * looks**0.5
    assert test.half_width(5_000, 0.05) == pytest.approx(first, rel=0.008)


def test_a_single_look_is_students_test():
    test = GroupSequential(first=10, last=10)

    assert test.half_width(10, 0.05) == pytest.approx(scipy.stats.t.ppf(0.975, 9), abs=0.02)
    assert test.p_value(10, 2.5) == pytest.approx(2 * scipy.stats.t.sf(2.5, 9), abs=0.0018)


@pytest.mark.parametrize("shape", BoundaryShape)
@pytest.mark.parametrize("last", [5, 13])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_looking_after_every_seed_raises_as_many_false_alarms_as_stated(shape, last, level):
    test = GroupSequential(last, shape=shape)
    d = np.random.default_rng(11).standard_normal((40_000, last))
    n = np.arange(3, last + 1)
    t = np.stack([scipy.stats.ttest_1samp(d[:, :k], 0.0, axis=1).statistic for k in n], axis=1)

    half = np.array([test.half_width(int(k), level) for k in n])

    error = (level * (1 - level) / 40_000) ** 0.5
    assert (np.abs(t) > half).any(1).mean() == pytest.approx(level, abs=4.5 * error)


def test_pocock_looks_have_one_nominal_level_and_those_of_obrien_and_fleming_rise():
    nominal = {
        shape: [
            2 * scipy.stats.t.sf(GroupSequential(12, shape=shape).half_width(n, 0.05), n - 1)
            for n in range(3, 13)
        ]
        for shape in BoundaryShape
    }

    assert nominal[POCOCK] == pytest.approx([nominal[POCOCK][0]] * 10)
    assert np.all(np.diff(nominal[OBRIEN_FLEMING]) > 0)
    assert nominal[OBRIEN_FLEMING][-1] < 0.05


def test_the_early_boundary_rises_with_the_seeds_from_four_on_and_is_stricter_at_three():
    test = GroupSequential(18, shape=BoundaryShape.EARLY)
    p = [2 * scipy.stats.t.sf(test.half_width(n, 0.05), n - 1) for n in range(3, 19)]
    z = scipy.stats.norm.isf(np.array(p) / 2)

    assert z[1:] / z[-1] == pytest.approx((np.arange(4, 19) / 18) ** 0.22)
    assert z[0] > z[1]


def test_the_early_boundary_finds_large_differences_sooner_than_pocock():
    d = np.random.default_rng(2).standard_normal((4_000, 18)) + 3.0
    stops = {}
    for shape in (POCOCK, BoundaryShape.EARLY):
        n = np.arange(3, 19)
        t = np.stack([scipy.stats.ttest_1samp(d[:, :k], 0.0, axis=1).statistic for k in n], 1)
        half = [GroupSequential(18, shape=shape).half_width(int(k), 0.05) for k in n]
        stops[shape] = n[(t > half).argmax(1)].mean()

    assert stops[BoundaryShape.EARLY] < stops[POCOCK] - 0.1


@pytest.mark.parametrize("shape", BoundaryShape)
def test_a_statistic_on_the_boundary_has_the_level_as_its_p(shape):
    test = GroupSequential(12, shape=shape)

    for n in (6, 12):
        assert test.p_value(n, -test.half_width(n, 0.05)) == pytest.approx(0.05, abs=1e-3)


def test_there_is_no_interval_between_looks_and_after_the_last():
    test = GroupSequential(first=4, last=9, every=2)

    assert test.looks == (4, 6, 8, 9)
    assert sequential_interval([1.0, 2.0, 3.0, 4.0, 5.0], test).low is None
    assert sequential_interval([float(k) for k in range(10)], test).low is None
    assert sequential_interval([float(k) for k in range(9)], test).low is not None


def test_a_t_test_with_a_known_last_look_is_narrower_there_than_a_mixture_without():
    half = GroupSequential(20, shape=OBRIEN_FLEMING).half_width(20, 0.05)

    assert half < TMixture(1.0).half_width(20, 0.05) / 1.4


def test_bad_looks_and_levels_are_refused():
    with pytest.raises(InputError, match="looks from 3 to 2"):
        GroupSequential(last=2)
    with pytest.raises(InputError, match="calibrated from"):
        GroupSequential(last=5).half_width(5, 1e-6)
