"""Statistics over a few seeds: mean and spread, paired differences, corrected tests.

With two or three seeds a percentile bootstrap covers far less than its nominal level, so intervals
are Student's (Biometrika 6, 1908). Trials of one seed share their data order and teacher, so
comparisons are paired by seed. The comparisons of one table are corrected by Holm's step-down rule
(Scand. J. Statistics 6, 1979).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit


@dataclass(frozen=True)
class Summary:
    """The mean over n values; spread and interval are None for n < 2.

    Attributes:
        mean: Arithmetic mean, NaN for n = 0.
        sd: Sample standard deviation (n - 1 in the denominator).
        n: Number of values.
        low: Lower end of the t interval of the mean.
        high: Upper end of the t interval of the mean.

    """

    mean: float
    sd: float | None
    n: int
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PairedDifference:
    """Differences to a baseline over the seeds that both have.

    Attributes:
        by_seed: Value minus baseline, by seed.
        summary: Of those differences.
        p: Two-sided p of the paired t-test; None for n < 2 or differences without any spread.

    """

    by_seed: Mapping[int, float]
    summary: Summary
    p: float | None

    @property
    def interval_includes_zero(self) -> bool:
        """Whether the interval includes 0; True without an interval."""
        low, high = self.summary.low, self.summary.high
        return low is None or high is None or low <= 0.0 <= high


def summarise(values: Iterable[float], confidence: float = 0.95) -> Summary:
    """Summarise values; leave out NaN.

    Args:
        values: Any number of floats.
        confidence: Coverage of the t interval, in (0, 1).

    Example:
        >>> summary = summarise([1.0, 2.0, 3.0])
        >>> summary.mean, summary.sd, summary.n, round(summary.low, 3)
        (2.0, 1.0, 3, -0.484)

    """
    kept = np.asarray([value for value in values if not math.isnan(value)], dtype=np.float64)
    n = len(kept)
    if n == 0:
        return Summary(math.nan, None, 0, None, None)
    mean = float(kept.mean())
    if n == 1:
        return Summary(mean, None, 1, None, None)
    sd = float(kept.std(ddof=1))
    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * sd / math.sqrt(n)
    return Summary(mean, sd, n, mean - half, mean + half)


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float], confidence: float = 0.95
) -> PairedDifference:
    """Compare values with a baseline, seed by seed; leave out seeds that only one side has.

    Args:
        values: Value by seed.
        baseline: Value by seed.
        confidence: Coverage of the t interval, in (0, 1).

    Example:
        >>> paired_difference({0: 3.0, 1: 5.0, 2: 9.9}, {0: 1.0, 1: 2.0}).by_seed
        {0: 2.0, 1: 3.0}

    """
    shared = sorted(set(values) & set(baseline))
    by_seed = {
        seed: values[seed] - baseline[seed]
        for seed in shared
        if not math.isnan(values[seed] - baseline[seed])
    }
    summary = summarise(by_seed.values(), confidence)
    p = None
    # Equal differences leave rounding noise behind, which must not pass for a tiny spread.
    scale = max((abs(difference) for difference in by_seed.values()), default=0.0)
    if summary.sd is not None and summary.sd > 1e-12 * scale:
        t = summary.mean / (summary.sd / math.sqrt(summary.n))
        p = float(2 * stdtr(summary.n - 1, -abs(t)))
    return PairedDifference(by_seed, summary, p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct the p-values of one table by Holm's rule; None stays None and does not count.

    Args:
        p_values: Uncorrected, each in [0, 1] or None.

    Example:
        >>> holm([0.01, None, 0.04, 0.03])
        [0.03, None, 0.06, 0.06]

    """
    present = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    floor = 0.0
    for rank, (p, position) in enumerate(present):
        floor = max(floor, min(1.0, (len(present) - rank) * p))
        corrected[position] = floor
    return corrected
