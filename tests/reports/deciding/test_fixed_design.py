"""The fixed design, against the noncentral t distribution of SciPy's statistics."""

import math

import pytest
import scipy.stats

from reports.deciding import fixed_design_seeds, seeds_that_tell
from wsss_core.errors import InputError


def power_of(n: int, effect: float, level: float) -> float:
    critical = scipy.stats.t.ppf(1 - level / 2, n - 1)
    return float(scipy.stats.nct.sf(critical, n - 1, effect * math.sqrt(n)))


@pytest.mark.parametrize(
    ("effect", "level"), [(0.3, 0.05), (0.7, 0.05), (1.0, 0.01), (-1.5, 0.05), (4.0, 0.05)]
)
def test_it_is_the_least_number_whose_t_test_has_the_power(effect: float, level: float) -> None:
    n = fixed_design_seeds(effect, level)
    assert n is not None
    assert power_of(n, abs(effect), level) >= 0.8
    assert n == 2 or power_of(n - 1, abs(effect), level) < 0.8


def test_too_small_an_effect_has_none_and_no_effect_is_an_error() -> None:
    assert fixed_design_seeds(0.01, most=50) is None
    with pytest.raises(InputError, match="an effect other than 0"):
        fixed_design_seeds(0.0)


@pytest.mark.parametrize("mean", [0.0, 1.0, -4.0, 6.6, 9.9, 25.0])
@pytest.mark.parametrize("sd", [0.5, 5.6, 9.5])
def test_so_many_seeds_decide_at_a_mean_and_spread_and_one_less_does_not(
    mean: float, sd: float
) -> None:
    def decides(n: int) -> bool:
        low, high = scipy.stats.t.interval(0.99, n - 1, loc=mean, scale=sd / math.sqrt(n))
        return bool(low > 0 or high < 0 or (low > -10 and high < 10))

    n = seeds_that_tell(mean, sd, 10.0, 0.01)
    assert n is not None
    assert decides(n)
    assert not any(decides(fewer) for fewer in range(2, n))


def test_a_mean_at_neither_border_is_not_told_by_few() -> None:
    assert seeds_that_tell(0.01, 50.0, 0.02, most=100) is None
