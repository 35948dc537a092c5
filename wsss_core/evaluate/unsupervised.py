"""Thresholds from scores alone: Otsu's, and that of two Gaussians.

Otsu's is the cut of a histogram whose two sides differ most. N. Otsu, "A Threshold Selection Method
from Gray-Level Histograms", IEEE Transactions on Systems, Man, and Cybernetics 9(1), 1979: the
level that maximises the variance between the classes, w0 * w1 * (mean0 - mean1)^2.

The other is the level where one of two Gaussians under the scores takes over. They are fitted by
expectation and maximisation (Dempster, Laird and Rubin, 1977; Bishop, "Pattern Recognition and
Machine Learning", 2006, section 9.2.2), on the 256 levels weighted with their counts: the same fit
as on the pixels themselves, at a cost that does not grow with them.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsss_core.evaluate.pixel_counts import SCORE_LEVELS
from wsss_core.evaluate.score_histogram import checked_counts


def otsu_level(scores: NDArray[np.integer]) -> int | None:
    """Return the level t at which "score >= t" and the rest differ most; of equals the smallest.

    Args:
        scores: whole counts [256], pixels at each level.

    Returns:
        1-255; None where fewer than two levels have a pixel, as there is nothing to separate.

    Raises:
        InputError: counts that are not whole, not [256] or negative.

    Example:
        >>> histogram = np.zeros(256, dtype=int)
        >>> histogram[[10, 20, 200]] = 50, 50, 10
        >>> otsu_level(histogram)
        21

    """
    counts = checked_counts("scores", scores, ndim=1)
    levels = np.flatnonzero(counts)
    # Python's integers neither round nor overflow, so equally good levels tie exactly.
    pixels = [int(counts[level]) for level in levels]
    all_pixels = sum(pixels)
    all_scores = sum(int(level) * count for level, count in zip(levels, pixels, strict=True))
    best, level_of_best = (0, 1), None
    below, below_scores = 0, 0
    for level, count in zip(levels[:-1], pixels[:-1], strict=True):
        below += count
        below_scores += int(level) * count
        above, above_scores = all_pixels - below, all_scores - below_scores
        # n0 n1 (s0 / n0 - s1 / n1)^2 as a fraction.
        variance = (below_scores * above - above_scores * below) ** 2, below * above
        if variance[0] * best[1] > best[0] * variance[1]:
            best, level_of_best = variance, int(level) + 1
    return level_of_best


LEVEL_VARIANCE = 1 / 12
"""Added to each variance: a level stands for an interval of width 1. It keeps a Gaussian on a
single level from becoming infinitely narrow."""

MOST_ROUNDS = 500
STILL = 1e-4
"""The fit ends when neither mean moves by more than this, in levels, or after `MOST_ROUNDS`."""


@dataclass(frozen=True)
class GaussianMixture:
    """Two weighted Gaussians over levels 0-255, the one of the lower mean first.

    Attributes:
        weights: of each, summing to 1.
        means: in levels.
        variances: in squared levels, at least `LEVEL_VARIANCE`.

    """

    weights: tuple[float, float]
    means: tuple[float, float]
    variances: tuple[float, float]

    def crossing(self) -> float | None:
        """Return where the weighted densities are equal between the means; None if nowhere.

        Between the means there is one such place if each Gaussian is the denser one at its own
        mean, else there is none.
        """
        low, high = self.means
        if not self._lead(low) < 0 < self._lead(high):
            return None
        quadratic, linear, constant = self._polynomial()
        # constant < 0 < linear, so this root is the first beyond the lower mean, also of a line.
        root = math.sqrt(linear * linear - 4 * quadratic * constant)
        return low - 2 * constant / (linear + root)

    def _polynomial(self) -> tuple[float, float, float]:
        """Return the log ratio of the weighted densities over the distance to the lower mean."""
        between = self.means[1] - self.means[0]
        low, high = self.variances
        constant = math.log(self.weights[1] / self.weights[0]) + math.log(low / high) / 2
        return (
            1 / (2 * low) - 1 / (2 * high),
            between / high,
            constant - between * between / (2 * high),
        )

    def _lead(self, level: float) -> float:
        quadratic, linear, constant = self._polynomial()
        at = level - self.means[0]
        return (quadratic * at + linear) * at + constant


def fit_gaussian_mixture(scores: NDArray[np.integer]) -> GaussianMixture | None:
    """Fit two Gaussians, from the two sides of Otsu's threshold on; nothing is drawn at random.

    Args:
        scores: whole counts [256], pixels at each level.

    Returns:
        The fit; None where fewer than two levels have a pixel, or one Gaussian has swallowed the
        other.

    Raises:
        InputError: counts that are not whole, not [256] or negative.

    """
    counts = checked_counts("scores", scores, ndim=1)
    start = otsu_level(counts)
    if start is None:
        return None
    levels = np.flatnonzero(counts).astype(np.float64)
    share = counts[counts > 0] / counts.sum()
    belongs = np.stack([levels < start, levels >= start]).astype(np.float64)  # [2, levels]
    before = np.full(2, np.inf)
    for _ in range(MOST_ROUNDS):
        mass = belongs * share
        weights = mass.sum(axis=1)
        if not (weights > 0).all():
            return None
        means = mass @ levels / weights
        offsets = levels - means[:, np.newaxis]
        variances = (mass * offsets**2).sum(axis=1) / weights + LEVEL_VARIANCE
        if np.abs(means - before).max() <= STILL:
            break
        before = means
        log_density = (
            np.log(weights / np.sqrt(variances))[:, np.newaxis]
            - offsets**2 / (2 * variances)[:, np.newaxis]
        )
        density = np.exp(log_density - log_density.max(axis=0))
        belongs = density / density.sum(axis=0)
    first, second = np.argsort(means, kind="stable")
    return GaussianMixture(
        (float(weights[first]), float(weights[second])),
        (float(means[first]), float(means[second])),
        (float(variances[first]), float(variances[second])),
    )


def gaussian_mixture_level(scores: NDArray[np.integer]) -> int | None:
    """Return the smallest level at or beyond the crossing of the two weighted densities.

    Args:
        scores: whole counts [256], pixels at each level.

    Returns:
        1-255; None where there is no such fit or its densities do not cross between their means,
        as when all scores are of one hump.

    Raises:
        InputError: counts that are not whole, not [256] or negative.

    Example:
        >>> histogram = np.zeros(256, dtype=int)
        >>> histogram[[40, 60, 160, 180]] = 100
        >>> gaussian_mixture_level(histogram)
        110

    """
    mixture = fit_gaussian_mixture(scores)
    crossing = None if mixture is None else mixture.crossing()
    return None if crossing is None else min(max(math.ceil(crossing), 1), SCORE_LEVELS - 1)
