"""Otsu's threshold: the cut of a histogram whose two sides differ most.

N. Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE Transactions on Systems,
Man, and Cybernetics 9(1), 1979: the level that maximises the variance between the classes,
w0 * w1 * (mean0 - mean1)^2. It sees scores alone.
"""

import numpy as np
from numpy.typing import NDArray

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
