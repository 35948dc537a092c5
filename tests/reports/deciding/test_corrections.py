import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.deciding import e_bh, holm_e_values
from reports.statistics import holm
from wsss_core.errors import InputError

e_values = st.lists(st.floats(0.0, 1e4), min_size=1, max_size=8)


@given(e_values)
def test_holm_on_e_values_is_holm_on_their_inverses(values):
    corrected = holm([1 / e if e > 1 else 1.0 for e in values])

    for rejected, p in zip(holm_e_values(values, 0.05), corrected, strict=True):
        assert rejected == (p <= 0.05) or p == pytest.approx(0.05)


@given(e_values)
def test_e_bh_is_benjamini_and_hochberg_on_the_inverses(values):
    m = len(values)
    ps = np.sort([1 / e if e > 0 else np.inf for e in values])
    k = max((k for k in range(1, m + 1) if ps[k - 1] <= k * 0.1 / m), default=0)

    assert sum(e_bh(values, 0.1)) == k


def test_a_worked_example_of_four():
    # Holm asks 80, 60, 40, 20; e-BH asks 80, 40, 26.7, 20 of the first, second, ...
    values = [90.0, 45.0, 21.0, 20.0]

    assert holm_e_values(values, 0.05) == [True, False, False, False]
    assert e_bh(values, 0.05) == [True, True, True, True]


def test_a_comparison_without_evidence_counts_and_is_not_rejected():
    assert holm_e_values([None, 30.0], 0.05) == [False, False]
    assert e_bh([None, 40.0], 0.05) == [False, True]


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_what_is_no_e_value_is_refused(bad):
    with pytest.raises(InputError, match="e-value 2 of 2"):
        e_bh([1.0, bad])
