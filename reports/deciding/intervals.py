"""An interval for the mean difference that may be looked at after every seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reports.deciding.samples import check_level, sample_of


class SequentialTest(Protocol):
    """A test of a mean of 0 whose error rate holds over all its looks."""

    def half_width(self, n: int, level: float) -> float:
        """Return the half width of the 1 - level interval, in units of s / sqrt(n)."""

    def p_value(self, n: int, t: float) -> float:
        """Return the p-value of Student's statistic of n differences."""


@dataclass(frozen=True)
class SequentialInterval:
    """The mean difference after n pairs, with an interval that holds at all looks together.

    Attributes:
        n: Number of differences.
        missing: Number of pairs of which a side is missing.
        mean: Mean difference; NaN for n = 0.
        sd: SampleMoments standard deviation; None where there is none.
        low: Lower end of the interval; None where it is not finite.
        high: Upper end of the interval; None where it is not finite.
        p: p-value of a mean of 0 that holds at all looks; None without a spread.
        note: Why there is no interval; None where there is one.

    """

    n: int
    missing: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    p: float | None
    note: str | None

    def lies_above(self, value: float) -> bool:
        """Whether the whole interval lies above a value; False without an interval."""
        return self.low is not None and self.low > value

    def lies_below(self, value: float) -> bool:
        """Whether the whole interval lies below a value; False without an interval."""
        return self.high is not None and self.high < value


def sequential_interval(
    differences: Sequence[float | None], test: SequentialTest, level: float = 0.05
) -> SequentialInterval:
    """Return the interval of the mean difference at 1 - level.

    Args:
        differences: One for each pair; None or NaN where a side is missing.
        test: `TMixture` or `GroupSequential`.
        level: Chance that any interval of the path misses the mean, in (0, 0.5).

    Raises:
        InputError: A difference is infinite, or the level is out of range.

    Example:
        >>> from reports.deciding import TMixture
        >>> interval = sequential_interval([2.0, 3.0, 2.5, 1.5, 2.0, 3.5], TMixture())
        >>> round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)
        (2.417, 0.779, 4.054)

    """
    check_level(level)
    sample = sample_of(differences)
    t = sample.t
    if sample.sd is None or t is None:
        return SequentialInterval(
            sample.n, sample.missing, sample.mean, None, None, None, None, sample.note
        )
    half = test.half_width(sample.n, level) * sample.sd / math.sqrt(sample.n)
    p = test.p_value(sample.n, t)
    low, high, note = None, None, None
    if math.isfinite(half):
        low, high = sample.mean - half, sample.mean + half
    else:
        note = f"With {sample.n} differences no mean can be excluded at an error rate of {level:g}."
    return SequentialInterval(sample.n, sample.missing, sample.mean, sample.sd, low, high, p, note)
