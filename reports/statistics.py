"""Statistics over a few seeds: mean and spread, paired differences, corrected tests.

With two or three seeds a percentile bootstrap covers far less than its nominal level, so intervals
are Student's (Biometrika 6, 1908). Trials of one seed share their data order and teacher, so
comparisons are paired by seed. The comparisons of one table are corrected by Holm's step-down rule
(Scand. J. Statistics 6, 1979).

Trials of a study with folds are paired by seed and fold. Its folds are no independent repetitions,
because the training sets of any two share most of their images. So the seeds of each fold are
averaged first, and the variance of the mean over k folds is (1/k + 1/(k - 1)) times that of the
folds' values, with k - 1 degrees of freedom: the corrected resampled t-test of Nadeau and Bengio
(Machine Learning 52, 2003, section 3), whose ratio of test to training data is 1/(k - 1) in k-fold
cross-validation.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import stdtr, stdtrit

from reports.pairing import FoldedSeed, Pair


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
        by_seed: Value minus baseline, by seed, or by seed and fold.
        summary: Of those differences; with folds, of each fold's mean.
        p: Two-sided p of the paired t-test; None for n < 2 or differences without any spread.

    """

    by_seed: Mapping[Pair, float]
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
    return _summary(values, confidence, folded=False)


def summarise_pairs(by_pair: Mapping[Pair, float], confidence: float = 0.95) -> Summary:
    """Summarise values by seed, or by seed and fold; leave out NaN.

    Args:
        by_pair: Value by seed; with folds, by seed and fold.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        With folds n is the number of folds, the values are each fold's mean over its seeds, and the
        interval is corrected for what folds share.

    Example:
        >>> of_folds = summarise_pairs({FoldedSeed(0, k): float(k) for k in (1, 2, 3)})
        >>> of_folds.mean, of_folds.sd, of_folds.n, round(of_folds.low, 3)
        (2.0, 1.0, 3, -1.928)

    """
    return _summary(_values(by_pair), confidence, folded=_are_folded(by_pair))


def _are_folded(by_pair: Mapping[Pair, float]) -> bool:
    return any(isinstance(pair, FoldedSeed) for pair in by_pair)


def _values(by_pair: Mapping[Pair, float]) -> list[float]:
    """Return the values, those of a fold as their mean."""
    of_fold: dict[int, list[float]] = {}
    for pair, value in by_pair.items():
        if isinstance(pair, FoldedSeed) and not math.isnan(value):
            of_fold.setdefault(pair.fold, []).append(value)
    if not of_fold:
        return list(by_pair.values())
    return [float(np.mean(values)) for _, values in sorted(of_fold.items())]


def _summary(values: Iterable[float], confidence: float, *, folded: bool) -> Summary:
    kept = [float(value) for value in values if not math.isnan(value)]
    n = len(kept)
    if n == 0:
        return Summary(math.nan, None, 0, None, None)
    mean = _sum(kept) / n
    if n == 1:
        return Summary(mean, None, 1, None, None)
    sd = math.sqrt(_sum([(value - mean) * (value - mean) for value in kept]) / (n - 1))
    half = _quantile(n - 1, 0.5 + confidence / 2) * sd / _root(n, folded=folded)
    return Summary(mean, sd, n, mean - half, mean + half)


def _sum(values: Sequence[float]) -> float:
    """Return the sum as NumPy rounds it: of up to seven values it adds one after the other.

    The thousands of summaries of a page are over a few seeds each.
    """
    return sum(values) if len(values) < _FEW else float(np.sum(values))


_FEW = 8
"""From so many values on, NumPy adds in eight partial sums."""


@cache
def _quantile(degrees: int, share: float) -> float:
    return float(stdtrit(degrees, share))


def _root(n: int, *, folded: bool) -> float:
    """Return by what a standard deviation is divided for the standard error of the mean."""
    # A fold that is missing leaves the others no more alike than 1/(n - 1) says.
    return 1 / math.sqrt(1 / n + 1 / (n - 1)) if folded else math.sqrt(n)


def paired_difference(
    values: Mapping[Pair, float], baseline: Mapping[Pair, float], confidence: float = 0.95
) -> PairedDifference:
    """Compare values with a baseline, pair by pair; leave out pairs that only one side has.

    Args:
        values: Value by seed, or by seed and fold.
        baseline: Value by seed, or by seed and fold.
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
    summary = summarise_pairs(by_seed, confidence)
    p = None
    # Equal differences leave rounding noise behind, which must not pass for a tiny spread.
    scale = max((abs(difference) for difference in by_seed.values()), default=0.0)
    if summary.sd is not None and summary.sd > 1e-12 * scale:
        root = _root(summary.n, folded=_are_folded(by_seed))
        t = summary.mean / (summary.sd / root)
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
