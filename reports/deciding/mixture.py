"""The t-mixture: evidence about a mean that stays valid however often it is looked at.

The standardised mean has a normal prior N(0, 1/g), the scale the prior that makes the evidence free
of it (Robbins, Ann. Math. Statist. 41, 1970; Lai, Ann. Statist. 4, 1976; Wang and Ramdas,
Sequential Analysis 44, 2025). With r = g / (g + n), S the sum and V the sum of squares of the
differences,

    log e = log(r) / 2 + (n / 2) (log V - log(V - (1 - r) S^2 / n)).

Under a mean of 0 and normal differences, e reaches 1/a at any time with a chance of at most a
(Ville). Symmetric differences with heavier tails keep that in simulations; one-sided skew does
not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.deciding.samples import check_level, sample_of
from wsss_core.errors import InputError


@dataclass(frozen=True)
class EValue:
    """The evidence of differences against a mean of 0.

    Attributes:
        log_e: Natural logarithm of the e-value; None where it cannot be told.
        n: Number of differences.
        missing: Number of pairs of which a side is missing.
        note: Why there is no evidence; None where there is.

    """

    log_e: float | None
    n: int
    missing: int
    note: str | None


@dataclass(frozen=True)
class TMixture:
    """The t-mixture as a test after every seed, without a last look.

    Attributes:
        precision: g, above 0. Small values decide large effects early, large values pay off for
            small effects after many seeds. With g = 1 and an error rate of 0.05 nothing can be
            decided before n = 5.

    """

    precision: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.precision) and self.precision > 0):
            raise InputError(
                f"the precision of a t-mixture is {self.precision}; a number above 0 was expected"
            )

    def log_e(self, n: int, t: float) -> float:
        """Return log e of Student's statistic of n differences.

        Written in t, which has the same value as the formula in sums and loses no digits.
        """
        r = self.precision / (self.precision + n)
        u = t * t / (n - 1)
        return math.log(r) / 2 + n / 2 * (math.log1p(u) - math.log1p(r * u))

    def half_width(self, n: int, level: float) -> float:
        """Return the half width of the 1 - level confidence sequence, in units of s / sqrt(n).

        Infinite where n differences cannot exclude any mean.

        >>> [round(TMixture(0.1).half_width(n, 0.05), 1) for n in (3, 5, 40)]
        [13.2, 5.4, 3.7]
        """
        check_level(level)
        if n < 2:
            return math.inf
        r = self.precision / (self.precision + n)
        # e = 1 / level where (1 + u) / (1 + r u) = c, and u = t^2 / (n - 1).
        c = math.exp((-2 * math.log(level) - math.log(r)) / n)
        return math.sqrt((n - 1) * (c - 1) / (1 - r * c)) if r * c < 1 else math.inf

    def p_value(self, n: int, t: float) -> float:
        """Return min(1, 1 / e): at most a with a chance of at most a, at any time."""
        return 1.0 if n < 2 else math.exp(-max(0.0, self.log_e(n, t)))


def t_mixture_e_value(
    differences: Sequence[float | None], precision: float = 1.0, mean: float = 0.0
) -> EValue:
    """Return the evidence of paired differences against a mean.

    Args:
        differences: One for each pair; None or NaN where a side is missing.
        precision: g of the t-mixture.
        mean: The mean that is doubted.

    Raises:
        InputError: A difference is infinite, or the precision is not above 0.

    Example:
        >>> round(t_mixture_e_value([1.0, 2.0, 3.0, 2.0, 2.5]).log_e, 3)
        2.648
        >>> t_mixture_e_value([1.0, 1.0]).note
        'All 2 differences are equal (1), so their spread is unknown.'

    """
    test = TMixture(precision)
    sample = sample_of(differences)
    if sample.sd is None:
        return EValue(None, sample.n, sample.missing, sample.note)
    t = math.sqrt(sample.n) * (sample.mean - mean) / sample.sd
    return EValue(test.log_e(sample.n, t), sample.n, sample.missing, None)
