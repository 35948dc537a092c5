import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from reports.deciding import TMixture, sequential_interval, t_mixture_e_value
from wsss_core.errors import InputError

# Half widths of the 95 % interval in units of s / sqrt(n), found by a search for e = 20.
PRINTED = {
    0.1: {3: 13.2, 4: 6.5, 5: 5.4, 7: 4.6, 10: 4.2, 15: 3.9, 20: 3.8, 40: 3.7},
    0.5: {3: math.inf, 4: 12.1, 5: 5.8, 7: 4.4, 10: 3.9, 15: 3.6, 20: 3.5, 40: 3.4},
    1.0: {3: math.inf, 4: math.inf, 5: 8.5, 7: 4.6, 10: 3.9, 15: 3.5, 20: 3.4, 40: 3.3},
    4.0: {3: math.inf, 4: math.inf, 5: math.inf, 7: 30, 10: 4.8, 15: 3.8, 20: 3.5, 40: 3.2},
}
DIFFERENCES = [2.1, -0.4, 3.0, 1.2, 0.7, 2.2]


@pytest.mark.parametrize("precision", PRINTED)
def test_the_confidence_sequence_has_the_printed_widths(precision):
    for n, printed in PRINTED[precision].items():
        half = TMixture(precision).half_width(n, 0.05)
        # Rounded, one of them (3.749) upwards.
        assert half == pytest.approx(printed, abs=0.5 if printed == 30 else 0.052)


@pytest.mark.parametrize("precision", [0.1, 0.5, 1.0, 4.0])
def test_the_e_value_is_the_noncentral_t_averaged_over_normal_effects(precision):
    n = len(DIFFERENCES)
    t = scipy.stats.ttest_1samp(DIFFERENCES, 0.0).statistic

    def weighted(effect):
        ratio = scipy.stats.nct.pdf(t, n - 1, effect * math.sqrt(n)) / scipy.stats.t.pdf(t, n - 1)
        return ratio * scipy.stats.norm.pdf(effect, scale=precision**-0.5)

    expected, _ = scipy.integrate.quad(weighted, -12, 12, limit=200)

    found = t_mixture_e_value(DIFFERENCES, precision).log_e
    assert found == pytest.approx(math.log(expected), abs=1e-5)


def test_the_e_value_is_the_formula_in_sums():
    d, g = np.array(DIFFERENCES), 0.5
    n, r = len(d), g / (g + len(d))
    v = float((d**2).sum())
    expected = math.log(r) / 2 + n / 2 * (
        math.log(v) - math.log(v - (1 - r) * float(d.sum()) ** 2 / n)
    )

    assert t_mixture_e_value(DIFFERENCES, g).log_e == pytest.approx(expected, rel=1e-12)


def test_the_interval_ends_where_the_evidence_against_a_mean_reaches_one_over_the_level():
    interval = sequential_interval(DIFFERENCES, TMixture(0.5), 0.1)

    for end in (interval.low, interval.high):
        e = t_mixture_e_value(DIFFERENCES, 0.5, mean=end)
        assert e.log_e == pytest.approx(math.log(10), abs=1e-9)


def test_the_evidence_does_not_depend_on_the_unit_or_the_direction():
    in_points = [-100 * d for d in DIFFERENCES]

    assert t_mixture_e_value(in_points).log_e == pytest.approx(t_mixture_e_value(DIFFERENCES).log_e)


@pytest.mark.parametrize("g", [0.1, 1.0, 4.0])
def test_looking_after_every_seed_raises_no_more_false_alarms_than_the_printed_rates(g):
    # Printed for 100,000 runs and looks at 3..40: 2.7, 2.4 and 1.6 %.
    printed = {0.1: 0.027, 1.0: 0.024, 4.0: 0.016}
    runs, test = 20_000, TMixture(g)
    d = np.random.default_rng(5).standard_normal((runs, 40))
    n = np.arange(1, 41)
    mean = d.cumsum(1) / n
    sd = np.sqrt(((d**2).cumsum(1) - n * mean**2)[:, 2:] / (n[2:] - 1))
    half = np.array([test.half_width(k, 0.05) for k in n[2:]])

    alarms = (np.abs(mean[:, 2:]) * np.sqrt(n[2:]) / sd > half).any(1).mean()

    # Four standard errors of 20,000 runs are .0046.
    assert alarms == pytest.approx(printed[g], abs=0.0046)


@pytest.mark.parametrize(
    ("differences", "n", "missing", "said"),
    [
        ([], 0, 0, "No pair is complete"),
        ([None, math.nan], 0, 2, "No pair is complete"),
        ([0.3], 1, 0, "One difference has no spread"),
        ([0.3, None, 0.3], 2, 1, "All 2 differences are equal"),
        ([0.0, 0.0, 0.0], 3, 0, "All 3 differences are equal"),
        ([0.1 + 0.2, 0.3, 0.3], 3, 0, "All 3 differences are equal"),
    ],
)
def test_differences_without_a_spread_end_in_a_sentence(differences, n, missing, said):
    e = t_mixture_e_value(differences)
    interval = sequential_interval(differences, TMixture())

    assert (e.n, e.missing, e.log_e) == (n, missing, None)
    assert said in e.note
    assert (interval.low, interval.high, interval.p) == (None, None, None)
    assert interval.note == e.note


def test_an_interval_that_excludes_no_mean_says_so():
    interval = sequential_interval([1.0, 2.0, 3.0], TMixture(1.0))

    assert interval.low is None
    assert interval.note == "With 3 differences no mean can be excluded at an error rate of 0.05."


def test_an_infinite_difference_and_bad_settings_are_refused():
    with pytest.raises(InputError, match="difference 2 of 2 is infinite"):
        t_mixture_e_value([1.0, math.inf])
    with pytest.raises(InputError, match="precision"):
        TMixture(0.0)
    with pytest.raises(InputError, match="error rate"):
        sequential_interval([1.0, 2.0], TMixture(), 1.0)
